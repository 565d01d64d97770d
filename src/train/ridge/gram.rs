//! Products of features and targets, summed over the examples of a part: all that ridge regression needs of the data.
//!
//! Lives here: one pass over the examples. Must not live here: which lags are used and how strongly they are penalised
//! (`choose`).

use crate::kernel::gemm::{Existing, Matrix, multiply};
use crate::train::dataset::Dataset;
use crate::train::split::Subset;

/// Sum of products: eight sums side by side, which the processor does at once.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += a * b);
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// Examples that are multiplied at once.
const BLOCK: usize = 256;

/// What the features of a ridge regression are: lags 0..lags of the target, then other features, then 1; all
/// standardised, so that a penalty means the same for each.
#[derive(Debug, Clone)]
pub(super) struct Space {
    /// Which of the targets it is for.
    pub target: usize,
    /// Lags of the target, the row itself included.
    pub lags: usize,
    /// Other features, as indices into `x`.
    pub others: Vec<usize>,
    /// Mean and standard deviation of the target in the network's units: those of its lags and of what is predicted.
    pub unit: (f64, f64),
    /// Per series, the same of the key alone.
    pub own: Vec<(f64, f64)>,
    /// Whether every key is measured in its own units, for maps that are read in them.
    pub in_own_units: bool,
    /// Mean and standard deviation of each of the others.
    pub other_units: Vec<(f64, f64)>,
    /// Outputs of the network that are of this target.
    pub outputs: Vec<usize>,
    /// Of each, how many rows ahead it is.
    pub ahead: Vec<usize>,
}

impl Space {
    /// Number of features, the constant included.
    pub fn width(&self) -> usize {
        self.lags + self.others.len() + 1
    }

    /// The unit of a series, and what its examples weigh: errors count in standard deviations of each key, so that the
    /// largest keys don't decide alone.
    pub fn unit_of(&self, series: usize) -> ((f64, f64), f64) {
        if self.in_own_units { (self.own[series], 1.0) } else { (self.unit, self.unit.1 / self.own[series].1) }
    }
}

/// Sums over examples. `x` are the features of [`Space`], `y` the targets in the same units as the lags.
#[derive(Debug, Clone, Default)]
pub(super) struct Gram {
    /// Examples.
    pub count: f64,
    /// Sum of x xᵀ, [width, width].
    pub xx: Vec<f64>,
    /// Sum of x yᵀ, [width, outputs].
    pub xy: Vec<f64>,
    /// Sum of y², [outputs].
    pub yy: Vec<f64>,
}

impl Gram {
    /// Over the examples of a series in a part. Only examples with all their targets count.
    pub fn of(data: &Dataset, space: &Space, series: usize, part: Subset) -> Gram {
        let (width, outputs) = (space.width(), space.outputs.len());
        let mut gram = Gram::zeros(width, outputs);
        let (mut origins, mut block) = (data.origins(series, part), Vec::with_capacity(BLOCK));
        let (mut x, mut y) = (Vec::new(), Vec::new());
        let ((mean, sd), weight) = space.unit_of(series);
        loop {
            block.clear();
            block.extend(origins.by_ref().take(BLOCK));
            if block.is_empty() {
                return gram;
            }
            x.clear();
            y.clear();
            for step in &block {
                let row = data.steps[series].rows[*step] as usize;
                let before = y.len();
                y.extend(space.outputs.iter().map_while(|output| {
                    let wanted = data.wanted(series, row, *output)? + f64::from(data.base(series, row, *output));
                    Some(weight * (wanted - mean) / sd)
                }));
                if y.len() < before + outputs {
                    y.truncate(before);
                    continue;
                }
                let lag = |lag| weight * (data.lagged(series, row, space.target, lag) - mean) / sd;
                x.extend((0..space.lags).map(lag));
                let own = data.captured(series, row);
                let others = space.others.iter().zip(&space.other_units);
                x.extend(others.map(|(i, (mean, sd))| weight * (f64::from(own[*i]) - mean) / sd));
                x.push(weight);
            }
            let rows = y.len() / outputs.max(1);
            gram.count += rows as f64;
            let (x, y_matrix) = (Matrix::new(&x, rows, width), Matrix::new(&y, rows, outputs));
            multiply(&mut gram.xx, x.t(), x, Existing::Add);
            multiply(&mut gram.xy, x.t(), y_matrix, Existing::Add);
            for row in y.chunks_exact(outputs) {
                gram.yy.iter_mut().zip(row).for_each(|(sum, y)| *sum += y * y);
            }
        }
    }

    /// Of nothing.
    pub fn zeros(width: usize, outputs: usize) -> Gram {
        Gram { count: 0.0, xx: vec![0.0; width * width], xy: vec![0.0; width * outputs], yy: vec![0.0; outputs] }
    }

    /// Adds the sums over other examples.
    pub fn merge(&mut self, other: &Gram) {
        self.count += other.count;
        for (to, from) in [(&mut self.xx, &other.xx), (&mut self.xy, &other.xy), (&mut self.yy, &other.yy)] {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }

    /// The product of x xᵀ with a map: its product with another one is that of their predictions.
    pub fn image(&self, map: &[f64]) -> Vec<f64> {
        let outputs = self.yy.len();
        let width = self.xx.len().isqrt();
        let mut image = vec![0.0; width * outputs];
        let xx = Matrix::new(&self.xx, width, width);
        multiply(&mut image, xx, Matrix::new(map, width, outputs), Existing::Replace);
        image
    }

    /// Sum over examples and outputs of the products of a map's predictions with the targets.
    pub fn with_targets(&self, a: &[f64]) -> f64 {
        dot(a, &self.xy)
    }

    /// Sum of all squared targets.
    pub fn targets(&self) -> f64 {
        self.yy.iter().sum()
    }
}
