//! `mcl doctor` and `mcl netsetup`, the real binary, in private namespaces.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mcl_testbed::{Dad, Namespace};
use serde_json::Value;

/// The exit code of a failed check, and of silence.
const FAILED: Option<i32> = Some(7);
const SILENCE: Option<i32> = Some(5);

fn mcl(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcl"));
    command.args(arguments.split_whitespace());
    plain(&mut command);
    command
}

fn plain(command: &mut Command) {
    command.env_remove("MCL_INTERFACE").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// Runs the binary in a view of the file system that `mounts` made.
fn mcl_where(mounts: &str, arguments: &str) -> Command {
    let script = format!("set -e; {mounts}; exec \"$0\" {arguments}");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_mcl")]);
    plain(&mut command);
    command
}

/// What a doctor said.
struct Diagnosis {
    code: Option<i32>,
    checks: Vec<Value>,
    errors: String,
}

impl Diagnosis {
    fn of(namespace: &Namespace, mut command: Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = namespace.run(|| command.output()).unwrap();
        let text = String::from_utf8(stdout).unwrap();
        let objects = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Self {
            code: status.code(),
            checks: objects.collect(),
            errors: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Those with this name, about this interface.
    fn about(&self, id: &str, interface: Option<&str>) -> Vec<&Value> {
        let is = |it: &&Value| it["id"] == id && it["interface"].as_str() == interface;
        self.checks.iter().filter(is).collect()
    }

    /// The only one of that name about this interface, which must have this status.
    fn one(&self, id: &str, interface: Option<&str>, status: &str) -> &Value {
        let found = self.about(id, interface);
        assert_eq!(found.len(), 1, "{id} {interface:?}: {self}");
        assert_eq!(found[0]["status"], status, "{self}");
        found[0]
    }
}

impl std::fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.checks.iter().try_for_each(|it| writeln!(f, "{it}"))?;
        write!(f, "{} {:?}", self.errors, self.code)
    }
}

fn doctor(namespace: &Namespace, arguments: &str) -> Diagnosis {
    Diagnosis::of(namespace, mcl(&format!("doctor --json {arguments}")))
}

fn says(check: &Value, text: &str) -> bool {
    check["message"].as_str().unwrap().contains(text)
}

/// Runs the commands that a check names.
fn mend(namespace: &Namespace, check: &Value) {
    let remedy = check["remedy"].as_array().unwrap();
    assert!(!remedy.is_empty(), "{check}");
    for command in remedy {
        let command = command.as_str().unwrap();
        namespace.command("sh", &["-c", command]).unwrap();
    }
}

fn with_bridge() -> Namespace {
    let namespace = Namespace::new().unwrap();
    namespace.bridge("br0").unwrap();
    namespace
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_healthy_machine_passes() {
    let namespace = with_bridge();
    let healthy = doctor(&namespace, "");
    assert_eq!(healthy.code, Some(0), "{healthy}");
    let order: Vec<&str> = healthy
        .checks
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    let expected = [
        "kernel",
        "ipv6",
        "interface",
        "interface",
        "wireless",
        "bridge",
        "route",
        "datagram",
        "train",
        "receive-buffer",
        "drops",
        "firewall",
    ];
    assert_eq!(order, expected);
    for check in &healthy.checks {
        let names: Vec<&String> = check.as_object().unwrap().keys().collect();
        assert_eq!(names, ["id", "interface", "message", "remedy", "status"]);
        assert_ne!(check["status"], "failed", "{check}");
    }
    for id in ["interface", "bridge", "route", "datagram", "train"] {
        healthy.one(id, Some("br0"), "passed");
    }
    for id in ["ipv6", "drops", "firewall"] {
        healthy.one(id, None, "passed");
    }
    // The same for people, with the account on standard error.
    let shown = namespace.run(|| mcl("doctor").output()).unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(
        text.lines().filter(|it| it.starts_with("passed  ")).count(),
        text.lines()
            .filter(|it| !it.starts_with("warned  ") && !it.starts_with("   "))
            .count(),
        "{text}"
    );
    let errors = String::from_utf8(shown.stderr).unwrap();
    assert!(errors.ends_with(" 0 failed\n"), "{errors}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_machine_with_nothing_but_lo_fails_and_names_what_makes_an_interface() {
    let namespace = Namespace::new().unwrap();
    let bare = doctor(&namespace, "");
    assert_eq!(bare.code, FAILED, "{bare}");
    bare.one("interface", Some("lo"), "passed");
    let none = bare.one("interface", None, "failed");
    assert_eq!(none["remedy"][0], "ip link add name dummy0 type dummy");
    bare.one("route", None, "failed");
    assert!(bare.about("datagram", Some("lo")).is_empty());
    assert!(bare.errors.contains("2 checks failed"), "{bare}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_that_is_down_is_mended_by_what_the_doctor_says() {
    let namespace = with_bridge();
    namespace.ip(&["link", "set", "br0", "down"]).unwrap();
    let down = doctor(&namespace, "");
    assert_eq!(down.code, FAILED, "{down}");
    let check = down.one("interface", Some("br0"), "warned");
    assert!(says(check, "not usable: down"), "{check}");
    mend(&namespace, check);
    namespace.wait_until_ready("br0").unwrap();
    assert_eq!(doctor(&namespace, "").code, Some(0));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn ipv6_that_is_switched_off_is_seen_for_one_interface_and_for_all() {
    let namespace = with_bridge();
    namespace
        .set_sysctl("net/ipv6/conf/br0/disable_ipv6", "1")
        .unwrap();
    let one = doctor(&namespace, "");
    assert_eq!(one.code, FAILED, "{one}");
    one.one("ipv6", None, "passed");
    let check = one.one("interface", Some("br0"), "warned");
    mend(&namespace, check);
    namespace.wait_until_ready("br0").unwrap();
    assert_eq!(doctor(&namespace, "").code, Some(0));

    namespace
        .set_sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        .unwrap();
    let all = doctor(&namespace, "");
    assert_eq!(all.code, FAILED, "{all}");
    // The kernel switches `default` with `all`.
    let checks = all.about("ipv6", None);
    assert_eq!(checks.len(), 2, "{all}");
    assert_eq!(checks[0]["status"], "failed", "{all}");
    let remedy = checks[0]["remedy"][0].as_str().unwrap();
    assert!(remedy.contains("net.ipv6.conf.all.disable_ipv6=0"), "{all}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_tentative_address_is_warned_of_and_waited_for() {
    let namespace = Namespace::new().unwrap();
    namespace.bridge_with(Dad::On, "br0").unwrap();
    let tentative = doctor(&namespace, "");
    assert_eq!(tentative.code, Some(0), "{tentative}");
    let check = tentative.one("interface", Some("br0"), "warned");
    assert!(says(check, "tentative"), "{check}");
    tentative.one("datagram", Some("br0"), "passed");
}

/// Binds a file with this content over `path`.
fn holding(path: &str, content: &str) -> String {
    format!("f=$(mktemp); echo {content} > $f; mount --bind $f {path}; rm $f")
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn small_buffers_a_known_kernel_and_a_wireless_interface_are_warned_of() {
    let namespace = with_bridge();
    let mounts = [
        holding("/proc/sys/net/core/rmem_max", "212992"),
        holding("/proc/sys/kernel/osrelease", "7.0.3-generic"),
        "mount -t tmpfs none /sys/class/net; mkdir -p /sys/class/net/br0/phy80211".to_owned(),
    ];
    let command = mcl_where(&mounts.join("; "), "doctor --json");
    let warned = Diagnosis::of(&namespace, command);
    assert_eq!(warned.code, Some(0), "{warned}");
    let buffer = warned.one("receive-buffer", None, "warned");
    assert!(says(buffer, "212992, less than 2097152"), "{buffer}");
    assert_eq!(buffer["remedy"][0], "sysctl -w net.core.rmem_max=2097152");
    let kernel = warned.one("kernel", None, "warned");
    assert!(says(kernel, "7.0.3-generic"), "{kernel}");
    let wireless = warned.one("wireless", Some("br0"), "warned");
    assert!(says(wireless, "lowest rate"), "{wireless}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_kernel_without_ipv6_fails() {
    let namespace = Namespace::new().unwrap();
    let command = mcl_where("mount -t tmpfs none /proc/sys/net/ipv6", "doctor --json");
    let without = Diagnosis::of(&namespace, command);
    assert_eq!(without.code, FAILED, "{without}");
    let check = without.one("ipv6", None, "failed");
    assert!(says(check, "no IPv6"), "{check}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_firewall_that_drops_is_found_and_its_remedy_lets_the_connection_through_with_nft() {
    let namespace = with_bridge();
    let nft = |command: &str| namespace.command("nft", &[command]).unwrap();
    nft("add table ip6 t");
    nft("add chain ip6 t c { type filter hook input priority 0; policy drop; }");
    let group = "ff15::6d63:6c --wire";
    let dropped = doctor(&namespace, group);
    assert_eq!(dropped.code, FAILED, "{dropped}");
    let lost = dropped.one("datagram", Some("br0"), "failed");
    assert!(says(lost, "did not come back"), "{lost}");
    let firewall = dropped.one("firewall", None, "warned");
    assert!(says(firewall, "chain ip6 t c drops"), "{firewall}");
    mend(&namespace, firewall);
    let mended = doctor(&namespace, group);
    assert_eq!(mended.code, Some(0), "{mended}");
    let came_back = mended.one("datagram", Some("br0"), "passed");
    assert!(says(came_back, "on the wire"), "{came_back}");
    // Another port is still closed.
    let other = doctor(&namespace, "[ff15::6d63:6c]:26001 --wire");
    other.one("datagram", Some("br0"), "failed");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn without_privilege_a_firewall_cannot_be_told() {
    let namespace = with_bridge();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.args([env!("CARGO_BIN_EXE_mcl"), "doctor", "--json"]);
    plain(&mut command);
    let diagnosis = Diagnosis::of(&namespace, command);
    assert_eq!(diagnosis.code, Some(0), "{diagnosis}");
    let check = diagnosis.one("firewall", None, "warned");
    assert!(says(check, "cannot be told without privilege"), "{check}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_the_kernel_dropped_is_told_with_the_socket() {
    let namespace = with_bridge();
    let bind = || UdpSocket::bind("[::1]:0").unwrap();
    let (full, sender) = namespace.run(|| (bind(), bind()));
    let to = full.local_addr().unwrap();
    for _ in 0..8000 {
        // More than any default receive buffer holds, and nobody reads it.
        sender.send_to(&[0; 1200], to).unwrap();
    }
    let diagnosis = doctor(&namespace, "");
    assert_eq!(diagnosis.code, Some(0), "{diagnosis}");
    let drops = diagnosis.one("drops", None, "warned");
    assert!(says(drops, &format!("port {}: ", to.port())), "{drops}");
    assert!(!says(drops, " 0 for a full receive buffer"), "{drops}");
    drop(full);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_bridge_that_snoops_without_a_querier_is_warned_of_until_it_is_one() {
    let namespace = with_bridge();
    namespace
        .ip(&["link", "add", "port", "type", "veth", "peer", "name", "end"])
        .unwrap();
    for link in ["port", "end"] {
        namespace.ip(&["link", "set", link, "up"]).unwrap();
    }
    namespace
        .ip(&["link", "set", "port", "master", "br0"])
        .unwrap();
    let snooping = doctor(&namespace, "");
    let check = snooping.one("bridge", Some("br0"), "warned");
    assert!(says(check, "mcast_querier"), "{check}");
    mend(&namespace, check);
    doctor(&namespace, "").one("bridge", Some("br0"), "passed");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_connection_is_looked_at_in_particular() {
    let namespace = with_bridge();
    let here = doctor(&namespace, "ff11::1");
    assert_eq!(here.code, Some(0), "{here}");
    assert!(says(here.one("scope", None, "warned"), "this machine"));
    let named = doctor(&namespace, "[ff15::1%br0]:26001 --hops 3");
    assert!(says(named.one("scope", None, "passed"), "routers"));
    let route = named.one("route", Some("br0"), "passed");
    assert!(says(route, "[ff15::1]:26001 goes over br0"), "{route}");
    let missing = doctor(&namespace, "ff15::1 --interface eth9");
    assert_eq!(missing.code, FAILED, "{missing}");
    assert!(says(missing.one("route", None, "failed"), "none such"));
    assert_eq!(doctor(&namespace, "--wire").code, Some(2));
}

/// Two machines and the cable between them.
fn two() -> (Namespace, Namespace) {
    let (one, two) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    Namespace::veth(&one, "v0", &two, "v0").unwrap();
    (one, two)
}

/// Runs both sides; the listener is there first.
fn measure(one: &Namespace, two: &Namespace, options: &str) -> (Output, Output) {
    let listener = format!("doctor --peer-listen --wait 20 {options}");
    let mut listener = one.spawn(&mut mcl(&listener)).unwrap();
    let mut errors = BufReader::new(listener.stderr.take().unwrap());
    let mut ready = String::new();
    errors.read_line(&mut ready).unwrap();
    assert!(ready.contains("waiting 20 s for a peer"), "{ready}");
    let peer = format!("doctor --peer --quiet {options}");
    let peer = two.run(|| mcl(&peer).output()).unwrap();
    let mut listener_errors = String::new();
    while errors.read_line(&mut listener_errors).unwrap() > 0 {}
    let mut listener = listener.wait_with_output().unwrap();
    listener.stderr = listener_errors.into_bytes();
    (listener, peer)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn two_machines_measure_both_ways_and_print_the_same_table() {
    let (one, two) = two();
    let begun = Instant::now();
    let (listener, peer) = measure(&one, &two, "");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(
        listener.status.success() && peer.status.success(),
        "{listener:?} {peer:?}"
    );
    assert_eq!(text(&listener.stdout), text(&peer.stdout));
    let rows: Vec<&str> = text(&peer.stdout).lines().collect();
    assert_eq!(rows.len(), 9, "{rows:?}");
    for (row, size) in rows[1..]
        .iter()
        .zip([64, 1300, 65_536, 1_048_576].repeat(2))
    {
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[3], size.to_string(), "{row}");
        assert_eq!(
            (words[4], words[6], words[7]),
            (words[5], "0.0%", "0"),
            "{row}"
        );
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn losses_are_measured_in_the_direction_in_which_they_occur_with_nft() {
    let (one, two) = two();
    let nft = |command: &str| two.command("nft", &[command]).unwrap();
    nft("add table ip6 t");
    nft("add chain ip6 t c { type filter hook input priority 0; }");
    // Trains cross the cable in one piece; all of the long ones, and one in ten.
    nft("add rule ip6 t c udp dport 26000 meta length > 60000 drop");
    nft("add rule ip6 t c udp dport 26000 numgen random mod 100 < 10 drop");
    let (listener, peer) = measure(&one, &two, "--json ff15::6d63:6c:10");
    assert_eq!(text(&listener.stdout), text(&peer.stdout));
    let rows: Vec<Value> = text(&peer.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 8, "{peer:?}");
    for row in &rows {
        let (from, lost) = (row["from"].as_str().unwrap(), row["lost"].as_u64().unwrap());
        let missing = row["datagrams_lost"].as_u64().unwrap();
        assert_eq!(
            row["sent"].as_u64().unwrap() - lost,
            row["arrived"].as_u64().unwrap()
        );
        assert_eq!(row["damaged"], 0, "{row}");
        match from {
            "peer" => assert_eq!((lost, missing), (0, 0), "{row}"),
            "listener" => {
                // Of 1000 at one in ten: six standard deviations are 57.
                let single = row["size"].as_u64().unwrap() < 1400;
                assert!(lost > 0 && missing > 0, "{row}");
                assert!(!single || (43..=157).contains(&lost), "{row}");
            }
            other => panic!("{other}"),
        }
    }
    // Hundreds of datagrams: no large message arrives whole.
    let large = rows
        .iter()
        .find(|it| it["from"] == "listener" && it["size"] == 1_048_576);
    assert_eq!(large.unwrap()["arrived"], 0);
    assert_eq!(
        (listener.status.code(), peer.status.code()),
        (FAILED, FAILED)
    );
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_measurement_without_a_peer_ends_with_what_to_run_there() {
    let namespace = with_bridge();
    for (side, other) in [("--peer", "--peer-listen"), ("--peer-listen", "--peer")] {
        let begun = Instant::now();
        let mut command = mcl(&format!("doctor {side} --wait 1"));
        let alone = namespace.run(|| command.output()).unwrap();
        assert_eq!(alone.status.code(), SILENCE, "{alone:?}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let errors = text(&alone.stderr);
        assert!(
            errors.contains(&format!("run `mcl doctor {other}`")),
            "{errors}"
        );
        assert!(alone.stdout.is_empty());
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_peer_that_is_heard_and_does_not_hear_is_told_from_none_with_nft() {
    let (one, two) = two();
    let nft = |command: &str| two.command("nft", &[command]).unwrap();
    nft("add table ip6 t");
    nft("add chain ip6 t c { type filter hook input priority 0; }");
    nft("add rule ip6 t c iif v0 udp dport 26000 drop");
    let (listener, peer) = measure(&one, &two, "");
    assert_eq!(
        (listener.status.code(), peer.status.code()),
        (SILENCE, SILENCE)
    );
    let errors = text(&listener.stderr);
    assert!(
        errors.contains("is heard, but does not hear this machine"),
        "{errors}"
    );
    assert!(text(&peer.stderr).contains("no listener on"));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_signal_ends_the_waiting_as_a_success() {
    let namespace = with_bridge();
    let mut waiting = namespace.spawn(&mut mcl("doctor --peer-listen")).unwrap();
    let mut errors = BufReader::new(waiting.stderr.take().unwrap());
    let mut ready = String::new();
    errors.read_line(&mut ready).unwrap();
    let kill = format!("kill -TERM {}", waiting.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    let begun = Instant::now();
    assert!(waiting.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// What the library's own entry says, which `cargo xtask netsetup` prints too.
fn library(namespace: &Namespace, option: &str) -> (i32, String) {
    let options = mcl_setup::netsetup::Options::parse([option]).unwrap();
    let mut out = Vec::new();
    let status = namespace.run(|| mcl_setup::netsetup::run(options, &mut out).unwrap());
    (status as i32, String::from_utf8(out).unwrap())
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn netsetup_is_the_same_by_both_entries() {
    let namespace = Namespace::new().unwrap();
    for option in ["--check", "--dry-run", "--undo"] {
        let mut command = mcl(&format!("netsetup {option}"));
        let binary = namespace.run(|| command.output()).unwrap();
        let (code, out) = library(&namespace, option);
        assert_eq!(
            (binary.status.code(), text(&binary.stdout)),
            (Some(code), out.as_str())
        );
    }
    let wrong = namespace
        .run(|| mcl("netsetup --check --undo").output())
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn netsetup_makes_the_machine_ready_and_gives_it_back() {
    let namespace = Namespace::new().unwrap();
    let run = |arguments: &str| {
        let output = namespace.run(|| mcl(arguments).output()).unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(run("netsetup --check").0, Some(1));
    assert_eq!(doctor(&namespace, "").code, FAILED);
    let (code, out) = run("netsetup");
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(doctor(&namespace, "").code, Some(0));
    let (code, out) = run("netsetup --undo");
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(doctor(&namespace, "").code, FAILED);
}
