//! Statistics for people: what is not zero, in few lines, and how to mend it.
//!
//! `{}` is some lines, without a line feed at the end; `{:#}` is one line.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use mcl_net::ReceiveBuffer;

use crate::interface::InterfaceChanges;
use crate::statistics::ListenerStatistics;
use crate::subscription::SubscriptionStatistics;
use crate::tally::BroadcasterStatistics;

/// A number with its digits in threes.
struct Grouped(u64);

impl Display for Grouped {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let first = digits.len() % 3;
        let (front, threes) = digits.split_at(first);
        f.write_str(front)?;
        for (at, digit) in threes.chars().enumerate() {
            if at % 3 == 0 && first + at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// So many of a thing.
struct Of(u64, &'static str);

impl Display for Of {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", Grouped(self.0), self.1)
    }
}

/// Causes whose number is not zero.
struct Causes<'a>(&'a [(&'static str, u64)]);

impl Causes<'_> {
    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl Display for Causes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let some = self.0.iter().filter(|(_, count)| *count > 0);
        for (at, (cause, count)) in some.enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{} {cause}", Grouped(*count))?;
        }
        Ok(())
    }
}

/// A line for causes, unless all are zero.
fn line(
    f: &mut Formatter<'_>,
    what: &'static str,
    verb: &str,
    causes: &[(&'static str, u64)],
) -> fmt::Result {
    let causes = Causes(causes);
    match causes.sum() {
        0 => Ok(()),
        sum => write!(f, "\n{} {verb}: {causes}", Of(sum, what)),
    }
}

/// A line for one number, unless it is zero.
fn single(f: &mut Formatter<'_>, count: u64, what: &'static str, verb: &str) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    write!(f, "\n{}{verb}", Of(count, what))
}

/// A line for what the interface went through, if it did.
fn interface(f: &mut Formatter<'_>, changes: &InterfaceChanges) -> fmt::Result {
    let InterfaceChanges {
        lost,
        back,
        rejoined,
        failed,
    } = *changes;
    let causes = [
        ("lost", lost),
        ("back", back),
        ("taken anew", rejoined),
        ("not to be had yet", failed),
    ];
    let causes = Causes(&causes);
    match causes.sum() {
        0 => Ok(()),
        _ => write!(f, "\ninterface, times: {causes}"),
    }
}

/// What the kernel dropped, and what helps against it.
pub(crate) struct KernelDrops {
    pub(crate) times: u64,
    pub(crate) buffer: ReceiveBuffer,
}

impl KernelDrops {
    /// What helps, one thing a line.
    pub(crate) fn advice(&self) -> String {
        match (self.buffer.remedy(), self.buffer.remedy_for_good()) {
            (Some(now), Some(for_good)) => format!(
                "mend it, for listeners opened from then on: {now}\n  \
                 and for good: {for_good}\n  \
                 or, as far as 2 MiB: cargo xtask netsetup --persist"
            ),
            _ => "ask for more (`receive_buffer`), slow the broadcasters down (`pacing`), or do \
                  less in inline callbacks"
                .to_owned(),
        }
    }
}

/// The same counter of the kernel counts both.
const OR: &str = ", or checksums were wrong (`nstat Udp6InCsumErrors`)";

impl Display for KernelDrops {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ReceiveBuffer {
            requested, granted, ..
        } = self.buffer;
        let [requested, granted] = [requested, granted].map(|bytes| Grouped(bytes as u64));
        write!(f, "the kernel dropped {}: ", Of(self.times, "time"))?;
        if self.buffer.shortfall() > 0 {
            write!(
                f,
                "its receive buffer is small, {granted} of {requested} bytes asked for{OR}"
            )?;
        } else {
            write!(
                f,
                "its receive buffer was full, all {requested} bytes asked for{OR}"
            )?;
        }
        write!(f, "\n  {}", self.advice())
    }
}

impl ListenerStatistics {
    fn kernel(&self) -> Option<KernelDrops> {
        let times = self.kernel_drops.filter(|times| *times > 0)?;
        let buffer = self.receive_buffer;
        Some(KernelDrops { times, buffer })
    }

    fn brief(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let account = self.account();
        let delivered = Of(account.delivered, "message");
        write!(f, "{delivered} delivered, {} lost", Grouped(account.lost()))?;
        if account.lost() > 0 {
            write!(f, " ({})", Causes(&account.causes()))?;
        }
        if let Some(kernel) = self.kernel() {
            write!(f, ", the kernel dropped {}", Of(kernel.times, "time"))?;
        }
        Ok(())
    }

    fn messages(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let account = self.account();
        let bytes = self.wire.messages.delivered_bytes;
        let delivered = Of(account.delivered, "message");
        let streams = Of(self.wire.streams_started, "stream");
        write!(
            f,
            "{delivered} ({}) delivered, of {streams}",
            Of(bytes, "byte")
        )?;
        line(f, "message", "lost", &account.causes())?;
        let unwanted = [
            ("filtered", account.filtered),
            ("unclaimed", account.unclaimed),
        ];
        line(f, "message", "not wanted", &unwanted)?;
        single(f, account.incomplete, "message", " incomplete")
    }

    fn datagrams(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fed = Of(self.wire.datagrams_fed, "datagram");
        write!(f, "\n{fed} ({}) received", Of(self.wire.bytes_fed, "byte"))?;
        single(
            f,
            self.datagrams_missing(),
            "datagram",
            " missing by number",
        )?;
        line(f, "datagram", "dropped", &self.wire.datagrams.causes())?;
        let foreign = [
            ("for another group", self.foreign.other_group),
            ("over another interface", self.foreign.other_interface),
        ];
        line(f, "datagram", "foreign", &foreign)?;
        single(f, self.receive_errors, "error", " of receiving")?;
        interface(f, &self.interface)
    }
}

impl Display for ListenerStatistics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return self.brief(f);
        }
        self.messages(f)?;
        self.datagrams(f)?;
        match self.kernel() {
            Some(kernel) => write!(f, "\n{kernel}"),
            None => Ok(()),
        }
    }
}

impl BroadcasterStatistics {
    fn brief(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let published = Of(self.messages, "message");
        let unfinished = Grouped(self.unfinished());
        write!(f, "{published} published, {unfinished} unfinished")
    }
}

impl Display for BroadcasterStatistics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return self.brief(f);
        }
        let (messages, bytes) = (Of(self.messages, "message"), Of(self.bytes, "byte"));
        let datagrams = Of(self.datagrams, "datagram");
        write!(f, "{messages} ({bytes}) published, in {datagrams}")?;
        if self.trains > 0 {
            let (shared, trains) = (Of(self.coalesced, "message"), Of(self.trains, "train"));
            write!(f, "\n{shared} shared {trains}")?;
        }
        single(
            f,
            self.unfinished(),
            "number",
            " without a whole message (yet)",
        )?;
        single(f, self.failed, "call", " of publish failed")?;
        single(f, self.unsent, "message", " accepted and not sent")?;
        single(
            f,
            self.restarted,
            "time",
            " begun anew, because the MTU fell",
        )?;
        if self.paced > Duration::ZERO {
            write!(f, "\n{:.1?} waited for the pacing", self.paced)?;
        }
        interface(f, &self.interface)
    }
}

impl SubscriptionStatistics {
    fn brief(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let offered = Of(self.offered, "message");
        write!(f, "{offered} offered, {} taken", Grouped(self.taken))?;
        let causes = Causes(&self.causes());
        if causes.sum() > 0 {
            write!(f, " ({causes})")?;
        }
        Ok(())
    }

    /// What became of messages that were not taken, or of no use.
    const fn causes(&self) -> [(&'static str, u64); 4] {
        [
            ("dropped as oldest", self.dropped_oldest),
            ("dropped as newest", self.dropped_newest),
            ("discarded at the end", self.discarded),
            ("undecodable", self.undecodable),
        ]
    }
}

impl Display for SubscriptionStatistics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return self.brief(f);
        }
        let offered = Of(self.offered, "message");
        write!(f, "{offered} offered, {} taken", Grouped(self.taken))?;
        if self.queued_messages > 0 {
            let bytes = Of(self.queued_bytes as u64, "byte");
            let queued = Of(self.queued_messages as u64, "message");
            write!(f, "\n{queued} ({bytes}) queued")?;
        }
        line(f, "message", "lost to it", &self.causes())?;
        single(f, self.panics, "panic", " of the callback")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::statistics::tests::everything;

    #[test]
    fn a_listener_that_lost_much() {
        assert_eq!(
            everything().to_string(),
            "\
1,349 messages (93,210,000 bytes) delivered, of 3 streams
102 messages lost: 56 missing, 7 expired, 8 stranded, 9 evicted, 10 abandoned, 4 refused, \
3 too large, 1 CRC mismatch, 4 malformed
17 messages not wanted: 15 filtered, 2 unclaimed
1 message incomplete
70,123 datagrams (97,100,000 bytes) received
1,239 datagrams missing by number
66 datagrams dropped: 1 not MCL, 2 version, 3 malformed header, 4 critical flag, \
5 malformed frame, 6 critical frame, 7 ignored stream, 8 duplicate, 9 stale, 10 jump, \
11 stream limit
3 datagrams foreign: 1 for another group, 2 over another interface
1 error of receiving
interface, times: 3 lost, 2 back, 1 taken anew
the kernel dropped 88 times: its receive buffer is small, 212,992 of 4,194,304 bytes asked for, \
or checksums were wrong (`nstat Udp6InCsumErrors`)
  mend it, for listeners opened from then on: sudo sysctl -w net.core.rmem_max=4194304
  and for good: echo net.core.rmem_max=4194304 | sudo tee -a /etc/sysctl.d/60-mcl.conf
  or, as far as 2 MiB: cargo xtask netsetup --persist"
        );
        assert_eq!(
            format!("{:#}", everything()),
            "1,349 messages delivered, 102 lost (56 missing, 7 expired, 8 stranded, 9 evicted, \
             10 abandoned, 4 refused, 3 too large, 1 CRC mismatch, 4 malformed), \
             the kernel dropped 88 times"
        );
    }

    #[test]
    fn a_listener_that_lost_nothing() {
        let mut quiet = everything();
        quiet.wire = mcl_wire::Counters::default();
        quiet.streams.clear();
        quiet.foreign = mcl_net::Foreign::default();
        quiet.receive_errors = 0;
        quiet.interface = InterfaceChanges::default();
        // Small as the buffer is, nothing came of it.
        quiet.kernel_drops = Some(0);
        assert_eq!(
            quiet.to_string(),
            "0 messages (0 bytes) delivered, of 0 streams\n0 datagrams (0 bytes) received"
        );
        assert_eq!(format!("{quiet:#}"), "0 messages delivered, 0 lost");
        quiet.kernel_drops = Some(1);
        quiet.receive_buffer =
            serde_json::from_value(json!({"requested": 4096, "granted": 4096})).unwrap();
        let said = quiet.to_string();
        let last = said.split_once("received\n").unwrap().1;
        assert_eq!(
            last,
            "the kernel dropped 1 time: its receive buffer was full, all 4,096 bytes asked for, or \
             checksums were wrong (`nstat Udp6InCsumErrors`)\n  \
             ask for more (`receive_buffer`), slow the broadcasters down (`pacing`), or do less \
             in inline callbacks"
        );
    }

    #[test]
    fn a_broadcaster() {
        let mut sent = BroadcasterStatistics {
            messages: 1,
            bytes: 1_000,
            datagrams: 1,
            numbers: 1,
            ..BroadcasterStatistics::default()
        };
        let alone = "1 message (1,000 bytes) published, in 1 datagram";
        assert_eq!(sent.to_string(), alone);
        (sent.coalesced, sent.trains, sent.numbers) = (1, 1, 12);
        (sent.failed, sent.unsent, sent.restarted) = (1, 6, 4);
        sent.paced = Duration::from_millis(1_234);
        assert_eq!(
            sent.to_string(),
            format!(
                "{alone}\n\
                 1 message shared 1 train\n\
                 11 numbers without a whole message (yet)\n\
                 1 call of publish failed\n\
                 6 messages accepted and not sent\n\
                 4 times begun anew, because the MTU fell\n\
                 1.2s waited for the pacing"
            )
        );
        assert_eq!(format!("{sent:#}"), "1 message published, 11 unfinished");
    }

    #[test]
    fn a_subscription() {
        let mut of = SubscriptionStatistics {
            offered: 1_000,
            delivered: 1_000,
            taken: 1_000,
            ..SubscriptionStatistics::default()
        };
        assert_eq!(of.to_string(), "1,000 messages offered, 1,000 taken");
        (of.delivered, of.taken, of.queued_messages, of.queued_bytes) = (990, 980, 1, 128);
        (of.dropped_oldest, of.dropped_newest, of.discarded) = (9, 7, 3);
        (of.undecodable, of.panics) = (2, 1);
        assert_eq!(
            of.to_string(),
            "1,000 messages offered, 980 taken\n\
             1 message (128 bytes) queued\n\
             21 messages lost to it: 9 dropped as oldest, 7 dropped as newest, \
             3 discarded at the end, 2 undecodable\n\
             1 panic of the callback"
        );
        assert!(format!("{of:#}").starts_with("1,000 messages offered, 980 taken (9 dropped"));
    }

    #[test]
    fn digits_go_in_threes() {
        let shown =
            [0, 12, 123, 1_234, 12_345, 123_456, u64::MAX].map(|it| Grouped(it).to_string());
        let expected = [
            "0",
            "12",
            "123",
            "1,234",
            "12,345",
            "123,456",
            "18,446,744,073,709,551,615",
        ];
        assert_eq!(shown, expected);
    }
}
