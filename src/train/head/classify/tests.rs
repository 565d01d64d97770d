use super::*;
use crate::config::{ClassWeights, Length, Pooling, Recurrent, Split, TrainLayer};
use crate::kernel::CellKind;
use crate::model::ModelKind;
use crate::network::testing::Numbers;
use crate::train::dataset::KeySteps;
use crate::train::head::Evaluation;
use crate::train::plan::tests::{plan_of, section};
use crate::train::{Plan, Series, Trained, train};

fn classes_of(per_record: bool) -> config::Train {
    let mut train = section(1, &["class"]);
    train.task = if per_record { Task::Label } else { Task::Classify };
    train.inputs = vec![config::At::default_value("v".into())];
    train.split.value = Split::ByKey([0.6, 0.2, 0.2]);
    train.length = Length::Epochs(8);
    train
}

fn plan(train: &config::Train, kind: ModelKind) -> Plan {
    Plan { kind, ..plan_of(train, None) }
}

/// Sequences of several keys, each as long as it happens to be; the class is the sign of the first value, so that a
/// network has to remember it. Its text stands only in the last row of some.
fn sequences(keys: usize) -> Vec<Series> {
    let mut numbers = Numbers(5);
    let mut series = Vec::new();
    for key in 0..keys {
        let mut s = Series { key: format!("k{key}"), ..Series::default() };
        for sequence in 0..4 {
            let length = 3 + (7 * key + 5 * sequence) % 9;
            let first = numbers.next().unwrap();
            for at in 0..length {
                let noise = numbers.next().unwrap();
                s.x.push(if at == 0 { first + first.signum() } else { 0.3 * noise }).unwrap();
                s.times.push(s.times.len() as i64).unwrap();
                s.ends.push(at + 1 == length).unwrap();
                let class = if first > 0.0 { "up" } else { "down" };
                s.labels.push((at + 1 == length || sequence % 2 == 0).then_some(class)).unwrap();
            }
        }
        (s.usable, s.restart) = (vec![true; s.times.len()].into(), (0..s.times.len()).map(|row| row == 0).collect());
        series.push(s);
    }
    series
}

fn evaluation(trained: &Trained) -> &ClassEvaluation {
    trained.evaluation.as_any().downcast_ref().unwrap()
}

#[test]
fn a_sequence_has_the_newest_class_of_its_rows_and_a_record_its_own() {
    let mut s = sequences(1).remove(0);
    // Of the first sequence (3 rows) the middle one has another class, the last one none.
    [Some("up"), Some("down"), None].into_iter().enumerate().for_each(|(row, class)| s.labels.set(row, class));
    // The last row of the second sequence (8 rows) isn't usable.
    s.usable[10] = false;
    let series = [s];
    let train = classes_of(false);
    let plan = plan(&train, ModelKind::Sequence);
    let data = Dataset::new(&series, &plan).unwrap();
    assert_eq!(data.steps[0].since[..5], [1, 2, 3, 1, 2]);
    assert_eq!((data.steps[0].ends[2], data.steps[0].ends[9], data.steps[0].ends[8]), (2, 10, KeySteps::NONE));
    let head = Classify::new(&train);
    assert_eq!(head.label(&data, 0, 2), Some("down"));
    assert_eq!((head.label(&data, 0, 1), head.label(&data, 0, 9).is_some()), (None, true));
    let head = Classify::new(&classes_of(true));
    assert_eq!((head.label(&data, 0, 0), head.label(&data, 0, 2)), (Some("up"), None));
}

#[test]
fn a_gru_tells_sequences_by_what_was_first_in_every_form() {
    let series = sequences(60);
    for (pool, bidirectional, cell) in [
        (Pooling::Last, false, CellKind::Gru),
        (Pooling::Mean, false, CellKind::Lstm),
        (Pooling::Last, true, CellKind::Gru),
        (Pooling::Mean, true, CellKind::RnnTanh),
    ] {
        let mut section = classes_of(false);
        section.pool = Some(pool);
        section.input_noise = 0.1;
        section.layers = vec![config::At::default_value(TrainLayer::Recurrent(Recurrent {
            bidirectional,
            ..Recurrent::new(cell, 8)
        }))];
        let trained = train(&series, &plan(&section, ModelKind::Sequence), &mut |_| ()).unwrap();
        let found = evaluation(&trained);
        assert_eq!(found.classes.names, ["down", "up"]);
        assert!(found.test.count() > 20 && found.test.accuracy() > 0.95, "{pool:?} {bidirectional}: {}", found.table());
        assert!(found.always().1 < 0.8 && found.keys.len() > 3);
        assert!(found.table().contains("true class by row"), "{}", found.table());
        let again = train(&series, &plan(&section, ModelKind::Sequence), &mut |_| ()).unwrap();
        assert_eq!(again.tensors, trained.tensors);
    }
}

#[test]
fn the_mean_of_several_seeds_has_the_same_bits_on_any_number_of_threads() {
    let series = sequences(40);
    let mut section = classes_of(false);
    (section.seeds, section.length) = (2, Length::Epochs(1));
    let [one, three] = [1, 3].map(|threads| {
        let plan = Plan { threads, ..plan(&section, ModelKind::Sequence) };
        train(&series, &plan, &mut |_| ()).unwrap()
    });
    assert_eq!((one.architecture.members, one.members.len()), (2, 2));
    assert_eq!((one.tensors, one.metrics), (three.tensors, three.metrics));
}

#[test]
fn each_record_gets_a_class_with_carried_state_and_in_windows() {
    let mut series = sequences(12);
    for s in &mut series {
        s.ends = Vec::new().into();
        // Whether the last two values together are above zero.
        for row in 0..s.x.len() {
            let above = s.x[row] + s.x[row.saturating_sub(1)] > 0.0;
            s.labels.set(row, (row % 7 != 3).then_some(if above { "1" } else { "0" }));
        }
    }
    for window in [None, Some(3)] {
        let mut section = classes_of(true);
        section.class_weights = ClassWeights::Balanced;
        section.length = Length::Epochs(60);
        let plan = plan_of(&section, window);
        let trained = train(&series, &plan, &mut |_| ()).unwrap();
        let found = evaluation(&trained);
        assert!(found.test.accuracy() > 0.9, "{window:?}: {}", found.table());
        assert!(trained.metrics["class.macro_f1"] > 0.9 && trained.metrics.contains_key("class.log_loss"));
    }
}

#[test]
fn what_weighs_nothing_teaches_nothing_and_a_negative_weight_is_refused() {
    let mut series = sequences(30);
    let mut section = classes_of(false);
    section.sample_weight = Some(config::At::default_value("w".into()));
    for s in &mut series {
        s.weights = vec![1.0; s.times.len()].into();
    }
    // Wrong classes that weigh nothing change no bit.
    let right = train(&series, &plan(&section, ModelKind::Sequence), &mut |_| ()).unwrap();
    let mut wrong = series.clone();
    let is_train = |s: &Series| plan(&section, ModelKind::Sequence).split.rows(s).unwrap()[0] == Some(Subset::Train);
    let learned = series.iter().position(is_train).unwrap();
    let at = wrong[learned].labels.len() - 1;
    wrong[learned].weights[at] = 0.0;
    let nothing = train(&wrong, &plan(&section, ModelKind::Sequence), &mut |_| ()).unwrap();
    let other = if wrong[learned].labels.get(at) == Some("up") { "down" } else { "up" };
    wrong[learned].labels.set(at, Some(other));
    let none = train(&wrong, &plan(&section, ModelKind::Sequence), &mut |_| ()).unwrap();
    assert!(nothing.tensors == none.tensors && nothing.tensors != right.tensors);
    wrong[0].weights[0] = -1.0;
    let message = train(&wrong, &plan(&section, ModelKind::Sequence), &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("\"w\" of key \"k0\": a weight of -1 is below 0"), "{message}");
}

#[test]
fn a_class_that_training_never_saw_counts_as_wrong_and_is_told() {
    let mut series = sequences(60);
    let section = classes_of(false);
    let plan = plan(&section, ModelKind::Sequence);
    let rows: Vec<bool> = series.iter().map(|s| plan.split.rows(s).unwrap()[0] == Some(Subset::Test)).collect();
    let test = rows.iter().position(|test| *test).unwrap();
    let last = series[test].labels.len() - 1;
    series[test].labels.set(last, Some("sideways"));
    let trained = train(&series, &plan, &mut |_| ()).unwrap();
    let found = evaluation(&trained);
    assert_eq!((found.test.unknown, found.classes.names.len()), (1, 2));
    assert!(trained.warnings.iter().any(|warning| warning.contains("sideways")), "{:?}", trained.warnings);
}

#[test]
fn only_one_class_or_three_for_a_binary_loss_are_refused() {
    let mut series = sequences(40);
    let mut section = classes_of(false);
    section.two_classes = true;
    assert!(train(&series, &plan(&section, ModelKind::Sequence), &mut |_| ()).is_ok());
    for s in &mut series {
        s.labels.set(s.labels.len() - 1, Some("third"));
    }
    let message = train(&series, &plan(&section, ModelKind::Sequence), &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("binary_cross_entropy is for two classes, there are 3"), "{message}");
}
