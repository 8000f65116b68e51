//! Numbers in few characters.

use std::time::Duration;

/// A number with three digits or more, and a letter for its size.
fn short(value: f64, unit: &str) -> String {
    let (scaled, prefix) = match value.abs() {
        size if size < 999.5 => (value, ""),
        size if size < 999.5e3 => (value / 1e3, "k"),
        size if size < 999.5e6 => (value / 1e6, "M"),
        size if size < 999.5e9 => (value / 1e9, "G"),
        _ => (value / 1e12, "T"),
    };
    match scaled.abs() {
        size if size < 99.95 => {
            format!("{scaled:.1}{unit_gap}{prefix}{unit}", unit_gap = gap(unit))
        }
        _ => format!("{scaled:.0}{unit_gap}{prefix}{unit}", unit_gap = gap(unit)),
    }
}

fn gap(unit: &str) -> &'static str {
    if unit.is_empty() { "" } else { " " }
}

/// Messages a second.
pub(super) fn rate(rate: f64) -> String {
    short(rate, "")
}

/// Bytes a second.
pub(super) fn bandwidth(bytes: f64) -> String {
    short(bytes, "B/s")
}

/// Bytes, exact up to 9999.
pub(super) fn bytes(bytes: f64) -> String {
    match bytes {
        few if few < 9999.5 => format!("{few:.0} B"),
        many => short(many, "B"),
    }
}

/// A count, exact up to 99,999.
pub(super) fn count(count: u64) -> String {
    match count {
        0..=99_999 => count.to_string(),
        many => short(many as f64, ""),
    }
}

/// Seconds, of either sign.
pub(super) fn seconds(seconds: f64) -> String {
    let (value, unit) = match seconds.abs() {
        time if time < 0.999_95e-3 => (seconds * 1e6, "µs"),
        time if time < 0.999_95 => (seconds * 1e3, "ms"),
        time if time < 120.0 => (seconds, "s"),
        time if time < 7200.0 => (seconds / 60.0, "min"),
        time if time < 172_800.0 => (seconds / 3600.0, "h"),
        _ => (seconds / 86_400.0, "d"),
    };
    match (value.abs(), unit) {
        (size, "ms" | "s") if size < 9.995 => format!("{value:.2} {unit}"),
        (size, "ms" | "s") if size < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// How long ago, in tenths of a second at the finest.
pub(super) fn age(age: Duration) -> String {
    match age.as_secs_f64() {
        few if few < 9.95 => format!("{few:.1} s"),
        some if some < 120.0 => format!("{some:.0} s"),
        many => seconds(many),
    }
}

/// The last `width` values as bars, flush right.
pub(super) fn bars(values: &[f32], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(width)..];
    let highest = shown.iter().copied().fold(0.0, f32::max);
    let bar = |value: &f32| match value / highest {
        part if part > 0.0 => BARS[((part * 8.0).ceil() as usize).clamp(1, 8) - 1],
        // Also if all are zero.
        _ => ' ',
    };
    let bars: String = shown.iter().map(bar).collect();
    format!("{bars:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_at_any_size() {
        for (value, text) in [
            (0.0, "0.0"),
            (99.94, "99.9"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (123_456.0, "123k"),
            (1e18, "1000000T"),
        ] {
            assert_eq!(rate(value), text);
        }
        assert_eq!(bandwidth(1_234_567.0), "1.2 MB/s");
        assert_eq!(
            (bytes(9999.0), bytes(20_000.0)),
            ("9999 B".into(), "20.0 kB".into())
        );
        assert_eq!(
            (count(99_999), count(100_000)),
            ("99999".into(), "100k".into())
        );
    }

    #[test]
    fn times_have_a_sign_and_a_fitting_unit() {
        for (value, text) in [
            (0.000_012, "12 µs"),
            (-0.000_012, "-12 µs"),
            (0.001_234, "1.23 ms"),
            (-0.0123, "-12.3 ms"),
            (0.999_96, "1.00 s"),
            (-3600.0, "-60 min"),
            (1e9, "11574 d"),
        ] {
            assert_eq!(seconds(value), text);
        }
        let ages = [40, 9940, 10_000, 125_000].map(|ms| age(Duration::from_millis(ms)));
        assert_eq!(ages, ["0.0 s", "9.9 s", "10 s", "2 min"]);
    }

    #[test]
    fn bars_follow_the_highest_and_keep_the_latest() {
        assert_eq!(bars(&[0.0, 1.0, 4.0, 8.0], 4), " ▁▄█");
        assert_eq!(bars(&[9.0, 1.0, 2.0], 2), "▄█");
        assert_eq!(bars(&[0.0, 0.0], 3), "   ");
        assert_eq!(bars(&[5.0], 3), "  █");
    }
}
