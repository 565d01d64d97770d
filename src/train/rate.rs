//! The step size of each update: warm-up and schedule.
//!
//! Lives here: what the step size is multiplied by, from the numbers of updates and the looks at validation alone, so
//! that a training that goes on after a stop goes on with the same. Must not live here: how long it trains
//! (`schedule`).

use crate::config::RateSchedule;

use super::trained::Look;

/// A loss that is lower by less than this share is no improvement: PyTorch's threshold.
const IMPROVES: f64 = 1e-4;

/// How the step size changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// What becomes of it.
    pub schedule: RateSchedule,
    /// Updates over which it rises.
    pub warm_up: usize,
    /// Whether a plateau is measured in epochs.
    pub in_epochs: bool,
}

impl Rate {
    /// What the step size of an update is multiplied by; `update` counts from 0. A cosine ends after `span` updates:
    /// 1/2 (1 + cos(π share of what comes after the warm-up)), Loshchilov and Hutter 2017 without restarts.
    pub fn factor(&self, update: usize, span: f64, looks: &[Look]) -> f64 {
        let rises = if update < self.warm_up { (update + 1) as f64 / self.warm_up as f64 } else { 1.0 };
        let falls = match self.schedule {
            RateSchedule::Constant => 1.0,
            RateSchedule::Cosine => {
                let after = |updates: f64| (updates - self.warm_up as f64).max(0.0);
                let share = after(update as f64) / after(span).max(1.0);
                (1.0 + (std::f64::consts::PI * share.min(1.0)).cos()) / 2.0
            }
            RateSchedule::Step { every, factor } => factor.powf((update / every) as f64),
            RateSchedule::Plateau { patience, factor } => factor.powf(self.plateaus(patience, looks) as f64),
        };
        rises * falls
    }

    /// How often validation (without it, the train loss) had not improved for so long, each counted from the last such
    /// look or the last improvement.
    fn plateaus(&self, patience: usize, looks: &[Look]) -> usize {
        let (mut plateaus, mut best, mut since) = (0, f64::INFINITY, 0);
        for look in looks {
            let at = if self.in_epochs { look.epoch } else { look.updates };
            let loss = look.validation.unwrap_or(look.train);
            if loss < best * (1.0 - IMPROVES) {
                (best, since) = (loss, at);
            } else if at - since >= patience {
                (plateaus, since) = (plateaus + 1, at);
            }
        }
        plateaus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: RateSchedule, warm_up: usize, span: usize) -> Vec<f64> {
        let rate = Rate { schedule, warm_up, in_epochs: false };
        (0..span).map(|update| rate.factor(update, span as f64, &[])).collect()
    }

    fn assert_near(found: &[f64], wanted: &[f64]) {
        let near = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near, "{found:?} {wanted:?}");
    }

    #[test]
    fn a_constant_rate_is_exactly_what_is_written() {
        assert_eq!(factors(RateSchedule::Constant, 0, 3), [1.0; 3]);
        assert_eq!(factors(RateSchedule::Constant, 4, 6), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    /// cos of 0, 60, 120, 180 degrees: 1, 1/2, -1/2, -1.
    #[test]
    fn a_cosine_falls_to_zero_at_the_end_of_its_span() {
        assert_near(&factors(RateSchedule::Cosine, 0, 3), &[1.0, 0.75, 0.25]);
        assert_near(&factors(RateSchedule::Cosine, 2, 5), &[0.5, 1.0, 1.0, 0.75, 0.25]);
        let rate = Rate { schedule: RateSchedule::Cosine, warm_up: 0, in_epochs: true };
        assert_near(&[rate.factor(7, 6.0, &[])], &[0.0]);
    }

    #[test]
    fn steps_multiply() {
        let step = RateSchedule::Step { every: 2, factor: 0.5 };
        assert_near(&factors(step, 0, 5), &[1.0, 1.0, 0.5, 0.5, 0.25]);
        assert_near(&factors(step, 4, 5), &[0.25, 0.5, 0.375, 0.5, 0.25]);
    }

    #[test]
    fn a_plateau_counts_from_the_last_improvement_and_from_the_last_fall() {
        let look = |updates: usize, validation: f64| Look {
            epoch: updates / 10,
            updates,
            train: 9.0,
            validation: Some(validation),
        };
        let losses = [5.0, 4.0, 4.0, 3.9999, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0];
        let looks: Vec<Look> = losses.iter().zip(1..).map(|(loss, i)| look(10 * i, *loss)).collect();
        let schedule = |patience| RateSchedule::Plateau { patience, factor: 0.1 };
        let found = |patience, in_epochs| -> Vec<f64> {
            let rate = Rate { schedule: schedule(patience), warm_up: 0, in_epochs };
            (1..=looks.len()).map(|n| -rate.factor(10 * n, 0.0, &looks[..n]).log10().round()).collect()
        };
        // Improvements at 10, 20 and 50; 3.9999 is none.
        let wanted = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0];
        assert_eq!(found(20, false), wanted);
        assert_eq!(found(2, true), wanted);
    }
}
