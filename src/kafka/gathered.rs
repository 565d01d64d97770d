//! Messages that were polled and not delivered yet, by partition, each partition's end after its messages.

use std::collections::{BTreeMap, VecDeque};

use super::broker::Event;
use crate::format::Messages;
use crate::record::PartitionId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    waiting: VecDeque<(PartitionId, Messages)>,
    /// Memory to be used again.
    spare: Vec<Messages>,
    /// Partitions whose end was reached after their waiting messages, and at which position.
    ends: BTreeMap<PartitionId, i64>,
    /// Per partition, the offset after the last message.
    behind: BTreeMap<PartitionId, i64>,
}

impl Gathered {
    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ends.is_empty()
    }

    /// Where a partition's next message belongs, which has this offset. `None`: it was here before, or comes out of
    /// order, which nothing outside of this may see.
    pub fn messages(&mut self, partition: PartitionId, offset: i64) -> Option<&mut Messages> {
        let behind = self.behind.entry(partition).or_insert(offset);
        if offset < *behind {
            return None;
        }
        *behind = offset + 1;
        if !self.ends.is_empty() {
            self.ends.remove(&partition);
        }
        let at = self.waiting.iter().position(|(of, _)| *of == partition).unwrap_or_else(|| {
            let mut messages = self.spare.pop().unwrap_or_default();
            messages.clear();
            self.waiting.push_back((partition, messages));
            self.waiting.len() - 1
        });
        Some(&mut self.waiting[at].1)
    }

    /// Nothing follows the messages of a partition at present. `position` is after the markers and aborted records that
    /// follow the last of them, as far as is known.
    pub fn end(&mut self, partition: PartitionId, position: Option<i64>) {
        self.ends.insert(partition, position.unwrap_or(0));
    }

    /// The offset after the last message of a partition, or where reading began.
    pub fn behind(&self, partition: PartitionId) -> Option<i64> {
        self.behind.get(&partition).copied()
    }

    /// A partition is read from this offset on: messages that were polled before must not be delivered.
    pub fn begin(&mut self, partition: PartitionId, offset: i64) {
        self.forget(partition);
        self.behind.insert(partition, offset);
    }

    /// Drops the waiting messages of a partition.
    pub fn forget(&mut self, partition: PartitionId) {
        self.waiting.retain(|(of, _)| *of != partition);
        self.ends.remove(&partition);
    }

    /// What is delivered next; messages are put into `into`.
    pub fn next(&mut self, into: &mut Messages) -> Option<Event> {
        if let Some((partition, messages)) = self.waiting.pop_front() {
            self.spare.push(std::mem::replace(into, messages));
            return Some(Event::Messages(partition));
        }
        let (end, position) = self.ends.pop_first()?;
        Some(Event::End(end, position.max(self.behind(end).unwrap_or(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_come_one_by_one_and_ends_behind_them() {
        let mut gathered = Gathered::default();
        let push = |gathered: &mut Gathered, partition: u32, offset| {
            if let Some(messages) = gathered.messages(partition.into(), offset) {
                messages.push(offset, 0, None, Some(b"x"));
            }
        };
        let told = |gathered: &mut Gathered| {
            let mut into = Messages::default();
            let event = gathered.next(&mut into);
            (event.map(|event| format!("{event:?}")).unwrap_or_default(), into.offsets)
        };
        gathered.begin(2.into(), 7);
        push(&mut gathered, 1, 4);
        gathered.end(2.into(), None);
        gathered.end(1.into(), Some(6));
        push(&mut gathered, 3, 0);
        push(&mut gathered, 1, 6);
        gathered.end(3.into(), Some(1));
        assert!(!gathered.is_empty());
        assert_eq!(told(&mut gathered), ("Messages(1)".into(), vec![4, 6]));
        gathered.forget(3.into());
        // The end of 1 was before its last message, that of 3 is no longer needed.
        assert_eq!(told(&mut gathered), ("End(2, 7)".into(), vec![]));
        assert!(gathered.is_empty());
        // Markers follow the last message, or a seek went beyond what the client had.
        gathered.end(2.into(), Some(9));
        assert_eq!(told(&mut gathered), ("End(2, 9)".into(), vec![]));
        gathered.end(2.into(), Some(4));
        assert_eq!(told(&mut gathered), ("End(2, 7)".into(), vec![]));
        push(&mut gathered, 1, 9);
        push(&mut gathered, 1, 6);
        push(&mut gathered, 1, 9);
        push(&mut gathered, 1, 10);
        assert_eq!(told(&mut gathered), ("Messages(1)".into(), vec![9, 10]), "memory is used again, messages are not");
        gathered.begin(1.into(), 6);
        push(&mut gathered, 1, 6);
        assert_eq!(told(&mut gathered), ("Messages(1)".into(), vec![6]), "what is read again on purpose comes again");
    }
}
