//! The network run over series with frozen weights, as serving would.
//!
//! Lives here: forward passes for validation and evaluation. Must not live here: learning (`fit`).

use std::ops::Range;

use crate::model::ModelKind;
use crate::network::quantiles;

use super::dataset::Dataset;
use super::network::Network;
use super::scaling::Scaling;
use super::sequences;
use super::split::Subset;
use super::windows::{self, Examples};

/// Series side by side in a pass.
const SIDE_BY_SIDE: usize = 64;
/// Timesteps of a piece of a pass.
const PIECE: usize = 128;

/// A network and its learned scaling.
#[derive(Debug, Clone)]
pub struct Model {
    /// The network, between standardised inputs and outputs.
    pub net: Network<f32>,
    /// The same scaling as in the network, in f64.
    pub scaling: Scaling,
    /// The networks of ranges of series that have one of their own. All take the features of the data's plan.
    pub apart: Vec<(Range<usize>, Model)>,
}

/// A stretch of steps of one series, from zero state at its begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index of the series.
    pub series: usize,
    /// First step.
    pub from: usize,
    /// End, exclusive.
    pub to: usize,
}

/// Losses over the validation part, each with the weight of its entries.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// For every so many steps of the keys: the first block has the first steps of all keys.
    pub of_steps: Vec<(f64, f64)>,
    /// For every series.
    pub of_keys: Vec<(f64, f64)>,
}

impl Model {
    /// What the layers add to the linear path, times a factor; 0: the path alone.
    pub fn scaled(&self, factor: f64) -> Model {
        let mut scaled = self.clone();
        scaled.net.scale_output(factor as f32);
        scaled.apart.iter_mut().for_each(|(_, own)| *own = own.scaled(factor));
        scaled
    }

    /// With networks of their own for ranges of series.
    pub fn with(&self, apart: Vec<(Range<usize>, Model)>) -> Model {
        Model { apart, ..self.clone() }
    }

    /// The scaling of a series.
    pub fn scaling_of(&self, series: usize) -> &Scaling {
        self.apart.iter().find(|(range, _)| range.contains(&series)).map_or(&self.scaling, |(_, own)| &own.scaling)
    }

    /// Hands each network what is of its series. `series`: that of an item.
    fn hand_out<T: Copy>(&self, all: Vec<T>, series: impl Fn(T) -> usize, run: &mut dyn FnMut(&Model, Vec<T>)) {
        let others = |item: &T| !self.apart.iter().any(|(range, _)| range.contains(&series(*item)));
        let alone = Model { apart: Vec::new(), ..self.clone() };
        run(&alone, all.iter().copied().filter(others).collect());
        for (range, own) in &self.apart {
            run(own, all.iter().copied().filter(|item| range.contains(&series(*item))).collect());
        }
    }

    /// Runs stretches with carried state; calls `sink(index of the run, step, y)` at each step, where `y` are the
    /// outputs in the network's units with what is added to them. State is zero at a run's begin and at restarts.
    pub fn runs(&self, data: &Dataset, runs: &[Run], sink: &mut dyn FnMut(usize, usize, &[f32])) {
        if !self.apart.is_empty() {
            return self.hand_out((0..runs.len()).collect(), |at| runs[at].series, &mut |own, of| {
                let runs: Vec<Run> = of.iter().map(|at| runs[*at]).collect();
                own.runs(data, &runs, &mut |run, step, y| sink(of[run], step, y));
            });
        }
        // Runs of about equal length go side by side; ties keep their order, so that the same data gives the same bits.
        let mut order: Vec<usize> = (0..runs.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(runs[*i].to - runs[*i].from));
        let mut batch = Examples::default();
        for group in order.chunks(SIDE_BY_SIDE) {
            let longest = runs[group[0]].to - runs[group[0]].from;
            let mut state = self.net.zero_state(group.len());
            for start in (0..longest).step_by(PIECE) {
                let steps = PIECE.min(longest - start);
                batch.clear(data, steps, group.len(), 0);
                for (lane, index) in group.iter().enumerate() {
                    let run = runs[*index];
                    for at in 0..steps.min((run.to - run.from).saturating_sub(start)) {
                        let step = run.from + start + at;
                        batch.put_x(data, at, lane, run.series, step);
                        batch.reset[at * group.len() + lane] =
                            step == run.from || data.steps[run.series].since[step] == 1;
                    }
                }
                let made = self.forward(&mut state, &batch);
                for at in 0..steps {
                    for (lane, index) in group.iter().enumerate() {
                        let cell = at * group.len() + lane;
                        if batch.active[cell] {
                            let run = runs[*index];
                            let step = run.from + start + at;
                            let y = self.finish(data, run.series, step, &made, cell);
                            sink(*index, step, &y);
                        }
                    }
                }
            }
        }
    }

    /// Runs windows; calls `sink(series, step, y)` for each.
    pub fn windows(
        &self,
        data: &Dataset,
        mut origins: impl Iterator<Item = windows::Origin>,
        sink: &mut dyn FnMut(usize, usize, &[f32]),
    ) {
        if !self.apart.is_empty() {
            let all: Vec<windows::Origin> = origins.collect();
            let windows = &mut |own: &Model, of: Vec<windows::Origin>| own.windows(data, of.into_iter(), sink);
            return self.hand_out(all, |(series, _)| series as usize, windows);
        }
        let (mut batch, mut group) = (Examples::default(), Vec::with_capacity(256));
        loop {
            group.clear();
            group.extend(origins.by_ref().take(256));
            if group.is_empty() {
                return;
            }
            windows::fill(&mut batch, data, &self.scaling, &group);
            let mut state = self.net.zero_state(group.len());
            let made = self.forward(&mut state, &batch);
            // What is pooled has one row of outputs in any case.
            let last = made.len() / data.plan.head.outputs() - group.len();
            for (lane, (series, step)) in group.iter().enumerate() {
                let (series, step) = (*series as usize, *step as usize);
                let y = self.finish(data, series, step, &made, last + lane);
                sink(series, step, &y);
            }
        }
    }

    /// Runs whole sequences that end at `origins`; calls `sink(series, last step, y)` for each, where `y` is all that
    /// the network gives for it: a row, or one for each of its steps.
    pub fn sequences(
        &self,
        data: &Dataset,
        origins: impl Iterator<Item = windows::Origin>,
        sink: &mut dyn FnMut(usize, usize, &[f32]),
    ) {
        if !self.apart.is_empty() {
            let sequences = &mut |own: &Model, of: Vec<windows::Origin>| own.sequences(data, of.into_iter(), sink);
            return self.hand_out(origins.collect(), |(series, _)| series as usize, sequences);
        }
        let mut batch = Examples::default();
        let mut order: Vec<windows::Origin> = origins.collect();
        order.sort_by_key(|(series, step)| data.steps[*series as usize].since[*step as usize]);
        for group in order.chunks(SIDE_BY_SIDE) {
            sequences::fill(&mut batch, data, &self.scaling, group);
            let made = self.forward(&mut self.net.zero_state(group.len()), &batch);
            let outputs = data.plan.head.outputs();
            let rows = made.len() / outputs / group.len();
            for (lane, (series, step)) in group.iter().enumerate() {
                let (series, step) = (*series as usize, *step as usize);
                let rows = rows.min(data.steps[series].since[step] as usize);
                let cells = (0..rows).map(|at| at * group.len() + lane);
                let y: Vec<f32> = cells.flat_map(|cell| self.finish(data, series, step, &made, cell)).collect();
                sink(series, step, &y);
            }
        }
    }

    /// Forecasts of a part: calls `sink(series, step, y)` for each of its origins. In mode carry the state goes through
    /// all that lies before.
    pub fn forecasts(&self, data: &Dataset, part: Subset, sink: &mut dyn FnMut(usize, usize, &[f32])) {
        match data.plan.kind {
            ModelKind::Window => return self.windows(data, windows::origins(data, part), sink),
            ModelKind::Sequence => return self.sequences(data, windows::origins(data, part), sink),
            ModelKind::Carry => {}
        }
        let runs: Vec<Run> = (0..data.series.len())
            .filter_map(|series| Some(Run { series, from: 0, to: data.origins(series, part).last()? + 1 }))
            .collect();
        self.runs(data, &runs, &mut |run, step, y| {
            let series = runs[run].series;
            if data.examples[series][data.steps[series].rows[step] as usize] == Some(part) {
                sink(series, step, y);
            }
        });
    }

    /// Mean loss over the validation part, or over every `thinned`-th window or key of it; `None` where it holds
    /// nothing.
    pub fn validation_loss(&self, data: &Dataset, thinned: usize) -> Option<f64> {
        let total = self.validation_blocks(data, thinned, usize::MAX).of_steps.into_iter().next()?;
        (total.1 > 0.0).then(|| total.0 / total.1)
    }

    /// The loss over the validation part, in blocks of so many steps and by key.
    pub fn validation_blocks(&self, data: &Dataset, thinned: usize, steps: usize) -> Blocks {
        let first = |series| data.origins(series, Subset::Validation).next().unwrap_or(0);
        let firsts: Vec<usize> = (0..data.series.len()).map(first).collect();
        let mut blocks = Blocks { of_steps: Vec::new(), of_keys: vec![(0.0, 0.0); firsts.len()] };
        let mut add = |series: usize, step: usize, y: &[f32]| {
            let row = data.steps[series].rows[step] as usize;
            if data.examples[series][row] != Some(Subset::Validation) {
                return;
            }
            let at = (step - firsts[series]) / steps;
            if blocks.of_steps.len() <= at {
                blocks.of_steps.resize(at + 1, (0.0, 0.0));
            }
            let (block, key) = (&mut blocks.of_steps[at], &mut blocks.of_keys[series]);
            let before = *block;
            data.plan.head.add_loss(data, &self.scaling, (series, step), y, block);
            *key = (key.0 + block.0 - before.0, key.1 + block.1 - before.1);
        };
        let origins = || windows::origins(data, Subset::Validation).step_by(thinned);
        if data.plan.kind == ModelKind::Window {
            self.windows(data, origins(), &mut add);
        } else if data.plan.kind == ModelKind::Sequence {
            self.sequences(data, origins(), &mut add);
        } else {
            let runs = validation_runs(data, thinned);
            self.runs(data, &runs, &mut |run, step, y| add(runs[run].series, step, y));
        }
        blocks
    }

    /// The outputs of a cell of a pass in the network's units, with what is added to them.
    fn finish(&self, data: &Dataset, series: usize, step: usize, made: &[f32], cell: usize) -> Vec<f32> {
        let outputs = data.plan.head.outputs();
        let row = data.steps[series].rows[step] as usize;
        let statistics = self.scaling.out_mean.iter().zip(&self.scaling.out_sd);
        let of_cell = made[cell * outputs..(cell + 1) * outputs].iter().zip(statistics).enumerate();
        let mut y: Vec<f32> = of_cell
            .map(|(output, (value, (mean, sd)))| value * *sd as f32 + *mean as f32 + data.base(series, row, output))
            .collect();
        let names = &data.plan.architecture.quantiles;
        quantiles::keep_apart(&mut y, names.len(), quantiles::median(names));
        y
    }
}

/// What a look at the validation part runs over in mode carry, for every `thinned`-th key. The state is warmed up over
/// four chunks before it: near enough to all that lies before, and many times faster.
pub fn validation_runs(data: &Dataset, thinned: usize) -> Vec<Run> {
    let warm = 4 * data.plan.chunk;
    (0..data.series.len())
        .filter_map(|series| {
            let first = data.origins(series, Subset::Validation).next()?;
            let last = data.origins(series, Subset::Validation).last()?;
            Some(Run { series, from: first.saturating_sub(warm), to: last + 1 })
        })
        .step_by(thinned)
        .collect()
}
