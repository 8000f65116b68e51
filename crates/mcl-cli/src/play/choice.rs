//! Which messages are played, and where they go.

use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use mcl_udp::{Connection, Encoding, Topic};

use crate::arguments::duration;
use crate::record::format;
use crate::record::reader::Channel;
use crate::record::{RecordingError, nanos};

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// After its beginning.
    After(Duration),
    /// Nanoseconds since the Unix epoch.
    At(u64),
}

impl Moment {
    /// In nanoseconds since the Unix epoch.
    pub(super) fn of(self, beginning: u64) -> u64 {
        match self {
            Self::After(time) => {
                let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                beginning.saturating_add(nanos)
            }
            Self::At(nanos) => nanos,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = humantime::parse_rfc3339_weak(text) {
            return Ok(Self::At(nanos(time)));
        }
        duration(text).map(Self::After).map_err(|_| {
            "seconds from the beginning (`12.5`), or a time in UTC (`2026-01-31T12:00:00Z`)".into()
        })
    }
}

/// From when to when.
pub(super) fn window(
    (start, end): (Option<Moment>, Option<Moment>),
    beginning: u64,
) -> RangeInclusive<u64> {
    let of = |moment: Moment| moment.of(beginning);
    start.map_or(0, of)..=end.map_or(u64::MAX, of)
}

/// Another name for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rename {
    old: String,
    new: Topic,
}

impl FromStr for Rename {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = text.split_once('=').ok_or("`OLD=NEW` is possible")?;
        Ok(Self {
            old: old.to_owned(),
            new: Topic::from(new),
        })
    }
}

/// Where messages go that may share a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) connection: String,
    pub(super) encoding: Encoding,
    pub(super) schema: Option<u64>,
}

/// Which messages are played, and what becomes of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) to: Option<Connection>,
    /// All if there are none.
    pub(super) topics: Vec<String>,
    pub(super) renames: Vec<Rename>,
}

impl Choice {
    /// Where the messages of a channel go; `None` if they are not played.
    pub(super) fn route(
        &self,
        channel: &Channel,
        path: &Path,
    ) -> Result<Option<(Route, Option<Topic>)>, RecordingError> {
        let topic = match is_ours(channel) {
            true => channel.get(format::TOPIC),
            false => Some(channel.topic.as_str()),
        };
        let wanted =
            self.topics.is_empty() || self.topics.iter().any(|it| Some(it.as_str()) == topic);
        if is_of_losses(channel) || !wanted {
            return Ok(None);
        }
        let connection = match (&self.to, channel.get(format::CONNECTION)) {
            (Some(to), _) => to.to_string(),
            (None, Some(recorded)) if is_ours(channel) => recorded.to_owned(),
            _ => {
                return Err(RecordingError::Nowhere {
                    path: path.to_owned(),
                    topic: channel.topic.escape_debug().to_string(),
                });
            }
        };
        let route = Route {
            connection,
            encoding: encoding(channel),
            schema: channel.get(format::SCHEMA).and_then(format::schema_named),
        };
        Ok(Some((route, topic.map(|topic| self.renamed(topic)))))
    }

    fn renamed(&self, topic: &str) -> Topic {
        let rename = self.renames.iter().find(|it| it.old == topic);
        rename.map_or_else(|| Topic::from(topic), |it| it.new.clone())
    }
}

/// Whether `mcl record` made it of messages.
fn is_ours(channel: &Channel) -> bool {
    channel.get(format::STREAM).is_some()
}

/// Whether `mcl record` made it of what was lost.
pub(crate) fn is_of_losses(channel: &Channel) -> bool {
    channel.topic == format::LOSSES_TOPIC
        && channel.schema == format::LOSSES_SCHEMA
        && !is_ours(channel)
}

fn encoding(channel: &Channel) -> Encoding {
    let ours = channel.get(format::ENCODING).filter(|_| is_ours(channel));
    match ours.and_then(|id| id.parse().ok()) {
        Some(id) => Encoding(id),
        None => format::encoding_named(&channel.encoding),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn channel(topic: &str, encoding: &str, metadata: &[(&str, &str)]) -> Channel {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        Channel {
            topic: topic.to_owned(),
            encoding: encoding.to_owned(),
            schema: String::new(),
            metadata: metadata.iter().map(owned).collect::<BTreeMap<_, _>>(),
        }
    }

    fn played(choice: &Choice, channel: &Channel) -> Option<(Route, Option<Topic>)> {
        choice.route(channel, Path::new("x.mcap")).unwrap()
    }

    #[test]
    fn moments_are_seconds_or_times() {
        assert_eq!(
            "1.5".parse(),
            Ok(Moment::After(Duration::from_millis(1500)))
        );
        let time: Moment = "1970-01-01T00:00:02Z".parse().unwrap();
        assert_eq!(time, Moment::At(2_000_000_000));
        assert!("soon".parse::<Moment>().is_err());
        let start = Some(Moment::After(Duration::from_secs(1)));
        assert_eq!(
            window((start, Some(time)), 5),
            1_000_000_005..=2_000_000_000
        );
        assert_eq!(window((None, None), 5), 0..=u64::MAX);
    }

    #[test]
    fn what_was_recorded_goes_where_it_came_from() {
        let metadata = [
            ("stream", "00"),
            ("connection", "[ff15::1]:26000"),
            ("encoding", "130"),
            ("schema", "0x000000000000002a"),
        ];
        let channel = channel("[ff15::1]:26000", "mcl-130", &metadata);
        let (route, topic) = played(&Choice::default(), &channel).unwrap();
        assert_eq!(topic, None);
        assert_eq!(route.connection, "[ff15::1]:26000");
        assert_eq!((route.encoding, route.schema), (Encoding(130), Some(42)));
        let elsewhere = Choice {
            to: Some(Connection::new("ff15::2").unwrap()),
            ..Choice::default()
        };
        let (route, _) = played(&elsewhere, &channel).unwrap();
        assert_eq!(route.connection, "[ff15::2]:26000");
    }

    #[test]
    fn files_of_others_need_a_connection_and_topics_may_be_chosen_and_renamed() {
        let foreign = channel("/imu", "cdr", &[("connection", "no address")]);
        let plain = Choice::default();
        assert!(plain.route(&foreign, Path::new("x.mcap")).is_err());
        let mut choice = Choice {
            to: Some(Connection::new("ff15::2").unwrap()),
            topics: vec!["/imu".into()],
            renames: vec!["/imu=b=c".parse().unwrap()],
        };
        let (route, topic) = played(&choice, &foreign).unwrap();
        assert_eq!(route.encoding, Encoding::CDR);
        assert_eq!(topic.as_deref(), Some("b=c"));
        choice.topics = vec!["imu".into()];
        assert_eq!(played(&choice, &foreign), None);
    }
}
