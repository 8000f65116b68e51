//! Which topics a listener wants.

use std::collections::HashSet;

use mcl_wire::TopicHash;

use crate::message::Topic;

/// All messages, or those of a set of topics.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// `None`: everything is wanted.
    only: Option<Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    topics: HashSet<Topic>,
    hashes: HashSet<TopicHash>,
    topicless: bool,
}

impl Filter {
    /// Wants only `topics` and, if `topicless`, messages without one; wants
    /// everything if that comes to nothing.
    pub(crate) fn new(topics: &[Topic], topicless: bool) -> Self {
        if topics.is_empty() && !topicless {
            return Self::default();
        }
        let hashes = topics
            .iter()
            .map(|topic| TopicHash::of(Some(topic)))
            .collect();
        let topics = topics.iter().cloned().collect();
        Self {
            only: Some(Wanted {
                topics,
                hashes,
                topicless,
            }),
        }
    }

    /// Whether a message whose topic has this hash may be wanted.
    pub(crate) fn wants_hash(&self, hash: TopicHash) -> bool {
        self.only.as_ref().is_none_or(|wanted| {
            if hash == TopicHash::NONE {
                wanted.topicless
            } else {
                wanted.hashes.contains(&hash)
            }
        })
    }

    /// Whether a message with this topic is wanted.
    #[inline]
    pub(crate) fn wants(&self, topic: Option<&str>) -> bool {
        self.only.as_ref().is_none_or(|wanted| {
            topic.map_or(wanted.topicless, |topic| wanted.topics.contains(topic))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_topic_and_the_empty_topic_differ() {
        let everything = Filter::new(&[], false);
        assert!(
            everything.wants(None) && everything.wants(Some("")) && everything.wants(Some("a"))
        );

        let empty = Filter::new(&[Topic::from("")], false);
        assert!(empty.wants(Some("")) && !empty.wants(None) && !empty.wants(Some("a")));
        assert!(!empty.wants_hash(TopicHash::NONE));
        assert!(empty.wants_hash(TopicHash::of(Some(""))));

        let topicless = Filter::new(&[], true);
        assert!(topicless.wants(None) && !topicless.wants(Some("")));
        assert!(topicless.wants_hash(TopicHash::NONE));
    }
}
