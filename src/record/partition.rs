//! Which partition a record is of: of a topic and its number, or a virtual one of files.
//!
//! A source of one topic has no need to name it: its partitions are of [`SourceTopic::ONLY`], and are written as
//! numbers alone, in folders, messages and metrics. Those of several topics are written as Kafka does: `sales-eu-3`.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A topic among the several of a source. One that is deleted and created again is another topic: it has another id.
///
/// It is as cheap to copy as a number. Topics are kept until the process ends; there are not many.
#[derive(Clone, Copy)]
pub struct SourceTopic(&'static Named);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    name: String,
    id: String,
}

static ONLY: Named = Named { name: String::new(), id: String::new() };
static TOPICS: Mutex<BTreeSet<&'static Named>> = Mutex::new(BTreeSet::new());

impl SourceTopic {
    /// The topic of a source that has one, and of files, which have none.
    pub const ONLY: SourceTopic = SourceTopic(&ONLY);

    /// The topic with this name and id.
    pub fn new(name: &str, id: &str) -> SourceTopic {
        let wanted = Named { name: name.into(), id: id.into() };
        // A set of names is sound whatever a thread was doing when it panicked.
        let mut topics = TOPICS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = topics.get(&wanted) {
            return SourceTopic(known);
        }
        let kept: &'static Named = Box::leak(Box::new(wanted));
        topics.insert(kept);
        SourceTopic(kept)
    }

    /// Its name; `None` for [`SourceTopic::ONLY`].
    pub fn name(self) -> Option<&'static str> {
        (!self.is_only()).then_some(self.0.name.as_str())
    }

    /// Its id; empty for [`SourceTopic::ONLY`].
    pub fn id(self) -> &'static str {
        &self.0.id
    }

    /// Whether it is the only one.
    pub fn is_only(self) -> bool {
        self.0.name.is_empty()
    }
}

impl PartialEq for SourceTopic {
    fn eq(&self, other: &Self) -> bool {
        // Each is there once.
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for SourceTopic {}

impl PartialOrd for SourceTopic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SourceTopic {
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other { Ordering::Equal } else { self.0.cmp(other.0) }
    }
}

impl fmt::Debug for SourceTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

/// A partition: of a topic of the source, or a virtual one of files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionId {
    /// The topic.
    pub topic: SourceTopic,
    /// Its number in the topic.
    pub number: u32,
}

impl PartitionId {
    /// A partition of a topic.
    pub fn of(topic: SourceTopic, number: u32) -> PartitionId {
        PartitionId { topic, number }
    }
}

impl From<u32> for PartitionId {
    /// A partition of the only topic.
    fn from(number: u32) -> PartitionId {
        PartitionId::of(SourceTopic::ONLY, number)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.topic.name() {
            None => write!(f, "{}", self.number),
            Some(name) => write!(f, "{name}-{}", self.number),
        }
    }
}

/// As it is displayed: lists of partitions are in messages.
impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_of_a_topic_and_a_number() {
        let (a, b) = (SourceTopic::new("a", "1"), SourceTopic::new("b", "0"));
        assert_eq!(a, SourceTopic::new("a", "1"));
        assert_ne!(a, SourceTopic::new("a", "2"), "created again");
        let mut all = [PartitionId::of(b, 0), PartitionId::of(a, 1), PartitionId::from(7), PartitionId::of(a, 0)];
        all.sort();
        assert_eq!(format!("{all:?}"), "[7, a-0, a-1, b-0]");
        assert_eq!((all[0].topic.name(), all[1].topic.name(), all[1].topic.id()), (None, Some("a"), "1"));
        assert_ne!(PartitionId::of(a, 0), PartitionId::of(b, 0));
    }
}
