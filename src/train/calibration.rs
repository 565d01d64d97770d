//! Quantiles calibrated on the validation part, so that as many values lie below each as its level says.
//!
//! Lives here: split conformal prediction by quantile and step ahead (Lei et al. 2018; of quantiles Romano, Patterson
//! and Candès 2019). Of the n errors on the validation part, what came less what was forecast, the one with the rank
//! that guarantees the level on data like it is added to the output: `ceil((n + 1) level)` above the median,
//! `floor((n + 1) level)` below it. It is a constant of the output, so it costs nothing when it is served. A key with a
//! linear path of its own has constants of its own, if its errors are enough of them. The median stays as it was
//! trained. Must not live here: what was trained (`fit`), the quantiles of the linear path (`ridge::spread`).

use super::Plan;
use super::dataset::Dataset;
use super::pass::Model;
use super::split::Subset;
use crate::error::counted;

/// Values of a key that have to be expected beyond the outermost quantile for constants of its own: then the share that
/// lies there is right to a fourth of itself, as far as values are independent.
const BEYOND: f64 = 20.0;

/// What a calibration adds to the outputs, in the network's units.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Per output, of all keys.
    pub shifts: Vec<f64>,
    /// Per group of the linear path, from 1 on, if it has its own.
    pub own: Vec<Option<Vec<f64>>>,
    /// Validation values of the output that has the fewest, over all keys.
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
    let head = &data.plan.head;
    if head.levels().is_empty() {
        return None;
    }
    let outputs = model.scaling.out_mean.len();
    let groups = data.plan.architecture.groups.max(1);
    let mut errors: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); outputs]; groups];
    model.forecasts(data, Subset::Validation, &mut |series, step, y| {
        let row = data.steps[series].rows[step] as usize;
        let group = if groups > 1 { data.groups[series] as usize } else { 0 };
        for (output, (errors, y)) in errors[group].iter_mut().zip(y).enumerate() {
            if let Some(wanted) = data.wanted(series, row, output) {
                errors.push(wanted + f64::from(data.base(series, row, output)) - f64::from(*y));
            }
        }
    });
    let shifts = |mut errors: Vec<Vec<f64>>| -> Vec<f64> {
        let shift = |(output, errors): (usize, &mut Vec<f64>)| {
            errors.sort_by(f64::total_cmp);
            head.level(output).filter(|level| *level != 0.5).map_or(0.0, |level| conformal(errors, level))
        };
        errors.iter_mut().enumerate().map(shift).collect()
    };
    let fewest = |errors: &[Vec<f64>]| errors.iter().map(Vec::len).min().unwrap_or(0);
    let all: Vec<Vec<f64>> =
        (0..outputs).map(|output| errors.iter().flat_map(|errors| errors[output].iter().copied()).collect()).collect();
    let values = Some(fewest(&all)).filter(|values| *values > 0)?;
    let enough = BEYOND / farthest(head.levels());
    let own =
        errors.drain(1..).map(|errors| (fewest(&errors) as f64 + 1e-6 >= enough).then(|| shifts(errors))).collect();
    Some(Calibration { shifts: shifts(all), own, values })
}

/// How near to 0 or 1 the outermost quantile is.
fn farthest(levels: &[f64]) -> f64 {
    levels.iter().map(|level| level.min(1.0 - level)).fold(f64::INFINITY, f64::min)
}

/// That there was nothing to calibrate on, or too little.
pub fn warning(plan: &Plan, calibration: Option<&Calibration>) -> Option<String> {
    let levels = plan.head.levels();
    let each = if plan.head.forecast().is_some() { "a step ahead" } else { "a target" };
    let needed = (1.0 / farthest(levels) - 1.0 - 1e-9).ceil();
    match calibration {
        _ if levels.is_empty() || levels[..] == [0.5] => None,
        None => Some(
            "the quantiles are not calibrated, since no key has an example in the validation part: more or fewer \
             values than asked may lie below them; give `split` a validation part"
                .to_string(),
        ),
        Some(Calibration { values, .. }) if (*values as f64) < needed => Some(format!(
            "the validation part has {} of {each}, and the outermost quantile needs {needed} to be calibrated: \
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
        for (at, own) in self.own.iter().enumerate() {
            let Some(own) = own else { continue };
            let more =
                own.iter().zip(&self.shifts).zip(&scaling.out_sd).map(|((own, all), sd)| ((own - all) / sd) as f32);
            model.net.shift_group(at + 1, &more.collect::<Vec<_>>());
        }
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
        assert_eq!(calibration, Calibration { shifts: vec![known[0], 0.0, known[9]], own: vec![], values: 10 });
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

    /// Three keys, two of them with paths of their own: each of these gets its own quantiles, if it has values enough.
    #[test]
    fn a_key_with_a_path_of_its_own_has_quantiles_of_its_own() {
        for (rows, is_own) in [(200, true), (199, false)] {
            let mut train = section(1, &["v"]);
            (train.quantiles, train.split.value) = (vec![0.1, 0.5, 0.9], Split::Rows([5, rows, 4]));
            let mut plan = plan_of(&train, None);
            plan.keys = vec!["a".into(), "b".into()];
            (plan.architecture.skip, plan.architecture.groups) = (plan.architecture.network.clone(), 3);
            let count = 5 + rows as i32 + 4;
            let numbers =
                |scale: f64| -> Vec<f64> { (0..count).map(|i| f64::from(i * 7 % count - count / 2) * scale).collect() };
            let values = [numbers(1.0), numbers(10.0), numbers(-3.0)];
            let series = [plain("a", &values[0]), plain("b", &values[1]), plain("c", &values[2])];
            let data = Dataset::new(&series, &plan).unwrap();
            let mut net = Network::<f32>::new(&plan.architecture, 1);
            net.set_linear(&[0.0; 9], &[0.0; 9]);
            let scaling = Scaling { out_sd: vec![2.0; 3], ..Scaling::neutral(&plan) };
            let mut model = Model { net, scaling, apart: Vec::new() };
            let calibration = calibrate(&data, &model).unwrap();
            assert_eq!((calibration.values, calibration.own.len()), (3 * rows, 2));
            calibration.apply(&mut model);
            let ranks = |mut known: Vec<f64>| {
                known.sort_by(f64::total_cmp);
                [conformal(&known, 0.1) as f32, 0.0, conformal(&known, 0.9) as f32]
            };
            let of = |key: usize| values[key][5..5 + rows].to_vec();
            let shared = ranks((0..3).flat_map(of).collect());
            let mut found = vec![Vec::new(); 3];
            model.forecasts(&data, Subset::Test, &mut |series, _, y| found[series].push(y.to_vec()));
            for (key, found) in found.iter().enumerate() {
                let wanted = if key < 2 && is_own { ranks(of(key)) } else { shared };
                let close = |y: &Vec<f32>| y.iter().zip(wanted).all(|(y, wanted)| (y - wanted).abs() < 1e-3);
                assert!(found.len() == 4 && found.iter().all(close), "{key}: {found:?}, not {wanted:?}");
            }
        }
    }
}
