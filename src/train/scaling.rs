//! Learned scaling: mean and standard deviation of each feature and each output, from the train part only.
//!
//! Lives here: the statistics, in f64. Must not live here: the `scale` stage, which keeps its own per key.

use super::Plan;
use super::dataset::Dataset;
use super::split::Subset;
use crate::network::Tensor;

/// The scaling in the graph before and after the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// Per feature of `x`.
    pub mean: Vec<f64>,
    /// Per feature; 1 for a constant one.
    pub sd: Vec<f64>,
    /// Per output, of the target less what is added to the output.
    pub out_mean: Vec<f64>,
    /// Per output; 1 for a constant one.
    pub out_sd: Vec<f64>,
}

/// Sums for a mean and a standard deviation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    /// Number of values.
    pub count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Welford's update.
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        let away = value - self.mean;
        self.mean += away / self.count;
        self.squares += away * (value - self.mean);
    }

    /// Adds other values (Chan, Golub and LeVeque 1979).
    pub fn merge(&mut self, other: Moments) {
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let away = other.mean - self.mean;
        self.mean += away * other.count / count;
        self.squares += other.squares + away * away * self.count * other.count / count;
        self.count = count;
    }

    /// Mean and standard deviation; 0 for nothing and for a constant.
    pub fn raw(self) -> (f64, f64) {
        let sd = if self.count > 0.0 { (self.squares / self.count).sqrt() } else { 0.0 };
        (self.mean, if sd > 1e-9 * self.mean.abs() { sd } else { 0.0 })
    }

    /// Mean and standard deviation (of the population); (0, 1) for nothing, sd 1 for a constant.
    pub fn finish(self) -> (f64, f64) {
        if self.count == 0.0 {
            return (0.0, 1.0);
        }
        let sd = (self.squares / self.count).sqrt();
        (self.mean, if sd > 1e-9 * self.mean.abs() { sd } else { 1.0 })
    }
}

impl Scaling {
    /// Mean 0 and standard deviation 1 everywhere.
    pub fn neutral(plan: &Plan) -> Scaling {
        let (features, outputs) = (plan.architecture.features, plan.head.outputs());
        Scaling {
            mean: vec![0.0; features],
            sd: vec![1.0; features],
            out_mean: vec![0.0; outputs],
            out_sd: vec![1.0; outputs],
        }
    }

    /// The statistics of the train part: features over its usable rows, outputs over its examples.
    pub fn learn(data: &Dataset) -> Scaling {
        let mut features = vec![Moments::default(); data.plan.captured];
        let mut outputs = vec![Moments::default(); data.plan.head.outputs()];
        for series in 0..data.series.len() {
            for row in &data.steps[series].rows {
                let row = *row as usize;
                if data.rows[series][row] == Some(Subset::Train) {
                    for (moments, value) in features.iter_mut().zip(data.captured(series, row)) {
                        moments.add(f64::from(*value));
                    }
                }
                if data.examples[series][row] == Some(Subset::Train) {
                    for (output, moments) in outputs.iter_mut().enumerate() {
                        if let Some(wanted) = data.wanted(series, row, output) {
                            moments.add(wanted);
                        }
                    }
                }
            }
        }
        let (mut mean, mut sd): (Vec<f64>, Vec<f64>) = features.into_iter().map(Moments::finish).unzip();
        // A lag is scaled as the value itself.
        for input in &data.plan.inputs[data.plan.captured..] {
            let own = data.plan.inputs.iter().position(|other| other.lag == 0 && other.column == input.column);
            let (of_mean, of_sd) = own.map_or((0.0, 1.0), |own| (mean[own], sd[own]));
            mean.push(of_mean);
            sd.push(of_sd);
        }
        let (out_mean, out_sd) = outputs.into_iter().map(Moments::finish).unzip();
        // The graph has f32: train with the same numbers.
        let mut scaling = Scaling { mean, sd, out_mean, out_sd };
        for values in [&mut scaling.mean, &mut scaling.sd, &mut scaling.out_mean, &mut scaling.out_sd] {
            values.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        }
        scaling
    }

    /// What the network itself has to make, standardised.
    #[inline]
    pub fn standardise(&self, output: usize, wanted: f64) -> f32 {
        ((wanted - self.out_mean[output]) / self.out_sd[output]) as f32
    }

    /// The tensors of the contract: `scaling/mean`, `scaling/sd`, `scaling/out_mean`, `scaling/out_sd`.
    pub fn tensors(&self) -> Vec<Tensor> {
        [("mean", &self.mean), ("sd", &self.sd), ("out_mean", &self.out_mean), ("out_sd", &self.out_sd)]
            .map(|(name, values)| Tensor {
                name: format!("scaling/{name}"),
                shape: vec![values.len()],
                data: values.iter().map(|v| *v as f32).collect(),
            })
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Residual, Split};
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};

    #[test]
    fn statistics_are_of_the_train_part_alone() {
        let mut train = section(1, &["v"]);
        train.residual = Residual::Last;
        train.split.value = Split::Rows([4, 1, 2]);
        let plan = plan_of(&train, None);
        let series = [plain("a", &[1.0, 3.0, 1.0, 3.0, 1e6, -1e6, 1e6])];
        let data = Dataset::new(&series, &plan).unwrap();
        let scaling = Scaling::learn(&data);
        assert_eq!((scaling.mean[0], scaling.sd[0]), (2.0, 1.0));
        // Differences within the train part: 2, -2, 2.
        let mean = 2.0 / 3.0;
        let sd = ((2.0 * (2.0_f64 - mean).powi(2) + (2.0 + mean).powi(2)) / 3.0).sqrt();
        assert!((scaling.out_mean[0] - mean).abs() < 1e-6 && (scaling.out_sd[0] - sd).abs() < 1e-6);
    }

    #[test]
    fn constant_features_get_sd_one() {
        let mut train = section(1, &["v"]);
        train.split.value = Split::Rows([6, 0, 0]);
        let plan = plan_of(&train, None);
        let series = [plain("a", &[0.1; 6])];
        let data = Dataset::new(&series, &plan).unwrap();
        let scaling = Scaling::learn(&data);
        assert_eq!((scaling.sd[0], scaling.out_sd[0]), (1.0, 1.0));
    }

    #[test]
    fn moments_of_two_parts_are_those_of_the_whole() {
        let of = |values: &[f64]| {
            let mut moments = Moments::default();
            values.iter().for_each(|v| moments.add(*v));
            moments
        };
        let mut merged = of(&[1.0, 2.0]);
        merged.merge(of(&[]));
        merged.merge(of(&[6.0, 7.0, 9.0]));
        let (mean, sd) = of(&[1.0, 2.0, 6.0, 7.0, 9.0]).raw();
        assert!((merged.raw().0 - mean).abs() < 1e-12 && (merged.raw().1 - sd).abs() < 1e-12);
        assert_eq!(of(&[4.0; 3]).raw(), (4.0, 0.0));
    }
}
