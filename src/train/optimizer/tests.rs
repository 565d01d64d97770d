//! Each optimizer against updates worked out by hand, and against Keras and PyTorch over a hundred updates.

use super::*;
use crate::config::{EpsilonForm, Optimizer as Settings};

const ADAM: config::Adam = config::Adam { learning_rate: 0.01, ..config::Adam::DEFAULT };

fn rmsprop(rho: f64, momentum: f64, epsilon: f64, epsilon_form: EpsilonForm) -> Settings {
    Settings::RmsProp(config::RmsProp { learning_rate: 0.01, rho, momentum, epsilon, epsilon_form })
}

fn sgd(momentum: f64, nesterov: bool) -> Settings {
    Settings::Sgd(config::Sgd { learning_rate: 0.05, momentum, nesterov })
}

fn optimizer<F: Float>(settings: Settings) -> Optimizer<F> {
    Optimizer::new(settings, 3, vec![0..1, 1..3])
}

/// Where a hundred updates on a badly scaled bowl with a ripple lead: g = a (p - c) + sin(t + i) / 10.
fn after_a_hundred(settings: Settings) -> [f32; 3] {
    let mut optimizer = optimizer(settings);
    let (a, c) = ([0.1, 1.0, 10.0], [1.0, -2.0, 0.5]);
    let mut p = [0.3_f32, -0.7, 1.1];
    for t in 0..100 {
        let gradient = |i: usize| a[i] * (f64::from(p[i]) - c[i]) + 0.1 * ((t + i) as f64).sin();
        let gradients = [gradient(0) as f32, gradient(1) as f32, gradient(2) as f32];
        optimizer.update(&Threads::default(), &mut p, &gradients);
    }
    p
}

fn assert_after_a_hundred(settings: Settings, wanted: [f32; 3]) {
    let found = after_a_hundred(settings);
    let near = found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-5);
    assert!(near, "{settings:?}: {found:?} {wanted:?}");
}

/// Numbers of Keras 3.15.1.
#[test]
fn a_hundred_updates_are_those_of_keras() {
    let keras = EpsilonForm::Keras;
    let adamw = Settings::AdamW(config::AdamW { adam: ADAM, weight_decay: 0.1 });
    assert_after_a_hundred(adamw, [0.758_178_4, -1.445_454_1, 0.491_173_4]);
    assert_after_a_hundred(rmsprop(0.9, 0.0, 1e-7, keras), [0.805_292_4, -1.675_141_5, 0.500_083_3]);
    assert_after_a_hundred(rmsprop(0.9, 0.5, 1e-3, keras), [0.938_360_8, -1.987_134_3, 0.501_292_65]);
    assert_after_a_hundred(sgd(0.0, false), [0.575_882_1, -1.986_988_5, 0.500_319_8]);
    assert_after_a_hundred(sgd(0.9, false), [1.000_533, -2.003_148, 0.514_659_1]);
    assert_after_a_hundred(sgd(0.9, true), [1.003_747, -1.991_657_5, 0.499_273_6]);
}

/// Numbers of PyTorch 2.15.
#[test]
fn a_hundred_updates_are_those_of_pytorch() {
    let torch = EpsilonForm::Torch;
    let adam = config::Adam { epsilon_form: torch, ..ADAM };
    let adamw = Settings::AdamW(config::AdamW { adam, weight_decay: 0.1 });
    assert_after_a_hundred(adamw, [0.758_182_6, -1.445_459_5, 0.491_173_15]);
    assert_after_a_hundred(rmsprop(0.99, 0.0, 1e-8, torch), [0.949_142_75, -1.918_029_7, 0.500_643_5]);
    assert_after_a_hundred(rmsprop(0.9, 0.5, 1e-3, torch), [0.950_676_7, -1.986_562_5, 0.500_859_1]);
    assert_after_a_hundred(sgd(0.9, false), [1.000_533, -2.003_148, 0.514_659_1]);
    assert_after_a_hundred(sgd(0.9, true), [1.003_747, -1.991_657_5, 0.499_273_6]);
}

/// What two updates with gradients 0.5 and -0.2 make of 1.0.
fn after_two(settings: Settings) -> f64 {
    let mut optimizer = optimizer::<f64>(settings);
    let mut p = [1.0; 3];
    optimizer.update(&Threads::default(), &mut p, &[0.5; 3]);
    optimizer.update(&Threads::default(), &mut p, &[-0.2; 3]);
    p[0]
}

fn assert_two(settings: Settings, wanted: f64) {
    let found = after_two(settings);
    assert!((found - wanted).abs() < 1e-14, "{settings:?}: {found} {wanted}");
}

#[test]
fn two_updates_of_gradient_descent() {
    assert_two(sgd(0.0, false), 1.0 - 0.05 * 0.5 + 0.05 * 0.2);
    // m: -0.025, then 0.5 · -0.025 + 0.01.
    assert_two(sgd(0.5, false), 1.0 - 0.025 - 0.0025);
    assert_two(sgd(0.5, true), 1.0 + (0.5 * -0.025 - 0.025) + (0.5 * -0.0025 + 0.01));
}

#[test]
fn two_updates_of_rmsprop_with_epsilon_where_each_framework_has_it() {
    // v: 0.2 · 0.25, then 0.8 · 0.05 + 0.2 · 0.04.
    let (first, second) = (0.05_f64, 0.048_f64);
    let keras = [0.5 / (first + 0.1).sqrt(), -0.2 / (second + 0.1).sqrt()];
    let torch = [0.5 / (first.sqrt() + 0.1), -0.2 / (second.sqrt() + 0.1)];
    for (form, [a, b]) in [(EpsilonForm::Keras, keras), (EpsilonForm::Torch, torch)] {
        assert_two(rmsprop(0.8, 0.0, 0.1, form), 1.0 - 0.01 * (a + b));
        assert_two(rmsprop(0.8, 0.5, 0.1, form), 1.0 - 0.01 * (a + (0.5 * a + b)));
    }
}

/// The decay follows the step size, and biases have none.
#[test]
fn adamw_takes_a_share_of_the_kernels_before_adams_step() {
    let settings = Settings::AdamW(config::AdamW { adam: ADAM, weight_decay: 0.5 });
    let mut optimizer = Optimizer::<f64>::new(settings, 3, vec![0..1, 2..3]);
    let mut p = [2.0, 2.0, 2.0];
    optimizer.update(&Threads::default(), &mut p, &[0.0; 3]);
    optimizer.set_learning_rate(0.1);
    optimizer.update(&Threads::default(), &mut p, &[0.0; 3]);
    assert!((p[0] - 2.0 * (1.0 - 0.005) * (1.0 - 0.05)).abs() < 1e-14, "{p:?}");
    assert_eq!(p[0].to_bits(), p[2].to_bits());
    assert_eq!(p[1].to_bits(), 2.0_f64.to_bits());
}

#[test]
fn a_step_size_that_changes_scales_the_steps_before_only_in_pytorchs_rmsprop() {
    let with_changed_rate = |form| {
        let mut optimizer = optimizer::<f64>(rmsprop(0.8, 0.5, 0.1, form));
        let mut p = [1.0; 3];
        optimizer.update(&Threads::default(), &mut p, &[0.5; 3]);
        let before = p[0];
        optimizer.set_learning_rate(0.0);
        optimizer.update(&Threads::default(), &mut p, &[0.5; 3]);
        before - p[0]
    };
    assert!(with_changed_rate(EpsilonForm::Keras) > 0.0);
    assert_eq!(with_changed_rate(EpsilonForm::Torch).to_bits(), 0.0_f64.to_bits());
}
