//! Output of a partition that is not committed yet: kept until it is, so that it can be sent again.

use crate::kafka::{MessageHeader, Outgoing, Topic};

/// Messages in order, in one piece of memory that is used again.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many were handed to the open transaction.
    sent: usize,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    key: Option<Slice>,
    payload: Option<Slice>,
    headers: Vec<MessageHeader>,
    timestamp: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Slice {
    start: usize,
    end: usize,
}

impl Outbox {
    /// Adds a message, to be stamped with the clock when it is sent.
    pub fn push(&mut self, topic: Topic, key: Option<&[u8]>, payload: Option<&[u8]>, headers: Vec<MessageHeader>) {
        let key = key.map(|key| self.add(key));
        let payload = payload.map(|payload| self.add(payload));
        self.entries.push(Entry { topic, key, payload, headers, timestamp: None });
    }

    /// Stamps the message that was added last, in milliseconds. Kafka has no times before 1970, and 0 is the clock.
    pub fn stamp(&mut self, millis: i64) {
        if let Some(last) = self.entries.last_mut() {
            last.timestamp = Some(millis.max(1));
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Slice {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Slice { start, end: self.bytes.len() }
    }

    /// Messages that are not committed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything is committed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The next message that the open transaction doesn't have.
    pub fn next(&self) -> Option<Outgoing<'_>> {
        let entry = self.entries.get(self.sent)?;
        let part = |slice: Option<Slice>| slice.map(|slice| &self.bytes[slice.start..slice.end]);
        Some(Outgoing {
            topic: entry.topic,
            key: part(entry.key),
            payload: part(entry.payload),
            headers: &entry.headers,
            timestamp: entry.timestamp,
        })
    }

    /// The transaction has the message that [`Outbox::next`] gave.
    pub fn was_sent(&mut self) {
        self.sent += 1;
    }

    /// The message that [`Outbox::next`] gives becomes a dead letter, its payload cut to `longest` bytes. False: it is
    /// one already.
    pub fn refuse(&mut self, headers: Vec<MessageHeader>, longest: usize) -> bool {
        let Some(entry) = self.entries.get_mut(self.sent).filter(|entry| entry.topic == Topic::Output) else {
            return false;
        };
        (entry.topic, entry.timestamp) = (Topic::DeadLetters, None);
        entry.headers.extend(headers);
        if let Some(payload) = &mut entry.payload {
            payload.end = payload.end.min(payload.start + longest);
        }
        true
    }

    /// The transaction was aborted: everything must be sent in the next one.
    pub fn again(&mut self) {
        self.sent = 0;
    }

    /// The first `count` are committed and can be dropped.
    pub fn committed(&mut self, count: usize) {
        if count >= self.entries.len() {
            self.entries.clear();
            self.bytes.clear();
            self.sent = 0;
            return;
        }
        // Only after an outcome that was unknown for a while are there rows after the commit.
        let at = |entry: &Entry| entry.key.or(entry.payload).map(|part| part.start);
        let start = self.entries[count..].iter().find_map(at).unwrap_or(self.bytes.len());
        self.bytes.drain(..start);
        self.entries.drain(..count);
        for part in self.entries.iter_mut().flat_map(|entry| [&mut entry.key, &mut entry.payload]).flatten() {
            part.start -= start;
            part.end -= start;
        }
        self.sent = self.sent.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &mut Outbox) -> Vec<String> {
        let mut seen = Vec::new();
        outbox.again();
        while let Some(message) = outbox.next() {
            let text = |part: Option<&[u8]>| String::from_utf8_lossy(part.unwrap_or(b"-")).into_owned();
            seen.push(format!("{:?} {} {}", message.topic, text(message.key), text(message.payload)));
            outbox.was_sent();
        }
        seen
    }

    #[test]
    fn what_is_not_committed_stays() {
        let mut outbox = Outbox::default();
        outbox.push(Topic::Output, Some(b"a"), Some(b"one"), Vec::new());
        outbox.push(Topic::Output, Some(b"b"), None, Vec::new());
        outbox.stamp(-5);
        outbox.again();
        outbox.was_sent();
        assert_eq!(outbox.next().and_then(|message| message.timestamp), Some(1), "the first that Kafka has");
        outbox.push(Topic::Output, None, Some(b"three"), Vec::new());
        assert_eq!(all(&mut outbox), ["Output a one", "Output b -", "Output - three"]);
        outbox.committed(2);
        assert_eq!(all(&mut outbox), ["Output - three"]);
        outbox.again();
        assert!(outbox.refuse(Vec::new(), 2));
        assert!(!outbox.refuse(Vec::new(), 2));
        assert_eq!(all(&mut outbox), ["DeadLetters - th"]);
        outbox.committed(1);
        assert!(outbox.is_empty() && outbox.bytes() == 0 && outbox.next().is_none());
    }
}
