//! How well classes are told: accuracy, F1, log loss, what is taken for what, and who always says the most frequent.
//! Must not live here: how it is shown (`report`), how the network runs (`pass`).

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use super::{Classes, Classify, report};
use crate::error::counted;
use crate::kernel::ctc::best;
use crate::record::Clock;
use crate::train::dataset::Dataset;
use crate::train::head::Evaluation;
use crate::train::loss;
use crate::train::pass::Model;
use crate::train::report::figure;
use crate::train::split::Subset;
use crate::{Error, Result};

/// What was told of some examples.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    /// Per class, how many examples there are, how often it was told, and how often that was right.
    pub of_classes: Vec<(u64, u64, u64)>,
    /// [true class, class that was told], flattened; empty where there are too many classes to show it.
    pub confusion: Vec<u64>,
    /// Examples whose class the train part doesn't have: told wrong.
    pub unknown: u64,
    /// Sum of -ln of the probability of the true class, over those that are known.
    pub log_loss: f64,
}

/// Scores on the test part.
#[derive(Debug, Clone)]
pub struct ClassEvaluation {
    /// The column.
    pub column: String,
    /// The classes.
    pub classes: Classes,
    /// Over all keys.
    pub test: Scores,
    /// Of the validation part; without examples where there is none.
    pub validation: Scores,
    /// Per key with test examples: the key, how many there are, how many were told right. Empty where each key is an
    /// example.
    pub keys: Vec<(String, u64, u64)>,
    /// Classes of validation and test that the train part doesn't have.
    pub strange: BTreeSet<String>,
}

impl Scores {
    fn of(classes: &Classes) -> Scores {
        let kinds = classes.names.len();
        let shown = if kinds <= report::IN_REPORT { kinds * kinds } else { 0 };
        Scores { of_classes: vec![(0, 0, 0); kinds], confusion: vec![0; shown], ..Scores::default() }
    }

    /// Counts outputs before the softmax; `class`: the true one if it is known. Returns whether it was told right.
    fn add(&mut self, class: Option<usize>, y: &[f32]) -> bool {
        let Some(class) = class else {
            self.unknown += 1;
            return false;
        };
        // The first of equal ones.
        let told = best(y);
        self.of_classes[class].0 += 1;
        self.of_classes[told].1 += 1;
        self.of_classes[class].2 += u64::from(told == class);
        self.confusion.get_mut(class * y.len() + told).into_iter().for_each(|count| *count += 1);
        self.log_loss -= loss::log_softmax_of(y, class);
        told == class
    }

    /// Number of classes.
    fn kinds(&self) -> usize {
        self.of_classes.len()
    }

    /// Examples.
    pub fn count(&self) -> u64 {
        self.of_classes.iter().map(|(examples, ..)| examples).sum::<u64>() + self.unknown
    }

    /// Share of examples that were told right.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = self.of_classes.iter().map(|(.., right)| right).sum();
        right as f64 / self.count() as f64
    }

    /// Share that would be right if always this class were told.
    pub fn always(&self, class: usize) -> f64 {
        self.of_class(class).0 as f64 / self.count() as f64
    }

    /// Examples of a class, how often it was told, and how often that was right.
    pub fn of_class(&self, class: usize) -> (u64, u64, u64) {
        self.of_classes[class]
    }

    /// Precision, recall and their harmonic mean of a class; 0 where there is nothing to divide by.
    pub fn f1(&self, class: usize) -> (f64, f64, f64) {
        let (examples, told, right) = self.of_class(class);
        let share = |of: u64| if of == 0 { 0.0 } else { right as f64 / of as f64 };
        let both = examples + told;
        (share(told), share(examples), if both == 0 { 0.0 } else { 2.0 * right as f64 / both as f64 })
    }

    /// Mean F1 of the classes that were there or were told.
    pub fn macro_f1(&self) -> f64 {
        let there: Vec<usize> =
            (0..self.kinds()).filter(|class| self.of_class(*class).0 + self.of_class(*class).1 > 0).collect();
        there.iter().map(|class| self.f1(*class).2).sum::<f64>() / there.len() as f64
    }

    /// Mean of -ln of the probability of the true class.
    pub fn mean_log_loss(&self) -> f64 {
        self.log_loss / (self.count() - self.unknown) as f64
    }
}

/// Judges the network on the test part, and on the validation part.
pub(super) fn evaluate(head: &Classify, data: &Dataset, model: &Model) -> Result<ClassEvaluation> {
    let mut strange = BTreeSet::new();
    let mut by_key: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    let mut is_finite = true;
    let mut scores = |part: Subset| {
        let mut scores = Scores::of(&head.classes);
        model.forecasts(data, part, &mut |series, step, y| {
            let Some(label) = head.label(data, series, step) else { return };
            is_finite &= y.iter().all(|y| y.is_finite());
            let class = head.classes.index(label);
            if class.is_none() {
                strange.insert(label.to_string());
            }
            let right = scores.add(class, y);
            if part == Subset::Test {
                let of_key = by_key.entry(series).or_default();
                *of_key = (of_key.0 + 1, of_key.1 + u64::from(right));
            }
        });
        scores
    };
    let (test, validation) = (scores(Subset::Test), scores(Subset::Validation));
    if !is_finite {
        return Err(Error::failed("the trained network gives values that are not finite: lower the learning rate"));
    }
    let several = by_key.len() > 1 && by_key.values().any(|(count, _)| *count > 1);
    let keys = by_key.into_iter().filter(|_| several);
    let keys = keys.map(|(series, (count, right))| (data.series[series].key.clone(), count, right)).collect();
    let classes = head.classes.clone();
    Ok(ClassEvaluation { column: head.column.join(", "), classes, test, validation, keys, strange })
}

impl ClassEvaluation {
    /// The most frequent class of the train part, and the accuracy of who always says it.
    pub fn always(&self) -> (&str, f64) {
        let class = self.classes.majority();
        (self.classes.names.get(class).map_or("", String::as_str), self.test.always(class))
    }
}

impl Evaluation for ClassEvaluation {
    fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::new();
        let mut put = |name: &str, value: f64| {
            if value.is_finite() {
                metrics.insert(format!("{}.{name}", self.column), value);
            }
        };
        put("accuracy", self.test.accuracy());
        put("accuracy_majority", self.always().1);
        put("macro_f1", self.test.macro_f1());
        put("log_loss", self.test.mean_log_loss());
        if self.validation.count() > 0 {
            put("validation_accuracy", self.validation.accuracy());
            put("validation_log_loss", self.validation.mean_log_loss());
        }
        metrics
    }

    fn figures(&self) -> Vec<String> {
        ["accuracy", "macro_f1", "log_loss"].map(|name| format!("{}.{name}", self.column)).into()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let (class, share) = self.always();
        if self.test.accuracy() <= share {
            warnings.push(format!(
                "the network is right in {:.1} % of the test part, and always saying \"{class}\", the most frequent \
                 class of the train part, in {:.1} %",
                self.test.accuracy() * 100.0,
                share * 100.0
            ));
        }
        if !self.strange.is_empty() {
            let names: Vec<String> = self.strange.iter().cloned().collect();
            warnings.push(format!(
                "classes of validation and test that the train part doesn't have: {}; their examples count as told \
                 wrong",
                super::classes::shown(&names)
            ));
        }
        warnings
    }

    fn validation(&self) -> Vec<String> {
        let scores = &self.validation;
        if scores.count() == 0 {
            return Vec::new();
        }
        vec![format!(
            "on the validation part: accuracy {}, log loss {} ({})",
            figure(scores.accuracy()),
            figure(scores.mean_log_loss()),
            counted(scores.count() as usize, "example")
        )]
    }

    fn table(&self) -> String {
        report::table(self)
    }

    fn cards(&self, out: &mut String) {
        report::cards(self, out);
    }

    fn sections(&self, out: &mut String, _: &Clock, refit: bool) -> Result<()> {
        report::sections(self, out, refit);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let classes = Classes::new(["a", "b", "c"].map(String::from).to_vec());
        let mut scores = Scores::of(&classes);
        let even = 0.5_f32.ln();
        // a as a twice, a as b, b as b, one of a class that isn't known; c neither there nor told.
        assert!(scores.add(Some(0), &[1.0, 0.0, -50.0]));
        assert!(scores.add(Some(0), &[even, even, -50.0]));
        assert!(!scores.add(Some(0), &[0.0, 3.0, -50.0]));
        assert!(scores.add(Some(1), &[0.0, 3.0, -50.0]));
        assert!(!scores.add(None, &[0.0, 3.0, -50.0]));
        assert_eq!(scores.confusion, [2, 1, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(scores.of_classes, [(3, 2, 2), (1, 2, 1), (0, 0, 0)]);
        assert_eq!((scores.count(), scores.accuracy(), scores.always(0)), (5, 3.0 / 5.0, 3.0 / 5.0));
        // a: precision 1, recall 2/3; b: precision 1/2, recall 1.
        assert_eq!(scores.f1(0), (1.0, 2.0 / 3.0, 4.0 / 5.0));
        assert_eq!(scores.f1(1), (0.5, 1.0, 2.0 / 3.0));
        assert!((scores.macro_f1() - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let wanted = -(sigmoid(1.0).ln() + 0.5_f64.ln() + sigmoid(-3.0).ln() + sigmoid(3.0).ln()) / 4.0;
        assert!((scores.mean_log_loss() - wanted).abs() < 1e-6, "{}", scores.mean_log_loss());
    }
}
