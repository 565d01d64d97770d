//! What the samples say: where the gradient vanishes or explodes, where gates are saturated, where the state drifts,
//! and what helps.
//!
//! docs/gradients.md argues for the thresholds.

use super::{Carried, Gradients, Sample, depth, distances};
use crate::kernel::CellKind;
use crate::model::ModelKind;
use crate::network::Layer;
use crate::train::Plan;

/// A gradient that grew by this factor from the last step to an earlier one explodes.
pub const EXPLODES: f64 = 10.0;
/// A gradient below this share of the last step's has vanished: a step so far back teaches nothing.
pub const VANISHES: f64 = 0.01;
/// A SimpleRNN is warned of where its gradient vanishes within this share of the steps that it is trained over.
const EARLY: f64 = 0.5;
/// Chunks and windows shorter than that have no long memory to lose, in steps.
const SHORT: usize = 20;
/// More than this share of gates near their bounds is too many.
pub const SATURATED: f64 = 0.75;
/// A carried state that is so many times larger at the end of a long run than at its begin drifts.
const DRIFTS: f64 = 2.0;
/// The state of a unit hardly moves where it is beyond 0.95; a layer of which so many are there has lost its memory.
const STUCK: f64 = 0.75;

/// How far back the gradient of a recurrent layer reaches, of the last quarter of the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Reach {
    /// (steps back, norm relative to that at the last step), geometric means.
    pub points: Vec<(usize, f64)>,
}

impl Reach {
    /// Of a layer; `None` without samples.
    pub fn new(samples: &[Sample], layer: usize) -> Option<Reach> {
        let with: Vec<&Vec<f64>> = samples.iter().filter_map(|sample| sample.reach.get(layer)).collect();
        let late = &with[with.len() - with.len().div_ceil(4)..];
        let mean = |at: usize| {
            let ratios = late.iter().filter_map(|reach| Some((reach.get(at)? / reach.first()?).max(f64::MIN_POSITIVE)));
            let logs: Vec<f64> = ratios.map(f64::ln).filter(|log| log.is_finite()).collect();
            (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
        };
        let points: Vec<(usize, f64)> =
            distances().enumerate().map_while(|(at, back)| Some((back, mean(at)?))).collect();
        (!points.is_empty()).then_some(Reach { points })
    }

    /// Steps after which the gradient is below a share of the last step's and stays there.
    pub fn vanishes_after(&self) -> Option<usize> {
        let kept = self.points.iter().rposition(|(_, ratio)| *ratio >= VANISHES)?;
        self.points.get(kept + 1).map(|(back, _)| *back)
    }

    /// Where the gradient is largest, if it explodes: steps back and factor.
    pub fn explodes(&self) -> Option<(usize, f64)> {
        let largest = self.points.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        (largest.1 > EXPLODES).then_some(largest)
    }
}

/// What the user should know, a sentence each, with the remedy.
pub fn warnings(plan: &Plan, gradients: &Gradients) -> Vec<String> {
    let mut found = Vec::new();
    let depth = depth(plan, &gradients.samples);
    let cells: Vec<CellKind> = plan
        .architecture
        .layers
        .iter()
        .filter_map(|layer| if let Layer::Recurrent(own) = layer { Some(own.cell) } else { None })
        .collect();
    let late = &gradients.samples[gradients.samples.len() - gradients.samples.len().div_ceil(4)..];
    let (chunk, shorter) = match plan.kind {
        ModelKind::Carry => ("chunk", "a shorter `chunk`"),
        ModelKind::Window => ("window", "a shorter `window`"),
        ModelKind::Sequence => ("", "shorter sequences"),
    };
    for (layer, name) in gradients.layers.iter().enumerate() {
        if let Some(reach) = Reach::new(&gradients.samples, layer) {
            if let Some((back, factor)) = reach.explodes().filter(|_| plan.clip_norm.is_none()) {
                found.push(format!(
                    "the gradient of {name} explodes: {back} steps back it is {factor:.0} times that of the last \
                     step: write `clip_norm: 1`, or {shorter}"
                ));
            }
            let simple = cells.get(layer).is_some_and(|cell| cell.form().activation.is_some());
            if let Some(back) = reach.vanishes_after().filter(|back| *back as f64 <= EARLY * depth as f64)
                && simple
                && depth >= SHORT
            {
                let enough = match chunk {
                    "" => String::new(),
                    chunk => format!(", or, if so much memory is enough, `{chunk}: {}`", (2 * back).max(SHORT / 2)),
                };
                found.push(format!(
                    "the gradient of {name} vanishes: {back} steps back it is below 1 % of that of the last step, so \
                     what lies further back is hardly learned: write a cell with gates (`lstm`, `gru`) instead of \
                     `simple_rnn`{enough}"
                ));
            }
        }
        let shares = late.iter().filter_map(|sample| sample.saturated.get(layer));
        let share = shares.sum::<f64>() / late.len().max(1) as f64;
        if share > SATURATED {
            found.push(format!(
                "{:.0} % of the gates of {name} are saturated (within 0.05 of their bounds), where they hardly learn: \
                 lower the learning rate or add regularisation (`weight_decay`), and see that inputs have no outliers",
                share * 100.0
            ));
        }
        found.extend(gradients.carried.as_ref().and_then(|carried| drift(carried, layer, name)));
    }
    found
}

/// Whether a layer's carried state drifts or got stuck.
fn drift(carried: &Carried, layer: usize, name: &str) -> Option<String> {
    let steps = carried.steps.last()?;
    let chunks = carried.steps.len();
    let remedy = "write a `gap` or `ttl` under `infer`, which start a key again from zero state, or a longer `chunk`";
    for (points, which) in [(&carried.h[layer], "hidden"), (&carried.c[layer], "cell")] {
        let Some((begin, end)) = Carried::ends(points) else { continue };
        let middle = points.len() / 2;
        let still_grows = points[middle..].iter().sum::<f64>() / (points.len() - middle) as f64 > begin * 1.5;
        if end > DRIFTS * begin && begin > 0.0 && still_grows {
            return Some(format!(
                "the {which} state of {name} drifts: over {steps} steps ({chunks} chunks) it grew {:.1} times: \
                 {remedy}",
                end / begin
            ));
        }
    }
    let (begin, end) = Carried::ends(&carried.beyond[layer])?;
    (end > STUCK && end > 1.5 * begin).then(|| {
        format!(
            "the hidden state of {name} saturates: after {steps} steps ({chunks} chunks) {:.0} % of its units are \
             beyond 0.95, at the begin {:.0} %: {remedy}",
            end * 100.0,
            begin * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::plan::tests::{plan_of, section};

    /// Samples of one layer whose gradient changes by a factor each step back.
    fn samples(depth: usize, factor: f64, saturated: f64) -> Gradients {
        let distances = distances().take_while(|back| *back < depth);
        let reach = distances.map(|back| 3.0 * factor.powi(back as i32)).collect();
        let sample = Sample { updates: 0, norms: vec![1.0], saturated: vec![saturated], reach: vec![reach] };
        Gradients {
            groups: vec!["recurrent_0".into()],
            layers: vec!["recurrent_0".into()],
            samples: vec![sample],
            carried: None,
        }
    }

    fn said(cell: CellKind, gradients: &Gradients, clip: Option<f64>) -> String {
        let mut train = section(1, &["v"]);
        train.layers[0].value = crate::config::TrainLayer::Recurrent(crate::config::Recurrent::new(cell, 8));
        train.chunk = 64;
        train.clip_norm = clip;
        warnings(&plan_of(&train, None), gradients).join("\n")
    }

    #[test]
    fn a_reach_says_where_the_gradient_ends() {
        let reach = Reach::new(&samples(64, 0.5, 0.0).samples, 0).unwrap();
        // 2^-6 = 0.0156, 2^-7 = 0.0078.
        assert_eq!(reach.vanishes_after(), Some(7));
        assert_eq!(reach.explodes(), None);
        let reach = Reach::new(&samples(64, 1.1, 0.0).samples, 0).unwrap();
        let (back, factor) = reach.explodes().unwrap();
        assert!(back == 57 && (factor / 1.1_f64.powi(57) - 1.0).abs() < 1e-9, "{back} {factor}");
        assert_eq!(reach.vanishes_after(), None);
        assert_eq!(Reach::new(&[], 0), None);
    }

    #[test]
    fn each_trouble_names_its_remedy_and_nothing_else_is_said() {
        let exploding = samples(64, 1.1, 0.0);
        assert!(said(CellKind::RnnTanh, &exploding, None).contains("explodes: 57 steps back it is 229 times"));
        assert!(said(CellKind::RnnTanh, &exploding, None).contains("write `clip_norm: 1`"));
        assert_eq!(said(CellKind::RnnTanh, &exploding, Some(1.0)), "");
        let vanishing = samples(64, 0.5, 0.0);
        assert!(said(CellKind::RnnTanh, &vanishing, None).contains("write a cell with gates (`lstm`, `gru`)"));
        assert_eq!(said(CellKind::Lstm, &vanishing, None), "");
        assert_eq!(said(CellKind::RnnTanh, &samples(64, 0.9, 0.5), None), "");
        assert!(said(CellKind::Gru, &samples(64, 0.9, 0.8), None).contains("80 % of the gates of recurrent_0"));
    }

    #[test]
    fn a_state_that_grows_or_gets_stuck_is_named() {
        let run = |h: fn(f64) -> f64, beyond: fn(f64) -> f64| {
            let points = |f: fn(f64) -> f64| vec![(0..100).map(|at| f(f64::from(at) / 100.0)).collect::<Vec<_>>()];
            let carried = Carried {
                chunk: 16,
                steps: (1..=100).map(|chunk| chunk * 16).collect(),
                h: points(h),
                c: vec![vec![]],
                beyond: points(beyond),
            };
            said(CellKind::Gru, &Gradients { carried: Some(carried), ..samples(64, 0.9, 0.1) }, None)
        };
        assert_eq!(run(|_| 0.5, |_| 0.1), "");
        let drifts = run(|at| 0.1 + at, |_| 0.1);
        assert!(drifts.contains("drifts: over 1600 steps (100 chunks) it grew 7.2 times: write a `gap`"), "{drifts}");
        let stuck = run(|_| 0.9, |at| at.min(0.9));
        assert!(stuck.contains("saturates: after 1600 steps") && stuck.contains("a longer `chunk`"), "{stuck}");
    }
}
