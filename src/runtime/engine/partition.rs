//! One partition: keys, state, position, and the stages run over its records.

use std::time::Instant;

use arrow::array::ArrayRef;

use super::chain::{Chain, Order};
use crate::config::{OnLate, Watermark};
use crate::record::vector_numbers;
use crate::record::{Batch, Column, Kind, Layout, LayoutColumn, PartitionId, Records, Reject, Role, Values};
use crate::state::{Frozen, KeyList, Keys, Memory};
use crate::{Error, Result};

/// Rows that a stage gets at once, at most, where a stage before it made more of fewer.
const PIECE: usize = 8192;

/// What is remembered of one partition while it runs. Room is left for branches: state of its own for each version of
/// the model after stages that run once.
pub struct Partition {
    /// Which it is.
    pub id: PartitionId,
    /// Key to slot.
    pub keys: Keys,
    /// What is remembered of each slot.
    pub memory: Memory,
    /// Records taken so far: the position of the next one.
    pub position: u64,
    /// With [`Watermark::Partition`], the time of the last record that moved the time of all keys on, or that of the
    /// clock.
    pub watermark: Option<i64>,
    late: Vec<u64>,
    /// Of the records that were processed last, those that no stage has seen, in order: their position, why, and what
    /// exactly is wrong.
    judged: Vec<(u64, &'static str, String)>,
}

impl Partition {
    /// A partition that has seen nothing.
    pub fn new(id: PartitionId, chain: &Chain) -> Self {
        let memory = Memory::new(chain.layout.clone());
        Partition {
            id,
            keys: Keys::default(),
            memory,
            position: 0,
            watermark: None,
            late: Vec::new(),
            judged: Vec::new(),
        }
    }

    /// Puts it where a checkpoint left it.
    ///
    /// # Errors
    /// Rows of another width than the stages', a key that exists twice.
    pub fn restore(&mut self, keys: KeyList, rows: &Frozen, position: u64, watermark: Option<i64>) -> Result<()> {
        let failed = |what| Error::failed(format!("the checkpoint of partition {} has {what}", self.id));
        let keys = Keys::from_list(keys).ok_or_else(|| failed("a key twice"))?;
        if !self.memory.restore(rows)? {
            return Err(failed("rows of another width than the stages"));
        }
        self.keys = keys;
        self.position = position;
        self.watermark = watermark;
        Ok(())
    }

    /// Keys and rows for a checkpoint, shared until they are written.
    pub fn freeze(&mut self) -> (KeyList, Frozen) {
        (self.keys.list().clone(), self.memory.freeze())
    }

    /// What is remembered as another version of the model begins with it: what means the same to it is kept, the rest
    /// is as for new keys.
    pub fn converted(&mut self, from: &Chain, to: &Chain) -> Memory {
        let mut memory = Memory::new(to.layout.clone());
        memory.grow_to(self.memory.len());
        from.common(to).into_iter().for_each(|part| memory.copy_part(part, &mut self.memory, part));
        memory
    }

    /// Forgets everything about a key.
    pub fn reset(&mut self, key: &[u8]) {
        if let Some(slot) = self.keys.find(key) {
            self.memory.reset(slot);
        }
    }

    /// Advances time for all keys, as if each had reached `until`; `None` is the end of the source. Returns the output.
    ///
    /// # Errors
    /// As [`Partition::process`].
    pub fn advance(&mut self, chain: &mut Chain, until: Option<i64>) -> Result<Batch> {
        self.advance_at(chain, until, self.position)
    }

    fn advance_at(&mut self, chain: &mut Chain, until: Option<i64>, position: u64) -> Result<Batch> {
        if chain.order.watermark == Watermark::Partition {
            self.watermark = self.watermark.max(until);
        }
        let keys = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let mut batch = Batch::default();
        for (index, stage) in chain.stages.iter_mut().enumerate() {
            let mut state = self.memory.part(index + 1).of(&self.keys);
            if !batch.is_empty() {
                stage.process(&mut batch, &mut state)?;
            }
            if let Some(more) = stage.advance(until, &mut state, keys, position)? {
                batch.append(more)?;
            }
        }
        Ok(batch)
    }

    /// Positions of the records that were processed last although they are older than their key's newest.
    pub fn late(&self) -> &[u64] {
        &self.late
    }

    /// Bytes of the rows of state and of the keys.
    pub fn bytes(&self) -> usize {
        self.memory.bytes() + self.keys.bytes()
    }

    /// Runs records through the stages and returns the output. Rejected records are in the batch's `rejects`, in the
    /// order of their positions; they changed no state of the stage that refused them. The columns of the records are
    /// copied, so that a refused one can still be shown.
    ///
    /// # Errors
    /// Only what isn't the records' fault: ONNX Runtime, memory. The state is then undefined, the caller must stop.
    pub fn process(&mut self, chain: &mut Chain, layout: &Layout, records: &Records) -> Result<Batch> {
        let (mut values, mut passthrough) = (records.values.iter().cloned(), records.passthrough.iter().cloned());
        let columns = columns(layout, &mut values, &mut records.vectors.iter().cloned(), &mut passthrough);
        self.process_columns(chain, layout, records, columns)
    }

    /// As [`Partition::process`], and moves the columns out of the records: keys, times, origins and what is bad stay.
    ///
    /// # Errors
    /// As [`Partition::process`].
    pub fn process_taking(&mut self, chain: &mut Chain, layout: &Layout, records: &mut Records) -> Result<Batch> {
        let (values, passthrough) = (std::mem::take(&mut records.values), std::mem::take(&mut records.passthrough));
        let vectors = std::mem::take(&mut records.vectors);
        let columns = columns(layout, &mut values.into_iter(), &mut vectors.into_iter(), &mut passthrough.into_iter());
        self.process_columns(chain, layout, records, columns)
    }

    fn process_columns(
        &mut self,
        chain: &mut Chain,
        layout: &Layout,
        records: &Records,
        columns: Vec<Column>,
    ) -> Result<Batch> {
        let first = self.position;
        self.late.clear();
        self.judge(chain, layout, records, &columns);
        let admitted = self.admit(chain.order, records, columns);
        self.position += records.len() as u64;
        chain.metrics.batch_rows.observe(admitted.rows() as f64);
        let mut batch = match chain.order.watermark {
            Watermark::Key => self.run(chain, admitted)?,
            Watermark::Partition => self.run_in_time(chain, admitted)?,
        };
        batch.rejects.sort_by_key(|reject| reject.position);
        for stage in &mut chain.stages {
            self.late.append(&mut stage.late());
        }
        self.late.retain(|late| batch.rejects.binary_search_by_key(late, |reject| reject.position).is_err());
        debug_assert!(batch.rejects.iter().all(|r| r.position >= first && r.position < self.position));
        Ok(batch)
    }

    /// Finds the records whose values would make whole batches fail.
    fn judge(&mut self, chain: &Chain, layout: &Layout, records: &Records, columns: &[Column]) {
        self.judged.clear();
        for judge in &chain.judges {
            for (index, what) in judge.refused(layout, columns) {
                if records.bad.binary_search_by_key(&index, |(bad, _)| *bad).is_err() {
                    self.judged.push((self.position + index as u64, judge.reason(), what));
                }
            }
        }
        // One reason is enough.
        self.judged.sort_by_key(|(position, ..)| *position);
        self.judged.dedup_by_key(|(position, ..)| *position);
    }

    /// What exactly is wrong with a record that was refused last, if no stage has seen it for what its values are.
    pub fn judged(&self, position: u64) -> Option<&str> {
        let at = self.judged.binary_search_by_key(&position, |(position, ..)| *position).ok()?;
        Some(&self.judged[at].2)
    }

    /// The same in pieces: before a record whose time lets something go, time moves on for all keys. Where that is
    /// depends on the records alone.
    fn run_in_time(&mut self, chain: &mut Chain, mut rest: Batch) -> Result<Batch> {
        let mut out = Batch { rejects: std::mem::take(&mut rest.rejects), ..Batch::default() };
        while let Some(at) = chain.due(self.watermark).and_then(|due| rest.times.iter().position(|time| *time >= due)) {
            let later = rest.split_off(at);
            let (time, position) = (later.times[0], later.positions[0]);
            out.append(self.run(chain, rest)?)?;
            out.append(self.advance_at(chain, Some(time), position)?)?;
            rest = later;
        }
        out.append(self.run(chain, rest)?)?;
        Ok(out)
    }

    /// Runs admitted records through the stages.
    fn run(&mut self, chain: &mut Chain, batch: Batch) -> Result<Batch> {
        self.run_from(chain, 0, batch)
    }

    /// The same from a stage on. Where a stage made many rows of few, those after it see them in pieces.
    fn run_from(&mut self, chain: &mut Chain, first: usize, mut batch: Batch) -> Result<Batch> {
        let stages = chain.stages.len();
        for index in first..stages {
            if batch.is_empty() {
                break;
            }
            let (stage, metrics) = (&mut chain.stages[index], &chain.stage_metrics[index]);
            let (before, started) = (batch.rows(), Instant::now());
            stage.process(&mut batch, &mut self.memory.part(index + 1).of(&self.keys))?;
            metrics.seconds.observe(started.elapsed().as_secs_f64());
            metrics.removed.inc_by(before.saturating_sub(batch.rows()) as u64);
            if batch.rows() > before.max(PIECE) && index + 1 < stages {
                let mut out = Batch { rejects: std::mem::take(&mut batch.rejects), ..Batch::default() };
                while !batch.is_empty() {
                    let rest = batch.split_off(PIECE.min(batch.rows()));
                    out.append(self.run_from(chain, index + 1, batch)?)?;
                    batch = rest;
                }
                return Ok(out);
            }
        }
        Ok(batch)
    }

    /// Finds each record's slot and leaves out what can't be taken: bad records and, by policy, late ones.
    fn admit(&mut self, order: Order, records: &Records, columns: Vec<Column>) -> Batch {
        let count = records.len();
        let mut batch = Batch {
            slots: Vec::with_capacity(count),
            times: records.times.clone(),
            positions: (self.position..self.position + count as u64).collect(),
            columns,
            rejects: Vec::new(),
        };
        let mut mask = vec![true; count];
        for (index, reason) in &records.bad {
            mask[*index] = false;
            batch.rejects.push(Reject { position: self.position + *index as u64, reason });
        }
        for (position, reason, _) in &self.judged {
            mask[(position - self.position) as usize] = false;
            batch.rejects.push(Reject { position: *position, reason });
        }
        for (index, taken) in mask.iter_mut().enumerate() {
            if !*taken {
                batch.slots.push(0);
                continue;
            }
            let slot = self.keys.slot(records.hashes[index], records.key(index));
            self.memory.grow_to(self.keys.len());
            batch.slots.push(slot);
            let t = batch.times[index];
            let mut state = self.memory.part(0);
            let header: &mut [i64] = bytemuck::cast_slice_mut(state.rows.get_mut(slot));
            let is_late = header[1] == 1 && t < header[0];
            if is_late && order.late == OnLate::DeadLetter {
                *taken = false;
                batch.rejects.push(Reject { position: batch.positions[index], reason: "late" });
            } else if is_late && !order.reorders {
                self.late.push(batch.positions[index]);
            }
            if header[1] == 0 || t > header[0] {
                header[0] = t;
                header[1] = 1;
            }
        }
        batch.keep(&mask);
        batch
    }
}

/// The columns of records in the order of their layout.
fn columns(
    layout: &Layout,
    values: &mut dyn Iterator<Item = Vec<f64>>,
    vectors: &mut dyn Iterator<Item = ArrayRef>,
    passthrough: &mut dyn Iterator<Item = ArrayRef>,
) -> Vec<Column> {
    let column = |column: &LayoutColumn| {
        let values = match column.kind {
            Kind::Passthrough(_) => passthrough.next().map(Values::Passthrough),
            Kind::Samples => vectors.next().map(Values::Passthrough),
            Kind::Vector(width) => {
                vectors.next().and_then(|array| Some(Values::Vector(vector_numbers(&array)?, width)))
            }
            _ => values.next().map(Values::Number),
        };
        debug_assert!(values.is_some() && column.role != Role::Internal, "the source's layout fits its records");
        values.map(Column::from)
    };
    layout.columns.iter().filter_map(column).collect()
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
