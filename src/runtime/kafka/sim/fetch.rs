//! How a process' client reads partitions: what it delivers, and when it finds an end.

use super::client::strikes;
use super::log::Kind;
use super::topics::id;
use super::work::key;
use super::world::World;
use crate::format::Messages;
use crate::kafka::Event;

/// Where a partition is read.
#[derive(Debug, Clone, Copy)]
pub struct Fetch {
    /// The offset after the delivered messages.
    pub position: i64,
    pub paused: bool,
    /// The end that was reported, so that it isn't reported twice.
    pub told: Option<i64>,
    /// Nothing is delivered until reading is restarted by: 1 a seek, 2 an assignment, 3 another client. 0: it comes.
    pub stuck: u8,
}

impl Fetch {
    /// Read from there on.
    pub fn at(position: i64) -> Fetch {
        Fetch { position, paused: false, told: None, stuck: 0 }
    }

    /// Whether nothing will be delivered before an end. A stuck partition can't tell there.
    pub fn is_at(&self, end: i64) -> bool {
        self.told == Some(end) || self.stuck > 0 && self.position >= end
    }
}

impl World {
    /// Whether a poll of a process would find anything.
    pub fn has_event(&self, me: usize) -> bool {
        let process = &self.processes[me];
        let reachable = self.is_reachable(me);
        if process.member.asked.is_none() && !process.member.asks.is_empty() || process.told_reachable != reachable {
            return true;
        }
        reachable && (0..self.inputs.len()).any(|partition| self.has_fetched(me, partition))
    }

    fn has_fetched(&self, me: usize, partition: usize) -> bool {
        let comes = |fetch: &Fetch| !fetch.paused && fetch.stuck == 0;
        let Some(fetch) = self.processes[me].fetch[partition].filter(comes) else { return false };
        if self.is_deleted(id(partition)) {
            return false;
        }
        let input = self.log(partition);
        let stable = input.stable(&self.fates);
        fetch.position < input.start
            || fetch.told != Some(stable)
            || input.next(fetch.position, stable, &self.fates).is_some()
    }

    pub fn fetch(&mut self, me: usize, partition: usize, most: usize, into: &mut Messages) -> Option<Event> {
        let fetch = self.processes[me].fetch[partition].filter(|fetch| !fetch.paused && fetch.stuck == 0)?;
        let (at, id) = (partition as u32, id(partition));
        if self.is_deleted(id) {
            return None;
        }
        let odds = self.plan.odds.stuck;
        if strikes(self, odds) {
            let stuck = self.dice.between(1, 3) as u8;
            self.note(Some(me), || format!("{id}: nothing is delivered ({stuck})"));
            self.processes[me].fetch[partition] = Some(Fetch { stuck, ..fetch });
            return None;
        }
        let count = self.dice.below(most) + 1;
        let input = self.log(partition);
        if fetch.position < input.start {
            return Some(Event::OutOfRange(id));
        }
        let stable = input.stable(&self.fates);
        let mut position = fetch.position;
        while into.len() < count
            && let Some(offset) = input.next(position, stable, &self.fates)
        {
            let entry = &input.entries[offset as usize];
            if let Kind::Record { key: number, value } = entry.kind {
                let payload = value.map(u64::to_le_bytes);
                let payload = payload.as_ref().map(<[u8; 8]>::as_slice);
                into.push(offset, entry.timestamp, Some(&key(at, number)), payload);
            }
            position = offset + 1;
        }
        if !into.is_empty() {
            self.processes[me].fetch[partition] = Some(Fetch { position, told: None, ..fetch });
            self.note(Some(me), || format!("{id}: messages up to {position}"));
            return Some(Event::Messages(id));
        }
        if fetch.told == Some(stable) {
            return None;
        }
        // A client's position is after the markers and aborted records, and before the first open transaction.
        let end = if self.plan.settings.faults.high_watermark { input.end() } else { stable }.max(position);
        self.processes[me].fetch[partition] = Some(Fetch { position: end, told: Some(stable), ..fetch });
        self.note(Some(me), || format!("{id}: its end is at {end}"));
        Some(Event::End(id, end))
    }
}
