//! Classification: the class of each sequence (`task: classify`) or of each record (`task: label`).
//!
//! Lives here: where the class of an example is, and what it counts. Must not live here: the softmax and its loss
//! (`train::loss`), how classes are judged and shown (`classify/`).
//!
//! The classes are those that the pipeline or a version names, or those of the train part, in the order of their texts,
//! whole numbers in that of their values. An output is the probability of a class: softmax is part of the graph, and of
//! the loss here, which takes what is before it. A sequence has the newest class that any of its records has. Where
//! there is none, nothing is learned.

mod classes;
mod evaluation;
mod report;

use std::sync::Arc;

pub use classes::Classes;
pub use evaluation::{ClassEvaluation, Scores};

use super::Head;
use crate::config::{self, Task};
use crate::model::{Input, Manifest};
use crate::train::dataset::Dataset;
use crate::train::loss;
use crate::train::pass::Model;
use crate::train::scaling::Scaling;
use crate::train::split::Subset;
use crate::train::windows::Examples;
use crate::{Error, Result};

/// Classes as the outputs.
#[derive(Debug, Clone)]
pub struct Classify {
    /// The column of the classes.
    pub column: Vec<String>,
    /// Whether each record has one; else each sequence.
    pub per_record: bool,
    /// Which there are, and what they weigh; none as long as nothing is learned of them.
    pub classes: Classes,
    class_weights: config::ClassWeights,
    sample_weight: Option<String>,
    two_classes: bool,
}

impl Classify {
    /// The head of a `train` section.
    pub fn new(train: &config::Train) -> Self {
        Classify {
            column: train.targets.iter().map(|name| name.value.clone()).collect(),
            per_record: train.task == Task::Label,
            classes: Classes::new(train.classes.clone()),
            class_weights: train.class_weights.clone(),
            sample_weight: train.sample_weight.as_ref().map(|name| name.value.clone()),
            two_classes: train.two_classes,
        }
    }

    /// The class of a step as text, if it has one.
    pub fn label<'a>(&self, data: &Dataset<'a>, series: usize, step: usize) -> Option<&'a str> {
        if self.per_record {
            return data.series[series].labels.get(data.steps[series].rows[step] as usize);
        }
        data.label_of_sequence(series, step)
    }

    /// What an example counts by its own weight.
    fn weight(&self, data: &Dataset, series: usize, step: usize) -> f64 {
        let steps = &data.steps[series];
        let row = if self.per_record { steps.rows[step] } else { steps.ends[step] };
        let weight = data.series[series].weights.get(row as usize).copied().unwrap_or(1.0);
        if weight.is_nan() { 1.0 } else { weight }
    }

    /// Index of an example's class, and what it counts; `None` without a class, or for one that isn't known.
    fn wanted(&self, data: &Dataset, (series, step): (usize, usize)) -> Option<(usize, f64)> {
        let class = self.classes.index(self.label(data, series, step)?)?;
        Some((class, self.classes.weights[class] * self.weight(data, series, step)))
    }
}

impl Head for Classify {
    fn columns(&self) -> &[String] {
        &self.column
    }

    fn is_text(&self) -> bool {
        true
    }

    fn sample_weight(&self) -> Option<&str> {
        self.sample_weight.as_deref()
    }

    fn outputs(&self) -> usize {
        self.classes.names.len()
    }

    fn reach(&self) -> usize {
        0
    }

    fn residual(&self) -> Vec<Input> {
        Vec::new()
    }

    fn target(&self, _: &Dataset, _: usize, _: usize, _: usize) -> Option<f64> {
        None
    }

    fn is_example(&self, data: &Dataset, series: usize, step: usize) -> bool {
        self.label(data, series, step).is_some()
    }

    fn wanted_width(&self) -> usize {
        1
    }

    fn put(&self, data: &Dataset, _: &Scaling, at: (usize, usize), wanted: &mut [f32], weight: &mut [f32]) {
        if let (Some((class, counts)), [wanted], [weight]) = (self.wanted(data, at), wanted, weight) {
            (*wanted, *weight) = (class as f32, counts as f32);
        }
    }

    fn loss(&self, y: &[f32], batch: &Examples, gradient: &mut Vec<f32>) -> f64 {
        loss::cross_entropy(y, self.outputs(), &batch.wanted, &batch.weight, gradient)
    }

    fn add_loss(&self, data: &Dataset, _: &Scaling, origin: (usize, usize), y: &[f32], total: &mut (f64, f64)) {
        if let Some((class, counts)) = self.wanted(data, origin) {
            total.0 -= counts * loss::log_softmax_of(y, class);
            total.1 += counts;
        }
    }

    fn learned(&self, data: &Dataset) -> Result<Option<Arc<dyn Head>>> {
        let mut found = std::collections::BTreeMap::new();
        for series in 0..data.series.len() {
            if let Some(weight) = data.series[series].weights.iter().find(|weight| **weight < 0.0) {
                let name = self.sample_weight().unwrap_or_default();
                let key = &data.series[series].key;
                return Err(Error::refused(format!(
                    "column \"{name}\" of key \"{key}\": a weight of {weight} is below 0"
                )));
            }
            for step in data.origins(series, Subset::Train) {
                if let Some(label) = self.label(data, series, step) {
                    *found.entry(label).or_insert(0_u64) += 1;
                }
            }
        }
        let classes = self.classes.learned(&self.column.join(", "), &found, &self.class_weights)?;
        if self.two_classes && classes.names.len() != 2 {
            return Err(Error::refused(format!(
                "binary_cross_entropy is for two classes, there are {}: write `loss: cross_entropy`",
                classes.names.len()
            )));
        }
        Ok(Some(Arc::new(Classify { classes, ..self.clone() })))
    }

    fn with_classes(&self, classes: &[String]) -> Option<Arc<dyn Head>> {
        Some(Arc::new(Classify { classes: Classes::new(classes.to_vec()), ..self.clone() }))
    }

    fn evaluate(&self, data: &Dataset, model: &Model) -> Result<Arc<dyn super::Evaluation>> {
        Ok(Arc::new(evaluation::evaluate(self, data, model)?))
    }

    fn describe(&self, manifest: &mut Manifest) {
        manifest.targets.clone_from(&self.column);
        manifest.classes.clone_from(&self.classes.names);
    }

    fn headline(&self) -> String {
        let each = if self.per_record { "record" } else { "sequence" };
        format!("tells {} of each {each}, one of {} classes", self.column.join(", "), self.outputs())
    }

    fn words(&self) -> Vec<(&'static str, String)> {
        let weights = match &self.class_weights {
            config::ClassWeights::Equal => "all the same".into(),
            config::ClassWeights::Balanced => "the rarer, the more".into(),
            config::ClassWeights::Named(named) => {
                let named: Vec<String> = named.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
                named.join(", ")
            }
        };
        let mut words = vec![("loss", "cross-entropy of a softmax".into()), ("weights of classes", weights)];
        words.extend(self.sample_weight.clone().map(|name| ("weights of examples", name)));
        words
    }

    fn needs(&self) -> (String, &'static str) {
        let column = self.column.join(", ");
        let where_ = if self.per_record { "in its own row" } else { "in one of its rows" };
        (format!("a class in column \"{column}\" {where_}"), "the filters")
    }
}

#[cfg(test)]
mod tests;
