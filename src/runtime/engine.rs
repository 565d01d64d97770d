//! One partition: keys, state, position, and the stages run over its records.

use crate::config::OnLate;
use crate::metrics::{Metrics, StageMetrics};
use crate::record::{Batch, Column, Kind, Layout, Reject, Role, Values};
use crate::source::Records;
use crate::stage::Stage;
use crate::state::{Arena, KeyList, Keys, Pages, RowSpan};
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// Words of a row before those of the stages: the key's latest time, and whether there is one.
const HEADER: usize = 2;

/// The stages of a pipeline, and where each keeps its part of a row of state.
pub struct Chain {
    stages: Vec<Box<dyn Stage>>,
    /// Per stage, first word and width of its part.
    rows: Vec<(usize, usize)>,
    initial_row: Vec<u64>,
    late: OnLate,
    metrics: Arc<Metrics>,
    stage_metrics: Vec<StageMetrics>,
}

impl Chain {
    /// Lays the stages' rows of state one behind the other.
    pub fn new(stages: Vec<Box<dyn Stage>>, late: OnLate, metrics: Arc<Metrics>) -> Self {
        let mut initial_row = vec![0; HEADER];
        let mut rows = Vec::new();
        for stage in &stages {
            let row = stage.initial_row();
            rows.push((initial_row.len(), row.len()));
            initial_row.extend(row);
        }
        let stage_metrics = stages.iter().enumerate().map(|(i, stage)| metrics.stage(i, stage.name())).collect();
        Chain { stages, rows, initial_row, late, metrics, stage_metrics }
    }

    /// The row of a new key.
    pub fn initial_row(&self) -> &[u64] {
        &self.initial_row
    }

    /// Each stage's part of a row.
    pub fn rows(&self) -> Vec<RowSpan> {
        let of = |stage: &str, (start, width): (usize, usize)| RowSpan { stage: stage.into(), start, width };
        let stages = self.stages.iter().zip(&self.rows).map(|(stage, row)| of(stage.name(), *row));
        std::iter::once(of("kolk", (0, HEADER))).chain(stages).collect()
    }

    /// The parts of a row that mean the same to the stages of another version of the model: first word here, first word there, width.
    fn common(&self, other: &Chain) -> Vec<(usize, usize, usize)> {
        let mut common = vec![(0, 0, HEADER)];
        let there = other.stages.iter().zip(&other.rows);
        for ((stage, (start, width)), (same, (to, as_wide))) in self.stages.iter().zip(&self.rows).zip(there) {
            let meaning = stage.meaning();
            if meaning.is_some() && meaning == same.meaning() && width == as_wide {
                common.push((*start, *to, *width));
            }
        }
        common
    }
}

/// What is remembered of one partition while it runs.
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// Key to slot.
    pub keys: Keys,
    /// Slot to row.
    pub arena: Arena,
    /// Records taken so far: the position of the next one.
    pub position: u64,
}

impl Partition {
    /// A partition that has seen nothing.
    pub fn new(number: u32, chain: &Chain) -> Self {
        Partition { number, keys: Keys::default(), arena: Arena::new(chain.initial_row.clone()), position: 0 }
    }

    /// Puts it where a checkpoint left it.
    ///
    /// # Errors
    /// Rows of another width than the stages', a key that is there twice.
    pub fn restore(&mut self, keys: KeyList, rows: &Pages, position: u64) -> Result<()> {
        let failed = |what| Error::failed(format!("the checkpoint of partition {} has {what}", self.number));
        let keys = Keys::from_list(keys).ok_or_else(|| failed("a key twice"))?;
        if !self.arena.restore(rows) {
            return Err(failed("rows of another width than the stages"));
        }
        self.keys = keys;
        self.position = position;
        Ok(())
    }

    /// Keys and rows for a checkpoint, shared until they are written.
    pub fn freeze(&mut self) -> (KeyList, Pages) {
        (self.keys.list().clone(), self.arena.freeze())
    }

    /// The rows as another version of the model begins with them: what means the same to it is kept, the rest is as for new keys.
    pub fn converted(&mut self, from: &Chain, to: &Chain) -> Arena {
        let mut arena = Arena::new(to.initial_row.clone());
        arena.grow_to(self.arena.len());
        let rows = u32::try_from(self.arena.len()).unwrap_or(u32::MAX);
        for (start, at, width) in from.common(to).into_iter().filter(|(_, _, width)| *width > 0) {
            let (before, mut now) = (self.arena.rows(start, width), arena.rows(at, width));
            (0..rows).for_each(|slot| now.get_mut(slot).copy_from_slice(before.get(slot)));
        }
        arena
    }

    /// Forgets everything about a key.
    pub fn reset(&mut self, key: &[u8]) {
        if let Some(slot) = self.keys.find(key) {
            let width = self.arena.width();
            self.arena.rows(0, width).reset(slot);
        }
    }

    /// Moves time on for all keys, as if each had reached `until`; `None` is the end of the source. Returns what came out.
    ///
    /// # Errors
    /// As [`Partition::process`].
    pub fn advance(&mut self, chain: &mut Chain, until: Option<i64>) -> Result<Batch> {
        let keys = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let mut batch = Batch::default();
        for (stage, (start, width)) in chain.stages.iter_mut().zip(&chain.rows) {
            if !batch.is_empty() {
                stage.process(&mut batch, &mut self.arena.rows(*start, *width))?;
            }
            if let Some(more) = stage.advance(until, &mut self.arena.rows(*start, *width), keys, self.position)? {
                batch.append(more)?;
            }
        }
        Ok(batch)
    }

    /// Bytes of the rows of state and of the keys.
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.keys.bytes()
    }

    /// Takes records, runs them through the stages, and returns what came out. Rejected records are in the batch's
    /// `rejects`, in the order of their positions; they changed no state of the stage that refused them.
    ///
    /// # Errors
    /// Only what isn't the records' fault: ONNX Runtime, memory. The state is then undefined, the caller must stop.
    pub fn process(&mut self, chain: &mut Chain, layout: &Layout, records: &Records) -> Result<Batch> {
        let first = self.position;
        let mut batch = self.admit(chain.late, layout, records);
        self.position += records.len() as u64;
        chain.metrics.batch_rows.observe(batch.rows() as f64);
        for ((stage, (start, width)), metrics) in chain.stages.iter_mut().zip(&chain.rows).zip(&chain.stage_metrics) {
            if batch.is_empty() {
                break;
            }
            let (before, started) = (batch.rows(), Instant::now());
            stage.process(&mut batch, &mut self.arena.rows(*start, *width))?;
            metrics.seconds.observe(started.elapsed().as_secs_f64());
            metrics.removed.inc_by(before.saturating_sub(batch.rows()) as u64);
        }
        batch.rejects.sort_by_key(|reject| reject.position);
        debug_assert!(batch.rejects.iter().all(|r| r.position >= first && r.position < self.position));
        Ok(batch)
    }

    /// Finds each record's slot and leaves out what can't be taken: bad records and, by policy, late ones.
    fn admit(&mut self, late: OnLate, layout: &Layout, records: &Records) -> Batch {
        let count = records.len();
        let mut batch = Batch {
            slots: Vec::with_capacity(count),
            times: records.times.clone(),
            positions: (self.position..self.position + count as u64).collect(),
            columns: Vec::with_capacity(layout.columns.len()),
            rejects: Vec::new(),
        };
        let mut mask = vec![true; count];
        for (index, reason) in &records.bad {
            mask[*index] = false;
            batch.rejects.push(Reject { position: self.position + *index as u64, reason });
        }
        for (index, taken) in mask.iter_mut().enumerate() {
            if !*taken {
                batch.slots.push(0);
                continue;
            }
            let slot = self.keys.slot(records.hashes[index], records.key(index));
            self.arena.grow_to(self.keys.len());
            batch.slots.push(slot);
            let t = batch.times[index];
            let mut rows = self.arena.rows(0, HEADER);
            let header: &mut [i64] = bytemuck::cast_slice_mut(rows.get_mut(slot));
            let is_late = header[1] == 1 && t < header[0];
            if is_late && late == OnLate::DeadLetter {
                *taken = false;
                batch.rejects.push(Reject { position: batch.positions[index], reason: "late" });
            }
            if header[1] == 0 || t > header[0] {
                header[0] = t;
                header[1] = 1;
            }
        }
        let (mut values, mut carried) = (records.values.iter(), records.carried.iter());
        for column in &layout.columns {
            let values = match column.kind {
                Kind::Carried(_) => carried.next().map(|array| Values::Carried(array.clone())),
                _ => values.next().map(|values| Values::Number(values.clone())),
            };
            debug_assert!(values.is_some() && column.role != Role::Internal, "the source's layout fits its records");
            batch.columns.extend(values.map(Column::from));
        }
        batch.keep(&mask);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Rows, murmur2};

    /// A stage whose part of a new row is a number, over and over.
    struct Keeps {
        initial: u64,
        width: usize,
        meaning: Option<&'static str>,
    }

    impl Stage for Keeps {
        fn name(&self) -> &'static str {
            "keeps"
        }

        fn initial_row(&self) -> Vec<u64> {
            vec![self.initial; self.width]
        }

        fn meaning(&self) -> Option<String> {
            self.meaning.map(str::to_owned)
        }

        fn process(&mut self, _: &mut Batch, _: &mut Rows<'_>) -> Result<()> {
            Ok(())
        }
    }

    fn chain(metrics: &Arc<Metrics>, parts: &[(u64, usize, Option<&'static str>)]) -> Chain {
        let stage = |(initial, width, meaning): &(u64, usize, Option<&'static str>)| {
            Box::new(Keeps { initial: *initial, width: *width, meaning: *meaning }) as Box<dyn Stage>
        };
        Chain::new(parts.iter().map(stage).collect(), OnLate::Process, metrics.clone())
    }

    #[test]
    fn what_means_the_same_is_kept_and_the_rest_begins_anew() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let from = chain(
            &metrics,
            &[(0, 2, Some("lags")), (0, 0, Some("none")), (0, 3, None), (0, 1, Some("a")), (0, 2, Some("wide"))],
        );
        let to = chain(
            &metrics,
            &[(7, 2, Some("lags")), (7, 0, Some("none")), (8, 1, None), (9, 1, Some("b")), (6, 3, Some("wide"))],
        );
        let mut partition = Partition::new(0, &from);
        let width = from.initial_row().len();
        for n in 0..3000_u64 {
            let key = n.to_string();
            let slot = partition.keys.slot(murmur2(key.as_bytes()), key.as_bytes());
            partition.arena.grow_to(partition.keys.len());
            (0..width).for_each(|word| partition.arena.rows(0, width).get_mut(slot)[word] = 100 * n + word as u64);
        }
        let before = partition.freeze().1;
        let after = partition.converted(&from, &to).freeze();
        assert_eq!(after.len(), 3000);
        for n in 0..3000 {
            let header_and_lags: Vec<u64> = (0..4).map(|word| 100 * n + word).collect();
            let expected = [&header_and_lags[..], &[8, 9, 6, 6, 6]].concat();
            assert_eq!(after.row(n as u32), expected);
            assert_eq!(before.row(n as u32)[9], 100 * n + 9, "the rows that there were are as they were");
        }
        // The same stages keep everything that says what it means.
        let same = partition.converted(&from, &from).freeze();
        assert_eq!(same.row(5)[..4], before.row(5)[..4]);
        assert_eq!((&same.row(5)[4..7], &same.row(5)[7..]), (&[0, 0, 0][..], &before.row(5)[7..]));
    }
}
