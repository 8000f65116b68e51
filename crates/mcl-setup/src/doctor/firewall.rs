//! Firewalls: rules that may drop multicast, as far as they can be read.
//!
//! Only what is certain excludes a rule: another protocol or another port. Whether one
//! of the rest strikes depends on the datagram, and the check of the datagram tells.

use std::fs;

use serde_json::Value;

use super::{Check, Id, Verdict};
use crate::command::program;
use crate::privilege::may_change_interfaces;

/// Where a datagram of this machine passes (netfilter hooks).
const HOOKS: [&str; 5] = ["ingress", "prerouting", "input", "output", "postrouting"];

/// Rules shown at most.
const SHOWN: usize = 5;

/// Tells of rules that may drop multicast to `port`.
pub(super) fn rules(port: u16) -> Vec<Check> {
    if !may_change_interfaces() {
        let unknown = "whether a firewall drops multicast cannot be told without privilege";
        return vec![warned(unknown).mended_by(["mcl doctor".to_owned()])];
    }
    let (nft, legacy) = (nft_rules(port), legacy_rules());
    let (Ok(nft), Ok(legacy)) = (&nft, &legacy) else {
        let reasons = [nft.err(), legacy.err()];
        return reasons.into_iter().flatten().map(unreadable).collect();
    };
    let drops: Vec<&Drop> = nft.iter().chain(legacy).collect();
    if drops.is_empty() {
        let message = "no rule of a firewall drops multicast";
        return vec![Check::new(Id::Firewall, Verdict::Passed, message)];
    }
    drops
        .into_iter()
        .take(SHOWN)
        .map(|it| it.check(port))
        .collect()
}

fn warned(message: impl Into<String>) -> Check {
    Check::new(Id::Firewall, Verdict::Warned, message)
}

fn unreadable(why: String) -> Check {
    warned(format!(
        "whether a firewall drops multicast cannot be told: {why}"
    ))
}

/// A chain that drops, or a rule that does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Drop {
    /// `ip6 filter INPUT`, or `INPUT` of ip6tables.
    chain: String,
    /// By its policy, for what no rule accepts.
    by_policy: bool,
    legacy: bool,
}

impl Drop {
    fn check(&self, port: u16) -> Check {
        let how = match self.by_policy {
            true => "drops what none of its rules accepts",
            false => "has a rule that may drop it",
        };
        let chain = &self.chain;
        warned(format!("multicast to port {port}: chain {chain} {how}")).mended_by(
            match self.legacy {
                true => vec![
                    format!(
                        "ip6tables-legacy -I {chain} -d ff00::/8 -p udp --dport {port} -j ACCEPT"
                    ),
                    // Or switches that snoop forget this machine (RFC 4890, section 4.4.1).
                    format!("ip6tables-legacy -I {chain} -p icmpv6 --icmpv6-type 130 -j ACCEPT"),
                format!("ip6tables-legacy -I {chain} -p icmpv6 --icmpv6-type 143 -j ACCEPT"),
                ],
                false => vec![
                    format!("nft insert rule {chain} ip6 daddr ff00::/8 udp dport {port} accept"),
                    format!("nft insert rule {chain} icmpv6 type {{ mld-listener-query, mld2-listener-report }} accept"),
                ],
            },
        )
    }
}

fn nft_rules(port: u16) -> Result<Vec<Drop>, String> {
    match program("nft").args(["-j", "list", "ruleset"]).output() {
        Ok(output) if output.status.success() => {
            let ruleset = serde_json::from_slice(&output.stdout)
                .map_err(|error| format!("`nft -j list ruleset` printed no JSON: {error}"))?;
            Ok(read_ruleset(&ruleset, port))
        }
        Ok(output) => Err(format!(
            "nft: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!(
            "the program nft does not start: {error} (Debian's package `nftables`)"
        )),
    }
}

fn read_ruleset(ruleset: &Value, port: u16) -> Vec<Drop> {
    let objects = ruleset["nftables"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let chains = || {
        objects
            .iter()
            .map(|it| &it["chain"])
            .filter(|it| it.is_object())
    };
    let mut drops: Vec<Drop> = chains()
        .filter(|chain| matters(chain) && chain["policy"] == "drop")
        .map(|chain| nft_drop(chain, "name", true))
        .collect();
    for rule in objects
        .iter()
        .map(|it| &it["rule"])
        .filter(|it| it.is_object())
    {
        let is_of = |chain: &&Value| {
            ["family", "table"].iter().all(|it| chain[*it] == rule[*it])
                && chain["name"] == rule["chain"]
        };
        let drop = nft_drop(rule, "chain", false);
        let strikes = chains().any(|it| is_of(&it) && matters(it)) && may_drop(rule, port);
        if strikes && !drops.contains(&drop) {
            drops.push(drop);
        }
    }
    drops
}

fn nft_drop(object: &Value, name: &str, by_policy: bool) -> Drop {
    let words = ["family", "table", name].map(|it| object[it].as_str().unwrap_or_default());
    Drop {
        chain: words.join(" "),
        by_policy,
        legacy: false,
    }
}

/// Whether datagrams over IPv6 pass the chain. One without a hook is jumped to.
fn matters(chain: &Value) -> bool {
    let family = chain["family"].as_str().unwrap_or_default();
    let kind = chain["type"].as_str().unwrap_or("filter");
    let hook = chain["hook"].as_str().unwrap_or("input");
    ["ip6", "inet", "netdev"].contains(&family) && kind == "filter" && HOOKS.contains(&hook)
}

fn may_drop(rule: &Value, port: u16) -> bool {
    let parts = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
    let drops = |it: &Value| it.get("drop").is_some() || it.get("reject").is_some();
    parts.iter().any(drops) && !parts.iter().any(|it| excludes(&it["match"], port))
}

/// Whether a match is certain not to fit UDP over IPv6 to `port`.
fn excludes(condition: &Value, port: u16) -> bool {
    let (left, right) = (&condition["left"], &condition["right"]);
    if !["==", "in"].contains(&condition["op"].as_str().unwrap_or_default()) {
        return false;
    }
    let other_protocol = |value: &Value| {
        let other = ["tcp", "icmp", "icmpv6", "ipv6-icmp", "sctp", "ip"];
        value.as_str().is_some_and(|it| other.contains(&it))
    };
    let is_protocol = left["meta"]["key"] == "l4proto"
        || left["meta"]["key"] == "nfproto"
        || left["payload"]["field"] == "nexthdr";
    let other_port = left["payload"]["field"] == "dport"
        && right.as_u64().is_some_and(|it| it != u64::from(port));
    let invalid_state =
        left["ct"]["key"] == "state" && (*right == "invalid" || right[0] == "invalid");
    other_protocol(&left["payload"]["protocol"])
        || (is_protocol && (other_protocol(right) || *right == "ipv4"))
        || other_port
        || invalid_state
}

/// Rules of ip6tables that nft does not show. Without a table there is none, and
/// asking would make one.
fn legacy_rules() -> Result<Vec<Drop>, String> {
    let tables = fs::read_to_string("/proc/thread-self/net/ip6_tables_names").unwrap_or_default();
    if !tables.lines().any(|table| table == "filter") {
        return Ok(Vec::new());
    }
    match program("ip6tables-legacy").arg("-S").output() {
        Ok(output) if output.status.success() => {
            Ok(read_legacy(&String::from_utf8_lossy(&output.stdout)))
        }
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!(
            "there are rules of ip6tables, but ip6tables-legacy does not start: {error}"
        )),
    }
}

fn read_legacy(text: &str) -> Vec<Drop> {
    let mut drops: Vec<Drop> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let drop = match words.as_slice() {
            ["-P", chain @ ("INPUT" | "OUTPUT"), "DROP"] => legacy_drop(chain, true),
            ["-A", chain, rest @ ..] if *chain != "FORWARD" && legacy_may_drop(rest) => {
                legacy_drop(chain, false)
            }
            _ => continue,
        };
        if !drops.contains(&drop) {
            drops.push(drop);
        }
    }
    drops
}

fn legacy_drop(chain: &str, by_policy: bool) -> Drop {
    Drop {
        chain: chain.to_owned(),
        by_policy,
        legacy: true,
    }
}

fn legacy_may_drop(rule: &[&str]) -> bool {
    let has = |option: &str, values: &[&str]| {
        let mut pairs = rule.windows(2);
        pairs.any(|pair| pair[0] == option && values.contains(&pair[1]))
    };
    has("-j", &["DROP", "REJECT"])
        && !has("-p", &["tcp", "icmp", "icmpv6", "ipv6-icmp", "sctp"])
        && !has("--ctstate", &["INVALID"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(policy: &str, hook: &str) -> Value {
        json!({"chain": {"family": "ip6", "table": "t", "name": "c", "type": "filter",
                         "hook": hook, "prio": 0, "policy": policy}})
    }

    fn rule(expr: Value) -> Value {
        json!({"rule": {"family": "ip6", "table": "t", "chain": "c", "expr": expr}})
    }

    fn matching(left: Value, right: Value) -> Value {
        json!({"match": {"op": "==", "left": left, "right": right}})
    }

    fn read(objects: &[Value]) -> Vec<Drop> {
        read_ruleset(&json!({ "nftables": objects }), 26000)
    }

    #[test]
    fn a_policy_that_drops_is_told_where_datagrams_pass() {
        let drops = read(&[chain("drop", "input")]);
        assert_eq!(drops.len(), 1);
        let check = drops[0].check(26000);
        assert!(
            check.message.contains("ip6 t c drops what none"),
            "{}",
            check.message
        );
        assert_eq!(
            check.remedy[0],
            "nft insert rule ip6 t c ip6 daddr ff00::/8 udp dport 26000 accept"
        );
        assert_eq!(read(&[chain("drop", "forward")]), []);
        assert_eq!(read(&[chain("accept", "input")]), []);
    }

    #[test]
    fn a_rule_that_drops_counts_unless_it_is_about_something_else() {
        let payload = |protocol: &str, field: &str| json!({"payload": {"protocol": protocol, "field": field}});
        let meta = json!({"meta": {"key": "l4proto"}});
        let state = json!({"ct": {"key": "state"}});
        for (condition, strikes) in [
            (matching(meta.clone(), json!("udp")), true),
            (matching(meta, json!("tcp")), false),
            (matching(payload("udp", "dport"), json!(26000)), true),
            (matching(payload("udp", "dport"), json!(53)), false),
            (matching(payload("tcp", "dport"), json!(26000)), false),
            (matching(payload("ip6", "daddr"), json!("ff15::1")), true),
            (matching(state.clone(), json!("invalid")), false),
            (matching(state, json!("new")), true),
        ] {
            let objects = [
                chain("accept", "input"),
                rule(json!([condition, {"drop": null}])),
            ];
            assert_eq!(!read(&objects).is_empty(), strikes, "{objects:?}");
        }
        let accepted = rule(json!([{"accept": null}]));
        assert_eq!(read(&[chain("accept", "input"), accepted]), []);
    }

    #[test]
    fn rules_of_ip6tables_are_read_as_they_are_listed() {
        let quiet = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n\
                     -A FORWARD -j DROP\n-A INPUT -p tcp -j DROP\n\
                     -A INPUT -m conntrack --ctstate INVALID -j DROP\n";
        assert_eq!(read_legacy(quiet), []);
        let loud = "-P INPUT DROP\n-A INPUT -p udp -j DROP\n-A INPUT -j REJECT --reject-with x\n";
        let drops = read_legacy(loud);
        assert_eq!(
            drops,
            [legacy_drop("INPUT", true), legacy_drop("INPUT", false)]
        );
        assert!(
            drops[1].check(26001).remedy[0].starts_with("ip6tables-legacy -I INPUT -d ff00::/8")
        );
    }
}
