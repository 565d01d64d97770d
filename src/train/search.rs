//! A search: what becomes of its trials, which of them are hopeless, and the best one.
//!
//! Lives here: one trial's training, the rule that ends hopeless ones, what is kept of a trial. Must not live here:
//! which values are tried (`config::search`), files and processes (`cli::search`).
//!
//! The median rule (Golovin et al. 2017): at a look at validation, a trial ends whose best loss so far is above the
//! median of what the trials before it had after as many updates. Of trials that are compared only those count that
//! came before, in the order of their numbers, so that the same trials end at the same updates each time.

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::fit::Event;
use super::trained::Look;
use super::{Plan, Series};
use crate::{Error, Result};

/// Trials that a median needs.
const FEW: usize = 4;
/// No trial ends before this share of the updates that those before it took.
const GRACE: f64 = 0.2;

/// What is kept of a trial, a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its number; 0 is the file as it is.
    pub trial: usize,
    /// Its values: field and YAML.
    pub values: Vec<(String, String)>,
    /// sha256 of the data after the stages.
    pub data: String,
    /// Trained numbers of its network.
    pub parameters: usize,
    /// (Updates, validation loss) at each look.
    pub looks: Vec<(usize, f64)>,
    /// Whether the median rule ended it.
    pub hopeless: bool,
    /// Why there is no network, such as a loss that is no longer finite.
    pub failed: Option<String>,
}

impl Outcome {
    /// Updates and validation loss of the best look.
    pub fn best(&self) -> Option<(usize, f64)> {
        self.looks.iter().copied().reduce(|best, look| if look.1 < best.1 { look } else { best })
    }

    /// The best loss within so many updates, of a trial that took that many.
    fn within(&self, updates: usize) -> Option<f64> {
        self.looks.last().filter(|last| last.0 >= updates)?;
        let losses = self.looks.iter().filter(|look| look.0 <= updates).map(|look| look.1);
        losses.reduce(f64::min)
    }
}

/// Whether a trial with these looks is hopeless beside those before it.
pub fn is_hopeless(before: &[Outcome], looks: &[(usize, f64)]) -> bool {
    let Some((updates, _)) = looks.last().copied() else { return false };
    let mut lengths: Vec<usize> = before
        .iter()
        .filter(|outcome| !outcome.hopeless && outcome.failed.is_none())
        .filter_map(|outcome| Some(outcome.looks.last()?.0))
        .collect();
    lengths.sort_unstable();
    let Some(length) = lengths.get(lengths.len() / 2) else { return false };
    if (updates as f64) < GRACE * *length as f64 {
        return false;
    }
    let mut losses: Vec<f64> = before.iter().filter_map(|outcome| outcome.within(updates)).collect();
    losses.sort_unstable_by(f64::total_cmp);
    let own = looks.iter().map(|look| look.1).fold(f64::INFINITY, f64::min);
    losses.len() >= FEW && own > losses[losses.len() / 2]
}

/// Trains a trial as long as the plan says, or until it is hopeless beside those `before` it. Nothing is published, and
/// only the validation part counts. A training that fails is an outcome too.
///
/// # Errors
/// As [`super::train`] refuses; no validation part.
pub fn trial(
    series: &[Series],
    plan: &Plan,
    before: &[Outcome],
    blank: Outcome,
    watch: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    // Trials are compared by one network each.
    let plan = Plan { refit: false, backtest: None, architecture: plan.architecture.single(), ..plan.clone() };
    let data = Dataset::new(series, &plan)?;
    if data.sizes().iter().all(|parts| parts[1] == 0) {
        return Err(Error::refused(
            "a search compares trials by their validation loss, but no key has an example in the validation part: give \
             `split` a validation part",
        ));
    }
    let blank = Outcome { data: data.hash(), ..blank };
    let mut hopeless = false;
    let pairs = |looks: &[Look]| -> Vec<(usize, f64)> {
        looks.iter().filter_map(|look| Some((look.updates, look.validation?))).collect()
    };
    let trained = super::train(series, &plan, &mut |event| {
        if let Event::Looks(looks, ends) = event
            && is_hopeless(before, &pairs(looks))
        {
            hopeless = true;
            ends.set(true);
        }
        watch(event);
    });
    match trained {
        Ok(trained) => Ok(Outcome { parameters: trained.parameters, looks: pairs(&trained.looks), hopeless, ..blank }),
        Err(Error::Failed(why)) => Ok(Outcome { failed: Some(why), ..blank }),
        Err(error) => Err(error),
    }
}

/// Outcomes from the best to the worst: trials that were trained to their end, those that ended early, then those that
/// failed.
pub fn ranked(outcomes: &[Outcome]) -> Vec<&Outcome> {
    let mut ranked: Vec<&Outcome> = outcomes.iter().collect();
    let loss = |outcome: &Outcome| outcome.best().map_or(f64::INFINITY, |best| best.1);
    ranked.sort_by(|a, b| {
        let ended = |outcome: &Outcome| (outcome.failed.is_some(), outcome.hopeless);
        ended(a).cmp(&ended(b)).then(loss(a).total_cmp(&loss(b))).then(a.trial.cmp(&b.trial))
    });
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Length;
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};

    fn outcome(trial: usize, looks: &[(usize, f64)]) -> Outcome {
        Outcome {
            trial,
            values: vec![],
            data: String::new(),
            parameters: 1,
            looks: looks.to_vec(),
            hopeless: false,
            failed: None,
        }
    }

    #[test]
    fn a_trial_above_the_median_is_hopeless_after_its_grace() {
        let before: Vec<Outcome> =
            [5.0, 4.0, 3.0, 2.0].iter().zip(0..).map(|(end, at)| outcome(at, &[(50, 9.0), (100, *end)])).collect();
        // The median of four is the larger of the middle ones: 4.
        assert!(!is_hopeless(&before, &[(50, 9.0), (100, 4.0)]));
        assert!(is_hopeless(&before, &[(50, 9.0), (100, 4.1)]));
        assert!(!is_hopeless(&before, &[(50, 3.9), (100, 9.0)]), "its best look counts");
        assert!(is_hopeless(&before, &[(50, 9.1)]));
        assert!(!is_hopeless(&before, &[(10, 99.0)]), "within the grace");
        assert!(!is_hopeless(&before[..3], &[(100, 99.0)]), "too few for a median");
        assert!(!is_hopeless(&before, &[(120, 99.0)]), "none before it took so many updates");
    }

    #[test]
    fn a_search_keeps_what_is_better_and_ends_what_is_not() {
        let values: Vec<f64> = (0..240).map(|i| f64::from(i % 24) / 24.0).collect();
        let series = [plain("a", &values)];
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (trial, rate) in [0.01, 0.02, 0.01, 0.005, 1e-7].into_iter().enumerate() {
            let mut train = section(1, &["v"]);
            train.length = Length::Updates(60);
            if let crate::config::Optimizer::Adam(adam) = &mut train.optimizer {
                adam.learning_rate = rate;
            }
            let plan = plan_of(&train, None);
            let found = super::trial(&series, &plan, &outcomes, outcome(trial, &[]), &mut |_| {}).unwrap();
            outcomes.push(found);
        }
        assert_eq!(outcomes[0].looks, outcomes[2].looks);
        assert!(outcomes[4].hopeless && outcomes[..4].iter().all(|found| !found.hopeless), "{outcomes:?}");
        assert!(outcomes[4].looks.len() < outcomes[0].looks.len());
        let order: Vec<usize> = ranked(&outcomes).iter().map(|found| found.trial).collect();
        assert!(order[4] == 4 && order.iter().position(|n| *n == 0) < order.iter().position(|n| *n == 2), "{order:?}");
        let line = serde_json::to_string(&outcomes[0]).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcomes[0]);
    }
}
