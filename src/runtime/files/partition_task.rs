//! One partition of a run into files: runs its stages, writes its parts, commits them.
//!
//! On a Parquet source the checkpoint is the commit. Parts end at fixed positions of the input, so whatever is done
//! again after a crash is the same bytes under the same names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::dead_letters::{dead_letter, origin};
use super::versions::Versions;
use crate::config::OnError;
use crate::format::TOO_FAR_AHEAD;
use crate::metrics::Metrics;
use crate::record::{Batch, Layout, Origin};
use crate::runtime::engine::{Chain, Partition, Work, refused};
use crate::sink;
use crate::state::{Checkpoint, End, Manifest, ModelEpoch, Part, Store};
use crate::{Error, Result};

/// What every worker of a run shares.
pub struct Shared {
    /// Versions of the model: that of this run, and those that partitions were left with.
    pub versions: Versions,
    /// Columns of the source.
    pub source: Layout,
    /// Names of the source's files, by [`Origin::file`].
    pub files: Vec<String>,
    /// How many of them a hash stands for that an earlier version kept instead of a list.
    pub hashed: Option<usize>,
    /// Columns of the output.
    pub sink: sink::PlannedSink,
    /// Where it goes.
    pub output: Output,
    /// Where refused records go.
    pub dead_letters: sink::Parts,
    /// Where state is kept; none for a sink that can't be committed (stdout).
    pub store: Option<Store>,
    /// Rows before this time are computed and not written.
    pub emit_from: Option<i64>,
    /// Input records of a partition that a part covers.
    pub part_records: u64,
    /// A checkpoint is due after that time …
    pub checkpoint_every: Duration,
    /// … or that many records of a partition.
    pub or_records: u64,
    /// What happens to a record that can't be taken.
    pub on_error: OnError,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Records done by this process, for the progress bar.
    pub done: AtomicU64,
}

/// Where rows go.
pub enum Output {
    /// Into part files, committed with the state.
    Parts(sink::Parts),
    /// To stdout, where nothing can be undone.
    Lines(sink::JsonLines),
}

/// A partition and everything about it that is not yet committed.
pub struct PartitionTask {
    /// Keys, state, position.
    pub partition: Partition,
    /// The newest commit.
    pub manifest: Option<Manifest>,
    /// Position of the last processed record.
    pub origin: Option<Origin>,
    /// Records up to there need not be read.
    pub done: Option<Origin>,
    /// Whether the whole source is processed and committed.
    pub finished: bool,
    /// Counts over the whole life of the pipeline, by name; kept in checkpoints.
    pub counters: BTreeMap<String, u64>,
    output: Option<sink::PartWriter>,
    refused: Option<sink::DeadLetters>,
    parts: Vec<Part>,
    /// Position at which the open parts begin.
    part_start: u64,
    /// Records since the last commit.
    since: u64,
    /// Whether the clock closed anything since then.
    closed: bool,
    committed: Instant,
    /// Keys and bytes as the gauges show them.
    shown: (i64, i64),
}

impl PartitionTask {
    /// A partition as a checkpoint left it, or a fresh one.
    pub fn new(
        partition: Partition,
        manifest: Option<Manifest>,
        origin: Option<Origin>,
        counters: BTreeMap<String, u64>,
    ) -> Self {
        let part_start = partition.position;
        PartitionTask {
            partition,
            manifest,
            origin,
            done: origin,
            finished: false,
            counters,
            output: None,
            refused: None,
            parts: Vec::new(),
            part_start,
            since: 0,
            closed: false,
            committed: Instant::now(),
            shown: (0, 0),
        }
    }

    /// Takes records that lie within one part.
    pub fn take(&mut self, work: &Work, chain: &mut Chain, shared: &Shared) -> Result<()> {
        if work.position != self.partition.position {
            return Err(Error::failed(format!(
                "partition {} is at {} and received records from {}: internal error, please report",
                work.partition, self.partition.position, work.position
            )));
        }
        let count = work.records.len() as u64;
        let batch = self.partition.process(chain, &shared.source, &work.records)?;
        self.origin = work.records.origins.last().copied().or(self.origin);
        self.since += count;
        if shared.store.is_some() {
            shared.metrics.stream.unsaved.changed(self.partition.id);
        }
        self.count("records", count);
        shared.metrics.records_in.inc_by(count);
        let late = self.partition.late().len() as u64;
        if late > 0 {
            self.count("late", late);
            shared.metrics.late_records.inc_by(late);
        }
        shared.metrics.refusals.came(count);
        self.write(&batch, shared)?;
        self.refuse(work, &batch, shared)?;
        shared.done.fetch_add(count, Ordering::Relaxed);
        if self.partition.position.is_multiple_of(shared.part_records) {
            self.cut(shared)?;
            if self.since >= shared.or_records || self.committed.elapsed() >= shared.checkpoint_every {
                self.commit(shared)?;
            }
        }
        Ok(())
    }

    /// Moves time on by the clock, up to `until`.
    pub fn advance(&mut self, until: i64, chain: &mut Chain, shared: &Shared) -> Result<()> {
        let batch = self.partition.advance(chain, Some(until))?;
        self.closed |= !batch.is_empty();
        self.write(&batch, shared)
    }

    /// Continues after a commit at the end of a source, which may have more files now.
    pub fn resume(&mut self, shared: &Shared) {
        let Some(manifest) = self.manifest.as_ref().filter(|manifest| manifest.finished) else { return };
        let files = shared.files.len();
        let read = manifest.files_read(files, shared.hashed);
        self.finished = read >= files;
        if self.finished {
            self.counters = manifest.counters.clone();
        }
        // All of them, whichever record of the partition was the last.
        let last = u32::try_from(read).unwrap_or(u32::MAX).checked_sub(1);
        self.done = last.map(|file| Origin { file, row: u64::MAX });
    }

    /// Commits the rest, at the end of the source. What stages emit only because it is the end goes into parts of its
    /// own, and the state is that of before: if the source grows, it is as if it had not ended there.
    pub fn finish(&mut self, chain: &mut Chain, shared: &Shared) -> Result<()> {
        self.cut(shared)?;
        let checkpoint = self.checkpoint(shared);
        let before = self.parts.len();
        let batch = self.partition.advance(chain, None)?;
        self.write(&batch, shared)?;
        self.cut(shared)?;
        let tail = self.parts.len() - before;
        let end = End { files: shared.files.len(), tail, counters: self.counters.clone() };
        self.finished = true;
        self.commit_as(shared, checkpoint, Some(end))
    }

    /// Records since the last commit.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Commits everything so far, at any position of a stream. The position counts too: after the last record there may
    /// be offsets without any, and tombstones change the state.
    pub fn save(&mut self, shared: &Shared) -> Result<()> {
        let moved = self.manifest.as_ref().is_some_and(|manifest| manifest.origin != self.origin);
        if self.since == 0 && !self.closed && !moved {
            return Ok(());
        }
        self.cut(shared)?;
        self.commit(shared)
    }

    /// Commits where a stream begins.
    pub fn begin(&mut self, shared: &Shared) -> Result<()> {
        if shared.store.is_none() {
            return Ok(());
        }
        self.commit(shared)
    }

    fn count(&mut self, name: &str, by: u64) {
        match self.counters.get_mut(name) {
            Some(count) => *count += by,
            None => {
                self.counters.insert(name.to_string(), by);
            }
        }
    }

    fn write(&mut self, batch: &Batch, shared: &Shared) -> Result<()> {
        if batch.is_empty() {
            // Nothing went through the last stages, so their columns aren't there either.
            return Ok(());
        }
        let rows = shared.sink.rows(batch, &self.partition.keys, self.partition.id, shared.emit_from)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.count("rows", rows.num_rows() as u64);
        shared.metrics.records_out.inc_by(rows.num_rows() as u64);
        match &shared.output {
            Output::Parts(parts) => {
                self.output.get_or_insert_with(|| parts.begin(self.partition.id, self.part_start)).write(rows)
            }
            Output::Lines(lines) => lines.write(&rows),
        }
    }

    fn refuse(&mut self, work: &Work, batch: &Batch, shared: &Shared) -> Result<()> {
        if batch.rejects.is_empty() {
            return Ok(());
        }
        for reject in &batch.rejects {
            let index = (reject.position - work.position) as usize;
            let judged = self.partition.judged(reject.position);
            if shared.on_error == OnError::Refuse
                && reject.reason != TOO_FAR_AHEAD
                && (judged.is_some() || work.records.bad.binary_search_by_key(&index, |(i, _)| *i).is_ok())
            {
                let origin = work.records.origins[index];
                let file = shared.files.get(origin.file as usize).map_or("?", String::as_str);
                let file = work.partition.topic.name().unwrap_or(file);
                let detail = work.details.iter().find(|(at, _)| *at == index);
                let detail = detail.map(|(_, detail)| detail.as_str()).or(judged);
                let detail = detail.map_or(String::new(), |detail| format!(": {detail}"));
                return Err(Error::failed(format!(
                    "{}: {file}, row {} (from 0){detail}; on.error is refuse: mend the record, or set on.error to \
                     dead_letter",
                    reject.reason, origin.row
                )));
            }
            let mut letter = dead_letter(reject, work, &shared.source, &shared.files);
            letter.detail = letter.detail.or_else(|| judged.map(str::to_string));
            self.count(&format!("dead_letters.{}", reject.reason), 1);
            refused(&shared.metrics, reject.reason, || origin(&letter, work, &shared.source));
            self.refused
                .get_or_insert_with(|| {
                    sink::DeadLetters::begin(&shared.dead_letters, self.partition.id, self.part_start)
                })
                .push(letter)?;
        }
        Ok(())
    }

    /// Ends the open parts; they are staged until a commit names them.
    fn cut(&mut self, shared: &Shared) -> Result<()> {
        if let Some(part) = self.output.take() {
            // What the clock closed came without a record, so another part may begin at the same position.
            let alone = self.partition.position == self.part_start;
            let next = self.manifest.as_ref().map_or(0, |manifest| manifest.sequence + 1);
            self.parts.extend(part.finish(alone.then_some(next))?);
        }
        if let Some(part) = self.refused.take() {
            self.parts.extend(part.finish()?);
        }
        self.part_start = self.partition.position;
        self.show_state(shared);
        Ok(())
    }

    /// Takes the partition out of the gauges: it is another process' from now on.
    pub fn leave(&mut self, shared: &Shared) {
        self.show((0, 0), shared);
    }

    /// Brings the gauges up to date.
    pub fn show_state(&mut self, shared: &Shared) {
        self.show((self.partition.keys.len() as i64, self.partition.bytes() as i64), shared);
    }

    /// Adds what changed since the last time to the gauges, which are those of all partitions.
    fn show(&mut self, now: (i64, i64), shared: &Shared) {
        shared.metrics.state_keys.add(now.0 - self.shown.0);
        shared.metrics.state_bytes.add(now.1 - self.shown.1);
        self.shown = now;
    }

    fn commit(&mut self, shared: &Shared) -> Result<()> {
        let checkpoint = self.checkpoint(shared);
        self.commit_as(shared, checkpoint, None)
    }

    /// The state as it is now.
    fn checkpoint(&mut self, shared: &Shared) -> Checkpoint {
        let (keys, rows) = self.partition.freeze();
        Checkpoint {
            position: self.partition.position,
            watermark: self.partition.watermark,
            origin: self.origin,
            keys,
            rows,
            extra: self.counters.clone(),
            spans: self.partition.memory.spans().to_vec(),
            epoch: ModelEpoch { model: shared.versions.wanted().to_string(), from: 0 },
            ..Checkpoint::default()
        }
    }

    fn commit_as(&mut self, shared: &Shared, checkpoint: Checkpoint, end: Option<End>) -> Result<()> {
        self.since = 0;
        self.closed = false;
        self.committed = Instant::now();
        let Some(store) = &shared.store else {
            // Nothing is ever undone: a refusal is final at once.
            return self.parts.drain(..).try_for_each(|part| shared.dead_letters.publish(&part));
        };
        let parts = std::mem::take(&mut self.parts);
        let manifest = store.commit(self.partition.id, self.manifest.as_ref(), &checkpoint, parts, end)?;
        shared.metrics.checkpoint(self.committed.elapsed(), manifest.checkpoint_bytes);
        shared.metrics.stream.unsaved.saving(self.partition.id);
        shared.metrics.stream.unsaved.saved(self.partition.id);
        self.manifest = Some(manifest);
        Ok(())
    }
}
