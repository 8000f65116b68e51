//! The account for people and for programs, and the verdict.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::account::Sum;
use super::conductor::Outcome;
use super::ear::{QUEUED, REASSEMBLY};
use super::options::Options;
use super::resources::Course;
use super::roles::{BROADCASTERS, LISTENERS};
use super::words::{Aside, Sent};

/// What a process holds beyond what it is told to: code, stacks, threads' arenas, the
/// kernel's view of shared pages.
const BASE_KIB: u64 = 48 << 10;

/// The most that a listener's process may hold resident.
const LISTENER_KIB: u64 = 2 * (REASSEMBLY + QUEUED) as u64 / 1024 + BASE_KIB;

/// The most that a broadcaster's process may: a message, its encoding, twice.
const BROADCASTER_KIB: u64 = 4 * (8 << 10) + BASE_KIB;

/// By how much the mean of any process may grow from the second quarter to the last.
const GROWTH_KIB: u64 = 24 << 10;

/// The same for listeners that come and go: each time another way of receiving holds
/// another amount, and the quarters differ in who came.
const GUEST_GROWTH_KIB: u64 = 40 << 10;

/// Soaks that are shorter than this have no quarters to compare.
const GROWS_AFTER: u64 = 60;

/// The most that a process may keep when it has closed everything.
const KEPT_KIB: u64 = 64 << 10;

/// Everything that must not be, in words; empty if all is well.
pub(super) fn verdict(outcome: &Outcome, options: &Options) -> Vec<String> {
    let mut texts = Vec::new();
    for (what, objections) in [
        ("account", &outcome.heard.book.objections),
        ("process", &outcome.heard.failures),
    ] {
        texts.extend(
            objections
                .examples
                .iter()
                .map(|text| format!("{what}: {text}")),
        );
        let more = objections.count - objections.examples.len() as u64;
        if more > 0 {
            texts.push(format!("{what}: and {more} more"));
        }
    }
    for (role, input) in LISTENERS.iter().zip(&outcome.heard.book.inputs) {
        let (had_to, did) = (outcome.made_anew, input.aside.rejoined);
        if role.stays.is_none() && did < had_to {
            texts.push(format!(
                "interfaces: {} joined anew {did} times, not {had_to}",
                role.name
            ));
        }
    }
    for (slot, course) in outcome.courses.iter().enumerate() {
        let (name, most) = bound(slot);
        if course.peak.rss_kib > most {
            texts.push(format!(
                "memory: {name} held {} MiB",
                course.peak.rss_kib >> 10
            ));
        }
        let growth = course.growth_kib();
        if growth > growth_bound(slot) && options.seconds >= GROWS_AFTER && !outcome.interrupted {
            texts.push(format!("memory: {name} grew by {} MiB", growth >> 10));
        }
    }
    if outcome.heard.kept_kib > KEPT_KIB {
        texts.push(format!(
            "memory: a process kept {} MiB",
            outcome.heard.kept_kib >> 10
        ));
    }
    texts
}

fn bound(slot: usize) -> (&'static str, u64) {
    if let Some(role) = BROADCASTERS.get(slot) {
        return (role.name, BROADCASTER_KIB);
    }
    match LISTENERS.get(slot - BROADCASTERS.len()) {
        Some(role) => (role.name, LISTENER_KIB),
        None => ("the soak itself", BASE_KIB),
    }
}

fn growth_bound(slot: usize) -> u64 {
    let listener = slot.checked_sub(BROADCASTERS.len());
    match listener.and_then(|role| LISTENERS.get(role)) {
        Some(role) if role.stays.is_some() => GUEST_GROWTH_KIB,
        _ => GROWTH_KIB,
    }
}

/// The account as tables.
pub(super) fn show(
    out: &mut dyn Write,
    outcome: &Outcome,
    options: &Options,
    verdict: &[String],
) -> io::Result<()> {
    let (seconds, how) = (
        outcome.lasted.as_secs_f64(),
        if outcome.interrupted {
            ", interrupted"
        } else {
            ""
        },
    );
    writeln!(
        out,
        "\n{seconds:.0} s{how}, seed {}, {} MB/s\n",
        options.seed, options.load
    )?;
    show_sent(out, outcome)?;
    show_fates(out, outcome)?;
    show_taken(out, outcome)?;
    show_datagrams(out, outcome)?;
    show_resources(out, outcome)?;
    if outcome.heard.troubles.count > 0 {
        writeln!(
            out,
            "\n{} times something had to be tried again:",
            outcome.heard.troubles.count
        )?;
        for text in outcome.heard.troubles.examples.iter().take(5) {
            writeln!(out, "  {}", text.lines().next().unwrap_or_default())?;
        }
    }
    match verdict {
        [] => writeln!(
            out,
            "\nEvery account balances, every payload is what was sent, nothing leaked."
        ),
        texts => {
            writeln!(out, "\nNOT WELL:")?;
            texts.iter().try_for_each(|text| writeln!(out, "  {text}"))
        }
    }
}

fn show_sent(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    writeln!(
        out,
        "| broadcaster | streams | killed | messages | MB | datagrams | failed or unsent | of killed ones |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|")?;
    for (role, output) in BROADCASTERS.iter().zip(&outcome.heard.book.outputs) {
        let sent = &output.sent;
        writeln!(
            out,
            "| {} | {} | {} | {} | {:.1} | {} | {} | {} |",
            role.name,
            output.streams,
            output.killed,
            sent.messages,
            sent.bytes as f64 / 1e6,
            sent.datagrams,
            sent.failed + sent.unsent,
            output.sent_by_killed,
        )?;
    }
    Ok(())
}

/// Each message that was sent, once for each listener.
fn show_fates(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    writeln!(
        out,
        "\n| broadcaster, at all listeners | sent | not there | killed | delivered | filtered | unclaimed | missing | unheard | incomplete | refused | CRC | balances |"
    )?;
    writeln!(
        out,
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"
    )?;
    for (role, output) in BROADCASTERS.iter().zip(&outcome.heard.book.outputs) {
        show_sum(out, role.name, &output.sum)?;
    }
    show_sum(out, "all", &outcome.heard.book.total())
}

fn show_sum(out: &mut dyn Write, name: &str, sum: &Sum) -> io::Result<()> {
    let fates = &sum.fates;
    writeln!(
        out,
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        sum.sent,
        sum.not_there,
        sum.cut,
        fates.delivered,
        fates.filtered,
        fates.unclaimed,
        fates.missing,
        sum.unheard,
        fates.expired + fates.stranded + fates.evicted + fates.abandoned + fates.incomplete,
        fates.refused + fates.too_large + fates.malformed,
        fates.crc_mismatch,
        if sum.balances() { "yes" } else { "NO" },
    )
}

/// Each message that was delivered.
fn show_taken(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    writeln!(
        out,
        "\n| listener | opened | due | delivered | verified | wrong | twice | dropped by its queue | undecodable | waiting when closed | MB |"
    )?;
    writeln!(
        out,
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    for (role, input) in LISTENERS.iter().zip(&outcome.heard.book.inputs) {
        let (found, aside) = (&input.found, &input.aside);
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
            role.name,
            input.visits,
            input.sum.due(),
            input.sum.fates.delivered,
            found.verified,
            found.wrong,
            found.repeated,
            aside.dropped_oldest + aside.dropped_newest,
            aside.undecodable,
            aside.discarded,
            found.bytes as f64 / 1e6,
        )?;
    }
    Ok(())
}

fn show_datagrams(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    let did = &outcome.inflicted;
    writeln!(
        out,
        "\nThe cable had {} datagrams: {} lost, {} partitioned, {} corrupted, {} doubled, {} held back, {} too many for it. \
         The kernels found {} wrong checksums, once for each socket.",
        did.datagrams,
        did.lost,
        did.partitioned,
        did.corrupted,
        did.duplicated,
        did.reordered,
        did.overflowed,
        did.checksum_errors
    )?;
    let (mut all, mut sent) = (Aside::default(), Sent::default());
    outcome
        .heard
        .book
        .outputs
        .iter()
        .for_each(|output| sent.add(&output.sent));
    outcome
        .heard
        .book
        .inputs
        .iter()
        .for_each(|input| all.add(&input.aside));
    writeln!(
        out,
        "The listeners counted {} datagrams missing, {} late, {} double, {} stale, {} malformed, {} foreign; \
         their kernels dropped {} buffers, those with wrong checksums among them; {} errors of their sockets. The interfaces were made anew {} times: listeners joined anew {} times, broadcasters {} times.",
        all.missing_datagrams,
        all.late_datagrams,
        all.duplicate_datagrams,
        all.stale_datagrams,
        all.malformed_datagrams,
        all.foreign,
        all.kernel_drops,
        all.receive_errors,
        outcome.made_anew,
        all.rejoined,
        sent.rejoined,
    )
}

fn show_resources(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    writeln!(
        out,
        "\n| process | MiB at start, peak, end | growth | threads | descriptors |\n|---|---:|---:|---:|---:|"
    )?;
    for (slot, course) in outcome.courses.iter().enumerate() {
        let Course {
            start, peak, end, ..
        } = course;
        let (name, most) = bound(slot);
        let mib = |kib: u64| kib as f64 / 1024.0;
        writeln!(
            out,
            "| {name} | {:.1}, {:.1}, {:.1} (at most {}) | {:.1} | {}, {}, {} | {}, {}, {} |",
            mib(start.rss_kib),
            mib(peak.rss_kib),
            mib(end.rss_kib),
            most >> 10,
            mib(course.growth_kib()),
            start.threads,
            peak.threads,
            end.threads,
            start.descriptors,
            peak.descriptors,
            end.descriptors,
        )?;
    }
    writeln!(
        out,
        "\nWhat a process kept when it had closed everything: {:.1} MiB at most.",
        outcome.heard.kept_kib as f64 / 1024.0
    )
}

/// The account for programs: sums, and each stream.
pub(super) fn json(outcome: &Outcome, options: &Options, verdict: &[String]) -> Value {
    let book = &outcome.heard.book;
    let streams: Vec<Value> = book
        .streams
        .iter()
        .map(|(id, stream)| json!({ "id": format!("{id:016x}"), "account": stream }))
        .collect();
    let courses: Vec<Value> = outcome
        .courses
        .iter()
        .enumerate()
        .map(|(slot, course)| json!({ "process": bound(slot).0, "held": course, "growth_kib": course.growth_kib() }))
        .collect();
    json!({
        "seconds": outcome.lasted.as_secs_f64(),
        "interrupted": outcome.interrupted,
        "seed": options.seed,
        "load_mb_per_s": options.load,
        "total": book.total(),
        "broadcasters": BROADCASTERS.iter().zip(&book.outputs).map(|(role, it)| json!({ "name": role.name, "account": it })).collect::<Vec<_>>(),
        "listeners": LISTENERS.iter().zip(&book.inputs).map(|(role, it)| json!({ "name": role.name, "account": it })).collect::<Vec<_>>(),
        "streams": streams,
        "cable": outcome.inflicted,
        "interfaces_made_anew": outcome.made_anew,
        "processes": courses,
        "kept_kib": outcome.heard.kept_kib,
        "troubles": outcome.heard.troubles,
        "verdict": verdict,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::conductor::Outcome;
    use super::super::resources::Resources;
    use super::super::words::Found;
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            heard: Default::default(),
            courses: vec![Course::default(); BROADCASTERS.len() + LISTENERS.len() + 1],
            inflicted: Default::default(),
            made_anew: 0,
            lasted: Duration::from_secs(120),
            interrupted: false,
        }
    }

    fn texts(outcome: &Outcome) -> Vec<String> {
        verdict(outcome, &Options::parse(&[]).unwrap())
    }

    #[test]
    fn nothing_wrong_is_well_and_says_so() {
        let outcome = outcome();
        assert!(texts(&outcome).is_empty());
        let mut shown = Vec::new();
        show(&mut shown, &outcome, &Options::parse(&[]).unwrap(), &[]).unwrap();
        assert!(
            String::from_utf8(shown)
                .unwrap()
                .contains("Every account balances")
        );
    }

    #[test]
    fn each_thing_that_must_not_be_is_in_the_verdict() {
        let mut bad = outcome();
        bad.heard.book.objections.add("does not add up".into());
        bad.heard.failures.add("a panic".into());
        bad.heard.kept_kib = KEPT_KIB + 1;
        bad.made_anew = 1;
        let held = |mib: u64| Resources {
            rss_kib: mib << 10,
            ..Resources::default()
        };
        let total = Duration::from_secs(100);
        for (second, mib) in [(0, 10), (30, 10), (90, 60)] {
            bad.courses[0].note(held(mib), Duration::from_secs(second), total);
        }
        bad.courses[8].note(held(LISTENER_KIB >> 9), Duration::ZERO, total);
        let texts = texts(&bad);
        for what in [
            "does not add up",
            "a panic",
            "a process kept",
            "queue joined anew 0 times, not 1",
            "all lengths, no topic grew by 50 MiB",
            "queue held",
        ] {
            assert!(
                texts.iter().any(|text| text.contains(what)),
                "{what}: {texts:?}"
            );
        }
    }

    #[test]
    fn what_is_shown_is_what_is_written() {
        let mut outcome = outcome();
        outcome.heard.book.inputs[3].found = Found {
            verified: 12_345,
            ..Found::default()
        };
        let options = Options::parse(&[]).unwrap();
        let json = json(&outcome, &options, &[]);
        let verified = json.pointer("/listeners/3/account/found/verified");
        assert_eq!(verified.and_then(Value::as_u64), Some(12_345));
        let mut shown = Vec::new();
        show(&mut shown, &outcome, &options, &[]).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("| pull | 0 | 0 | 0 | 12345 |"), "{shown}");
    }
}
