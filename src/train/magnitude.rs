//! Numbers that one scaling for all keys, or float32, can't hold: what the user should know before training.
//!
//! Lives here: the warnings about magnitudes. Must not live here: the scaling itself (`scaling`, the stage `scale`).

use super::dataset::Dataset;
use super::report::name;
use super::scaling::Moments;
use super::split::Subset;

/// Over that many standard deviations from zero, float32 has too few digits left for the differences.
const FAR_FROM_ZERO: f64 = 10_000.0;
/// A key whose values vary by less than one part in this many of all keys' has too little left of them.
const APART: f64 = 100.0;
/// From here on float32 doesn't hold every whole number.
const WHOLE: f64 = 16_777_216.0;
/// Keys that a warning names.
const NAMED: usize = 8;

/// One key's values of a column over the train part.
struct OfKey {
    series: usize,
    mean: f64,
    sd: f64,
}

/// What is too far from zero for float32, and which columns differ too much between keys for one scaling. Columns that
/// a `scale` stage scales per key are looked at as scaled.
pub fn warnings(data: &Dataset) -> Vec<String> {
    let mut warnings = Vec::new();
    let columns = &data.plan.columns;
    for (feature, column) in columns.iter().enumerate() {
        // Of a column and its lags, the first is enough.
        if columns[..feature].contains(column) {
            continue;
        }
        let targets =
            if data.plan.head.is_text() || data.plan.head.is_beside_values() { &[] } else { data.plan.head.columns() };
        let exact = targets.iter().position(|target| target == column);
        let moments = (0..data.series.len()).map(|series| of_key(data, series, feature, exact));
        judge(data, column, &moments.collect::<Vec<_>>(), &mut warnings);
    }
    if data.plan.head.is_text() || data.plan.head.is_beside_values() {
        return warnings;
    }
    // A target that isn't an input is scaled all the same.
    for (target, column) in data.plan.head.columns().iter().enumerate() {
        if !columns.contains(column) {
            let moments = (0..data.series.len()).map(|series| of_target(data, series, target));
            judge(data, column, &moments.collect::<Vec<_>>(), &mut warnings);
        }
    }
    warnings
}

/// A feature, of a target from its exact values, where these are what the network sees.
fn of_key(data: &Dataset, series: usize, feature: usize, exact: Option<usize>) -> Moments {
    if let Some(target) = exact.filter(|target| data.series[series].scale[*target].is_none()) {
        return of_target(data, series, target);
    }
    let mut moments = Moments::default();
    for row in &data.steps[series].rows {
        if data.rows[series][*row as usize] == Some(Subset::Train) {
            moments.add(f64::from(data.captured(series, *row as usize)[feature]));
        }
    }
    moments
}

/// A target in own units, or as the `scale` stage scales it.
fn of_target(data: &Dataset, series: usize, target: usize) -> Moments {
    let s = &data.series[series];
    let mut moments = Moments::default();
    for (row, value) in s.targets[target].iter().enumerate() {
        let value = s.to_network(target, row, *value);
        if data.rows[series][row] == Some(Subset::Train) && s.observed[target][row] && value.is_finite() {
            moments.add(value);
        }
    }
    moments
}

fn judge(data: &Dataset, column: &str, moments: &[Moments], warnings: &mut Vec<String>) {
    let mut all = Moments::default();
    moments.iter().for_each(|moments| all.merge(*moments));
    let (mean, sd) = all.raw();
    if sd > 0.0 && mean.abs() / sd > FAR_FROM_ZERO {
        warnings.push(format!(
            "feature \"{column}\" has mean {mean:.6e} and standard deviation {sd:.3e}: too far from zero for float32, \
             scale it (stage `scale`) or subtract its level first"
        ));
        return;
    }
    let keys: Vec<OfKey> = (moments.iter().enumerate())
        .filter(|(_, moments)| moments.count > 1.0)
        .map(|(series, moments)| OfKey { series, mean: moments.raw().0, sd: moments.raw().1 })
        .collect();
    if keys.len() < 2 {
        return;
    }
    let small: Vec<&OfKey> = keys.iter().filter(|key| key.sd > 0.0 && sd / key.sd > APART).collect();
    let large = keys.iter().max_by(|a, b| (a.mean.abs() + a.sd).total_cmp(&(b.mean.abs() + b.sd)));
    if let (Some(least), Some(large)) = (small.iter().min_by(|a, b| a.sd.total_cmp(&b.sd)), large) {
        let of = |key: &OfKey| {
            let key_name = name(&data.series[key.series].key);
            format!("mean {:.3e} and standard deviation {:.3e} in key \"{key_name}\"", key.mean, key.sd)
        };
        warnings.push(format!(
            "keys differ in scale: \"{column}\" has {}, {}; one scaling for all keys leaves less than 1 % of its range \
             to {} of {} keys ({}): {}",
            of(least),
            of(large),
            small.len(),
            keys.len(),
            names(data, &small),
            remedy(data, column)
        ));
    }
    // In float32 a key may have lost all of its differences.
    let is_far = |key: &&OfKey| match key.sd {
        0.0 => key.mean.abs() >= WHOLE,
        sd => key.mean.abs() / sd > FAR_FROM_ZERO,
    };
    let far: Vec<&OfKey> = keys.iter().filter(is_far).collect();
    if let Some(worst) = far.iter().max_by(|a, b| a.mean.abs().total_cmp(&b.mean.abs())) {
        warnings.push(format!(
            "\"{column}\" is too far from zero for float32 in {} of {} keys ({}): around {:.6e} its steps are {:.1e}; \
             {}",
            far.len(),
            keys.len(),
            names(data, &far),
            worst.mean,
            step_at(worst.mean),
            remedy(data, column)
        ));
    }
}

/// What helps; a `scale` stage, unless there is one that didn't.
fn remedy(data: &Dataset, column: &str) -> String {
    let target = data.plan.head.columns().iter().position(|target| target == column);
    let is_scaled = |target: usize| data.series.iter().any(|series| series.scale[target].is_some());
    match target.is_some_and(is_scaled) {
        true => "it is scaled, but varies by less than a millionth of its level: subtract the level first".into(),
        false => format!("scale it per key (stage `scale: {{ values: [{column}], … }}`)"),
    }
}

/// Distance of neighbouring float32 numbers.
fn step_at(value: f64) -> f32 {
    let value = value.abs() as f32;
    f32::from_bits(value.to_bits() + 1) - value
}

fn names(data: &Dataset, keys: &[&OfKey]) -> String {
    let mut names: Vec<String> = keys.iter().take(NAMED).map(|key| name(&data.series[key.series].key)).collect();
    names.extend((keys.len() > NAMED).then(|| format!("{} more", keys.len() - NAMED)));
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Split;
    use crate::train::Series;
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};

    fn warned(series: &[Series]) -> Vec<String> {
        let mut train = section(1, &["v"]);
        train.split.value = Split::Rows([40, 0, 0]);
        let plan = plan_of(&train, None);
        warnings(&Dataset::new(series, &plan).unwrap())
    }

    fn wave(level: f64, size: f64) -> Vec<f64> {
        (0..48).map(|i| level + size * f64::sin(f64::from(i))).collect()
    }

    #[test]
    fn one_series_far_from_zero_is_warned_of_and_a_constant_is_not() {
        assert!(warned(&[plain("a", &[0.1; 48])]).is_empty());
        assert!(warned(&[plain("a", &wave(10.0, 5.0)), plain("b", &wave(12.0, 0.2))]).is_empty());
        let far = warned(&[plain("a", &wave(1e6, 1.0))]);
        assert!(far.len() == 1 && far[0].contains("stage `scale`"), "{far:?}");
    }

    #[test]
    fn keys_of_very_different_scale_are_named_with_the_stage() {
        let found = warned(&[
            plain("small", &wave(1e-2, 5e-3)),
            plain("middle", &wave(10.0, 5.0)),
            plain("large", &wave(1e7, 5e6)),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        for word in ["stage `scale: { values: [v]", "2 of 3 keys (small, middle)", "in key \"large\""] {
            assert!(found[0].contains(word), "{word}: {found:?}");
        }
    }

    #[test]
    fn a_key_that_lost_its_digits_is_named_though_the_pooled_deviation_is_large() {
        let series = [plain("a", &wave(10.0, 5.0)), plain("b", &wave(20.0, 5.0)), plain("c", &wave(1e9, 5.0))];
        let found = warned(&series);
        let digits = found.iter().find(|w| w.contains("float32")).unwrap();
        assert!(digits.contains("1 of 3 keys (c)") && digits.contains("`scale: { values: [v]"), "{found:?}");
        // A feature that isn't a target is known in float32 only: all of its values may have become one.
        let mut train = section(1, &["other"]);
        train.split.value = Split::Rows([40, 0, 0]);
        train.inputs[0].value = "v".into();
        let plan = plan_of(&train, None);
        let found = warnings(&Dataset::new(&series, &plan).unwrap());
        assert!(found.iter().any(|w| w.starts_with("\"v\" is too far") && w.contains("(c)")), "{found:?}");
    }

    #[test]
    fn keys_that_a_stage_scales_are_not_warned_of() {
        let mut series = [plain("a", &wave(1e-2, 5e-3)), plain("b", &wave(1e9, 5.0))];
        for (s, (mean, sd)) in series.iter_mut().zip([(1e-2, 5e-3), (1e9, 5.0)]) {
            s.scale = vec![Some(vec![(mean, sd); 48].into())];
            s.x = s.targets[0].iter().map(|value| ((value - mean) / sd) as f32).collect();
        }
        assert_eq!(warned(&series), Vec::<String>::new());
    }
}
