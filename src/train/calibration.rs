//! Quantiles calibrated on the validation part, so that as many values lie below each as its level says.
//!
//! Lives here: split conformal prediction by quantile and step ahead (Lei et al. 2018; of quantiles Romano, Patterson
//! and Candès 2019). Of the n errors on the validation part, what came less what was forecast, the one with the rank
//! that guarantees the level on data like it is added to the output: `ceil((n + 1) level)` above the median,
//! `floor((n + 1) level)` below it. It is a constant of the output, so it costs nothing when it is served. The median
//! stays as it was trained. Must not live here: what was trained (`fit`), the quantiles of the linear path
//! (`ridge::spread`).

use super::Plan;
use super::dataset::Dataset;
use super::pass::Model;
use super::split::Subset;
use crate::error::counted;

/// What a calibration adds to the outputs, in the network's units.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Per output.
    pub shifts: Vec<f64>,
    /// Validation values of the output that has the fewest.
    pub values: usize,
}

/// The quantile of sorted values, between two of them by a line; 0 of nothing.
pub fn quantile(sorted: &[f64], level: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = level * last as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    sorted[below] + part * (sorted[last.min(below + 1)] - sorted[below])
}

/// The value with the conformal rank of a level among sorted ones; the outermost where there are too few. 0 of nothing.
pub fn conformal(sorted: &[f64], level: f64) -> f64 {
    let n = sorted.len();
    let rank = level * (n + 1) as f64;
    // 0.9 * 10 is a little off 9 in binary.
    let rank = if level > 0.5 { (rank - 1e-9).ceil() } else { (rank + 1e-9).floor() };
    let at = (rank as usize).clamp(1, n.max(1)) - 1;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// Calibrates the quantiles of a model; `None` where it has none, or where no value of the validation part is known.
pub fn calibrate(data: &Dataset, model: &Model) -> Option<Calibration> {
    let head = data.plan.head.forecast().filter(|head| !head.quantiles.is_empty())?;
    let mut errors: Vec<Vec<f64>> = vec![Vec::new(); model.scaling.out_mean.len()];
    model.forecasts(data, Subset::Validation, &mut |series, step, y| {
        let row = data.steps[series].rows[step] as usize;
        for (output, (errors, y)) in errors.iter_mut().zip(y).enumerate() {
            if let Some(wanted) = data.wanted(series, row, output) {
                errors.push(wanted + f64::from(data.base(series, row, output)) - f64::from(*y));
            }
        }
    });
    let values = errors.iter().map(Vec::len).min().filter(|values| *values > 0)?;
    let shift = |(output, errors): (usize, &mut Vec<f64>)| {
        errors.sort_by(f64::total_cmp);
        head.level(output).filter(|level| *level != 0.5).map_or(0.0, |level| conformal(errors, level))
    };
    Some(Calibration { shifts: errors.iter_mut().enumerate().map(shift).collect(), values })
}

/// That there was nothing to calibrate on, or too little.
pub fn warning(plan: &Plan, calibration: Option<&Calibration>) -> Option<String> {
    let levels = &plan.head.forecast()?.quantiles;
    let farthest = levels.iter().map(|level| level.min(1.0 - level)).fold(f64::INFINITY, f64::min);
    let needed = (1.0 / farthest - 1.0 - 1e-9).ceil();
    match calibration {
        _ if levels.is_empty() || levels[..] == [0.5] => None,
        None => Some(
            "the quantiles are not calibrated, since no key has an example in the validation part: more or fewer \
             values than asked may lie below them; give `split` a validation part"
                .to_string(),
        ),
        Some(Calibration { values, .. }) if (*values as f64) < needed => Some(format!(
            "the validation part has {} of a step ahead, and the outermost quantile needs {needed} to be calibrated: \
             it is that of the outermost error; give `split` a longer validation part",
            counted(*values, "value")
        )),
        Some(_) => None,
    }
}

impl Calibration {
    /// Adds it to a model's outputs.
    pub fn apply(&self, model: &mut Model) {
        let scaling = &mut model.scaling;
        // As the graph holds it.
        scaling
            .out_mean
            .iter_mut()
            .zip(&self.shifts)
            .for_each(|(mean, shift)| *mean = f64::from((*mean + shift) as f32));
        let f32s = |numbers: &[f64]| numbers.iter().map(|number| *number as f32).collect::<Vec<_>>();
        let (mean, sd) = (f32s(&scaling.mean), f32s(&scaling.sd));
        model.net.set_scaling(&mean, &sd, &f32s(&scaling.out_mean), &f32s(&scaling.out_sd));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Split;
    use crate::train::dataset::tests::plain;
    use crate::train::network::Network;
    use crate::train::plan::tests::{plan_of, section};
    use crate::train::scaling::Scaling;

    #[test]
    fn ranks_by_hand() {
        let nine: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!([0.1, 0.5, 0.9, 0.25, 0.75].map(|level| conformal(&nine, level)), [1.0, 5.0, 9.0, 2.0, 8.0]);
        // Too few: the outermost.
        assert_eq!([0.01, 0.99].map(|level| conformal(&nine, level)), [1.0, 9.0]);
        assert_eq!((conformal(&[], 0.9), quantile(&[], 0.9)), (0.0, 0.0));
        assert_eq!((quantile(&nine, 0.5), quantile(&nine, 0.9), quantile(&[2.0, 4.0], 0.25)), (5.0, 8.2, 2.5));
    }

    /// A network that forecasts 0 whatever comes: its quantiles become those of the validation part.
    #[test]
    fn the_outputs_get_the_quantiles_of_the_validation_part() {
        let mut train = section(1, &["v"]);
        (train.quantiles, train.split.value) = (vec![0.1, 0.5, 0.9], Split::Rows([5, 10, 4]));
        let plan = plan_of(&train, None);
        let values: Vec<f64> = (0..19).map(|i| f64::from(i * 7 % 19) - 5.0).collect();
        let series = [plain("a", &values)];
        let data = Dataset::new(&series, &plan).unwrap();
        let mut net = Network::<f32>::new(&plan.architecture, 1);
        net.scale_output(0.0);
        let mut model = Model { net, scaling: Scaling::neutral(&plan), apart: Vec::new() };
        let calibration = calibrate(&data, &model).unwrap();
        // Rows 5 to 14 are the targets of the validation part.
        let mut known = values[5..15].to_vec();
        known.sort_by(f64::total_cmp);
        assert_eq!(calibration, Calibration { shifts: vec![known[0], 0.0, known[9]], values: 10 });
        calibration.apply(&mut model);
        let mut rows = Vec::new();
        model.forecasts(&data, Subset::Test, &mut |_, _, y| rows.push(y.to_vec()));
        assert!(rows.iter().all(|y| y[..] == [known[0] as f32, 0.0, known[9] as f32]) && rows.len() == 4, "{rows:?}");
        assert_eq!(warning(&plan, Some(&calibration)), None);
        let few = Calibration { values: 8, ..calibration };
        assert!(
            warning(&plan, Some(&few))
                .unwrap()
                .contains("8 values of a step ahead, and the outermost quantile needs 9")
        );
        assert!(warning(&plan, None).unwrap().contains("not calibrated"));
        train.quantiles = vec![];
        assert_eq!(warning(&plan_of(&train, None), None), None);
    }
}
