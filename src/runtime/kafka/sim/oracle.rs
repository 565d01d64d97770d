//! What must be: the output of a straight run over the same input, with nothing lost, doubled or in another order. It
//! is checked at every commit, so that an error is found where it happens, and again at the end, in the order of the
//! output's log. What bytes alone don't decide (the clock, the registries) it takes from the commits, as a restore
//! must.

use std::collections::BTreeSet;

use super::log::{Fate, Input, Sent};
use super::topics::{id, place};
use super::work::{FOREIGN, LETTER, Payload, Rules, STATE, close, ends, key, step, version};
use crate::kafka::Committed;
use crate::record::PartitionId;
use crate::runtime::kafka::commit::Commit;
use crate::state::{Checkpoint, ModelEpoch};

/// A key's state: hash, and the time of its newest record since it was closed.
type Row = (u64, i64);

/// Of all keys of a partition.
#[derive(Debug, Clone, Default)]
struct Keys {
    rows: Vec<Row>,
    /// Keys in the order of their first records.
    slots: Vec<u8>,
    /// The active version of the model.
    version: u64,
    /// What records do, and up to where they or the clock have moved time on.
    rules: Rules,
    moved: Option<i64>,
}

/// What bytes don't decide.
#[derive(Debug, Clone, Default)]
struct Decisions {
    events: Vec<Event>,
    unknown: BTreeSet<i64>,
}

/// What happened between two records.
#[derive(Debug, Clone, Copy)]
struct Event {
    sequence: u64,
    offset: i64,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// The clock moved on.
    Advance(i64),
    /// Another version of the model took over.
    Swap(u64),
}

/// The output of records: the hashes of each key, and the offsets of dead letters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Made {
    rows: Vec<(u8, u64)>,
    letters: Vec<u64>,
}

/// What is committed of a partition.
#[derive(Debug, Clone)]
struct Covered {
    /// Where the group began.
    base: i64,
    /// With which version of the model.
    began: u64,
    until: i64,
    epoch: ModelEpoch,
    keys: Keys,
    decisions: Decisions,
    /// Every commit: its number and offset.
    marks: Vec<(u64, i64)>,
}

/// Of all partitions.
#[derive(Debug, Default)]
pub struct Oracle {
    covered: Vec<Option<Covered>>,
    keys: usize,
    rules: Rules,
}

impl Keys {
    fn new(count: usize, version: u64, rules: Rules) -> Keys {
        Keys { rows: vec![(0, 0); count], slots: Vec::new(), version, rules, moved: None }
    }

    fn apply(&mut self, what: What, made: &mut Made) {
        match what {
            What::Advance(until) => self.close(until, made),
            What::Swap(version) => {
                self.version = version;
                self.rows.fill((0, 0));
            }
        }
    }

    fn close(&mut self, until: i64, made: &mut Made) {
        if self.rules.closes.is_some() {
            self.moved = self.moved.max(Some(until));
        }
        for key in &self.slots {
            let (hash, last) = &mut self.rows[*key as usize];
            if *last != 0 && *last <= until {
                *hash = close(*hash, *last);
                *last = 0;
                made.rows.push((*key, *hash));
            }
        }
    }

    fn take(&mut self, key: u8, value: u64, time: i64, made: &mut Made) {
        if self.rules.closes.is_some_and(|step| self.moved.is_none_or(|moved| time >= moved + step)) {
            self.close(time, made);
        }
        if !self.slots.contains(&key) {
            self.slots.push(key);
        }
        let (hash, last) = &mut self.rows[key as usize];
        *hash = step(*hash, value & !FOREIGN, self.version);
        *last = time.max(*last);
        if !self.rules.sequences {
            made.rows.push((key, *hash));
        } else if ends(value & !FOREIGN) {
            made.rows.push((key, std::mem::take(hash)));
        }
    }
}

/// What the records from `from` to `to` make on top of `keys`, with these decisions between them.
fn straight(input: &Input, fates: &[Fate], (from, to): (i64, i64), decisions: &Decisions, keys: &mut Keys) -> Made {
    let mut made = Made::default();
    let mut events = decisions.events.iter().peekable();
    for offset in from..to {
        let Some((key, value)) = input.readable(offset, fates) else { continue };
        while let Some(event) = events.next_if(|event| event.offset <= offset) {
            keys.apply(event.what, &mut made);
        }
        match value {
            Some(_) if decisions.unknown.contains(&offset) => made.letters.push(offset as u64),
            Some(value) => keys.take(key, value, input.entries[offset as usize].timestamp, &mut made),
            None => keys.rows[key as usize] = (0, 0),
        }
    }
    events.for_each(|event| keys.apply(event.what, &mut made));
    made
}

impl Oracle {
    pub fn new(partitions: u32, keys: u8, rules: Rules) -> Oracle {
        Oracle { covered: vec![None; partitions as usize], keys: keys as usize, rules }
    }

    /// A transaction was committed: its outputs must be those of the records that its offsets say were read, and no
    /// others.
    pub fn committed(
        &mut self,
        inputs: &[Input],
        fates: &[Fate],
        sent: &[Payload],
        offsets: &[(PartitionId, Committed)],
    ) -> Result<(), String> {
        if let Some(payload) = sent.iter().find(|payload| offsets.iter().all(|(p, _)| *p != payload.partition)) {
            return Err(format!("an output of partition {} is committed without its offset", payload.partition));
        }
        for (partition, committed) in offsets {
            let of_this: Vec<Payload> =
                sent.iter().filter(|payload| payload.partition == *partition).copied().collect();
            self.commit(&inputs[place(*partition)], fates, *partition, committed, &of_this)
                .map_err(|wrong| format!("partition {partition}: {wrong}"))?;
        }
        Ok(())
    }

    fn commit(
        &mut self,
        input: &Input,
        fates: &[Fate],
        partition: PartitionId,
        committed: &Committed,
        sent: &[Payload],
    ) -> Result<(), String> {
        let offset = committed.offset;
        let commit = Commit::parse(offset, &committed.metadata).ok_or("metadata that can't be read is committed")?;
        if offset > input.stable(fates) {
            return Err(format!("offset {offset} is committed beyond what can be read"));
        }
        let covered = &mut self.covered[place(partition)];
        if covered.is_none() && offset != input.start {
            return Err(format!("begun at {offset} instead of {}", input.start));
        }
        let covered = covered.get_or_insert_with(|| Covered {
            base: offset,
            began: version(&commit.epoch.model),
            until: offset,
            epoch: commit.epoch.clone(),
            keys: Keys::new(self.keys, version(&commit.epoch.model), self.rules),
            decisions: Decisions::default(),
            marks: Vec::new(),
        });
        if offset < covered.until {
            return Err(format!("{offset} is committed after {}", covered.until));
        }
        if commit.epoch != covered.epoch && commit.epoch.from != commit.at.sequence {
            return Err(format!("{:?} follows {:?} in commit {}", commit.epoch, covered.epoch, commit.at.sequence));
        }
        let decisions = fresh(input, fates, &commit, covered.until)?;
        let expected = straight(input, fates, (covered.until, offset), &decisions, &mut covered.keys);
        let found = made(sent);
        if found != expected {
            return Err(format!(
                "offsets {} to {offset}: {} outputs instead of {} (the first other one is number {}), {} dead letters \
                 instead of {}",
                covered.until,
                found.rows.len(),
                expected.rows.len(),
                found.rows.iter().zip(&expected.rows).take_while(|(a, b)| a == b).count(),
                found.letters.len(),
                expected.letters.len()
            ));
        }
        covered.until = offset;
        covered.epoch = commit.epoch;
        covered.marks.push((commit.at.sequence, offset));
        covered.decisions.events.extend(decisions.events);
        covered.decisions.unknown.extend(decisions.unknown);
        Ok(())
    }

    /// A checkpoint must be the state as of a commit.
    pub fn checkpoint(
        &self,
        inputs: &[Input],
        fates: &[Fate],
        partition: PartitionId,
        checkpoint: &Checkpoint,
    ) -> Result<(), String> {
        let wrong = |what: String| Err(format!("partition {partition}: a checkpoint {what}"));
        let (Some(at), Some(covered)) = (checkpoint.at, &self.covered[place(partition)]) else {
            return wrong("of nothing that is committed".into());
        };
        // One of a swap is there before its commit, and is the state of the commit before but for the swap.
        let epoch = &checkpoint.epoch;
        let swaps = epoch.from == at.sequence && at.sequence > 0;
        let of = at.sequence - u64::from(swaps);
        if !covered.marks.contains(&(of, at.offset)) {
            return wrong(format!("of commit {of} at {}, which there is not", at.offset));
        }
        let mut decisions = covered.decisions.clone();
        decisions.events.retain(|event| event.sequence <= of);
        if swaps {
            let what = What::Swap(version(&epoch.model));
            decisions.events.push(Event { sequence: at.sequence, offset: at.offset, what });
        }
        let mut keys = Keys::new(self.keys, covered.began, self.rules);
        straight(&inputs[place(partition)], fates, (covered.base, at.offset), &decisions, &mut keys);
        if checkpoint.watermark != keys.moved {
            return wrong(format!("of commit {}: time has come to another point", at.sequence));
        }
        for (number, (hash, last)) in keys.rows.into_iter().enumerate() {
            let slot = checkpoint.keys.find(&key(place(partition) as u32, number as u8));
            let found = slot.map_or((0, 0), |slot| {
                let row = checkpoint.row(slot).expect("in memory");
                (row[STATE], row[STATE + 1] as i64)
            });
            if found != (hash, last) {
                return wrong(format!("of commit {}: key {number} has another state", at.sequence));
            }
        }
        Ok(())
    }

    /// Up to where a partition is committed.
    pub fn until(&self, partition: PartitionId) -> Option<i64> {
        self.covered[place(partition)].as_ref().map(|covered| covered.until)
    }

    /// What is active at the last commit of a partition.
    pub fn epoch(&self, partition: PartitionId) -> Option<&ModelEpoch> {
        self.covered[place(partition)].as_ref().map(|covered| &covered.epoch)
    }

    /// The last commit of a partition: its number and offset.
    pub fn at(&self, partition: PartitionId) -> Option<(u64, i64)> {
        self.covered[place(partition)].as_ref().and_then(|covered| covered.marks.last().copied())
    }

    /// The output as a reader of committed messages sees it, in the order of its log.
    pub fn output(&self, inputs: &[Input], fates: &[Fate], log: &[Sent]) -> Result<(), String> {
        for (partition, (input, covered)) in inputs.iter().zip(&self.covered).enumerate() {
            let Some(covered) = covered else { continue };
            let range = (covered.base, covered.until);
            let expected =
                straight(input, fates, range, &covered.decisions, &mut Keys::new(self.keys, covered.began, self.rules));
            let committed = log.iter().filter(|sent| fates[sent.txn] == Fate::Committed).map(|sent| sent.payload);
            let found = made(&committed.filter(|sent| sent.partition == id(partition)).collect::<Vec<_>>());
            let of_key = |made: &Made, number: u8| -> Vec<u64> {
                made.rows.iter().filter(|(key, _)| *key == number).map(|(_, hash)| *hash).collect()
            };
            let other = (0..self.keys as u8).find(|number| of_key(&found, *number) != of_key(&expected, *number));
            if let Some(number) = other {
                return Err(format!("partition {partition}, key {number}: the output's log has them in another order"));
            }
            if found.letters != expected.letters {
                return Err(format!("partition {partition}: the log of the dead letters has them in another order"));
            }
        }
        Ok(())
    }
}

/// What a commit decided that the ones before it didn't.
fn fresh(input: &Input, fates: &[Fate], commit: &Commit, from: i64) -> Result<Decisions, String> {
    let sequence = commit.at.sequence;
    let advances = commit.advances.iter().filter(|advance| advance.sequence == sequence);
    let event = |offset, what| Event { sequence, offset, what };
    let mut events: Vec<Event> = advances.map(|advance| event(advance.offset, What::Advance(advance.until))).collect();
    if commit.epoch.from == sequence && sequence > 0 {
        events.push(event(commit.at.offset, What::Swap(version(&commit.epoch.model))));
    }
    let unknown: BTreeSet<i64> = commit.unknown.iter().cloned().flatten().filter(|offset| *offset >= from).collect();
    // A range reaches over offsets without a message.
    let value = |offset: &i64| input.readable(*offset, fates).and_then(|(_, value)| value);
    if let Some(offset) = unknown.iter().find(|offset| value(offset).is_some_and(|value| value & FOREIGN == 0)) {
        return Err(format!("the schema of offset {offset} is held for unknown"));
    }
    Ok(Decisions { events, unknown })
}

fn made(sent: &[Payload]) -> Made {
    let (letters, rows): (Vec<&Payload>, Vec<&Payload>) = sent.iter().partition(|payload| payload.key == LETTER);
    Made {
        rows: rows.into_iter().map(|payload| (payload.key, payload.hash)).collect(),
        letters: letters.into_iter().map(|payload| payload.hash).collect(),
    }
}
