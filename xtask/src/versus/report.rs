//! The result as Markdown.

use std::fmt::Write;

use super::machine::Facts;
use super::results::{Duel, Lossless, Measurement, Metric, Paced, Results, median, values};
use super::targets::{self, Judged, Verdict};

const KIB: usize = 1 << 10;

/// "64 B", "64 KiB", "8 MiB".
pub(super) fn bytes(size: usize) -> String {
    match size {
        0..KIB => format!("{size} B"),
        KIB..1_048_576 => format!("{} KiB", size / KIB),
        _ => format!("{} MiB", size / KIB / KIB),
    }
}

/// Three figures: "8.41 M", "51.3 k", "386", "9.84".
pub(super) fn short(value: f64) -> String {
    let (value, unit) = match value {
        it if it >= 1e6 => (it / 1e6, " M"),
        it if it >= 1e4 => (it / 1e3, " k"),
        it => (it, ""),
    };
    match value {
        it if it >= 100.0 => format!("{it:.0}{unit}"),
        it if it >= 10.0 => format!("{it:.1}{unit}"),
        it => format!("{it:.2}{unit}"),
    }
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), short)
}

pub(super) fn markdown(facts: &Facts, results: &Results) -> String {
    let mut out = String::new();
    machine(&mut out, facts);
    let all = [
        (
            Measurement::Blast,
            Metric::Rate,
            "Messages delivered a second, as fast as it goes",
        ),
        (
            Measurement::Blast,
            Metric::SendCpu,
            "CPU to send a message, ns",
        ),
        (
            Measurement::Blast,
            Metric::ReceiveCpu,
            "CPU to receive a message, ns",
        ),
        (
            Measurement::RoundTrip,
            Metric::RoundTrip,
            "Round trip, median, µs",
        ),
        (
            Measurement::CableOn,
            Metric::Rate,
            "To a second namespace, offload on, messages a second",
        ),
        (
            Measurement::CableOff,
            Metric::Rate,
            "To a second namespace, offload off, messages a second",
        ),
    ];
    for (measurement, metric, title) in all {
        matrix(&mut out, results, (measurement, metric), title);
    }
    paced(&mut out, &results.paced);
    lossless(&mut out, &results.lossless);
    let title = "Ratios of alternating pairs";
    ratios(&mut out, &results.duels, title);
    let title = "Measured again, since the machine was busy";
    ratios(&mut out, &results.voided, title);
    targets(&mut out, &targets::judge(results));
    if !results.skipped.is_empty() {
        out += "\n### Not measured\n\n";
    }
    for line in &results.skipped {
        let _ = writeln!(out, "- {line}");
    }
    out
}

fn machine(out: &mut String, facts: &Facts) {
    let _ = writeln!(
        out,
        "{}, commit {}. {} × {}, Linux {}, `net.core.rmem_max` {}, {}. LCM {}, Cyclone DDS {}. \
         One publisher and one subscriber process, each pinned to a core of its own, in private \
         network namespaces joined by a veth of MTU 1500; receive buffers of 4 MiB asked for, no \
         pacing unless said. Medians of all runs.",
        facts.date,
        facts.commit,
        facts.cores,
        facts.processor,
        facts.kernel,
        facts.rmem_max,
        facts.rustc,
        facts.lcm,
        facts.cyclone
    );
}

/// A row for each contender, a column for each size.
fn matrix(
    out: &mut String,
    results: &Results,
    (measurement, metric): (Measurement, Metric),
    title: &str,
) {
    let (names, sizes) = results.axes(measurement);
    if names.is_empty() {
        return;
    }
    let heads: Vec<String> = sizes.iter().map(|size| bytes(*size)).collect();
    let _ = writeln!(out, "\n### {title}\n\n| | {} |", heads.join(" | "));
    let _ = writeln!(out, "|---|{}", "---:|".repeat(sizes.len()));
    for name in names {
        let cells: Vec<String> = sizes
            .iter()
            .map(|size| cell(results.median(measurement, *size, name, metric)))
            .collect();
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
}

fn paced(out: &mut String, all: &[Paced]) {
    if all.is_empty() {
        return;
    }
    *out += "\n### With pacing\n\n| | size | MB/s | runs with loss | messages lost |\n|---|---|---:|---|---:|\n";
    for it in all {
        let rates: Vec<f64> = it.runs.iter().map(|run| run.mb_per_s).collect();
        let lost: u64 = it.runs.iter().map(|run| run.lost).sum();
        let sent: u64 = it.runs.iter().map(|run| run.sent).sum();
        let failed = it.failed.as_deref().unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} of {} {failed} | {lost} of {sent} |",
            it.contender,
            bytes(it.size),
            cell(median(&rates)),
            it.lossy(),
            it.runs.len(),
        );
    }
}

fn lossless(out: &mut String, all: &[Lossless]) {
    if all.is_empty() {
        return;
    }
    *out += "\n### The highest rate without loss\n\n\
        Bisection: full speed first; if that loses anything, six halvings (three with `--quick`) \
        between nothing and a quarter more than what it delivered, one run each.\n\n\
        | | size | messages/s | MB/s | runs |\n|---|---|---:|---:|---:|\n";
    for it in all {
        let failed = it.failed.as_deref().unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} {failed} |",
            it.contender,
            bytes(it.size),
            short(it.rate),
            short(it.mb_per_s),
            it.trials.len()
        );
    }
}

fn ratios(out: &mut String, duels: &[Duel], title: &str) {
    if duels.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "\n### {title}\n\n| | size | of | median | all | CPU to send | to receive | |\n\
            |---|---|---|---:|---|---:|---:|---|\n"
    );
    for duel in duels {
        let reference = median(&values(&duel.reference_runs, duel.metric()));
        let remark = match (&duel.failed, duel.void) {
            (Some(why), _) => why.clone(),
            (None, true) => format!("void (machine busy): reference {}", cell(reference)),
            (None, false) => String::new(),
        };
        let _ = writeln!(
            out,
            "| {:?} | {} | {} / {} | {} | {} | {} | {} | {remark} |",
            duel.measurement,
            bytes(duel.size),
            duel.contender,
            duel.reference,
            cell(duel.median_ratio),
            list(&duel.ratios),
            cell(median(&duel.ratios_of(Metric::SendCpu))),
            cell(median(&duel.ratios_of(Metric::ReceiveCpu))),
        );
    }
}

fn list(values: &[f64]) -> String {
    let words: Vec<String> = values.iter().map(|it| short(*it)).collect();
    words.join(" ")
}

fn targets(out: &mut String, judged: &[Judged]) {
    *out +=
        "\n### Targets\n\n| | target | bound | median | all | met |\n|---|---|---|---:|---|---|\n";
    for it in judged {
        let verdict = match it.verdict {
            Verdict::Met => "yes",
            Verdict::NotMet => "**no**",
            Verdict::Void => "void (machine busy)",
            Verdict::NotMeasured => "not measured",
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {verdict} |",
            it.item,
            it.what,
            it.bound,
            cell(it.measured),
            list(&it.all)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{duel, outcome};
    use super::*;

    #[test]
    fn numbers_have_three_figures_and_sizes_their_unit() {
        let values = [8_412_345.0, 51_290.0, 5030.0, 386.4, 9.841, 0.756, 0.0];
        assert_eq!(
            values.map(short),
            ["8.41 M", "51.3 k", "5030", "386", "9.84", "0.76", "0.00"]
        );
        let sizes = [64, 1024, 65_536, 8 << 20];
        assert_eq!(sizes.map(bytes), ["64 B", "1 KiB", "64 KiB", "8 MiB"]);
    }

    #[test]
    fn the_tables_show_medians_ratios_and_losses() {
        let mut results = Results::default();
        let it = duel(("raw gso", &[9e6, 10e6]), ("mcl inline", &[9e6, 5e6]), 64);
        results.duels.push(it);
        let it = duel(("raw gso", &[1e6]), ("mcl inline", &[2e6]), 64);
        results.voided.push(it);
        let lossy = super::super::results::Outcome {
            lost: 3,
            sent: 10,
            ..outcome(7.0)
        };
        results.paced.push(Paced {
            contender: "mcl, paced",
            size: 1 << 20,
            seconds: 2.0,
            runs: vec![outcome(5.0), lossy],
            failed: None,
        });
        let facts = super::super::machine::facts(&super::super::Programs::find("/".as_ref()));
        let text = markdown(&facts, &results);
        for line in [
            "| raw gso | 9.50 M |",
            "| mcl inline | 7.00 M |",
            "| Blast | 64 B | mcl inline / raw gso | 0.75 | 1.00 0.50 | 1.00 | 1.00 |  |",
            "| 2.00 | 2.00 | 1.00 | 1.00 | void (machine busy): reference 1.00 M |",
            "| mcl, paced | 1 MiB | 0.01 | 1 of 2  | 3 of 10 |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
