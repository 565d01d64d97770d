//! Kafka to Parquet or stdout: no transaction, the manifest of a partition is its commit.
//!
//! Parts become visible with the manifest that names them, together with the state as of the same record; what was done
//! behind it is invisible and is simply done again. The group only deals out partitions: its offsets are written for
//! those who watch the lag, and never read. Nothing has to be replayed, so decisions of clock and registry need no record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::new_null_array;

use super::Settings;
use super::pieces::{self, Piece};
use super::refusals::{ANSWER, explained, out_of_range, recreated, unread};
use super::restore_partition::{expected, start_of};
use super::stall::Stall;
use super::waits::{Wait, Waits};
use super::watchdog::Watchdog;
use super::worker::SHORT;
use crate::config::{OnTombstone, Start};
use crate::format::{Decided, Decoded, Decoder, Messages};
use crate::kafka::{BEGINNING, Broker, Event, LogRange};
use crate::metrics::Position;
use crate::record::PartitionId;
use crate::record::{Kind, Layout, Origin, Records};
use crate::runtime::engine::Chain;
use crate::runtime::engine::Work;
use crate::runtime::files::restore;
use crate::runtime::files::{PartitionTask, Shared};
use crate::{Error, Result};

/// How long a poll waits.
const WAIT: Duration = Duration::from_millis(100);
/// Between two settings of the gauges.
const SHOWN: Duration = Duration::from_millis(500);

/// One member of the group with its partitions.
pub(super) struct Filing<B> {
    pub broker: B,
    pub decoder: Box<dyn Decoder>,
    pub chain: Chain,
    pub shared: Arc<Shared>,
    pub start: Start,
    pub tombstone: OnTombstone,
    pub batch: usize,
    pub checkpoint_every: Duration,
    pub or_records: u64,
    pub idle: Option<Duration>,
    /// Partitions that the topic had at the start.
    pub partitions: u32,
    lanes: BTreeMap<PartitionId, Filed>,
    opening: Vec<PartitionId>,
    watchdog: Watchdog,
    /// Whether a broker answers.
    reachable: bool,
    /// When the gauges were set.
    shown: Instant,
    waits: Waits,
}

struct Filed {
    lane: PartitionTask,
    saved: Instant,
    stalled: Option<Stall>,
    /// When the last message came, or the clock last moved its time on.
    heard: Instant,
    /// Whether nothing is left to be read at present.
    at_end: bool,
    /// Timestamp of the newest message.
    newest: i64,
}

impl Filed {
    /// Whether it waits for an answer.
    fn is_stalled(&self) -> bool {
        self.stalled.as_ref().is_some_and(Stall::is_waiting)
    }

    /// Offset behind the last message that is committed; nothing is before the first commit, or where nothing is committed at all.
    fn committed(&self) -> Option<i64> {
        let origin = self.lane.manifest.as_ref()?.origin?;
        Some(origin.row as i64 + 1)
    }

    /// Offset of the next message.
    fn offset(&self) -> i64 {
        self.lane.origin.map_or(0, |origin| origin.row as i64 + 1)
    }

    /// Nothing is left: the next message will have this offset, or a higher one. Before it may be markers and what was aborted, which
    /// retention may remove.
    fn end(&mut self, offset: i64) {
        self.at_end = true;
        if offset > self.offset() {
            self.lane.origin = Some(Origin { file: 0, row: offset as u64 - 1 });
        }
    }
}

impl<B: Broker> Filing<B> {
    pub fn new(
        broker: B,
        decoder: Box<dyn Decoder>,
        chain: Chain,
        shared: Arc<Shared>,
        settings: &Settings,
        tombstone: OnTombstone,
    ) -> Self {
        let Settings { start, batch, checkpoint_every, or_records, idle, partitions, silence, .. } = *settings;
        let (lanes, opening, reachable) = (BTreeMap::new(), Vec::new(), true);
        Filing {
            waits: Waits::new(shared.metrics.clone()),
            broker,
            decoder,
            chain,
            shared,
            start,
            tombstone,
            batch,
            checkpoint_every,
            or_records,
            idle,
            partitions,
            lanes,
            opening,
            watchdog: Watchdog::new(silence),
            reachable,
            shown: Instant::now(),
        }
    }

    /// Runs until `stop` says so: then it commits what it has and leaves.
    ///
    /// # Errors
    /// Refused: state that can't be gone on with. Failed: what can't be waited out.
    pub fn run(&mut self, stop: &dyn Fn() -> bool) -> Result<()> {
        let ended = loop {
            if stop() {
                break self.save(None);
            }
            if let Err(error) = self.step() {
                break Err(explained(&mut self.broker, topic(&self.shared), error));
            }
        };
        self.lanes.clear();
        self.broker.leave();
        ended
    }

    fn step(&mut self) -> Result<()> {
        let mut messages = Messages::default();
        let waits = !self.opening.is_empty() || self.lanes.values().any(Filed::is_stalled);
        let wait = if waits { Duration::from_millis(10) } else { WAIT };
        match self.broker.poll(wait, self.batch, &mut messages)? {
            Event::Nothing => {}
            Event::End(partition, offset) => {
                self.watchdog.heard(partition, self.broker.now());
                // One that waits is not at its end, whatever was on its way when it began to.
                if let Some(filed) = self.lanes.get_mut(&partition).filter(|filed| !filed.is_stalled()) {
                    filed.end(offset);
                }
            }
            Event::Reachable(reachable) => {
                self.reachable = reachable;
                self.shared.metrics.stream.reachable(reachable);
            }
            Event::Messages(partition) => self.take(partition, Arc::new(messages))?,
            Event::Assigned(partitions) => {
                expected(&partitions, self.partitions)?;
                self.opening = partitions;
                if self.opening.is_empty() {
                    self.broker.assign(&[])?;
                }
            }
            Event::Revoked(partitions) => {
                self.save(Some(&partitions))?;
                self.give_up(&partitions)?;
            }
            Event::Lost(partitions) => {
                self.shared.metrics.stream.fenced();
                self.give_up(&partitions)?;
            }
            Event::Recreated => return Err(self.recreated()),
            Event::OutOfRange(partition) => {
                if let Some(offset) = self.lanes.get(&partition).map(Filed::offset) {
                    return Err(out_of_range(&mut self.broker, partition, offset));
                }
            }
        }
        self.tell_waits();
        self.open()?;
        self.wake()?;
        self.watch()?;
        self.tell_idle()?;
        let due: Vec<PartitionId> = self
            .lanes
            .iter()
            .filter(|(_, filed)| {
                filed.saved.elapsed() >= self.checkpoint_every || filed.lane.since() >= self.or_records
            })
            .map(|(partition, _)| *partition)
            .collect();
        if !due.is_empty() {
            self.save(Some(&due))?;
        }
        self.show();
        Ok(())
    }

    /// Says what this worker waits for, if anything.
    fn tell_waits(&mut self) {
        let opening = self.reachable && !self.opening.is_empty();
        if self.reachable && self.lanes.is_empty() && !opening {
            self.waits.no_partitions(&mut self.broker);
        } else {
            self.waits.set(opening.then(|| Wait::Offsets(self.opening.clone())));
        }
    }

    fn give_up(&mut self, partitions: &[PartitionId]) -> Result<()> {
        self.forget(partitions);
        self.broker.unassign(partitions)
    }

    fn forget(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            if let Some(mut filed) = self.lanes.remove(partition) {
                filed.lane.leave(&self.shared);
            }
            self.shared.metrics.stream.gone(*partition);
        }
        self.opening.retain(|partition| !partitions.contains(partition));
    }

    fn recreated(&self) -> Error {
        recreated(topic(&self.shared))
    }

    /// Whether what was polled so far is of the topic of the start. False: nobody tells at present.
    fn is_same_topic(&mut self) -> Result<bool> {
        if self.shared.store.is_none() {
            return Ok(true);
        }
        if !self.reachable {
            return Ok(false);
        }
        self.broker.ask_topic();
        match self.broker.is_same_topic(ANSWER)? {
            Some(true) => Ok(true),
            Some(false) => Err(self.recreated()),
            None => Ok(false),
        }
    }

    /// Looks for partitions that stand still, and heals them.
    fn watch(&mut self) -> Result<()> {
        if !self.watchdog.is_due(self.broker.now()) {
            return Ok(());
        }
        let lanes = self.lanes.iter().filter(|(_, filed)| !filed.is_stalled());
        let listening: Vec<(PartitionId, i64)> = lanes.map(|(partition, filed)| (*partition, filed.offset())).collect();
        if self.watchdog.heal(&mut self.broker, &listening, &self.shared.metrics)? {
            // What is committed is opened again when the group gives it back.
            self.save(None)?;
            let all: Vec<PartitionId> = self.lanes.keys().copied().collect();
            self.forget(&all);
            self.broker.reconnect()?;
        }
        Ok(())
    }

    /// Commits partitions, all of them without a list; those stay as they are while nobody tells whether the topic is the same.
    fn save(&mut self, only: Option<&[PartitionId]>) -> Result<()> {
        if !self.is_same_topic()? {
            tracing::warn!("no broker tells whether the topic is still the same: committing later");
            self.lanes.values_mut().for_each(|filed| filed.saved = Instant::now());
            return Ok(());
        }
        let mut offsets = Vec::new();
        for (partition, filed) in &mut self.lanes {
            if only.is_none_or(|only| only.contains(partition)) {
                filed.saved = Instant::now();
                self.waits.set(Some(Wait::Store(vec![*partition])));
                filed.lane.save(&self.shared)?;
                offsets.extend(filed.committed().map(|offset| (*partition, offset)));
            }
        }
        self.waits.set(None);
        if !offsets.is_empty() {
            self.broker.note(&offsets);
        }
        Ok(())
    }

    /// Sets the gauges, now and then.
    fn show(&mut self) {
        if self.shown.elapsed() < SHOWN {
            return;
        }
        self.shown = Instant::now();
        for (partition, filed) in &self.lanes {
            // To stdout nothing is committed: what is taken is done.
            let committed = if self.shared.store.is_some() { filed.committed() } else { Some(filed.offset()) };
            let newest = (!filed.at_end).then_some(filed.newest);
            let position = Position { committed: committed.unwrap_or(0), newest };
            self.shared.metrics.stream.position(*partition, position);
        }
    }

    fn open(&mut self) -> Result<()> {
        if self.opening.is_empty() {
            return Ok(());
        }
        let mut at = Vec::new();
        let mut lanes = Vec::new();
        for partition in self.opening.clone() {
            self.waits.set(Some(Wait::Store(vec![partition])));
            let mut lane = restore(partition, &self.chain, self.shared.store.as_ref())?;
            self.waits.set(Some(Wait::Offsets(vec![partition])));
            let Some(range) = self.broker.range(partition, SHORT)? else { return Ok(()) };
            let offset = match lane.origin {
                Some(origin) => origin.row as i64 + 1,
                None if lane.manifest.is_some() => 0,
                None => {
                    let Some(start) = self.start_of(partition, range)? else { return Ok(()) };
                    if start > 0 {
                        lane.origin = Some(Origin { file: 0, row: start as u64 - 1 });
                    }
                    // From now on it is known where it began.
                    lane.begin(&self.shared)?;
                    start
                }
            };
            if range.start > offset || range.end < offset {
                return Err(unread(partition, offset, range));
            }
            tracing::info!(partition, from = offset, keys = lane.partition.keys.len(), "partition opened");
            at.push((partition, offset));
            let now = Instant::now();
            lanes.push((partition, Filed { lane, saved: now, stalled: None, heard: now, at_end: false, newest: -1 }));
        }
        self.opening.clear();
        self.broker.assign(&at)?;
        lanes.iter_mut().for_each(|(_, filed)| filed.lane.show_state(&self.shared));
        self.lanes.extend(lanes);
        Ok(())
    }

    /// Where a partition without state begins; `None`: the broker can't answer at present.
    fn start_of(&mut self, partition: PartitionId, range: LogRange) -> Result<Option<i64>> {
        let Some(committed) = self.broker.committed(&[partition], SHORT)? else { return Ok(None) };
        match committed.into_iter().next().flatten() {
            Some(set) if set.metadata == BEGINNING => Ok(Some(set.offset.clamp(range.start, range.end))),
            _ => start_of(&mut self.broker, partition, self.start, range),
        }
    }

    fn wake(&mut self) -> Result<()> {
        let now = self.broker.now();
        for (partition, filed) in &mut self.lanes {
            if filed.stalled.as_mut().is_some_and(|stall| stall.wake(now)) {
                self.broker.pause(&[*partition], false)?;
            }
        }
        Ok(())
    }

    /// Moves the time of partitions on that nothing was heard of.
    fn tell_idle(&mut self) -> Result<()> {
        let (Some(idle), true) = (self.idle, self.reachable) else { return Ok(()) };
        let until = self.broker.now() - i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
        let Some(until) = self.shared.source.clock.ticks_of_millis(until) else { return Ok(()) };
        for filed in self.lanes.values_mut().filter(|filed| filed.at_end && filed.heard.elapsed() >= idle) {
            filed.heard = Instant::now();
            filed.lane.advance(until, &mut self.chain, &self.shared)?;
        }
        Ok(())
    }

    /// Takes messages in pieces that don't cross the cut of a part.
    fn take(&mut self, partition: PartitionId, messages: Arc<Messages>) -> Result<()> {
        let Some(filed) = self.lanes.get_mut(&partition).filter(|filed| !filed.is_stalled()) else { return Ok(()) };
        self.watchdog.heard(partition, self.broker.now());
        filed.heard = Instant::now();
        filed.at_end = false;
        filed.newest = messages.timestamps.last().copied().unwrap_or(filed.newest);
        let part = self.shared.part_records;
        let mut at = 0;
        while at < messages.len() {
            let position = filed.lane.partition.position;
            let room = usize::try_from(part - position % part).unwrap_or(usize::MAX);
            if messages.payload(at).is_none() {
                match (self.tombstone, self.decoder.key_of(&messages, at)) {
                    (OnTombstone::Reset, Some(key)) => filed.lane.partition.reset(&key),
                    (OnTombstone::Skip, _) => {}
                    (OnTombstone::Reset | OnTombstone::DeadLetter, _) => {
                        let records = refused_record("tombstone", messages.offsets[at], &self.shared.source);
                        let messages = Some(messages.clone());
                        let work = Work { partition, position, records, messages, details: Vec::new() };
                        filed.lane.take(&work, &mut self.chain, &self.shared)?;
                    }
                }
                filed.lane.origin = Some(Origin { file: 0, row: messages.offsets[at] as u64 });
                at += 1;
                continue;
            }
            let mut end = at + 1;
            while end < messages.len() && end - at < room && messages.payload(end).is_some() {
                end += 1;
            }
            match pieces::decode(&mut *self.decoder, &messages, at..end, Decided::default, |_| true)? {
                Ok(Piece { end, decoded: Decoded { records, details }, .. }) => {
                    let messages = Some(messages.clone());
                    let work = Work { partition, position, records, messages, details };
                    filed.lane.take(&work, &mut self.chain, &self.shared)?;
                    at = end;
                }
                Err(wait) => {
                    let offset = messages.offsets[at];
                    filed.stalled = Some(Stall::on(filed.stalled.take(), partition, offset, wait, self.broker.now()));
                    self.broker.pause(&[partition], true)?;
                    return self.broker.seek(partition, offset);
                }
            }
        }
        if let Some(stall) = filed.stalled.take() {
            stall.over(partition);
        }
        Ok(())
    }
}

/// The topic stands where the names of files do.
fn topic(shared: &Shared) -> &str {
    shared.files.first().map_or("?", String::as_str)
}

/// A message that is no record, as one that can't be taken.
fn refused_record(reason: &'static str, offset: i64, layout: &Layout) -> Records {
    let mut records = Records {
        hashes: vec![0],
        key_ends: vec![0],
        times: vec![0],
        origins: vec![Origin { file: 0, row: offset as u64 }],
        bad: vec![(0, reason)],
        ..Records::default()
    };
    for column in &layout.columns {
        match &column.kind {
            Kind::Passthrough(data_type) => records.passthrough.push(new_null_array(data_type, 1)),
            _ => records.values.push(vec![f64::NAN]),
        }
    }
    records
}

/// Records of a part, so that no message of several records is cut in two.
///
/// # Errors
/// More than can be counted.
pub(super) fn whole_messages(part_records: u64, columns: usize) -> Result<u64> {
    let columns = columns.max(1) as u64;
    part_records
        .checked_add(columns - 1)
        .map(|records| records / columns * columns)
        .ok_or_else(|| Error::refused("sink.parquet.part_records is too large"))
}
