//! What was measured between two machines, as both of them print it.

use std::io;

use serde::Serialize;

use super::protocol::{Row, Side};
use crate::output;

/// A row, under names that do not change.
#[derive(Serialize)]
struct Object<'a> {
    to: Side,
    lost: u32,
    #[serde(flatten)]
    row: &'a Row,
}

/// Prints nothing if nothing was measured.
pub(super) fn print(rows: &[Row], json: bool) -> io::Result<()> {
    if json {
        return rows.iter().try_for_each(|row| {
            output::json(&Object {
                to: row.from.other(),
                lost: row.lost(),
                row,
            })
        });
    }
    if rows.is_empty() {
        return Ok(());
    }
    output::line(format!(
        "{:<18}{:>9}{:>7}{:>9}{:>8}{:>16}",
        "direction", "bytes", "sent", "arrived", "lost", "datagrams lost"
    ))?;
    for row in rows {
        output::line(line(row))?;
    }
    advice(rows).iter().try_for_each(output::line)
}

fn line(row: &Row) -> String {
    let direction = format!("{} > {}", row.from.name(), row.from.other().name());
    let share = 100.0 * f64::from(row.lost()) / f64::from(row.sent.max(1));
    format!(
        "{direction:<18}{:>9}{:>7}{:>9}{:>8}{:>16}",
        row.size,
        row.sent,
        row.arrived,
        format!("{share:.1}%"),
        row.datagrams_lost
    )
}

/// What the losses of a direction point to.
fn advice(rows: &[Row]) -> Vec<String> {
    let of = |from| rows.iter().filter(move |row| row.from == from);
    let mut lines = Vec::new();
    for from in [Side::Peer, Side::Listener] {
        let (here, there) = (from.name(), from.other().name());
        let sum = |value: fn(&Row) -> u64| of(from).map(value).sum::<u64>();
        let drops = sum(|row| row.kernel_drops.unwrap_or(0));
        let damaged = sum(|row| u64::from(row.damaged));
        if sum(|row| u64::from(row.lost())) > 0 {
            lines.push(match drops {
                0 => format!(
                    "{here} > {there}: lost on the way: a link that is slow, wireless or bad, a switch, a firewall"
                ),
                _ => format!(
                    "{here} > {there}: the {there}'s receive buffer ({} bytes) overflowed {drops} times; on the {there}: sudo sysctl -w net.core.rmem_max=4194304",
                    of(from).map(|row| row.receive_buffer).max().unwrap_or(0)
                ),
            });
        }
        if damaged > 0 {
            lines.push(format!(
                "{here} > {there}: {damaged} messages arrived damaged; see `mcl doctor` on the {here} for its kernel"
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(from: Side, arrived: u32, kernel_drops: u64) -> Row {
        Row {
            from,
            size: 65536,
            sent: 100,
            arrived,
            damaged: 0,
            datagrams_lost: 9,
            kernel_drops: Some(kernel_drops),
            receive_buffer: 212_992,
        }
    }

    #[test]
    fn a_row_has_its_share_of_losses() {
        let expected = "peer > listener       65536    100       93    7.0%               9";
        assert_eq!(line(&row(Side::Peer, 93, 0)), expected);
    }

    #[test]
    fn losses_are_explained_by_direction() {
        assert!(advice(&[row(Side::Peer, 100, 0)]).is_empty());
        let lines = advice(&[row(Side::Peer, 93, 0), row(Side::Listener, 93, 4)]);
        assert!(lines[0].starts_with("peer > listener: lost on the way"));
        assert!(lines[1].starts_with("listener > peer: the peer's receive buffer (212992"));
    }
}
