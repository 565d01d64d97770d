//! Networks of several seeds and their mean.

use super::head::forecast::ForecastEvaluation;
use super::plan::tests::{plan_of, section};
use super::*;
use crate::config::{Length, Residual, Skip};
use crate::network::Tensor;
use crate::train::dataset::tests::plain;

fn series() -> Vec<Series> {
    let wave = |k: usize, i: usize| f64::sin((i + 5 * k) as f64 * std::f64::consts::TAU / 24.0) + (i % 7) as f64 * 0.1;
    ["north", "south"]
        .iter()
        .enumerate()
        .map(|(k, key)| plain(key, &[0; 200].iter().enumerate().map(|(i, _)| wave(k, i)).collect::<Vec<_>>()))
        .collect()
}

fn plan(seed: u64, seeds: usize, window: Option<usize>, skip: Skip) -> Plan {
    let mut train = section(2, &["v"]);
    (train.seed, train.seeds, train.skip, train.residual) = (seed, seeds, skip, Residual::Last);
    (train.length, train.refit) = (Length::Updates(30), true);
    plan_of(&train, window)
}

fn own(trained: &Trained, member: usize) -> Vec<Tensor> {
    let prefix = format!("member_{member}/");
    let strip =
        |tensor: &Tensor| tensor.name.strip_prefix(&prefix).map(|name| Tensor { name: name.into(), ..tensor.clone() });
    trained.tensors.iter().filter_map(strip).collect()
}

/// Each member is the network that its seed gives alone, and the forecasts are the mean of theirs.
#[test]
fn members_are_the_networks_of_their_seeds() {
    let series = series();
    for window in [None, Some(5)] {
        let several = train(&series, &plan(7, 3, window, Skip::None), &mut |_| {}).unwrap();
        assert_eq!(several.architecture.members, 3);
        let mut sum = vec![0.0_f64; 40 * 2];
        let x: Vec<f32> = (0..40).map(|at| series[0].targets[0][at] as f32).collect();
        for at in 0..3 {
            let alone = train(&series, &plan(7 + at as u64, 1, window, Skip::None), &mut |_| {}).unwrap();
            let wanted: Vec<Tensor> =
                alone.tensors.iter().filter(|tensor| !tensor.name.starts_with("scaling/")).cloned().collect();
            assert_eq!(own(&several, at), wanted, "{window:?} {at}");
            let result = &several.members[at];
            assert_eq!((result.seed, result.best), (7 + at as u64, alone.best));
            assert_eq!(result.figures["mae_standard"], alone.metrics["mae_standard"]);
            let network = Network::<f32>::restored(&alone.architecture, &alone.tensors).unwrap();
            sum.iter_mut().zip(network.outputs(&x, 40, 1)).for_each(|(sum, y)| *sum += f64::from(y));
        }
        let mean = Network::<f32>::restored(&several.architecture, &several.tensors).unwrap();
        for (found, sum) in mean.outputs(&x, 40, 1).iter().zip(&sum) {
            assert!((f64::from(*found) - sum / 3.0).abs() < 1e-5, "{found} {}", sum / 3.0);
        }
        assert_eq!(several.parameters, several.architecture.parameters());
    }
}

/// The mean is at least as good on average as its members, and the ridge is a path that they share.
#[test]
fn a_mean_beside_a_linear_path_is_evaluated_as_it_is_published() {
    let series = series();
    for skip in [Skip::Ridge, Skip::Linear] {
        let trained = train(&series, &plan(1, 3, None, skip), &mut |_| {}).unwrap();
        assert_eq!(trained.tensors.iter().filter(|tensor| tensor.name.starts_with("skip/kernel")).count(), 1);
        let evaluation: &ForecastEvaluation = trained.evaluation.as_any().downcast_ref().unwrap();
        assert!(evaluation.targets[0].model.count > 0);
        // Squares are convex: the mean's error is at most the mean of errors.
        let squares: f64 = trained.members.iter().map(|member| member.figures["mse_standard"]).sum::<f64>() / 3.0;
        assert!(trained.metrics["mse_standard"] <= squares * (1.0 + 1e-6), "{squares} {:?}", trained.metrics);
        let losses: f64 = trained.members.iter().filter_map(|member| member.validation).sum::<f64>() / 3.0;
        assert!(trained.validation.unwrap() <= losses * (1.0 + 1e-6));
        let table = report::members_table(&trained);
        assert!(table.starts_with("seed 1: validation loss ") && table.lines().count() == 4, "{table}");
        assert!(report::html(&trained, "m").unwrap().contains("<h2>Seeds</h2>"));
    }
}

/// A training of several networks that is killed goes on with the one that it was at.
#[test]
fn killed_in_any_member_it_goes_on_to_the_same_bits() {
    let (series, plan) = (series(), plan(7, 3, Some(4), Skip::None));
    let is_update = |event: &Event| matches!(event, Event::Progress(Progress { looked: None, .. }));
    let mut all = 0;
    let whole = train(&series, &plan, &mut |event| all += usize::from(is_update(&event))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rest = Vec::new();
    for kill_at in [10, 40, 100, all - 1] {
        let mut updates = 0;
        let killed = std::panic::AssertUnwindSafe(|| {
            let mut keep = Keep::new(folder.path(), "m", std::time::Duration::ZERO);
            train_kept(&series, &plan, &mut keep, &mut |event| {
                updates += usize::from(is_update(&event));
                if updates > kill_at {
                    std::panic::resume_unwind(Box::new("killed"));
                }
            })
        });
        assert!(std::panic::catch_unwind(killed).is_err());
        let (mut keep, mut left) = (Keep::new(folder.path(), "m", std::time::Duration::ZERO), 0);
        let trained =
            train_kept(&series, &plan, &mut keep, &mut |event| left += usize::from(is_update(&event))).unwrap();
        assert_eq!(trained.tensors, whole.tensors, "{kill_at}");
        assert_eq!(trained.members, whole.members, "{kill_at}");
        rest.push(left);
        keep.remove().unwrap();
    }
    let wanted: Vec<usize> = [10, 40, 100, all - 1].iter().map(|at| all - at).collect();
    assert_eq!(rest, wanted);
}
