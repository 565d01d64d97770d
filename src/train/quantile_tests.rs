//! Whole trainings of quantiles, and of losses in own units, on series whose spread is known.

use super::dataset::tests::plain;
use super::head::forecast::ForecastEvaluation;
use super::plan::tests::{plan_of, section};
use super::*;
use crate::config::{Length, Loss, Skip, Split, Train};
use crate::model::ModelKind;
use crate::network::testing::Numbers;

fn evaluation(trained: &Trained) -> &ForecastEvaluation {
    trained.evaluation.as_any().downcast_ref().unwrap()
}

/// A wave of 24 rows, and noise that is evenly spread over ±2.
fn noisy(keys: usize, n: usize) -> Vec<Series> {
    let of = |key: usize| {
        let noise = Numbers(3 + key as u64).map(|noise| 2.0 * f64::from(noise));
        let wave = (0..n).map(|i| 20.0 + 3.0 * f64::sin((i + 7 * key) as f64 * std::f64::consts::TAU / 24.0));
        plain(&format!("k{key}"), &wave.zip(noise).map(|(wave, noise)| wave + noise).collect::<Vec<f64>>())
    };
    (0..keys).map(of).collect()
}

fn quantiles() -> Train {
    let mut train = section(3, &["v"]);
    (train.quantiles, train.skip, train.seasonality) = (vec![0.1, 0.5, 0.9], Skip::Ridge, Some(24));
    (train.length, train.batch_size, train.split.value) = (Length::Updates(60), 4, Split::PerKey([0.6, 0.2, 0.2]));
    train
}

#[test]
fn as_many_values_lie_within_an_interval_as_it_says() {
    for (skip, window) in [(Skip::Ridge, None), (Skip::None, Some(8))] {
        let train = Train { skip, ..quantiles() };
        let plan = plan_of(&train, window);
        assert_eq!(plan.kind == ModelKind::Carry, window.is_none());
        let trained = super::train(&noisy(2, 1500), &plan, &mut |_| ()).unwrap();
        let metrics = &trained.metrics;
        let coverage = metrics["v.coverage_80"];
        assert!((coverage - 0.8).abs() < 0.05, "{skip:?}: {coverage}");
        assert!(
            (metrics["v.below_q10"] - 0.1).abs() < 0.04 && (metrics["v.below_q90"] - 0.9).abs() < 0.04,
            "{metrics:?}"
        );
        // As it was trained, and its own metrics fit together.
        assert!(metrics["v.pinball"] < metrics["v.pinball_seasonal"] && metrics["v.width_80"] > 0.5);
        assert!((2.0 * metrics["v.pinball_q50"] - metrics["v.mae"]).abs() < 1e-9);
        if skip == Skip::Ridge {
            assert!(metrics["v.pinball"] < 1.05 * metrics["v.pinball_ridge"], "{metrics:?}");
            assert!(trained.path.as_ref().unwrap().contains("ridge"));
        }
        let found = evaluation(&trained);
        assert_eq!(found.key_spreads.len(), 2);
        assert_eq!(found.step_spreads[0].len(), 3);
        let table = super::head::Evaluation::table(found);
        assert!(
            table.contains("within 80 %") && table.contains("below q10") && table.contains("rows ahead"),
            "{table}"
        );
        let page = report::html(&trained, "m").unwrap();
        assert!(page.contains("<h2>Quantiles</h2>") && page.contains("pinball of the quantiles 0.1, 0.5, 0.9"));
        assert_eq!(trained.architecture.quantiles, ["y_q10", "y", "y_q90"]);
    }
}

/// Every output's quantile of the linear path is that of its errors, before the network learns anything.
#[test]
fn the_paths_of_quantiles_are_as_far_apart_as_its_errors() {
    let series = noisy(1, 1500);
    let train = quantiles();
    let plan = plan_of(&train, None);
    let data = dataset::Dataset::new(&series, &plan).unwrap();
    let head = head::forecast::Forecast::new(&train);
    let choices = ridge::choose(&data, &head);
    let plan = ridge::plan(&data, &head, &choices);
    let data = dataset::Dataset::new(&series, &plan).unwrap();
    let linear = ridge::fit(&data, &choices);
    let (kernel, constants) = (&linear.kernels[0], &linear.constants[0]);
    for row in kernel.chunks_exact(9) {
        assert!(row[..3] == row[3..6] && row[..3] == row[6..]);
    }
    // Noise over ±2: 0.1 and 0.9 are 3.2 apart, and the path has small errors of its own.
    for step in 0..3 {
        let apart = constants[6 + step] - constants[step];
        assert!((3.0..3.6).contains(&apart), "{constants:?}");
        assert!((constants[3 + step] - (constants[step] + constants[6 + step]) / 2.0).abs() < 0.3, "{constants:?}");
    }
}

#[test]
fn without_a_validation_part_the_quantiles_are_not_calibrated_and_a_warning_says_so() {
    let mut train = quantiles();
    (train.split.value, train.length) = (Split::PerKey([0.8, 0.0, 0.2]), Length::Updates(5));
    let trained = super::train(&noisy(1, 400), &plan_of(&train, None), &mut |_| ()).unwrap();
    assert!(trained.warnings.iter().any(|warning| warning.contains("not calibrated")), "{:?}", trained.warnings);
}

/// Two keys of very different size: in own units the squares of the large one are all that counts; of sMAPE and MSLE
/// each counts as a share of itself.
#[test]
fn losses_in_own_units_learn() {
    let values = |key: usize| -> Vec<f64> {
        let wave = |i: usize| 1.0 + 0.5 * f64::sin(i as f64 * std::f64::consts::TAU / 12.0);
        (0..600).map(|i| [1.0, 1000.0][key] * wave(i + 5 * key)).collect()
    };
    for loss in [Loss::Smape, Loss::Msle] {
        let mut train = section(2, &["v"]);
        (train.loss, train.length, train.batch_size) = (loss, Length::Updates(400), 4);
        train.split.value = Split::PerKey([0.6, 0.2, 0.2]);
        let mut series = [plain("small", &values(0)), plain("large", &values(1))];
        for s in &mut series {
            // As `scale` with `log` would: by constants, so that the rows are easy to check.
            s.log = vec![true];
            s.scale = vec![Some(vec![(3.0, 2.0); 600].into())];
            s.x = (0..600).map(|row| s.to_network(0, row, s.targets[0][row]) as f32).collect();
        }
        let trained = super::train(&series, &plan_of(&train, None), &mut |_| ()).unwrap();
        for key in &evaluation(&trained).keys {
            let (model, last) = (key.targets[0].model.smape(), key.targets[0].last.smape());
            // ln(1 + p) is flatter than ln p where p is small: MSLE weighs that key less.
            let most = if loss == Loss::Smape { 0.5 } else { 0.9 };
            assert!(model < most * last, "{loss:?} {}: {model} {last}", key.key);
        }
    }
}
