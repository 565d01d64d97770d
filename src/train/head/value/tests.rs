use super::*;
use crate::config::{At, Length, Split, Task};
use crate::model::ModelKind;
use crate::network::testing::Numbers;
use crate::train::plan::tests::{plan_of, section};
use crate::train::{Plan, Series, Trained, calibration, report, train};

fn section_of(quantiles: &[f64], targets: &[&str]) -> config::Train {
    let mut train = section(1, targets);
    (train.task, train.quantiles) = (Task::Value, quantiles.to_vec());
    train.inputs = vec![At::default_value("v".into())];
    train.split.value = Split::ByKey([0.4, 0.3, 0.3]);
    (train.length, train.batch_size) = (Length::Epochs(6), 16);
    train
}

fn plan(train: &config::Train) -> Plan {
    Plan { kind: ModelKind::Sequence, serves: ModelKind::Sequence, ..plan_of(train, None) }
}

/// A sequence for each key; its number is ten times its first value and noise evenly spread over ±4. It stands in the
/// last row of some, in another one of others.
fn sequences(keys: usize, targets: usize) -> Vec<Series> {
    let mut numbers = Numbers(11);
    let mut number = move || f64::from(numbers.next().unwrap());
    let one = |key: usize| {
        let length = 3 + key * 7 % 5;
        let first = number();
        let truth = 50.0 + 10.0 * first + 4.0 * number();
        let at = if key.is_multiple_of(2) { length - 1 } else { key % length };
        let values = |scale: f64| (0..length).map(|row| if row == at { scale * truth } else { f64::NAN }).collect();
        Series {
            key: format!("k{key:04}"),
            times: (0..length as i64).collect(),
            x: (0..length).map(|row| if row == 0 { first } else { 0.1 * number() } as f32).collect(),
            usable: vec![true; length].into(),
            restart: (0..length).map(|row| row == 0).collect(),
            ends: (0..length).map(|row| row + 1 == length).collect(),
            targets: (0..targets).map(|target| values(1.0 - 2.0 * target as f64)).collect(),
            observed: (0..targets).map(|_| (0..length).map(|row| row == at).collect()).collect(),
            scale: vec![None; targets],
            ..Series::default()
        }
    };
    (0..keys).map(one).collect()
}

fn evaluation(trained: &Trained) -> &ValueEvaluation {
    trained.evaluation.as_any().downcast_ref().unwrap()
}

#[test]
fn a_sequence_has_the_newest_number_of_its_rows() {
    let mut s = sequences(1, 1).remove(0);
    // Two sequences of two and one row; the third row isn't usable, so that the fourth is all of the second one.
    (s.times, s.x) = ((0..4).collect(), vec![1.0; 4].into());
    s.usable = vec![true, true, false, true].into();
    s.restart = vec![true, false, false, false].into();
    s.ends = vec![false, true, false, true].into();
    s.targets = vec![vec![7.0, 8.0, 5.0, f64::NAN].into()];
    s.observed = vec![vec![true, false, true, false].into()];
    let series = [s];
    let train = section_of(&[], &["y"]);
    let plan = plan(&train);
    let data = Dataset::new(&series, &plan).unwrap();
    let head = Value::new(&train);
    // 8 was filled in, so 7 is the newest that was observed.
    let truths: Vec<Option<f64>> = (0..3).map(|step| head.truth(&data, 0, step, 0)).collect();
    assert_eq!(truths, [None, Some(7.0), None]);
    assert_eq!((head.target(&data, 0, 1, 0), head.target(&data, 0, 2, 0)), (Some(7.0), None));
    assert!(head.is_example(&data, 0, 1) && !head.is_example(&data, 0, 2));
}

#[test]
fn losses_by_hand() {
    let head = Value { targets: vec!["a".into(), "b".into()], loss: Loss::Mse, quantiles: vec![0.1, 0.5, 0.9] };
    assert_eq!(
        (head.outputs(), head.level(1), head.level(2), head.level(5), head.point(1)),
        (6, Some(0.1), Some(0.5), Some(0.9), 3)
    );
    let batch = Examples { wanted: vec![1.0; 6], weight: vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0], ..Examples::default() };
    let mut gradient = Vec::new();
    // Of the first target alone: 0.1 * 1, 0.5 * 1 and 0.1 * 2 too high.
    let loss = head.loss(&[0.0, 9.0, 2.0, 9.0, 3.0, 9.0], &batch, &mut gradient);
    assert!((loss - (0.1 + 0.5 + 0.2) / 3.0).abs() < 1e-6, "{loss}");
    let expected = [-0.1, 0.0, 0.5, 0.0, 0.1, 0.0].map(|slope: f32| slope / 3.0);
    assert!(gradient.iter().zip(expected).all(|(own, wanted)| (own - wanted).abs() < 1e-6), "{gradient:?}");
}

#[test]
fn a_network_tells_numbers_and_its_intervals_hold_as_many_as_they_say() {
    let series = sequences(1200, 1);
    let trained = train(&series, &plan(&section_of(&[0.1, 0.5, 0.9], &["y"])), &mut |_| ()).unwrap();
    let metrics = &trained.metrics;
    let coverage = metrics["y.coverage_80"];
    assert!((coverage - 0.8).abs() < 0.06, "{coverage}");
    assert!((metrics["y.below_q10"] - 0.1).abs() < 0.05 && (metrics["y.below_q90"] - 0.9).abs() < 0.05, "{metrics:?}");
    // The noise alone has an error of 2, and 80 % of it are within 6.4.
    assert!(metrics["y.mae"] < 2.4 && metrics["y.mae"] < 0.6 * metrics["y.mae_median"], "{metrics:?}");
    assert!(metrics["y.pinball"] < 0.6 * metrics["y.pinball_constant"] && metrics["y.width_80"] < 8.0, "{metrics:?}");
    assert!((2.0 * metrics["y.pinball_q50"] - metrics["y.mae"]).abs() < 1e-9);
    let found = evaluation(&trained);
    let table = super::super::Evaluation::table(found);
    assert!(
        table.contains("within 80 %") && table.contains("below q10") && table.contains("sequences in all"),
        "{table}"
    );
    let page = report::html(&trained, "m").unwrap();
    assert!(page.contains("tells y of each sequence") && page.contains("within 80 %"), "{page}");
    assert_eq!(trained.architecture.quantiles, ["y_q10", "y", "y_q90"]);
}

/// On the validation part as many values lie below each quantile as the conformal rank says.
#[test]
fn the_calibration_is_of_the_validation_part() {
    let mut section = section_of(&[0.2, 0.5, 0.8], &["y", "z"]);
    section.length = Length::Updates(80);
    let plan = plan(&section);
    let series = sequences(300, 2);
    let data = Dataset::new(&series, &plan).unwrap();
    let trained = train(&series, &plan, &mut |_| ()).unwrap();
    let found = evaluation(&trained);
    for sums in &found.validation {
        let n = sums.count as f64;
        let below = [0.2_f64, 0.8]
            .map(|level| if level > 0.5 { ((n + 1.0) * level).ceil() } else { ((n + 1.0) * level).floor() });
        // A value that is a quantile lies at it, or beside it by rounding.
        assert!((sums.spread.below(0) * n - below[0]).abs() <= 2.0, "{} {below:?}", sums.spread.below(0) * n);
        assert!((sums.spread.below(2) * n - below[1]).abs() <= 2.0, "{} {below:?}", sums.spread.below(2) * n);
    }
    assert!(calibration::warning(&data.plan.clone(), None).unwrap().contains("not calibrated"));
}

#[test]
fn several_targets_and_losses_in_own_units() {
    for loss in [Loss::Mae, Loss::Smape] {
        let mut section = section_of(&[], &["y", "z"]);
        section.loss = loss;
        let trained = train(&sequences(400, 2), &plan(&section), &mut |_| ()).unwrap();
        let metrics = &trained.metrics;
        for name in ["y", "z"] {
            let (mae, median) = (metrics[&format!("{name}.mae")], metrics[&format!("{name}.mae_median")]);
            assert!(mae < 0.75 * median, "{loss:?} {name}: {mae} {median}");
        }
        assert!(!metrics.contains_key("y.pinball"));
    }
}
