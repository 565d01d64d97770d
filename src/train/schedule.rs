//! How long a training takes: when the validation part is looked at, when it ends, and whether it ended too early.
//!
//! Lives here: the rules, in updates and epochs, never in seconds: the same data gives the same length. Must not live
//! here: the loop that follows them (`fit`).

use crate::config::{BLIND_UPDATES, LOOK_EVERY, Length, OPEN_PATIENCE, OPEN_UPDATES};
use crate::error::counted;
use crate::model::ModelKind;

use super::dataset::Dataset;
use super::lanes;
use super::sequences;
use super::split::Subset;
use super::trained::Look;
use super::windows;

/// An open training goes on while validation improves by more than this share within its patience.
const IMPROVES: f64 = 0.001;
/// Forward passes that an update costs, about.
const PASSES: f64 = 3.0;
/// A look at validation may take this share of the time of the updates before it.
const SHARE: f64 = 0.5;
/// A large validation part is thinned out rather than looked at less often than this, in updates.
const RARELY: usize = 200;
/// Loss that falls by more than this share in a tenth of the training is still falling.
const FALLS: f64 = 0.01;
/// The last part of the training that is judged by.
const LAST: f64 = 0.3;

/// How long to train, and when to look at the validation part.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Epochs at most.
    pub epochs: Option<usize>,
    /// Updates at most.
    pub updates: usize,
    /// Updates between two looks; `None`: a look at the end of each epoch.
    pub every: Option<usize>,
    /// Every n-th key (carry) or window of the validation part is looked at.
    pub thinned: usize,
    /// Without improvement for that long it stops.
    patience: Option<Patience>,
    /// Whether the length is not written.
    is_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Patience {
    Epochs(usize),
    Updates(usize),
    /// Updates without an improvement that is worth going on for.
    Worthwhile(usize),
}

impl Schedule {
    /// The schedule of a plan's length on this data.
    pub fn new(data: &Dataset, length: Length) -> Schedule {
        let plan = data.plan;
        let look = validation_steps(data);
        let fixed = |epochs, updates, patience: Option<Patience>| Schedule {
            epochs,
            updates,
            every: None,
            thinned: 1,
            patience: patience.filter(|_| look > 0),
            is_open: length == Length::Open,
        };
        match length {
            Length::Epochs(n) => fixed(Some(n), usize::MAX, plan.patience.map(|n| Patience::Epochs(n.max(1)))),
            Length::Updates(n) => fixed(None, n, plan.patience.map(|n| Patience::Updates(n.max(1)))),
            Length::Open if look == 0 => fixed(None, BLIND_UPDATES, None),
            Length::Open => {
                // So many updates take as long as a look may.
                let needed = (look as f64 / (PASSES * SHARE * update_steps(data) as f64)).ceil() as usize;
                let thinned = needed.div_ceil(RARELY).clamp(1, most_thinned(data));
                let every = needed.div_ceil(thinned).max(LOOK_EVERY);
                let patience = plan.patience.unwrap_or(OPEN_PATIENCE.max(3 * every));
                Schedule {
                    every: Some(every),
                    thinned,
                    patience: Some(Patience::Worthwhile(patience)),
                    ..fixed(None, OPEN_UPDATES, None)
                }
            }
        }
    }

    /// Whether to look at validation after an update, `since` updates after the last look.
    pub fn is_due(&self, updates: usize, since: usize, epoch_ends: bool) -> bool {
        self.every.map_or(epoch_ends, |every| since >= every) || updates >= self.updates
    }

    /// Whether patience ran out at the last look.
    pub fn is_over(&self, looks: &[Look]) -> bool {
        let (Some(patience), Some(last)) = (self.patience, looks.last()) else { return false };
        let losses = || looks.iter().filter_map(|look| Some((look.validation?, look)));
        let Some((_, best)) = losses().reduce(|best, next| if next.0 < best.0 { next } else { best }) else {
            return false;
        };
        match patience {
            Patience::Epochs(n) => last.epoch - best.epoch >= n,
            Patience::Updates(n) => last.updates - best.updates >= n,
            Patience::Worthwhile(n) => {
                let mut worth: Option<(f64, usize)> = None;
                for (loss, look) in losses() {
                    if worth.is_none_or(|(before, _)| loss < before * (1.0 - IMPROVES)) {
                        worth = Some((loss, look.updates));
                    }
                }
                worth.is_some_and(|(_, updates)| last.updates - updates >= n)
            }
        }
    }

    /// What it will do, a sentence.
    pub fn text(&self, per_epoch: usize) -> String {
        let patience = |unit: &str, n: usize| format!("or until validation has not improved for {}", counted(n, unit));
        let most = match self.epochs {
            Some(n) => format!("{} of {}", counted(n, "epoch"), counted(per_epoch, "update")),
            None => format!("{} of {per_epoch} an epoch", counted(self.updates, "update")),
        };
        match (self.patience, self.every) {
            (Some(Patience::Worthwhile(n)), Some(every)) => {
                let thinned = if self.thinned > 1 {
                    format!(" on every {}th of its examples", self.thinned)
                } else {
                    String::new()
                };
                format!(
                    "trains until the validation loss, measured every {every} updates{thinned}, has not improved by \
                     0.1 % for {n} updates, at most {most}; `epochs`, `updates` and `patience` set another length"
                )
            }
            _ if self.is_open => format!(
                "trains {most}: without a validation part nothing tells when to stop; `epochs` or `updates` set \
                 another length"
            ),
            (Some(Patience::Epochs(n)), _) => format!("trains {most}, {}", patience("epoch", n)),
            (Some(Patience::Updates(n)), _) => format!("trains {most}, {}", patience("update", n)),
            _ => format!("trains {most}"),
        }
    }
}

/// Steps of the network that a look at the whole validation part takes; 0 without one.
fn validation_steps(data: &Dataset) -> usize {
    match data.plan.kind {
        ModelKind::Window => windows::origins(data, Subset::Validation).count() * data.plan.window,
        ModelKind::Sequence => sequences::steps(data, windows::origins(data, Subset::Validation)),
        ModelKind::Carry => super::pass::validation_runs(data, 1).iter().map(|run| run.to - run.from).sum(),
    }
}

/// Steps of an update.
fn update_steps(data: &Dataset) -> usize {
    let plan = data.plan;
    match plan.kind {
        ModelKind::Window => plan.batch_size * plan.window,
        ModelKind::Sequence => {
            let all = || windows::origins(data, Subset::Train);
            plan.batch_size * sequences::steps(data, all()) / all().count().max(1)
        }
        ModelKind::Carry => {
            let steps = lanes::stretches(data).iter().map(|(_, from, to)| (to - from) as usize).sum();
            lanes::width(data, steps) * plan.chunk
        }
    }
    .max(1)
}

/// Thinned out further than that, too few keys would be left.
fn most_thinned(data: &Dataset) -> usize {
    match data.plan.kind {
        ModelKind::Window | ModelKind::Sequence => usize::MAX,
        ModelKind::Carry => (super::pass::validation_runs(data, 1).len() / 8).max(1),
    }
}

/// The share by which the loss fell in a tenth of the training at its end, where it is still falling: the slope of its
/// logarithm over the last three tenths, or the last three points, has to be clear of noise. `points`: (updates, loss).
pub fn still_falling(points: &[(usize, f64)], updates: usize) -> Option<f64> {
    if points.len() < 2 || points.iter().any(|(_, loss)| !loss.is_finite() || *loss <= 0.0) {
        return None;
    }
    let total = updates as f64;
    let from = points.iter().position(|(at, _)| *at as f64 > (1.0 - LAST) * total).unwrap_or(points.len());
    let last = &points[from.min(points.len().saturating_sub(3))..];
    let n = last.len() as f64;
    let xy = || last.iter().map(|(at, loss)| (*at as f64 / total, loss.ln()));
    let (mean_x, mean_y) = (xy().map(|p| p.0).sum::<f64>() / n, xy().map(|p| p.1).sum::<f64>() / n);
    let squares: f64 = xy().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = xy().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / squares;
    let noise: f64 = xy().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum();
    if last.len() > 3 && -slope < 2.0 * (noise / (n - 2.0) / squares).sqrt() {
        return None;
    }
    let falls = 1.0 - (slope * 0.1).exp();
    (falls > FALLS).then_some(falls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Split;
    use crate::train::Series;
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};

    fn looks(losses: &[f64], every: usize) -> Vec<Look> {
        let look = |(i, loss): (usize, &f64)| Look {
            epoch: i + 1,
            updates: (i + 1) * every,
            train: *loss,
            validation: Some(*loss),
        };
        losses.iter().enumerate().map(look).collect()
    }

    fn schedule(patience: Patience) -> Schedule {
        Schedule { epochs: None, updates: 1000, every: None, thinned: 1, patience: Some(patience), is_open: false }
    }

    #[test]
    fn patience_counts_from_the_best_look_and_an_open_one_from_the_last_worthwhile() {
        let falls_a_hair: Vec<f64> = (0..12).map(|i| 1.0 - 1e-5 * f64::from(i)).collect();
        assert!(!schedule(Patience::Updates(100)).is_over(&looks(&falls_a_hair, 50)));
        assert!(schedule(Patience::Worthwhile(500)).is_over(&looks(&falls_a_hair, 50)));
        assert!(!schedule(Patience::Worthwhile(600)).is_over(&looks(&falls_a_hair, 50)));
        // Less than 0.1 % a look, but more within the patience.
        let falls_slowly: Vec<f64> = (0..12).map(|i| 1.0 - 4e-4 * f64::from(i)).collect();
        assert!(!schedule(Patience::Worthwhile(500)).is_over(&looks(&falls_slowly, 50)));
        let rises = [1.0, 0.5, 0.6, 0.7, 0.8];
        for (patience, over) in [(Patience::Epochs(3), true), (Patience::Epochs(4), false)] {
            assert_eq!(schedule(patience).is_over(&looks(&rises, 50)), over);
        }
        assert!(schedule(Patience::Updates(150)).is_over(&looks(&rises, 50)));
        assert!(!schedule(Patience::Updates(151)).is_over(&looks(&rises, 50)));
    }

    #[test]
    fn a_large_validation_part_is_thinned_out_so_that_looks_stay_frequent_and_cheap() {
        for window in [Some(4), None] {
            let mut train = section(1, &["v"]);
            (train.length, train.batch_size, train.chunk) = (Length::Open, 1, 4);
            train.split.value = Split::Rows([20, 60, 5]);
            let plan = plan_of(&train, window);
            let values: Vec<f64> = (0..85).map(f64::from).collect();
            let series: Vec<Series> = (0..200).map(|key| plain(&format!("k{key}"), &values)).collect();
            let data = Dataset::new(&series, &plan).unwrap();
            let schedule = Schedule::new(&data, Length::Open);
            let (every, thinned) = (schedule.every.unwrap(), schedule.thinned);
            assert!(thinned > 1 && (LOOK_EVERY..=RARELY).contains(&every), "{schedule:?}");
            // A look takes at most half of the time of the updates before it, three passes each.
            let look = validation_steps(&data) / thinned;
            assert!(look <= every * update_steps(&data) * 3 / 2 + 100, "{look} steps, {schedule:?}");
            assert!(schedule.text(10).contains(&format!("on every {thinned}th of its")), "{}", schedule.text(10));
            assert_eq!(schedule.patience, Some(Patience::Worthwhile(OPEN_PATIENCE.max(3 * every))));
            // A length that is written looks at everything, at the end of each epoch.
            let fixed = Schedule::new(&data, Length::Epochs(3));
            assert_eq!((fixed.every, fixed.thinned, fixed.epochs), (None, 1, Some(3)));
        }
    }

    #[test]
    fn a_loss_that_falls_at_the_end_is_told_from_a_level_one_and_from_noise() {
        let points = |loss: &dyn Fn(f64) -> f64, n: usize| -> Vec<(usize, f64)> {
            (1..=n).map(|i| (i * 10, loss(i as f64 / n as f64))).collect()
        };
        let falls = still_falling(&points(&|x| (-0.5 * x).exp(), 20), 200).unwrap();
        assert!((falls - (1.0 - (-0.05_f64).exp())).abs() < 1e-9, "{falls}");
        assert_eq!(still_falling(&points(&|x| (-0.05 * x).exp(), 20), 200), None);
        // Steep at first, level at the end.
        assert_eq!(still_falling(&points(&|x| 1.0 + (-30.0 * x).exp(), 20), 200), None);
        let noise = |x: f64| 1.0 + 0.2 * (x * 12345.678).sin();
        assert_eq!(still_falling(&points(&noise, 40), 400), None);
        // Two epochs: half of the training is five tenths.
        assert!(still_falling(&[(10, 1.0), (20, 0.9)], 20).is_some());
        assert_eq!(still_falling(&[(10, 1.0), (20, 0.96)], 20), None);
        assert_eq!(still_falling(&[(10, 1.0)], 10), None);
        assert_eq!(still_falling(&[(10, 1.0), (20, 0.0)], 20), None);
    }
}
