//! Whole trainings on made series.

use super::dataset::tests::plain;
use super::head::forecast::{ForecastEvaluation, sample_svg};
use super::keep::Keep;
use super::plan::tests::{plan_of, section};
use super::*;
use crate::config::{
    self, Adam, AdamW, At, EpsilonForm, Length, Optimizer, RateSchedule, Residual, RmsProp, Sgd, TrainLayer,
};
use crate::kernel::CellKind;
use crate::network::testing::Numbers;

fn quiet() -> impl FnMut(Event<'_>) {
    |_| {}
}

/// Two sines of other phase and level, a season of 24 rows.
fn sines(n: usize) -> Vec<Series> {
    (0..2)
        .map(|k| {
            let values: Vec<f64> = (0..n)
                .map(|i| 10.0 * (k + 1) as f64 + f64::sin((i + 5 * k) as f64 * std::f64::consts::TAU / 24.0))
                .collect();
            plain(["north", "south"][k], &values)
        })
        .collect()
}

/// The evaluation of a forecast.
fn forecast(trained: &Trained) -> &ForecastEvaluation {
    trained.evaluation.as_any().downcast_ref().unwrap()
}

fn learns_a_sine(cell: CellKind, window: Option<usize>, length: Length) {
    let mut train = section(3, &["v"]);
    train.layers[0].value = TrainLayer::Recurrent(config::Recurrent::new(cell, 12));
    train.residual = Residual::Last;
    train.seasonality = Some(24);
    train.length = length;
    train.batch_size = if window.is_some() { 32 } else { 4 };
    let plan = plan_of(&train, window);
    let trained = super::train(&sines(600), &plan, &mut quiet()).unwrap();
    let total = &forecast(&trained).targets[0];
    assert!(total.model.mae() < 0.2 * total.last.mae(), "{} against {}", total.model.mae(), total.last.mae());
    // The season is exact, but for rounding.
    assert!(total.seasonal.mae() < 1e-9);
    assert_eq!(total.model.count, total.last.count);
    assert_eq!(total.model.count, total.seasonal.count);
}

#[test]
fn an_lstm_learns_a_sine_by_windows() {
    learns_a_sine(CellKind::Lstm, Some(10), Length::Epochs(25));
}

#[test]
fn a_gru_learns_a_sine_with_carried_state() {
    learns_a_sine(CellKind::Gru, None, Length::Epochs(30));
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_does_not() {
    for window in [None, Some(5)] {
        let train_with = |seed| {
            let mut train = section(2, &["v"]);
            train.seed = seed;
            train.refit = true;
            let plan = plan_of(&train, window);
            let trained = super::train(&sines(120), &plan, &mut quiet()).unwrap();
            (report::html(&trained, "sines").unwrap(), trained)
        };
        let (html, trained) = train_with(7);
        let (again_html, again) = train_with(7);
        assert_eq!(trained.tensors, again.tensors);
        assert_eq!(trained.metrics, again.metrics);
        assert_eq!(html, again_html);
        assert_ne!(trained.tensors, train_with(8).1.tensors);
    }
}

#[test]
fn the_best_weights_are_restored_and_patience_stops() {
    let mut train = section(1, &["v"]);
    train.length = Length::Epochs(40);
    train.patience = Some(3);
    // So large a step size that it soon gets worse.
    train.optimizer = Optimizer::Adam(Adam { learning_rate: 0.2, ..Adam::DEFAULT });
    let plan = plan_of(&train, Some(4));
    let series = sines(200);
    let data = dataset::Dataset::new(&series, &plan).unwrap();
    let fitted = fit::fit(&data, None, plan.length, Phase::Train, &mut Keep::nothing(), &mut quiet()).unwrap();
    let losses: Vec<f64> = fitted.looks.iter().map(|look| look.validation.unwrap()).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[fitted.best.epoch - 1], best);
    assert_eq!(fitted.model.validation_loss(&data, 1), Some(best));
    assert!(fitted.stopped_early && losses.len() == fitted.best.epoch + 3, "{losses:?}");
}

/// A step size of nothing from the eleventh update on leaves the numbers of ten updates.
#[test]
fn the_step_size_of_each_update_is_that_of_the_schedule() {
    let learned = |updates, schedule| {
        let mut train = section(1, &["v"]);
        train.length = Length::Updates(updates);
        train.optimizer = Optimizer::Sgd(Sgd { learning_rate: 0.01, momentum: 0.0, nesterov: false });
        train.schedule = schedule;
        train.split.value = config::Split::Rows([150, 0, 50]);
        let plan = plan_of(&train, Some(4));
        super::train(&sines(200), &plan, &mut quiet()).unwrap().tensors
    };
    let ten = learned(10, RateSchedule::Constant);
    assert_eq!(learned(14, RateSchedule::Step { every: 10, factor: 1e-300 }), ten);
    assert_ne!(learned(14, RateSchedule::Constant), ten);
    assert_ne!(learned(10, RateSchedule::Cosine), ten);
}

#[test]
fn dropout_and_penalties_are_of_the_training_alone_and_repeat() {
    let trained = |dropout: f64, l2: f64| {
        let mut train = section(1, &["v"]);
        let mut gru = config::Recurrent::new(CellKind::Gru, 12);
        gru.recurrent_dropout = dropout;
        train.layers = vec![At::default_value(TrainLayer::Recurrent(gru)), At::default_value(TrainLayer::LayerNorm)];
        train.head = vec![TrainLayer::Dropout(dropout)];
        (train.l2, train.length) = (l2, Length::Epochs(3));
        let plan = plan_of(&train, None);
        super::train(&sines(200), &plan, &mut quiet()).unwrap()
    };
    let plain = trained(0.0, 0.0);
    let dropped = trained(0.3, 0.0);
    assert_eq!(dropped.architecture, plain.architecture);
    assert_eq!(dropped.tensors, trained(0.3, 0.0).tensors);
    assert_ne!(dropped.tensors, plain.tensors);
    let size = |trained: &Trained| -> f32 {
        let kernel = trained.tensors.iter().find(|tensor| tensor.name == "recurrent_0/kernel").unwrap();
        kernel.data.iter().map(|w| w * w).sum()
    };
    assert!(size(&trained(0.0, 0.1)) < 0.9 * size(&plain));
    let html = report::html(&dropped, "sines").unwrap();
    assert!(html.contains("0.3 before output, 0.3 within recurrent_0"), "the report names it");
    assert!(!report::html(&plain, "sines").unwrap().contains("regularisation"));
}

#[test]
fn without_a_length_it_trains_until_validation_no_longer_improves() {
    for window in [None, Some(5)] {
        let mut train = section(1, &["v"]);
        train.length = Length::Open;
        train.residual = Residual::Last;
        train.seasonality = Some(24);
        let plan = plan_of(&train, window);
        let series = sines(300);
        let mut said = Vec::new();
        let mut run = || {
            super::train(&series, &plan, &mut |event| {
                if let Event::Start(_, what) = event {
                    said.push(what.to_string());
                }
            })
            .unwrap()
        };
        let trained = run();
        // A few updates an epoch: ten epochs, the default of before, would hardly have begun.
        let last = *trained.looks.last().unwrap();
        assert!(last.updates >= 500 && last.updates <= config::OPEN_UPDATES, "{last:?}");
        assert!(trained.looks.iter().all(|look| look.validation >= trained.best.validation));
        let total = &forecast(&trained).targets[0];
        assert!(total.model.mae() < 0.3 * total.last.mae(), "{} against {}", total.model.mae(), total.last.mae());
        let again = run();
        assert_eq!((again.tensors, again.looks), (trained.tensors, trained.looks));
        for word in ["measured every 50 updates", "for 500 updates", "at most 10000 updates"] {
            assert!(said[0].contains(word), "{}", said[0]);
        }
    }
}

#[test]
fn without_a_length_and_a_validation_part_it_trains_a_default_length_and_says_so() {
    let mut train = section(1, &["v"]);
    train.length = Length::Open;
    train.chunk = 8;
    train.split.value = config::Split::Rows([40, 0, 20]);
    let plan = plan_of(&train, None);
    let mut said = Vec::new();
    let trained = super::train(&sines(60), &plan, &mut |event| match event {
        Event::Start(_, what) | Event::Warning(what) | Event::Note(what) => said.push(what.to_string()),
        Event::Progress(_) | Event::Looks(..) => (),
    })
    .unwrap();
    assert_eq!(trained.looks.last().unwrap().updates, config::BLIND_UPDATES);
    assert!(said[0].starts_with("no key has an example in the validation part"), "{said:?}");
    assert!(said[1].starts_with("trains 1500 updates"), "{said:?}");
    assert!(trained.warnings[0].contains("validation part"));
}

#[test]
fn a_training_that_ends_while_the_loss_falls_says_what_to_write() {
    let warned = |length, rows, window, noise| {
        let mut series = sines(400);
        for (s, more) in series.iter_mut().flat_map(|s| s.targets[0].iter_mut().zip(Numbers(5))) {
            *s += noise * f64::from(more);
        }
        let mut train = section(1, &["v"]);
        train.length = length;
        train.optimizer = Optimizer::Adam(Adam::DEFAULT);
        train.split.value = config::Split::Rows(rows);
        let plan = plan_of(&train, window);
        let trained = super::train(&series, &plan, &mut quiet()).unwrap();
        let html = report::html(&trained, "sines").unwrap();
        let found = trained.warnings.into_iter().find(|w| w.contains("still falling"));
        assert!(found.as_ref().is_none_or(|w| html.contains(&report::html::escape(w))), "{found:?}");
        found
    };
    let short = warned(Length::Epochs(4), [250, 50, 100], None, 0.0).unwrap();
    assert!(short.contains("validation loss") && short.contains("its 4 epochs ("), "{short}");
    assert!(short.contains("`epochs: 8`, or leave `epochs` out"), "{short}");
    let short = warned(Length::Updates(60), [250, 0, 150], Some(6), 0.0).unwrap();
    assert!(
        short.contains("train loss") && short.contains("its 60 updates were over: write `updates: 120`"),
        "{short}"
    );
    // Of sines alone a network learns ever smaller parts.
    assert_eq!(warned(Length::Open, [250, 50, 100], None, 0.3), None);

    // Noise: there is nothing to learn after the level.
    let mut train = section(1, &["v"]);
    (train.length, train.batch_size) = (Length::Epochs(12), 32);
    let noise = |i: usize| (i as f64 * 12.9898).sin() * 43758.5453 % 1.0;
    let series = [plain("noise", &(0..600).map(noise).collect::<Vec<_>>())];
    let trained = super::train(&series, &plan_of(&train, Some(3)), &mut quiet()).unwrap();
    assert!(trained.warnings.iter().all(|w| !w.contains("still falling")), "{:?}", trained.warnings);
}

#[test]
fn chunks_hand_their_state_on_as_one_long_pass() {
    let mut train = section(2, &["v"]);
    (train.batch_size, train.chunk) = (1, 7);
    train.split.value = config::Split::Rows([100, 0, 0]);
    let plan = plan_of(&train, None);
    let series = &sines(100)[..1];
    let data = dataset::Dataset::new(series, &plan).unwrap();
    let scaling = scaling::Scaling::learn(&data);
    let mut learner = learner::Learner::new(&plan, &scaling, None).unwrap();
    learner.begin_update(0, 0.0);
    let model = pass::Model { net: learner.network().clone(), scaling: scaling.clone(), apart: Vec::new() };
    let (mut sum, mut n) = (0.0, 0.0);
    let run = pass::Run { series: 0, from: 0, to: 98 };
    model.runs(&data, &[run], &mut |_, step, y| {
        for (output, value) in y.iter().enumerate() {
            let wanted = data.wanted(0, step, output).unwrap();
            sum += ((f64::from(*value) - wanted) / scaling.out_sd[output]).powi(2);
            n += 1.0;
        }
    });
    let lanes = lanes::Lanes::new(&data, &lanes::stretches(&data), 1, 0);
    assert!(lanes.chunks() > 10);
    learner.begin_epoch();
    let mut batch = windows::Examples::default();
    let (mut chunked, mut weight) = (0.0, 0.0);
    for chunk in 0..lanes.chunks() {
        lanes.fill(&mut batch, &data, &scaling, chunk);
        let (loss, count) = learner.learn(&batch).unwrap();
        chunked += loss * count;
        weight += count;
    }
    assert_eq!(weight, n);
    assert!((chunked / weight - sum / n).abs() < 1e-5 * sum / n, "{} {}", chunked / weight, sum / n);
}

#[test]
fn carried_and_cold_evaluation_differ_and_meet() {
    let mut train = section(1, &["v"]);
    train.length = Length::Epochs(20);
    train.batch_size = 4;
    let plan = plan_of(&train, None);
    let trained = super::train(&sines(600), &plan, &mut quiet()).unwrap();
    let cold = forecast(&trained).warm_up.as_ref().unwrap();
    assert_eq!(cold.targets[0].count, forecast(&trained).targets[0].model.count);
    assert!(cold.by_step[0].0 > cold.by_step[0].1, "{:?}", cold.by_step[0]);
    assert!(trained.warm_up > 0 && trained.warm_up < cold.by_step.len(), "{}", trained.warm_up);
}

#[test]
fn rows_that_were_not_observed_count_nowhere() {
    let mut train = section(1, &["v"]);
    train.split.value = config::Split::Rows([60, 20, 40]);
    let plan = plan_of(&train, Some(3));
    let mut series = sines(120);
    for s in &mut series {
        // Filled by a stage with nonsense: neither learned from nor counted.
        for row in (0..120).step_by(4) {
            s.observed[0][row] = false;
            s.targets[0][row] = 1e9;
        }
    }
    let trained = super::train(&series, &plan, &mut quiet()).unwrap();
    assert_eq!(forecast(&trained).targets[0].model.count, 2 * 30);
    assert!(forecast(&trained).targets[0].model.mae() < 1e3);
}

#[test]
fn what_can_not_be_trained_is_refused_with_what_is_needed() {
    let refused = |change: &dyn Fn(&mut config::Train), rows: usize, window| {
        let mut train = section(2, &["v"]);
        change(&mut train);
        let plan = plan_of(&train, window);
        let error = super::train(&sines(rows), &plan, &mut quiet()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    let one_row = refused(&|_| (), 1, None);
    assert!(one_row.contains("in the train part") && one_row.contains("2 keys"), "{one_row}");
    let short = refused(&|_| (), 20, Some(15));
    assert!(short.contains("15 usable rows"), "{short}");
    let no_test = refused(&|t| t.split.value = config::Split::Rows([50, 50, 0]), 100, None);
    assert!(no_test.contains("in the test part"), "{no_test}");
    let no_validation = |t: &mut config::Train| {
        t.split.value = config::Split::Rows([50, 0, 50]);
        t.patience = Some(2);
    };
    assert!(refused(&no_validation, 100, None).contains("patience"));
    assert!(refused(&|t| t.burn_in = 10_000, 100, None).contains("burn_in"));
    let plan = plan_of(&section(2, &["v"]), None);
    assert_eq!(super::train(&[], &plan, &mut quiet()).unwrap_err().exit_code(), 2);
}

#[test]
fn keys_that_lack_a_part_are_named_and_the_others_train() {
    let mut series = sines(100);
    series.push(plain("short", &[1.0, 2.0, 3.0]));
    let mut train = section(2, &["v"]);
    train.split.value = config::Split::Last(20);
    let plan = plan_of(&train, None);
    let trained = super::train(&series, &plan, &mut quiet()).unwrap();
    let skipped: Vec<_> = trained.skipped().collect();
    assert_eq!(skipped, [("short", vec!["train", "validation"])]);
    assert!(trained.warnings.iter().any(|w| w.contains("short")), "{:?}", trained.warnings);
    let table = trained.evaluation.table();
    assert!(table.contains("short") && table.contains("all"));
}

#[test]
fn the_report_needs_nothing_else_and_names_no_key_unescaped() {
    let mut series = sines(200);
    series[0].key = "<b>&".into();
    let mut train = section(2, &["v"]);
    train.seasonality = Some(24);
    let plan = plan_of(&train, None);
    let trained = super::train(&series, &plan, &mut quiet()).unwrap();
    let html = report::html(&trained, "sines").unwrap();
    assert!(html.contains("&lt;b&gt;&amp;") && !html.contains("<b>&amp;") && !html.contains("<script"));
    assert!(!html.contains("src=") && !html.contains("href=") && !html.contains("NaN"));
    // Two forecasts, one horizon, one cold start, one loss curve; four of the gradients.
    assert_eq!(html.matches("<svg").count(), 9);
    let svg = sample_svg(forecast(&trained), &trained.plan.clock, &forecast(&trained).samples[1]).unwrap();
    assert!(svg.contains("south: v, forecast 2 rows ahead") && svg.contains("xmlns"));
}

/// A training that is killed right after an update and then resumed gives the same numbers, and the same looks.
#[test]
fn killed_after_any_update_it_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (learning_rate, momentum, adam) = (0.01, 0.9, Adam::DEFAULT);
    let optimizers = [
        Optimizer::Adam(adam),
        Optimizer::AdamW(AdamW { adam, weight_decay: 0.1 }),
        Optimizer::RmsProp(RmsProp {
            learning_rate,
            rho: 0.9,
            momentum,
            epsilon: 1e-7,
            epsilon_form: EpsilonForm::Keras,
        }),
        Optimizer::Sgd(Sgd { learning_rate, momentum, nesterov: true }),
    ];
    for (window, optimizer) in [None, Some(4), None, Some(3)].into_iter().zip(optimizers) {
        let mut train = section(1, &["v"]);
        train.optimizer = optimizer;
        train.length = Length::Updates(24);
        train.patience = Some(20);
        train.refit = true;
        train.batch_size = 16;
        let (plan, series) = (plan_of(&train, window), sines(120));
        let is_update = |event: &Event| matches!(event, Event::Progress(Progress { looked: None, .. }));
        let mut all = 0;
        let whole = super::train(&series, &plan, &mut |event| all += usize::from(is_update(&event))).unwrap();
        for kill_at in [1, 7, all / 2 + 1, all - 1] {
            let mut updates = 0;
            let killed = std::panic::AssertUnwindSafe(|| {
                let mut keep = Keep::new(folder.path(), "m", std::time::Duration::ZERO);
                super::train_kept(&series, &plan, &mut keep, &mut |event| {
                    updates += usize::from(is_update(&event));
                    // What isn't caught would be printed.
                    if updates > kill_at {
                        std::panic::resume_unwind(Box::new("killed"));
                    }
                })
            });
            assert!(std::panic::catch_unwind(killed).is_err(), "{kill_at} of {all}, {optimizer:?}");
            let mut notes = Vec::new();
            let mut keep = Keep::new(folder.path(), "m", std::time::Duration::ZERO);
            let trained = super::train_kept(&series, &plan, &mut keep, &mut |event| {
                if let Event::Note(note) | Event::Warning(note) = event {
                    notes.push(note.to_string());
                }
            })
            .unwrap();
            assert!(notes.iter().any(|note| note.starts_with("goes on after")), "{kill_at}: {notes:?}");
            let bits = |trained: &Trained| {
                let numbers = trained.tensors.iter().flat_map(|tensor| &tensor.data);
                let bits: Vec<u32> = numbers.map(|number| number.to_bits()).collect();
                (bits, trained.looks.clone(), trained.best, trained.gradients.samples.clone())
            };
            assert_eq!(bits(&trained), bits(&whole), "{window:?}, {kill_at}");
            assert_eq!(trained.warnings, whole.warnings);
            keep.remove().unwrap();
        }
    }
}

/// Neither windows nor chunks: the memory of one batch serves the next.
#[test]
fn an_update_asks_for_no_memory() {
    for (window, threads) in [(Some(10), 1), (None, 1), (None, 2)] {
        let mut train = section(2, &["v"]);
        (train.batch_size, train.chunk) = (24, 7);
        train.split.value = config::Split::Rows([600, 0, 0]);
        let mut plan = plan_of(&train, window);
        plan.threads = threads;
        let series = &sines(600)[..1];
        let data = dataset::Dataset::new(series, &plan).unwrap();
        let scaling = scaling::Scaling::learn(&data);
        let mut learner = learner::Learner::new(&plan, &scaling, None).unwrap();
        let mut batch = windows::Examples::default();
        let origins: Vec<_> = windows::origins(&data, Subset::Train).collect();
        let lanes = lanes::Lanes::new(&data, &lanes::stretches(&data), 1, 0);
        let mut update = |at: usize| {
            match window {
                Some(_) => windows::fill(&mut batch, &data, &scaling, &origins[24 * at..24 * (at + 1)]),
                None => lanes.fill(&mut batch, &data, &scaling, 1),
            }
            learner.learn(&batch).unwrap();
        };
        (0..3).for_each(&mut update);
        let ((), most) = crate::hostile::most_memory(|| (3..6).for_each(update));
        assert_eq!(most, 0, "window {window:?}, {threads} threads: {most} bytes");
    }
}
