//! Examples for `mode: window`: each a window of steps from zero state, of which the last output counts.
//!
//! Lives here: which windows there are and their order in an epoch. Must not live here: what the network makes of them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Column;
use super::dataset::Dataset;
use super::scaling::Scaling;
use super::split::Subset;
use crate::Result;

/// Examples that stay together where not all of them are shuffled at once.
const BLOCK: usize = 1024;

/// One example: a series, and the step that is its origin.
pub type Origin = (u32, u32);

/// Every example of a part, by series and time.
pub fn origins<'a>(data: &'a Dataset<'_>, part: Subset) -> impl Iterator<Item = Origin> + 'a {
    (0..data.series.len())
        .flat_map(move |series| data.origins(series, part).map(move |step| (series as u32, step as u32)))
}

/// The examples of an epoch in its order: shuffled; of data beyond `train.memory`, blocks of examples that follow each
/// other are shuffled, and then the examples of as many blocks as fit into a part of that memory.
pub fn order(data: &Dataset, origins: &Column<Origin>, epoch: usize) -> Result<Column<Origin>> {
    let mut rng = epoch_rng(data.plan.seed, epoch);
    let Some(within) = data.shuffled_within() else {
        let mut order = Column::collect(origins.space(), origins.iter().copied())?;
        shuffle(&mut order, &mut rng);
        return Ok(order);
    };
    let mut blocks: Vec<&[Origin]> = origins.chunks(BLOCK).collect();
    shuffle(&mut blocks, &mut rng);
    let mut order = Column::with_room(origins.space(), origins.len())?;
    for blocks in blocks.chunks(within.div_ceil(BLOCK)) {
        let mut near = blocks.concat();
        shuffle(&mut near, &mut rng);
        order.extend(&near)?;
    }
    Ok(order)
}

/// Random numbers of one epoch: the same for the same seed, and another stream for each epoch.
pub fn epoch_rng(seed: u64, epoch: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64 + 1);
    rng
}

/// A number below `n` (at least 1), each equally likely up to 2^-32.
pub fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Shuffles in place (Fisher and Yates).
pub fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i + 1));
    }
}

/// Inputs and targets of a batch, time-major, as the network takes them.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// Timesteps.
    pub steps: usize,
    /// Lanes, or windows.
    pub batch: usize,
    /// [steps, batch, features]
    pub x: Vec<f32>,
    /// Standardised, 0 where nothing is wanted: [steps, batch, wanted_width]; only the last timestep of windows.
    pub wanted: Vec<f32>,
    /// As `wanted`: 1 where it counts, 0 where not.
    pub weight: Vec<f32>,
    /// As `wanted`, three numbers for each: [`crate::train::loss::OwnUnits`]; empty where the loss needs none.
    pub own: Vec<f32>,
    /// [steps, batch]: state is zero before this step.
    pub reset: Vec<bool>,
    /// [steps, batch]: whether there is a step at all.
    pub active: Vec<bool>,
    /// [steps, batch]: the group of the key; empty without groups.
    pub group: Vec<u32>,
    /// [steps, batch, embeddings]: ids.
    pub ids: Vec<u32>,
}

impl Examples {
    /// Makes room for another batch and clears it. `timesteps` of them have outputs.
    pub fn clear(&mut self, data: &Dataset, steps: usize, batch: usize, with_outputs: usize) {
        let (shape, width) = (&data.plan.architecture, data.plan.head.wanted_width());
        self.steps = steps;
        self.batch = batch;
        refill(&mut self.x, steps * batch * shape.features, 0.0);
        refill(&mut self.wanted, with_outputs * batch * width, 0.0);
        refill(&mut self.weight, with_outputs * batch * width, 0.0);
        let own = if data.plan.head.counts_own_units() { 3 * with_outputs * batch * width } else { 0 };
        refill(&mut self.own, own, 0.0);
        refill(&mut self.reset, steps * batch, false);
        refill(&mut self.active, steps * batch, false);
        refill(&mut self.ids, steps * batch * shape.embeddings.len(), 0);
        refill(&mut self.group, if shape.groups > 0 { steps * batch } else { 0 }, 0);
    }

    /// Puts a step's features at a timestep of a lane.
    pub fn put_x(&mut self, data: &Dataset, at: usize, lane: usize, series: usize, step: usize) {
        let features = data.plan.architecture.features;
        let cell = at * self.batch + lane;
        data.x(series, step, &mut self.x[cell * features..(cell + 1) * features]);
        self.active[cell] = true;
        let embeddings = data.plan.embeddings.len();
        data.ids(series, step, &mut self.ids[cell * embeddings..(cell + 1) * embeddings]);
        if let Some(group) = self.group.get_mut(cell) {
            *group = data.groups[series];
        }
    }

    /// Puts the target of a step at a timestep (among those with outputs) of a lane.
    pub fn put_wanted(
        &mut self,
        data: &Dataset,
        scaling: &Scaling,
        at: usize,
        lane: usize,
        series: usize,
        step: usize,
    ) {
        let width = data.plan.head.wanted_width();
        let cell = at * self.batch + lane;
        let cells = cell * width..(cell + 1) * width;
        let (wanted, weight) = (&mut self.wanted[cells.clone()], &mut self.weight[cells]);
        data.plan.head.put(data, scaling, (series, step), wanted, weight);
        if let Some(own) = self.own.get_mut(3 * cell * width..3 * (cell + 1) * width) {
            data.plan.head.put_own(data, scaling, (series, step), own);
        }
    }
}

fn refill<T: Copy>(values: &mut Vec<T>, len: usize, value: T) {
    values.clear();
    values.resize(len, value);
}

/// Fills a batch with the windows that end at `origins`.
pub fn fill(batch: &mut Examples, data: &Dataset, scaling: &Scaling, origins: &[Origin]) {
    let window = data.plan.window;
    batch.clear(data, window, origins.len(), 1);
    for (lane, (series, step)) in origins.iter().enumerate() {
        let (series, step) = (*series as usize, *step as usize);
        for at in 0..window {
            batch.put_x(data, at, lane, series, step + 1 + at - window);
        }
        batch.reset[lane] = true;
        batch.put_wanted(data, scaling, 0, lane, series, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Split;
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};

    #[test]
    fn beyond_the_memory_examples_are_shuffled_near_each_other() {
        let mut train = section(1, &["v"]);
        train.split.value = Split::Rows([9000, 0, 0]);
        let mut plan = plan_of(&train, Some(1));
        let values: Vec<f64> = (0..9000).map(f64::from).collect();
        let series = [plain("a", &values)];
        let all: Column<Origin> = origins(&Dataset::new(&series, &plan).unwrap(), Subset::Train).collect();
        assert_eq!(all.len(), 8999);
        let mut of = |memory| {
            plan.memory = memory;
            order(&Dataset::new(&series, &plan).unwrap(), &all, 3).unwrap().to_vec()
        };
        // A row takes 8 + 4 + 1 + 1 + 8 + 1 bytes.
        let whole = of(None);
        assert!(whole == of(Some(9000 * 23)) && whole != of(Some(9000 * 23 - 1)), "what fits is shuffled as ever");
        let bounded = of(Some(4 * 23 * 2048));
        let mut sorted = bounded.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, all[..]);
        for near in bounded.chunks(2048).take(3) {
            let mut blocks: Vec<u32> = near.iter().map(|(_, step)| step / BLOCK as u32).collect();
            let moves = blocks.windows(2).filter(|pair| pair[0] != pair[1]).count();
            blocks.sort_unstable();
            blocks.dedup();
            assert!(blocks.len() <= 3 && moves > 500, "{blocks:?}, {moves}");
        }
    }

    #[test]
    fn a_window_is_the_last_usable_rows_and_never_reaches_over_a_restart() {
        let mut train = section(1, &["v"]);
        train.split.value = Split::Rows([9, 0, 0]);
        let plan = plan_of(&train, Some(3));
        let mut values: Vec<f64> = (0..9).map(f64::from).collect();
        values[2] = f64::NAN;
        let mut series = [plain("a", &values)];
        let data = Dataset::new(&series, &plan).unwrap();
        // Usable rows 0 1 3 4 5 6 7 8; the first origin with three of them is row 3 (step 2); row 8 has no target.
        let found: Vec<u32> = origins(&data, Subset::Train).map(|o| data.steps[0].rows[o.1 as usize]).collect();
        assert_eq!(found, [3, 4, 5, 6, 7]);
        let scaling = Scaling::neutral(&plan);
        let mut batch = Examples::default();
        fill(&mut batch, &data, &scaling, &[(0, 2), (0, 3)]);
        assert_eq!(batch.x, [0.0, 1.0, 1.0, 3.0, 3.0, 4.0]);
        assert_eq!(batch.wanted, [4.0, 5.0]);

        series[0].restart[5] = true;
        let data = Dataset::new(&series, &plan).unwrap();
        let found: Vec<u32> = origins(&data, Subset::Train).map(|o| data.steps[0].rows[o.1 as usize]).collect();
        assert_eq!(found, [3, 4, 7]);
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_depends_on_seed_and_epoch() {
        let order = |seed, epoch| {
            let mut items: Vec<usize> = (0..100).collect();
            shuffle(&mut items, &mut epoch_rng(seed, epoch));
            items
        };
        let mut sorted = order(7, 0);
        assert_eq!(order(7, 0), sorted);
        assert_ne!(order(7, 1), sorted);
        assert_ne!(order(8, 0), sorted);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
