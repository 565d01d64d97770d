//! The trained network's state, carried over a long time.

use super::super::dataset::Dataset;
use super::super::pass::Model;
use super::super::windows::Examples;
use crate::model::ModelKind;

/// Chunks that the state is carried over.
const CHUNKS: usize = 100;
/// A part of the run that is compared with another: a tenth.
const PART: usize = 10;

/// How the state of each recurrent layer went, chunk by chunk, over the longest series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carried {
    /// Steps of a chunk.
    pub chunk: usize,
    /// Steps after each point.
    pub steps: Vec<usize>,
    /// Per layer and point: root mean square of the hidden state.
    pub h: Vec<Vec<f64>>,
    /// The same of the layer's other states; empty for a cell without any.
    pub c: Vec<Vec<f64>>,
    /// Per layer and point: share of the hidden state's units beyond 0.95.
    pub beyond: Vec<Vec<f64>>,
}

impl Carried {
    /// Means of the first and the last tenth of some points; `None` where there are too few of them.
    pub fn ends(points: &[f64]) -> Option<(f64, f64)> {
        let part = points.len() / PART;
        if part < 2 {
            return None;
        }
        let mean = |points: &[f64]| points.iter().sum::<f64>() / points.len() as f64;
        Some((mean(&points[..part]), mean(&points[points.len() - part..])))
    }
}

/// Carries the state over the longest series, for 100 chunks or to its end; restarts are those of serving.
pub fn carried(data: &Dataset, model: &Model) -> Option<Carried> {
    if data.plan.kind != ModelKind::Carry {
        return None;
    }
    let chunk = data.plan.chunk;
    let series = (0..data.series.len()).max_by_key(|series| data.steps[*series].rows.len())?;
    let steps = data.steps[series].rows.len().min(CHUNKS * chunk);
    let mut state = model.net.zero_state(1);
    let layers = state.h.len();
    let empty = || vec![Vec::new(); layers];
    let mut found = Carried { chunk, steps: Vec::new(), h: empty(), c: empty(), beyond: empty() };
    let mut batch = Examples::default();
    for from in (0..steps).step_by(chunk) {
        let length = chunk.min(steps - from);
        batch.clear(data, length, 1, 0);
        for at in 0..length {
            batch.put_x(data, at, 0, series, from + at);
            batch.reset[at] = data.steps[series].since[from + at] == 1;
        }
        model.forward(&mut state, &batch);
        found.steps.push(from + length);
        for (layer, (h, c)) in state.h.iter().zip(&state.c).enumerate() {
            found.h[layer].push(root_mean_square(h));
            if !c.is_empty() {
                found.c[layer].push(root_mean_square(c));
            }
            let beyond = h.iter().filter(|value| value.abs() > 0.95).count();
            found.beyond[layer].push(beyond as f64 / h.len() as f64);
        }
    }
    (!found.steps.is_empty()).then_some(found)
}

fn root_mean_square(values: &[f32]) -> f64 {
    let squares: f64 = values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
    (squares / values.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_means_of_tenths() {
        let points: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(Carried::ends(&points), Some((0.5, 18.5)));
        assert_eq!(Carried::ends(&points[..19]), None);
        assert_eq!(root_mean_square(&[3.0, -4.0]), 12.5_f64.sqrt());
    }
}
