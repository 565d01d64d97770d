//! The constants of quantiles: the linear path is the same for all of them, and each is shifted by how the path's
//! errors on the train part are spread.
//!
//! Lives here: the errors of the path, by group of keys and output. Must not live here: how it is fitted (`mod`), how
//! quantiles are calibrated on the validation part (`calibration`).

use super::Linear;
use crate::train::calibration::quantile;
use crate::train::dataset::Dataset;
use crate::train::head::Head;
use crate::train::head::forecast::Forecast;
use crate::train::split::Subset;

/// Examples of a group that are looked at, at most.
const MOST: usize = 20_000;
/// Examples that a key needs for constants of its own.
const FEW: usize = 50;

/// A series and a step of it.
type Origin = (usize, usize);

/// Shifts each quantile of a path whose constants are those of a point forecast.
pub(super) fn spread(data: &Dataset, head: &Forecast, linear: &mut Linear) {
    let of_series = |series: usize| data.origins(series, Subset::Train).map(move |step| (series, step));
    let mut shared = Vec::new();
    for group in 0..linear.kernels.len() {
        let is_of_group = |series: &usize| group == 0 || data.groups[*series] as usize == group;
        let origins: Vec<Origin> = (0..data.series.len()).filter(is_of_group).flat_map(of_series).collect();
        let own = (group == 0 || origins.len() >= FEW).then(|| shifts(data, head, linear, group, &origins));
        let constants = &mut linear.constants[group];
        constants.iter_mut().zip(own.as_ref().unwrap_or(&shared)).for_each(|(constant, shift)| *constant += shift);
        if group == 0 {
            shared = own.unwrap_or_default();
        }
    }
}

/// Per output, the quantile of the path's errors at some origins.
fn shifts(data: &Dataset, head: &Forecast, linear: &Linear, group: usize, origins: &[Origin]) -> Vec<f64> {
    let (points, outputs) = (head.points(), linear.constants[group].len());
    let shape = &data.plan.architecture;
    let mut errors = vec![Vec::new(); points];
    let mut x = vec![0.0; shape.features];
    for (series, step) in origins.iter().step_by(origins.len().div_ceil(MOST).max(1)) {
        let row = data.steps[*series].rows[*step] as usize;
        data.x(*series, *step, &mut x);
        let mut path = linear.constants[group][..points].to_vec();
        for (feature, weights) in shape.skip.iter().zip(linear.kernels[group].chunks_exact(outputs)) {
            let x = f64::from(x[*feature]);
            path.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
        }
        for (output, (errors, path)) in errors.iter_mut().zip(path).enumerate() {
            errors.extend(
                data.wanted(*series, row, output).map(|wanted| wanted - path).filter(|error| error.is_finite()),
            );
        }
    }
    errors.iter_mut().for_each(|errors| errors.sort_by(f64::total_cmp));
    (0..outputs)
        .map(|output| head.level(output).map_or(0.0, |level| quantile(&errors[output % points], level)))
        .collect()
}
