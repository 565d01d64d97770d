//! Noise on the inputs of a batch: a regulariser (Bishop 1995) that helps most where there are few examples.
//! Must not live here: which examples a batch has (`windows`, `sequences`, `lanes`).

use super::Plan;
use super::init::Random;
use super::scaling::Scaling;
use super::windows::Examples;

/// Adds Gaussian noise to what the first layer takes, in standard deviations of each feature. It depends on the seed
/// and on the place of the batch alone.
pub fn add(batch: &mut Examples, plan: &Plan, scaling: &Scaling, (epoch, index): (usize, usize)) {
    if plan.input_noise == 0.0 {
        return;
    }
    let mut random = Random::of(plan.seed, (1 << 63) | ((epoch as u64) << 32) | index as u64);
    let shape = &plan.architecture;
    let sd: Vec<f64> = shape.network.iter().map(|feature| plan.input_noise * scaling.sd[*feature]).collect();
    for (cell, x) in batch.x.chunks_exact_mut(shape.features).enumerate() {
        if batch.active[cell] {
            for (feature, sd) in shape.network.iter().zip(&sd) {
                x[*feature] += (sd * random.normal()) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::plan::tests::{plan_of, section};

    #[test]
    fn noise_has_its_standard_deviation_leaves_padding_alone_and_comes_again() {
        let mut train = section(1, &["v"]);
        train.input_noise = 0.5;
        let plan = plan_of(&train, None);
        let scaling = Scaling { sd: vec![4.0], ..Scaling::neutral(&plan) };
        let fresh = || Examples {
            x: vec![3.0; 10_000],
            active: (0..10_000).map(|n| n % 5 > 0).collect(),
            ..Examples::default()
        };
        let noisy = |place| {
            let mut batch = fresh();
            add(&mut batch, &plan, &scaling, place);
            batch.x
        };
        let x = noisy((0, 1));
        let moved: Vec<f64> = x.iter().map(|x| f64::from(*x) - 3.0).collect();
        assert!(moved.iter().step_by(5).all(|moved| *moved == 0.0));
        let variance = moved.iter().map(|moved| moved * moved).sum::<f64>() / 8_000.0;
        assert!((variance.sqrt() - 2.0).abs() < 0.05, "{variance}");
        assert_eq!(x, noisy((0, 1)));
        assert!(x != noisy((1, 1)) && x != noisy((0, 2)));
    }
}
