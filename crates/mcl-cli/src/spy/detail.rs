//! What is known of one row, as lines of text.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_millis;
use mcl_udp::Encoding;
use ratatui::text::Line;

use super::figures::{age, bandwidth, bars, bytes, count, rate, seconds};
use super::sources::{HISTORY, Last, Row, Snapshot};
use crate::sampling::Spread;
use crate::view::{self, View};

/// The most characters of a payload that are shown.
const LONGEST_PAYLOAD: usize = 16_384;

/// How wide the names of the figures are.
const NAMES: usize = 10;

/// The title of the pane, and its lines, none wider than `width`; about `room` of them
/// will be seen at once.
pub(super) fn detail(
    row: &Row,
    snapshot: &Snapshot,
    width: usize,
    room: usize,
) -> (String, Vec<String>) {
    let topic = view::topic(row.key.topic.as_deref());
    let title = format!("{topic}  {}", row.key.stream);
    let room_beside = width.saturating_sub(NAMES).max(1);
    let mut first = named("payload", wrap(&payload(row), room_beside));
    // A long one must not hide the figures: it goes on after them.
    let rest = first.split_off(first.len().min((room / 3).max(2)));
    let mut lines = first;
    for (name, text) in fields(row, snapshot, width) {
        lines.extend(named(name, fold(&text, room_beside)));
    }
    if !rest.is_empty() {
        lines.push("payload, the rest of it".to_owned());
        lines.extend(rest);
    }
    (title, lines)
}

/// A name, and a text beside it.
fn named(name: &str, text: Vec<String>) -> Vec<String> {
    let line = |(at, part)| {
        let name = if at == 0 { name } else { "" };
        format!("{name:<NAMES$}{part}")
    };
    text.into_iter().enumerate().map(line).collect()
}

fn fields(row: &Row, snapshot: &Snapshot, width: usize) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("lost", losses(row)),
        ("latency", latency(row)),
        ("rate", rates(row)),
        ("history", history(row, width.saturating_sub(NAMES))),
        ("size", sizes(row)),
        ("sender", sender(row, snapshot)),
    ];
    if let Some(last) = &row.message {
        fields.push(("message", message(row, last)));
        fields.push(("published", published(last, row.last)));
    }
    fields.push(("received", moment(row.last, snapshot.time)));
    fields
}

fn payload(row: &Row) -> String {
    let Some(last) = &row.message else {
        return "…".into();
    };
    let whole = last.payload.len() >= last.size;
    let (encoding, bytes_shown) = match whole {
        true => (row.encoding, &last.payload[..]),
        // Half a document cannot be decoded, half a text can be read.
        false => (Encoding::RAW, whole_characters(&last.payload)),
    };
    let View { form, text } = View::new(encoding, bytes_shown, LONGEST_PAYLOAD);
    let size = bytes(last.size as f64);
    let form = form.name();
    match whole {
        true => format!("{size} {form}: {text}"),
        false => {
            let kept = bytes(last.payload.len() as f64);
            format!("{size}, of which {kept} were kept (the next one whole), {form}: {text}…")
        }
    }
}

/// Without the character that the end cuts in two.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

fn losses(row: &Row) -> String {
    let Some(account) = &row.account else {
        return "not known: the stream has left the listener's table".into();
    };
    let causes = account.causes();
    let causes = causes.iter().filter(|(_, lost)| *lost > 0);
    let causes: Vec<String> = causes
        .map(|(cause, lost)| format!("{lost} {cause}"))
        .collect();
    match causes.as_slice() {
        [] => "0, of the whole stream".into(),
        causes => format!(
            "{} of the whole stream: {}",
            account.lost(),
            causes.join(", ")
        ),
    }
}

fn latency(row: &Row) -> String {
    let Some(latencies) = row.figures.latencies.some() else {
        return "not known: none in the window that says when it was published".into();
    };
    let figures = spread(latencies, seconds);
    match latencies.min {
        min if min < 0.0 => format!(
            "{figures}; below zero: the sender's clock is ahead of this one by {} or more",
            seconds(-min)
        ),
        _ => format!("{figures}; the difference of the two machines' clocks is in it"),
    }
}

fn rates(row: &Row) -> String {
    let figures = &row.figures;
    let mut text = format!(
        "{}/s, {}",
        rate(figures.rate),
        bandwidth(figures.bandwidth())
    );
    if let Some(intervals) = figures.intervals.some() {
        text += &format!(
            "; intervals {}, deviation {}",
            spread(intervals, seconds),
            seconds(intervals.deviation())
        );
    }
    text
}

fn history(row: &Row, width: usize) -> String {
    let highest = row.history.iter().copied().fold(0.0, f32::max);
    let note = format!("  up to {}/s", rate(highest.into()));
    let room = width.saturating_sub(note.len()).min(HISTORY);
    format!("{}{note}", bars(&row.history, room.min(row.history.len())))
}

fn sizes(row: &Row) -> String {
    let total = format!(
        "{} messages, {}",
        count(row.messages),
        bytes(row.bytes as f64)
    );
    match row.figures.sizes.some() {
        Some(sizes) => format!("{}; {total} in all", spread(sizes, bytes)),
        None => format!("{total} in all"),
    }
}

fn spread(spread: Spread, shown: fn(f64) -> String) -> String {
    let Spread { mean, min, max, .. } = spread;
    format!("{} ({} to {})", shown(mean), shown(min), shown(max))
}

fn sender(row: &Row, snapshot: &Snapshot) -> String {
    let connection = snapshot.connections.get(row.key.connection);
    let connection = connection.map_or("", |it| &it.name);
    format!("{} to {connection}", row.sender)
}

fn message(row: &Row, last: &Last) -> String {
    let schema = match last.schema {
        Some(schema) => format!("{schema:#018x}"),
        None => "none".into(),
    };
    let interface = last.interface.map_or(0, std::num::NonZeroU32::get);
    format!(
        "number {}, encoding {}, schema {schema}, by interface {interface}",
        last.number, row.encoding
    )
}

fn published(last: &Last, received: SystemTime) -> String {
    match last.published {
        None => "the sender does not say".into(),
        Some(time) => {
            let latency = match received.duration_since(time) {
                Ok(latency) => latency.as_secs_f64(),
                Err(error) => -error.duration().as_secs_f64(),
            };
            format!("{} (latency {})", timestamp(time), seconds(latency))
        }
    }
}

fn moment(time: SystemTime, now: SystemTime) -> String {
    let ago = now.duration_since(time).unwrap_or_default();
    format!("{} ({} ago)", timestamp(time), age(ago))
}

/// The network chooses the time: there are some that no calendar has.
fn timestamp(time: SystemTime) -> Cow<'static, str> {
    /// The end of the year 9999.
    const LAST: u64 = 253_402_300_799;
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) if since.as_secs() <= LAST => format_rfc3339_millis(time).to_string().into(),
        _ => "beyond the calendar".into(),
    }
}

/// Cuts a text into lines of at most `width` columns of the terminal.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let (mut used, mut buffer) = (0, [0; 4]);
    for char in text.chars() {
        let wide = Line::raw(&*char.encode_utf8(&mut buffer)).width();
        if used + wide > width {
            lines.push(String::new());
            used = 0;
        }
        used += wide;
        if let Some(line) = lines.last_mut() {
            line.push(char);
        }
    }
    lines
}

/// Cuts a text into lines between words, if none of them is longer.
pub(super) fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map(|line| {
            let gap = if line.is_empty() { "" } else { " " };
            format!("{line}{gap}{word}")
        });
        match line {
            Some(line) if Line::raw(&line).width() <= width => {
                lines.pop();
                lines.push(line);
            }
            _ => lines.extend(wrap(word, width)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_wide_as_the_terminal_shows_them() {
        assert_eq!(wrap("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(fold("ab cd  e fghijk", 5), ["ab cd", "e", "fghij", "k"]);
    }

    #[test]
    fn half_a_character_does_not_make_a_text_unreadable() {
        let text = "grün".as_bytes();
        assert_eq!(whole_characters(&text[..3]), b"gr");
        assert_eq!(whole_characters(&[0xff, 0xfe]), [0xff, 0xfe]);
    }

    #[test]
    fn any_time_can_be_shown() {
        let far = UNIX_EPOCH + std::time::Duration::from_secs(1 << 50);
        assert_eq!(timestamp(far), "beyond the calendar");
        assert_eq!(timestamp(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }
}
