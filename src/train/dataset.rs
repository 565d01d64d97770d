//! Captured series seen as examples: which rows are steps, which part an origin belongs to, what is wanted of it.
//!
//! Lives here: the view of [`Series`] that windows, lanes, scaling and evaluation share, so that all of them mean the
//! same by a step, an example and a target. Must not live here: how examples are put into batches.

use sha2::{Digest, Sha256};

use crate::{Error, Result};

use super::split::{self, Subset};
use super::{Plan, Series};

/// The rows of one key as steps of a network. Only usable rows are steps; an index into `rows` is a *step*.
#[derive(Debug, Clone, Default)]
pub struct KeySteps {
    /// Per step, its row.
    pub rows: Vec<u32>,
    /// Per step, how many steps there are since the last restart, itself included: 1 where state is zero.
    pub since: Vec<u32>,
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
    pub rows: Vec<Vec<Option<Subset>>>,
    /// Per series and row, the part that the example with this origin belongs to.
    pub examples: Vec<Vec<Option<Subset>>>,
    /// Per series and row, how many holes lie before it; empty without a known interval.
    holes: Vec<Vec<u32>>,
}

/// Standard deviations of its own key beyond which a scaled target teaches no more.
const FAR: f64 = 10.0;

impl<'a> Dataset<'a> {
    /// The series split as the plan says.
    pub fn new(series: &'a [Series], plan: &'a Plan) -> Result<Self> {
        let rows = series.iter().map(|s| plan.split.rows(s)).collect::<Result<Vec<_>>>()?;
        Self::with_parts(series, plan, rows)
    }

    /// All of it as the train part, for the last training after the evaluation.
    pub fn everything(series: &'a [Series], plan: &'a Plan) -> Result<Self> {
        let rows = series.iter().map(|s| vec![Some(Subset::Train); s.times.len()]).collect();
        Self::with_parts(series, plan, rows)
    }

    fn with_parts(series: &'a [Series], plan: &'a Plan, rows: Vec<Vec<Option<Subset>>>) -> Result<Self> {
        for s in series {
            check_shape(s, plan)?;
        }
        let examples = rows.iter().map(|rows| split::examples(rows, plan.horizon)).collect();
        let steps = series.iter().map(steps_of).collect();
        let holes = series.iter().map(|s| holes_of(s, plan)).collect();
        Ok(Dataset { series, plan, steps, rows, examples, holes })
    }

    /// The target of an output for an origin row, in the key's own units: `None` where there is no such row, where it
    /// was not observed, or where it lies beyond a hole.
    pub fn truth(&self, series: usize, row: usize, output: usize) -> Option<f64> {
        let (step, target) = self.plan.step_and_target(output);
        let s = &self.series[series];
        let at = row + step;
        let value = *s.targets[target].get(at)?;
        let holes = &self.holes[series];
        let reached = holes.is_empty() || holes[row] == holes[at];
        (reached && s.observed[target][at] && value.is_finite()).then_some(value)
    }

    /// What the network itself has to make for an output at an origin row: the target in the network's units, less
    /// what is added to the output.
    pub fn wanted(&self, series: usize, row: usize, output: usize) -> Option<f64> {
        let truth = self.truth(series, row, output)?;
        let wanted = self.to_network(series, row, output, truth)? - f64::from(self.base(series, row, output));
        let (_, target) = self.plan.step_and_target(output);
        // A key that was constant and jumps is any number of its (tiny) standard deviations away: one such row would
        // outweigh all others.
        let scaled = self.series[series].scale[target].is_some();
        let wanted = if scaled { wanted.clamp(-FAR, FAR) } else { wanted };
        wanted.is_finite().then_some(wanted)
    }

    /// What is added to an output, in the network's units.
    pub fn base(&self, series: usize, row: usize, output: usize) -> f32 {
        let shape = &self.plan.architecture;
        shape.residual.get(output).map_or(0.0, |i| self.series[series].x[row * shape.features + i])
    }

    /// A value of an output's target in the network's units; `None` where the `scale` stage knows none yet.
    fn to_network(&self, series: usize, row: usize, output: usize, value: f64) -> Option<f64> {
        let (_, target) = self.plan.step_and_target(output);
        match &self.series[series].scale[target] {
            None => Some(value),
            Some(pairs) => {
                let (mean, sd) = pairs[row];
                (mean.is_finite() && sd.is_finite() && sd > 0.0).then(|| (value - mean) / sd)
            }
        }
    }

    /// An output of the network in the key's own units.
    pub fn to_own(&self, series: usize, row: usize, output: usize, value: f32) -> f64 {
        let (_, target) = self.plan.step_and_target(output);
        match &self.series[series].scale[target] {
            None => f64::from(value),
            Some(pairs) => f64::from(value) * pairs[row].1 + pairs[row].0,
        }
    }

    /// The features of a step.
    pub fn x(&self, series: usize, step: usize) -> &[f32] {
        let features = self.plan.architecture.features;
        let row = self.steps[series].rows[step] as usize;
        &self.series[series].x[row * features..(row + 1) * features]
    }

    /// Whether a step is an origin of a part that is wanted for at least one output.
    pub fn counts(&self, series: usize, step: usize, part: Subset) -> bool {
        let row = self.steps[series].rows[step] as usize;
        self.examples[series][row] == Some(part)
            && (0..self.plan.outputs()).any(|output| self.wanted(series, row, output).is_some())
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

    /// sha256 over everything that decides what is learned, as hex.
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
            for pair in s.scale.iter().flatten().flatten() {
                hash.update(pair.0.to_bits().to_le_bytes());
                hash.update(pair.1.to_bits().to_le_bytes());
            }
            for word in s.split.iter().flatten() {
                hash.update((word.len() as u64).to_le_bytes());
                hash.update(word.as_bytes());
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn feed<T: Copy, const N: usize>(hash: &mut Sha256, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    let mut buffer = Vec::with_capacity(4096);
    for block in values.chunks(512) {
        buffer.clear();
        buffer.extend(block.iter().flat_map(|v| bytes(*v)));
        hash.update(&buffer);
    }
}

fn steps_of(series: &Series) -> KeySteps {
    let mut steps = KeySteps::default();
    let mut since = 0;
    for (row, usable) in series.usable.iter().enumerate() {
        // A restart at an unusable row takes effect at the next step.
        if series.restart[row] {
            since = 0;
        }
        if *usable {
            since += 1;
            steps.rows.push(row as u32);
            steps.since.push(since);
        }
    }
    steps
}

fn holes_of(series: &Series, plan: &Plan) -> Vec<u32> {
    let Some(every) = plan.interval else { return Vec::new() };
    let mut holes = 0;
    let mut before: Option<i64> = None;
    series
        .times
        .iter()
        .map(|time| {
            if before.is_some_and(|before| plan.clock.step(before, every, 1) != Some(*time)) {
                holes += 1;
            }
            before = Some(*time);
            holes
        })
        .collect()
}

/// What captures features and what trains on them are two programs' parts: a series of another shape is a defect.
fn check_shape(s: &Series, plan: &Plan) -> Result<()> {
    let n = s.times.len();
    let targets = plan.targets.len();
    let fits = s.x.len() == n * plan.architecture.features
        && s.usable.len() == n
        && s.restart.len() == n
        && [s.targets.len(), s.observed.len(), s.scale.len()] == [targets; 3]
        && s.targets.iter().all(|v| v.len() == n)
        && s.observed.iter().all(|v| v.len() == n)
        && s.scale.iter().flatten().all(|v| v.len() == n)
        && s.split.as_ref().is_none_or(|v| v.len() == n);
    if fits && u32::try_from(n).is_ok() {
        return Ok(());
    }
    Err(Error::failed(format!(
        "key \"{}\": the captured features have another shape than the plan ({n} rows, {} features, {targets} targets)",
        s.key, plan.architecture.features
    )))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Residual, Split};
    use crate::record::Every;
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
            targets: vec![values.to_vec()],
            observed: vec![values.iter().map(|v| v.is_finite()).collect()],
            scale: vec![None],
            split: None,
        }
    }

    #[test]
    fn truth_is_the_row_h_later_where_observed_and_on_this_side_of_a_hole() {
        let mut train = section(2, &["v"]);
        train.residual = Residual::Last;
        train.split.value = Split::Rows([5, 0, 0]);
        let mut plan = plan_of(&train, None);
        plan.interval = Some(Every::Ticks(1));
        let mut s = plain("a", &[10.0, 20.0, 40.0, 80.0, 160.0]);
        s.times = vec![0, 1, 2, 5, 6];
        s.observed[0][1] = false;
        let series = [s];
        let data = Dataset::new(&series, &plan).unwrap();
        let truths: Vec<[Option<f64>; 2]> = (0..5).map(|row| [data.truth(0, row, 0), data.truth(0, row, 1)]).collect();
        assert_eq!(truths, [[None, Some(40.0)], [Some(40.0), None], [None, None], [Some(160.0), None], [None, None]]);
        assert_eq!(data.wanted(0, 0, 1), Some(30.0));
        assert_eq!(data.wanted(0, 3, 0), Some(80.0));
    }

    #[test]
    fn a_scaled_target_is_scaled_with_the_pair_of_the_origin_and_back() {
        let mut train = section(1, &["v"]);
        train.residual = Residual::Last;
        let plan = plan_of(&train, None);
        let mut s = plain("a", &[10.0, 20.0]);
        s.x = vec![0.5, 0.25];
        s.scale = vec![Some(vec![(8.0, 4.0), (9.0, 5.0)])];
        let series = [s];
        let data = Dataset::new(&series, &plan).unwrap();
        assert_eq!(data.wanted(0, 0, 0), Some((20.0 - 8.0) / 4.0 - 0.5));
        assert_eq!(data.to_own(0, 0, 0, 3.0), 20.0);
    }

    #[test]
    fn unusable_rows_are_no_steps_and_hand_their_restart_on() {
        let mut s = plain("a", &[1.0, f64::NAN, 3.0, f64::NAN, 5.0, 6.0]);
        s.restart[3] = true;
        let steps = steps_of(&s);
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
