//! Captured series as examples: which rows are steps, which part an origin belongs to, and its targets.
//!
//! Lives here: the view of [`Series`] that windows, lanes, scaling and evaluation share, so that all of them mean the
//! same by a step, an example and a target. Must not live here: how examples are put into batches.

use std::ops::RangeInclusive;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::Skip;
use crate::model::Input;
use crate::{Error, Result};

use super::split::{self, Subset};
use super::{Column, Plan, Series, Space, Texts, vocabulary};

/// The part of `train.memory` that the rows take which are shuffled at once.
const SHUFFLED: usize = 4;

/// The rows of one key as steps of a network. Only usable rows are steps; an index into `rows` is a *step*.
#[derive(Debug, Clone, Default)]
pub struct KeySteps {
    /// Per step, its row.
    pub rows: Column<u32>,
    /// Per step, how many steps there are since the last restart, itself included: 1 where state is zero.
    pub since: Column<u32>,
    /// Per step, the row that ends its sequence after it; [`KeySteps::NONE`] where the sequence goes on. Empty but in
    /// mode sequence.
    pub ends: Column<u32>,
}

impl KeySteps {
    /// No row.
    pub const NONE: u32 = u32::MAX;
}

/// Series, split and cut into steps.
#[derive(Debug)]
pub struct Dataset<'a> {
    /// The series.
    pub series: &'a [Series],
    /// What is trained.
    pub plan: &'a Plan,
    /// Per series, its steps.
    pub steps: Vec<KeySteps>,
    /// Per series and row, the row's part.
    pub rows: Vec<Column<Option<Subset>>>,
    /// Per series and row, the part that the example with this origin belongs to.
    pub examples: Vec<Column<Option<Subset>>>,
    /// Per series and row, how many holes lie before it; empty without a known interval.
    holes: Vec<Column<u32>>,
    /// Per series, the group of its key.
    pub groups: Vec<u32>,
    /// Per series and row, the id of each embedding [rows, embeddings].
    ids: Vec<Column<u32>>,
    /// Per series, target and row, the first row from there on that has a value; empty without `skip: ridge`.
    known: Vec<Vec<Column<u32>>>,
    /// Features beyond those that were captured: of which target, from which lag on how many.
    chosen: Vec<(usize, usize, usize)>,
}

impl<'a> Dataset<'a> {
    /// The series split as the plan says.
    pub fn new(series: &'a [Series], plan: &'a Plan) -> Result<Self> {
        let rows = series.iter().map(|s| plan.split.rows(s)).collect::<Result<Vec<_>>>()?;
        Self::with_parts(series, plan, rows)
    }

    /// All of it as the train part, for the last training after the evaluation.
    pub fn everything(series: &'a [Series], plan: &'a Plan) -> Result<Self> {
        let rows = series.iter().map(|s| Column::of(s.space(), Some(Subset::Train), s.times.len()));
        Self::with_parts(series, plan, rows.collect::<Result<_>>()?)
    }

    fn with_parts(series: &'a [Series], plan: &'a Plan, rows: Vec<Column<Option<Subset>>>) -> Result<Self> {
        for s in series {
            check_shape(s, plan)?;
        }
        let examples = rows.iter().map(|rows| split::examples(rows, plan.head.reach())).collect::<Result<_>>()?;
        let steps = series.iter().map(steps_of).collect::<Result<_>>()?;
        let holes = series.iter().map(|s| holes_of(s, plan)).collect::<Result<_>>()?;
        let known = |s: &Series| s.targets.iter().map(known_of).collect::<Result<_>>();
        let with_known = if plan.skip == Skip::Ridge { series } else { &[] };
        let known = with_known.iter().map(known).collect::<Result<_>>()?;
        let targets = plan.head.columns();
        let of_input =
            |input: &Input| Some((targets.iter().position(|target| *target == input.column)?, input.lag as usize));
        let mut chosen: Vec<(usize, usize, usize)> = Vec::new();
        for (target, lag) in plan.inputs.iter().skip(plan.captured).filter_map(of_input) {
            match chosen.last_mut() {
                Some((of, first, count)) if *of == target && *first + *count == lag => *count += 1,
                _ => chosen.push((target, lag, 1)),
            }
        }
        let groups = Self::groups_of(series, plan);
        let ids = vocabulary::ids(series, &plan.embeddings)?;
        Ok(Dataset { series, plan, steps, rows, examples, holes, groups, ids, known, chosen })
    }

    /// Per series, its linear path among those of a plan; 0: that of all others.
    pub fn groups_of(series: &[Series], plan: &Plan) -> Vec<u32> {
        let group = |s: &Series| plan.keys.iter().position(|key| *key == s.key).map_or(0, |at| at as u32 + 1);
        series.iter().map(group).collect()
    }

    /// The space that its columns share.
    pub fn space(&self) -> Option<&Arc<Space>> {
        self.series.first().and_then(Series::space)
    }

    /// How many examples are shuffled at once; `None`: all of them. It follows from the rows and `train.memory` alone,
    /// not from the machine.
    pub fn shuffled_within(&self) -> Option<usize> {
        let memory = usize::try_from(self.plan.memory?).ok()?;
        let bytes: usize = self.series.iter().map(Series::bytes).sum();
        let rows: usize = self.series.iter().map(|series| series.times.len()).sum();
        (bytes > memory).then(|| (memory / SHUFFLED / (bytes / rows.max(1)).max(1)).max(1))
    }

    /// What the network itself has to make for an output at an origin row; see [`super::head::Head::target`].
    pub fn wanted(&self, series: usize, row: usize, output: usize) -> Option<f64> {
        self.plan.head.target(self, series, row, output)
    }

    /// Whether no hole lies between two rows.
    #[inline]
    pub fn is_without_hole(&self, series: usize, from: usize, to: usize) -> bool {
        let holes = &self.holes[series];
        holes.is_empty() || holes[from] == holes[to]
    }

    /// What is added to an output, in the network's units.
    #[inline]
    pub fn base(&self, series: usize, row: usize, output: usize) -> f32 {
        self.plan.architecture.residual.get(output).map_or(0.0, |i| self.captured(series, row)[*i])
    }

    /// The features of a row that were captured, without lags that the training chose.
    #[inline]
    pub fn captured(&self, series: usize, row: usize) -> &[f32] {
        let width = self.plan.captured;
        &self.series[series].x[row * width..(row + 1) * width]
    }

    /// Writes all features of a step.
    pub fn x(&self, series: usize, step: usize, to: &mut [f32]) {
        let row = self.steps[series].rows[step] as usize;
        let captured = self.captured(series, row);
        let (own, mut rest) = to.split_at_mut(captured.len());
        own.copy_from_slice(captured);
        for (target, first, count) in &self.chosen {
            let (lags, others) = rest.split_at_mut(*count);
            self.put_lags(series, row, (*target, *first), lags);
            rest = others;
        }
    }

    /// Writes [`Dataset::lagged`] of the lags from one on.
    fn put_lags(&self, series: usize, row: usize, (target, first): (usize, usize), to: &mut [f32]) {
        let s = &self.series[series];
        let (known, values, unit) = (&self.known[series][target][..], &s.targets[target][..], s.unit(target, row));
        for (lag, to) in to.iter_mut().enumerate() {
            *to = unit.to_network(at_or_after(known, values, row, first + lag)) as f32;
        }
    }

    /// Writes the ids of a step, one for each embedding.
    pub fn ids(&self, series: usize, step: usize, to: &mut [u32]) {
        if !to.is_empty() {
            let first = self.steps[series].rows[step] as usize * to.len();
            to.copy_from_slice(&self.ids[series][first..first + to.len()]);
        }
    }

    /// A target some rows back, in the network's units; a missing value is that of the next row that has one. The same
    /// as `infer` gives for a filled input. Of a plan with `skip: ridge`.
    #[inline]
    pub fn lagged(&self, series: usize, row: usize, target: usize, lag: usize) -> f64 {
        let s = &self.series[series];
        s.to_network(target, row, at_or_after(&self.known[series][target], &s.targets[target], row, lag))
    }

    /// The rows of the sequence that ends with a step, from its first step on; `None` where none ends.
    pub fn rows_of_sequence(&self, series: usize, step: usize) -> Option<RangeInclusive<usize>> {
        let steps = &self.steps[series];
        let end = steps.ends.get(step).copied().filter(|end| *end != KeySteps::NONE)?;
        let first = steps.rows[step + 1 - steps.since[step] as usize];
        Some(first as usize..=end as usize)
    }

    /// The label of the sequence that ends with a step: that of its last record which has one.
    pub fn label_of_sequence(&self, series: usize, step: usize) -> Option<&'a str> {
        let labels = &self.series[series].labels;
        self.rows_of_sequence(series, step)?.rev().find_map(|row| labels.get(row))
    }

    /// Whether a step is an origin of a part that is wanted for at least one output.
    pub fn counts(&self, series: usize, step: usize, part: Subset) -> bool {
        let row = self.steps[series].rows[step] as usize;
        self.examples[series][row] == Some(part) && self.plan.head.is_example(self, series, step)
    }

    /// KeySteps of a series that are origins of a part and long enough after a restart for a window.
    pub fn origins(&self, series: usize, part: Subset) -> impl Iterator<Item = usize> + '_ {
        let needed = self.plan.window as u32;
        (0..self.steps[series].rows.len())
            .filter(move |step| self.steps[series].since[*step] >= needed && self.counts(series, *step, part))
    }

    /// Number of examples of each part per series.
    pub fn sizes(&self) -> Vec<[usize; 3]> {
        (0..self.series.len()).map(|s| Subset::ALL.map(|part| self.origins(s, part).count())).collect()
    }

    /// sha256 of everything that determines what is learned, as hex.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for s in self.series {
            hash.update((s.key.len() as u64).to_le_bytes());
            hash.update(s.key.as_bytes());
            hash.update((s.times.len() as u64).to_le_bytes());
            feed(&mut hash, &s.times, |v| v.to_le_bytes());
            feed(&mut hash, &s.x, |v| if v.is_nan() { f32::NAN } else { v }.to_bits().to_le_bytes());
            feed(&mut hash, &s.usable, |v| [u8::from(v)]);
            feed(&mut hash, &s.restart, |v| [u8::from(v)]);
            for (values, observed) in s.targets.iter().zip(&s.observed) {
                feed(&mut hash, values, |v| if v.is_nan() { f64::NAN } else { v }.to_bits().to_le_bytes());
                feed(&mut hash, observed, |v| [u8::from(v)]);
            }
            for pair in s.scale.iter().flatten().flat_map(|pairs| pairs.iter()) {
                hash.update(pair.0.to_bits().to_le_bytes());
                hash.update(pair.1.to_bits().to_le_bytes());
            }
            if s.log.contains(&true) {
                feed(&mut hash, &s.log, |v| [u8::from(v)]);
            }
            for label in s.labels.iter().chain(s.texts.iter().flat_map(Texts::iter)) {
                hash.update((label.map_or(u64::MAX, |label| label.len() as u64)).to_le_bytes());
                hash.update(label.map_or(&b""[..], str::as_bytes));
            }
            feed(&mut hash, &s.ends, |v| [u8::from(v)]);
            feed(&mut hash, &s.weights, |v| if v.is_nan() { f64::NAN } else { v }.to_bits().to_le_bytes());
            for word in s.split.iter().flat_map(|words| words.iter().flatten()) {
                hash.update((word.len() as u64).to_le_bytes());
                hash.update(word.as_bytes());
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The value some rows back, or that of the next row up to `row` that has one, by [`known_of`]; NaN: there is none.
#[inline]
fn at_or_after(known: &[u32], values: &[f64], row: usize, lag: usize) -> f64 {
    let next = known[row.saturating_sub(lag)] as usize;
    if next <= row { values[next] } else { f64::NAN }
}

fn feed<T: Copy, const N: usize>(hash: &mut Sha256, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    let mut buffer = Vec::with_capacity(4096);
    for block in values.chunks(512) {
        buffer.clear();
        buffer.extend(block.iter().flat_map(|v| bytes(*v)));
        hash.update(&buffer);
    }
}

fn steps_of(series: &Series) -> Result<KeySteps> {
    let count = series.usable.iter().filter(|usable| **usable).count();
    let (room, space) = (if series.ends.is_empty() { 0 } else { count }, series.space());
    let mut steps = KeySteps {
        rows: Column::with_room(space, count)?,
        since: Column::with_room(space, count)?,
        ends: Column::with_room(space, room)?,
    };
    let mut since = 0;
    for (row, usable) in series.usable.iter().enumerate() {
        // A restart at an unusable row takes effect at the next step.
        if series.restart[row] {
            since = 0;
        }
        if *usable {
            since += 1;
            steps.rows.push(row as u32)?;
            steps.since.push(since)?;
            if room > 0 {
                steps.ends.push(KeySteps::NONE)?;
            }
        }
        if series.ends.get(row) == Some(&true) {
            // A row that isn't usable ends the sequence of the steps before it.
            if let (1.., Some(end)) = (since, steps.ends.last_mut()) {
                *end = row as u32;
            }
            since = 0;
        }
    }
    Ok(steps)
}

fn known_of(values: &Column<f64>) -> Result<Column<u32>> {
    let mut known = Column::of(values.space(), u32::MAX, values.len())?;
    let mut next = u32::MAX;
    for (row, value) in values.iter().enumerate().rev() {
        if !value.is_nan() {
            next = row as u32;
        }
        known[row] = next;
    }
    Ok(known)
}

fn holes_of(series: &Series, plan: &Plan) -> Result<Column<u32>> {
    let Some(every) = plan.interval else { return Ok(Column::default()) };
    let mut holes = 0;
    let mut before: Option<i64> = None;
    let holes = series.times.iter().map(|time| {
        if before.is_some_and(|before| plan.clock.step(before, every, 1) != Some(*time)) {
            holes += 1;
        }
        before = Some(*time);
        holes
    });
    Column::collect(series.space(), holes)
}

/// What captures features and what trains on them are two programs' parts: a series of another shape is a defect.
fn check_shape(s: &Series, plan: &Plan) -> Result<()> {
    let n = s.times.len();
    let targets = if plan.head.is_text() { 0 } else { plan.head.columns().len() };
    let fits = s.x.len() == n * plan.captured
        && s.usable.len() == n
        && s.restart.len() == n
        && [s.targets.len(), s.observed.len(), s.scale.len()] == [targets; 3]
        && s.targets.iter().all(|v| v.len() == n)
        && s.observed.iter().all(|v| v.len() == n)
        && s.scale.iter().flatten().all(|v| v.len() == n)
        && s.labels.len() == if plan.head.is_text() { n } else { 0 }
        && s.texts.len() == plan.text_columns().count()
        && s.texts.iter().all(|v| v.len() == n)
        && [0, n].contains(&s.ends.len())
        && [0, n].contains(&s.weights.len())
        && s.split.as_ref().is_none_or(|v| v.len() == n);
    if fits && u32::try_from(n).is_ok() {
        return Ok(());
    }
    Err(Error::failed(format!(
        "key \"{}\": the captured features have another shape than the plan ({n} rows, {} features, {targets} targets)",
        s.key, plan.captured
    )))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::train::plan::tests::{plan_of, section};

    /// A series with `values` as its only feature and its only target, all observed.
    pub(in crate::train) fn plain(key: &str, values: &[f64]) -> Series {
        let n = values.len();
        Series {
            key: key.into(),
            times: (0..n as i64).collect(),
            x: values.iter().map(|v| *v as f32).collect(),
            usable: values.iter().map(|v| v.is_finite()).collect(),
            restart: (0..n).map(|row| row == 0).collect(),
            targets: vec![values.to_vec().into()],
            observed: vec![values.iter().map(|v| v.is_finite()).collect()],
            scale: vec![None],
            ..Series::default()
        }
    }

    #[test]
    fn unusable_rows_are_no_steps_and_hand_their_restart_on() {
        let mut s = plain("a", &[1.0, f64::NAN, 3.0, f64::NAN, 5.0, 6.0]);
        s.restart[3] = true;
        let steps = steps_of(&s).unwrap();
        assert_eq!(steps.rows, [0, 2, 4, 5]);
        assert_eq!(steps.since, [1, 2, 1, 2]);
    }

    #[test]
    fn the_hash_is_of_the_contents() {
        let plan = plan_of(&section(1, &["v"]), None);
        let hash = |series: &[Series]| Dataset::new(series, &plan).unwrap().hash();
        let a = [plain("a", &[1.0, 2.0, f64::NAN])];
        let mut b = a.clone();
        assert_eq!(hash(&a), hash(&b));
        b[0].targets[0][1] = 2.5;
        assert_ne!(hash(&a), hash(&b));
        assert_eq!(hash(&a).len(), 64);
    }
}
