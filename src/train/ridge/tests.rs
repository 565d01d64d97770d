//! The path on series whose best forecast is known.

use super::super::head::forecast::Forecast;
use super::solve::Reads;
use super::*;
use crate::config::{Skip, Split, Train};
use crate::network::testing::Numbers;
use crate::train::Series;
use crate::train::dataset::tests::plain;
use crate::train::plan::tests::{plan_of, section};

/// x_t = a x_(t-1) + b x_(t-2) + level (1 - a - b), and noise.
fn autoregressive(key: &str, [a, b]: [f64; 2], level: f64, n: usize, noise: f32) -> Series {
    let mut values = vec![level, level + 1.0];
    for more in Numbers(key.len() as u64).take(n - 2) {
        let (x1, x2) = (values[values.len() - 1], values[values.len() - 2]);
        values.push(a * x1 + b * x2 + level * (1.0 - a - b) + f64::from(noise * more));
    }
    plain(key, &values)
}

fn train() -> Train {
    let mut train = section(2, &["v"]);
    train.skip = Skip::Ridge;
    train.split.value = Split::PerKey([0.6, 0.2, 0.2]);
    train
}

fn linear(series: &[Series], train: &Train) -> (Plan, Vec<Choice>, Linear) {
    let plan = plan_of(train, None);
    let head = Forecast::new(train);
    let data = Dataset::new(series, &plan).unwrap();
    let choices = choose(&data, &head);
    let plan = super::plan(&data, &head, &choices);
    let data = Dataset::new(series, &plan).unwrap();
    let linear = fit(&data, &choices);
    (plan, choices, linear)
}

/// The path's forecast one row ahead for the last values, the youngest first.
fn forecast(linear: &Linear, group: usize, lags: &[f64]) -> f64 {
    let kernel = linear.kernels[group].chunks_exact(2).map(|row| row[0]);
    linear.constants[group][0] + kernel.zip(lags).map(|(weight, lag)| weight * lag).sum::<f64>()
}

#[test]
fn keys_that_follow_one_rule_share_their_weights() {
    let series = [autoregressive("a", [0.6, 0.3], 50.0, 3000, 1.0), autoregressive("bb", [0.6, 0.3], 50.0, 3000, 1.0)];
    let (plan, choices, linear) = linear(&series, &train());
    assert!(plan.keys.is_empty() && plan.architecture.groups == 0, "{choices:?}");
    assert!(plan.inputs[1..].iter().all(|input| input.filled) && plan.inputs.len() >= 2);
    let mut lags = vec![50.0; plan.architecture.skip.len()];
    lags[..2].copy_from_slice(&[53.0, 51.0]);
    let wanted = 50.0 + 0.6 * 3.0 + 0.3;
    assert!((forecast(&linear, 0, &lags) - wanted).abs() < 0.25, "{} {wanted}", forecast(&linear, 0, &lags));
}

#[test]
fn keys_that_follow_rules_of_their_own_have_weights_of_their_own() {
    let series = [autoregressive("a", [0.9, 0.0], 10.0, 900, 1.0), autoregressive("bb", [-0.8, 0.0], 10.0, 900, 1.0)];
    let (plan, choices, linear) = linear(&series, &train());
    assert_eq!(plan.keys, ["a", "bb"], "{choices:?}");
    assert_eq!((plan.architecture.groups, linear.kernels.len()), (3, 3));
    let mut lags = vec![10.0; plan.architecture.skip.len()];
    lags[0] = 13.0;
    for (group, wanted) in [(1, 12.7), (2, 7.6)] {
        let found = forecast(&linear, group, &lags);
        assert!((found - wanted).abs() < 0.3, "group {group}: {found} {wanted}");
    }
    // A key that is not known has the weights of both together.
    assert!((forecast(&linear, 0, &lags) - 10.0).abs() < 1.0, "{}", forecast(&linear, 0, &lags));
}

#[test]
fn what_is_added_to_the_output_is_not_in_the_path() {
    let mut train = train();
    let series = [autoregressive("a", [0.6, 0.3], 50.0, 900, 1.0)];
    let without = linear(&series, &train).2;
    train.residual = crate::config::Residual::Last;
    let with = linear(&series, &train).2;
    let (plain, less) = (&without.kernels[0], &with.kernels[0]);
    assert!((plain[0] - 1.0 - less[0]).abs() < 1e-9 && (plain[2] - less[2]).abs() < 1e-9, "{plain:?} {less:?}");
}

#[test]
fn nulls_and_short_keys_leave_numbers() {
    let mut series = [autoregressive("a", [0.6, 0.3], 50.0, 300, 1.0), autoregressive("bb", [0.6, 0.3], 9.0, 5, 1.0)];
    series[0].targets[0][40] = f64::NAN;
    (series[0].observed[0][40], series[0].usable[40], series[0].x[40]) = (false, false, f32::NAN);
    let plan = plan_of(&train(), None);
    let data = Dataset::new(&series, &plan).unwrap();
    let values = &series[0].targets[0];
    // Row 40 is null: the next row has its value; before the first row is the first.
    assert_eq!((data.lagged(0, 42, 0, 2), data.lagged(0, 42, 0, 3)), (values[41], values[39]));
    assert_eq!(data.lagged(0, 1, 0, 7), values[0]);
    let (_, choices, linear) = linear(&series, &train());
    assert!(linear.kernels.iter().flatten().all(|weight| weight.is_finite()), "{choices:?}");
}

#[test]
fn a_drift_is_learned_where_it_pays() {
    let drifting = |slope: f64| {
        let mut values = vec![0.0];
        for step in Numbers(3).take(900) {
            values.push(values[values.len() - 1] + slope + f64::from(step));
        }
        linear(&[plain("a", &values)], &train())
    };
    let ahead = |linear: &Linear, lags: usize| forecast(linear, 0, &vec![100.0; lags]) - 100.0;
    let (plan, choices, path) = drifting(2.0);
    let share = |choices: &[Choice]| -> f64 {
        let members = choices[0].members.iter();
        members.filter(|(candidate, _)| candidate.constant).map(|(_, weight)| weight).sum()
    };
    assert!(share(&choices) > 0.8, "{choices:?}");
    assert!((ahead(&path, plan.architecture.skip.len()) - 2.0).abs() < 0.5, "{path:?}");
    let (_, choices, _) = linear(&[autoregressive("a", [0.6, 0.3], 50.0, 900, 1.0)], &train());
    assert!((0.2..0.8).contains(&share(&choices)), "{choices:?}");
}

#[test]
fn a_key_of_few_rows_has_the_weights_of_all() {
    let mut series = vec![
        autoregressive("a", [0.9, 0.0], 50.0, 900, 1.0),
        autoregressive("b", [-0.6, 0.3], 50.0, 900, 1.0),
        autoregressive("c", [0.9, 0.0], 50.0, 900, 1.0),
    ];
    series.push(plain("d", &series[1].targets[0][..16]));
    let (plan, choices, path) = linear(&series, &train());
    assert!(choices[0].is_per_key(), "{choices:?}");
    assert_eq!(plan.keys, ["a", "b", "c", "d"]);
    let [all, a, b, _, d] = &path.kernels[..] else { panic!("{path:?}") };
    assert_eq!(d, all);
    assert!(a[0] > 0.5 && b[0] < 0.0, "{path:?}");
}

#[test]
fn a_season_is_read_at_its_phase() {
    let pattern: Vec<f64> = Numbers(8).take(24).map(|value| 10.0 * f64::from(value)).collect();
    let noise = Numbers(9).take(1200);
    let values: Vec<f64> = noise.enumerate().map(|(t, noise)| pattern[t % 24] + f64::from(noise)).collect();
    let mut train = train();
    train.seasonality = Some(24);
    let (plan, choices, path) = linear(&[plain("a", &values)], &train);
    let reads = |wanted: Reads| choices[0].members.iter().any(|(candidate, _)| candidate.reads == wanted);
    assert!(reads(Reads::Phases(24)) && reads(Reads::Seasons(24)), "{choices:?}");
    // Of a pattern that is repeated without noise, the next row is known.
    let lags: Vec<f64> = (0..plan.architecture.skip.len()).map(|lag| pattern[(23 + 24 * 50 - lag) % 24]).collect();
    let found = forecast(&path, 0, &lags);
    assert!((found - pattern[0]).abs() < 1.0, "{found} {}", pattern[0]);
}

#[test]
fn a_series_without_noise_has_a_path() {
    for slope in [0.25, 3.0] {
        let values: Vec<f64> = (0..600).map(|t| f64::from(t) * slope).collect();
        let (plan, choices, path) = linear(&[plain("a", &values)], &train());
        assert!(!choices[0].members.is_empty());
        let lags: Vec<f64> = (0..plan.architecture.skip.len()).map(|lag| values[500 - lag]).collect();
        let found = forecast(&path, 0, &lags);
        assert!((found - values[501]).abs() < 0.1 * slope, "{found} {}", values[501]);
    }
}
