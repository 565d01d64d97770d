//! Which classes there are, and what each weighs in the loss.
//! Must not live here: where the class of an example is (`classify`).

use std::collections::BTreeMap;

use crate::config::ClassWeights;
use crate::error::{counted, did_you_mean};
use crate::{Error, Result};

/// Classes of outputs. A column of more of them than this is rather a number or an id.
const MOST: usize = 1 << 16;

/// The classes in the order of the outputs.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    /// Their texts.
    pub names: Vec<String>,
    /// What an example of each counts in the loss.
    pub weights: Vec<f64>,
    /// Examples of each in the train part.
    pub counts: Vec<u64>,
    /// Index by text.
    index: BTreeMap<String, usize>,
}

impl Classes {
    /// These, each with weight 1.
    pub fn new(names: Vec<String>) -> Classes {
        let index = names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        Classes { weights: vec![1.0; names.len()], counts: vec![0; names.len()], index, names }
    }

    /// The index of a class.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The class of most examples of the train part.
    pub fn majority(&self) -> usize {
        let most = self.counts.iter().max();
        self.counts.iter().position(|count| Some(count) == most).unwrap_or(0)
    }

    /// The classes of the train part (`found`: examples by class), with their weights. Where they are known already,
    /// they stay, and others are refused.
    pub(super) fn learned(&self, column: &str, found: &BTreeMap<&str, u64>, weights: &ClassWeights) -> Result<Classes> {
        let mut names: Vec<String> = found.keys().map(|name| (*name).to_string()).collect();
        if names.iter().all(|name| name.parse::<i64>().is_ok()) {
            names.sort_by_key(|name| name.parse::<i64>().ok());
        }
        if !self.names.is_empty() {
            if let Some(other) = names.iter().find(|name| self.index(name).is_none()) {
                return Err(Error::refused(format!(
                    "column \"{column}\" holds the class \"{other}\", which isn't among those of `train.classes` or of the \
                     version that training goes on with ({})",
                    shown(&self.names)
                )));
            }
            names.clone_from(&self.names);
        }
        if names.len() > MOST {
            return Err(Error::refused(format!(
                "column \"{column}\" holds {} classes in the train part, at most {MOST} are learned: is it a number or \
                 an id?",
                names.len()
            )));
        }
        if names.len() == 1 {
            return Err(Error::refused(format!(
                "column \"{column}\" holds only the class \"{}\" in the train part: there is nothing to tell apart",
                names[0]
            )));
        }
        let mut classes = Classes::new(names);
        for (at, name) in classes.names.iter().enumerate() {
            classes.counts[at] = found.get(name.as_str()).copied().unwrap_or(0);
        }
        match weights {
            ClassWeights::Equal => {}
            ClassWeights::Balanced => {
                let (all, kinds) = (classes.counts.iter().sum::<u64>() as f64, classes.names.len() as f64);
                for (weight, count) in classes.weights.iter_mut().zip(&classes.counts) {
                    *weight = if *count > 0 { all / (kinds * *count as f64) } else { 1.0 };
                }
            }
            ClassWeights::Named(named) => {
                for (name, weight) in named {
                    let Some(at) = classes.index(name) else {
                        let near = did_you_mean(name, classes.names.iter().map(String::as_str));
                        return Err(Error::refused(format!(
                            "class_weights: no example of the train part has the class \"{name}\"{near} (there are {})",
                            shown(&classes.names)
                        )));
                    };
                    classes.weights[at] = *weight;
                }
            }
        }
        Ok(classes)
    }
}

/// The first classes, for a message.
pub(super) fn shown(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let first: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {}", counted(more, "other")) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(found: &[(&'static str, u64)], weights: &ClassWeights) -> Result<Classes> {
        Classes::default().learned("c", &found.iter().copied().collect(), weights)
    }

    #[test]
    fn classes_are_sorted_and_weighed() {
        let texts = learned(&[("b", 1), ("a", 3)], &ClassWeights::Balanced).unwrap();
        assert_eq!(texts.names, ["a", "b"]);
        // n / (k n_c): 4 / (2 · 3) and 4 / (2 · 1).
        assert_eq!(texts.weights, [4.0 / 6.0, 2.0]);
        assert_eq!((texts.majority(), texts.index("b"), texts.index("c")), (0, Some(1), None));
        let numbers = learned(&[("10", 1), ("9", 1), ("-1", 1)], &ClassWeights::Equal).unwrap();
        assert_eq!(numbers.names, ["-1", "9", "10"]);
        let named = ClassWeights::Named(vec![("b".into(), 5.0)]);
        assert_eq!(learned(&[("a", 1), ("b", 1)], &named).unwrap().weights, [1.0, 5.0]);
    }

    #[test]
    fn what_can_not_be_told_apart_is_refused() {
        let text = |found: &[(&'static str, u64)], weights| learned(found, &weights).unwrap_err().to_string();
        assert!(text(&[("a", 3)], ClassWeights::Equal).contains("only the class \"a\""));
        let named = ClassWeights::Named(vec![("walkng".into(), 5.0)]);
        let message = text(&[("walking", 1), ("running", 1)], named);
        assert!(
            message.contains("no example of the train part has the class \"walkng\"") && message.contains("walking")
        );
        let known = Classes::new(vec!["a".into(), "b".into()]);
        let found = [("c", 1)].into_iter().collect();
        let message = known.learned("c", &found, &ClassWeights::Equal).unwrap_err().to_string();
        assert!(message.contains("the class \"c\"") && message.contains("(a, b)"), "{message}");
    }
}
