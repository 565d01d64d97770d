//! Folds against a naive loop, and against trainings on the same rows.

use super::plan::tests::{plan_of, section};
use super::split::Cuts;
use super::*;
use crate::config::{self, Length, Skip, Split};
use crate::train::dataset::tests::plain;

fn wave(k: usize, n: usize) -> Series {
    let value = |i: usize| f64::sin((i + 5 * k) as f64 * std::f64::consts::TAU / 24.0) + (i % 7) as f64 * 0.1;
    plain(["north", "south"][k], &(0..n).map(value).collect::<Vec<_>>())
}

fn parts(series: &Series, of: &Cuts, at: usize, folds: usize, end: i64, retrain: bool) -> String {
    let cuts = Cuts::Fold { of: Box::new(of.clone()), at, folds, end, retrain };
    let letter = |part: Option<Subset>| part.map_or('-', |part| ['t', 'v', 'T'][part as usize]);
    cuts.rows(series).unwrap().iter().copied().map(letter).collect()
}

#[test]
fn folds_are_the_pieces_of_the_test_part_with_everything_before_them() {
    let series = wave(0, 12);
    let rows = Cuts::Rows([3, 2, 6]);
    let of = |at, retrain| parts(&series, &rows, at, 3, 0, retrain);
    assert_eq!([of(0, true), of(1, true), of(2, true)], ["tttvvTT-----", "tttttvvTT---", "tttttttvvTT-"]);
    assert_eq!([of(0, false), of(1, false), of(2, false)], ["tttvvTT-----", "tttvv--TT---", "tttvv----TT-"]);
    // A test part that doesn't divide: 5 rows in 2 pieces.
    let last = Cuts::Last(5);
    assert_eq!([0, 1].map(|at| parts(&series, &last, at, 2, 0, true)), ["ttvvvvvTT---", "ttttvvvvvTTT"]);
}

/// The same at instants, where keys begin and end at other times, by a loop over the rows.
#[test]
fn folds_at_instants_are_the_same_instants_for_every_key() {
    let mut other = wave(1, 40);
    other.times.iter_mut().for_each(|time| *time = *time * 2 + 5);
    let all = [wave(0, 60), other];
    let (validation, test, end) = (30, 40, 83);
    for (at, from, to) in [(0, 40, 51), (1, 51, 62), (2, 62, 73), (3, 73, 84)] {
        for series in &all {
            let found = parts(series, &Cuts::At([validation, test]), at, 4, end, true);
            let wanted: String = series
                .times
                .iter()
                .map(|time| match *time {
                    time if time >= to => '-',
                    time if time >= from => 'T',
                    time if time >= from - 10 => 'v',
                    _ => 't',
                })
                .collect();
            assert_eq!(found, wanted, "fold {at} of {}", series.key);
        }
    }
}

/// A fold is the training on its rows: the same errors, to the bit, as with that split.
#[test]
fn a_fold_is_the_training_of_its_rows() {
    let series = [wave(0, 160), wave(1, 160)];
    for (window, skip) in [(Some(4), Skip::None), (None, Skip::Ridge)] {
        let plan = |rows: [usize; 3], backtest| {
            let mut train = section(2, &["v"]);
            (train.skip, train.seasonality, train.length) = (skip, Some(24), Length::Updates(20));
            train.split.value = Split::Rows(rows);
            (train.backtest, train.seeds) = (backtest, if window.is_some() { 2 } else { 1 });
            plan_of(&train, window)
        };
        let section = config::Backtest { folds: 3, retrain: true };
        let trained = train(&series, &plan([70, 20, 60], Some(section)), &mut |_| {}).unwrap();
        let backtest = trained.backtest.as_ref().unwrap();
        for (at, rows) in [[70, 20, 20], [90, 20, 20], [110, 20, 20]].into_iter().enumerate() {
            let alone = train(&series, &plan(rows, None), &mut |_| {}).unwrap();
            let fold = &backtest.folds[at];
            assert_eq!(fold.metrics, alone.metrics, "fold {at}, {window:?}");
            assert_eq!(fold.span, (90 + 20 * at as i64, 109 + 20 * at as i64));
            assert_eq!(
                fold.examples,
                [0, 1, 2].map(|part| alone.keys.iter().map(|key| key.examples[part]).sum::<usize>())
            );
        }
        let mean = backtest.folds.iter().map(|fold| fold.metrics["v.mae"]).sum::<f64>() / 3.0;
        assert_eq!(trained.metrics["backtest.v.mae"], mean);
        assert_eq!((backtest.means()[0].of.as_str(), backtest.means()[0].values[0].1), ("v", mean));
        let means = backtest.means();
        let labels: Vec<&str> = means[0].values.iter().map(|(name, _)| name.as_str()).take(5).collect();
        assert_eq!(
            labels,
            ["MAE", "last value", "season ago", "drift", if window.is_some() { "RMSE" } else { "ridge alone" }]
        );
        let html = report::html(&trained, "m").unwrap();
        assert!(html.contains("<h2>Backtest</h2>") && html.contains("<td>3</td>"));
        // Without training again, the folds together are the test part: their examples but those across the cuts.
        let section = config::Backtest { folds: 3, retrain: false };
        let once = train(&series, &plan([70, 20, 60], Some(section)), &mut |_| {}).unwrap();
        let folds = &once.backtest.as_ref().unwrap().folds;
        assert_eq!(once.tensors, trained.tensors);
        assert!(folds.iter().all(|fold| fold.examples[0] == folds[0].examples[0]));
        let test: usize = folds.iter().map(|fold| fold.examples[2]).sum();
        assert_eq!(test + 2 * 2, once.keys.iter().map(|key| key.examples[2]).sum::<usize>());
    }
}

#[test]
fn a_fold_without_examples_is_refused_by_its_number() {
    let mut train = section(3, &["v"]);
    train.split.value = Split::Rows([70, 20, 6]);
    train.backtest = Some(config::Backtest { folds: 3, retrain: true });
    let error = super::train(&[wave(0, 100)], &plan_of(&train, Some(4)), &mut |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("backtest, fold 1 of 3: "), "{error}");
}
