//! Networks of groups of keys.

use super::groups::{LEAST, MOST};
use super::plan::tests::{plan_of, section};
use super::split::Cuts;
use super::*;
use crate::config::{self, At, Length, Per, Residual, Skip};
use crate::train::dataset::tests::plain;

/// Of each key its name, its group and how many rows it has; in `down` a value turns around.
fn series(keys: &[(&str, Option<&str>, usize)]) -> Vec<Series> {
    let of = |(k, (key, group, rows)): (usize, &(&str, Option<&str>, usize))| {
        let follows = if *group == Some("down") { -0.9 } else { 0.9 };
        let mut noise = 77 + k as u64;
        let mut now = 0.0;
        let mut values = Vec::new();
        for _ in 0..*rows {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            values.push(now);
            now = follows * now + (noise % 1000) as f64 / 500.0 - 1.0;
        }
        Series { texts: vec![values.iter().map(|_| *group).collect()], ..plain(key, &values) }
    };
    keys.iter().enumerate().map(of).collect()
}

fn plan(window: Option<usize>, skip: Skip, per: Per) -> Plan {
    let mut train = section(2, &["v"]);
    (train.skip, train.residual, train.per) = (skip, Residual::Last, Some(per));
    (train.length, train.refit) = (Length::Updates(40), true);
    plan_of(&train, window)
}

fn region() -> Per {
    Per::Column(At::default_value("region".into()))
}

const KEYS: [(&str, Option<&str>, usize); 5] = [
    ("a", Some("up"), 300),
    ("b", Some("down"), 260),
    ("c", Some("up"), 240),
    ("d", None, 200),
    ("e", Some("few"), 60),
];

/// Each network is that of a training of its keys alone, and the one beside them that of all keys.
#[test]
fn each_network_is_as_if_its_keys_were_all() {
    for (window, skip) in [(Some(3), Skip::None), (None, Skip::Ridge)] {
        let plan = plan(window, skip, region());
        let series = arrange(series(&KEYS), &plan).unwrap();
        let names: Vec<&str> = series.iter().map(|series| series.key.as_str()).collect();
        assert_eq!(names, ["b", "e", "a", "c", "d"]);
        let mut warnings = Vec::new();
        let mut watch = |event: Event| {
            if let Event::Warning(text) = event {
                warnings.push(text.to_string());
            }
        };
        let trained = train(&series, &plan, &mut watch).unwrap();
        let groups = trained.groups.as_ref().unwrap();
        let values: Vec<(&str, bool)> =
            groups.of.iter().map(|group| (group.value.as_str(), group.own.is_some())).collect();
        assert_eq!(values, [("down", true), ("few", false), ("up", true)]);
        let few = trained.warnings.iter().find(|warning| warning.contains("too few examples")).unwrap();
        assert!(few.starts_with("1 of 3 values of \"region\"") && few.ends_with(": few"), "{few}");
        let together = Plan { per: None, ..plan.clone() };
        let without = |series: &[Series]| -> Vec<Series> {
            series.iter().map(|series| Series { texts: vec![], ..series.clone() }).collect()
        };
        for (own, keys) in [(&trained, &series[..])]
            .into_iter()
            .chain(groups.of.iter().filter_map(|group| Some((group.own.as_deref()?, &series[group.series.clone()]))))
        {
            let alone = train(&without(keys), &together, &mut |_| {}).unwrap();
            // What is beside the features is the same to the bit; the features of any network are those of all.
            for tensor in &alone.tensors {
                let found = own.tensors.iter().find(|other| other.name == tensor.name).unwrap();
                if ["scaling/mean", "scaling/sd"].contains(&tensor.name.as_str()) {
                    let place = |input| own.plan.inputs.iter().position(|other| other == input).unwrap();
                    for (input, value) in alone.plan.inputs.iter().zip(&tensor.data) {
                        assert_eq!(found.data[place(input)], *value, "{input:?}");
                    }
                } else {
                    assert_eq!(found, tensor);
                }
            }
            assert_eq!(own.plan.inputs, trained.plan.inputs);
        }
        // All keys together are judged each by the network that serves it.
        let of = |metric: &str, key: &str, of: &Trained| {
            let evaluation = of.evaluation.as_any().downcast_ref::<head::forecast::ForecastEvaluation>().unwrap();
            let found = evaluation.keys.iter().find(|other| other.key == key).unwrap();
            if metric == "mae" { found.targets[0].model.mae() } else { found.targets[0].last.mae() }
        };
        let [down, up] = [0, 2].map(|at| groups.of[at].own.as_deref().unwrap());
        for (key, own) in [("a", up), ("b", down), ("c", up)] {
            for metric in ["mae", "last"] {
                let (together, alone) = (of(metric, key, &trained), of(metric, key, own));
                assert!((together - alone).abs() < 1e-6 * alone, "{key} {metric}: {together} {alone}");
            }
        }
        let all = train(&without(&series), &together, &mut |_| {}).unwrap();
        for key in ["d", "e"] {
            assert!((of("mae", key, &trained) - of("mae", key, &all)).abs() < 1e-6);
        }
        assert_eq!(
            groups.shared.iter().find(|(name, _)| name == "mse_standard").unwrap().1,
            all.metrics["mse_standard"]
        );
    }
}

/// A fold is the training by groups on its rows; without training again, the pieces are those of the version.
#[test]
fn a_backtest_has_the_networks_of_groups_in_each_fold() {
    for (window, skip) in [(Some(3), Skip::None), (None, Skip::Ridge)] {
        let of = |rows: [usize; 3], backtest| {
            let mut plan = plan(window, skip, region());
            (plan.split, plan.refit, plan.backtest) = (Cuts::Rows(rows), false, backtest);
            plan
        };
        let section = |retrain| Some(config::Backtest { folds: 2, retrain });
        let series = arrange(series(&KEYS[..4]), &of([120, 20, 40], None)).unwrap();
        let train = |rows, backtest| train(&series, &of(rows, backtest), &mut |_| {}).unwrap();
        let (whole, plain) = (train([120, 20, 40], section(true)), train([120, 20, 40], None));
        assert_eq!(whole.tensors, plain.tensors);
        let backtest = whole.backtest.as_ref().unwrap();
        for (at, rows) in [[120, 20, 20], [140, 20, 20]].into_iter().enumerate() {
            let alone = train(rows, None);
            assert!(alone.groups.is_some());
            assert_eq!(backtest.folds[at].metrics, alone.metrics, "fold {at}, {window:?}");
        }
        let mean = (backtest.folds[0].metrics["v.mae"] + backtest.folds[1].metrics["v.mae"]) / 2.0;
        assert!((whole.metrics["backtest.v.mae"] - mean).abs() < 1e-12);
        let pieces = train([120, 20, 40], section(false)).backtest.unwrap();
        // The examples of the pieces that cross into the next one are judged in none of them.
        let (all, one) = (plain.metrics["v.mae"], pieces.metrics()["backtest.v.mae"]);
        assert!((all - one).abs() < 0.05 * all, "{all} whole, {one} in pieces");
        let of_all = plain.groups.as_ref().unwrap().shared.iter().find(|(name, _)| name == "mse_standard").unwrap().1;
        let found = pieces.metrics()["backtest.mse_standard"];
        assert!((found - plain.metrics["mse_standard"]).abs() < (found - of_all).abs(), "judged by the network of all");
    }
}

#[test]
fn values_that_change_and_too_many_are_refused() {
    let mut changed = series(&KEYS);
    changed[2].texts[0].set(7, Some("down"));
    let refused = arrange(changed, &plan(None, Skip::None, region())).unwrap_err().to_string();
    assert!(refused.contains("key \"c\" has \"up\" and \"down\" in column \"region\""), "{refused}");
    let mut missing = series(&KEYS);
    missing[0].texts[0].set(0, None);
    let refused = arrange(missing, &plan(None, Skip::None, region())).unwrap_err().to_string();
    assert!(refused.contains("key \"a\" has no value and \"up\""), "{refused}");

    let names: Vec<String> = (0..=MOST).map(|at| format!("k{at:04}")).collect();
    let keys: Vec<(&str, Option<&str>, usize)> = names.iter().map(|name| (name.as_str(), None, 2 * LEAST)).collect();
    let many: Vec<Series> = series(&keys).into_iter().map(|series| Series { texts: Vec::new(), ..series }).collect();
    let plan = plan(Some(2), Skip::None, Per::Key);
    let refused = train(&many, &plan, &mut |_| {}).unwrap_err().to_string();
    assert!(refused.contains("257 values of the key have enough examples for a network, at most 256"), "{refused}");
}
