//! Adam (Kingma and Ba 2015) in the two forms there are.

use std::ops::Range;

use super::Kept;
use crate::config::{self, EpsilonForm};
use crate::kernel::float::Float;
use crate::kernel::lanes::{Isa, LANES, Vector, Work};
use crate::kernel::threads::{Parts, Threads};
use crate::train::keep::{Number, Record};

/// Moments of every parameter.
#[derive(Debug, Clone)]
pub struct Adam<F> {
    settings: config::Adam,
    steps: i32,
    first: Vec<F>,
    second: Vec<F>,
}

impl<F: Float> Adam<F> {
    /// For that many parameters.
    pub fn new(settings: config::Adam, parameters: usize) -> Self {
        Adam { settings, steps: 0, first: vec![F::ZERO; parameters], second: vec![F::ZERO; parameters] }
    }

    /// Changes the step size.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.settings.learning_rate = learning_rate;
    }

    /// One update. Keras folds the bias correction into the step size, so its epsilon comes before the correction;
    /// PyTorch corrects the second moment first and adds epsilon after.
    pub fn update(&mut self, threads: &Threads, parameters: &mut [F], gradients: &[F]) {
        self.update_after(threads, parameters, gradients, &|_, _| {});
    }

    /// As [`Adam::update`]; each range of the parameters is first handed to `change`.
    pub(super) fn update_after(
        &mut self,
        threads: &Threads,
        parameters: &mut [F],
        gradients: &[F],
        change: &(dyn Fn(Range<usize>, &mut [F]) + Sync),
    ) {
        self.steps += 1;
        let config::Adam { learning_rate, beta_1, beta_2, epsilon, epsilon_form } = self.settings;
        let first_correction = 1.0 - beta_1.powi(self.steps);
        let second_correction = 1.0 - beta_2.powi(self.steps);
        // Both forms as step · m / (sqrt(v) / root + epsilon).
        let (step, root) = match epsilon_form {
            EpsilonForm::Keras => (learning_rate * second_correction.sqrt() / first_correction, 1.0),
            EpsilonForm::Torch => (learning_rate / first_correction, second_correction.sqrt()),
        };
        let numbers = [step, 1.0 / root, epsilon, 1.0 - beta_1, 1.0 - beta_2].map(F::from_f64);
        let (parameters, first, second) =
            (Parts::new(parameters), Parts::new(&mut self.first), Parts::new(&mut self.second));
        each_range(threads, gradients.len(), &|range| {
            // SAFETY: nothing else has this range.
            #[allow(unsafe_code)]
            let (parameters, moments) =
                unsafe { (parameters.range(range.clone()), [first.range(range.clone()), second.range(range.clone())]) };
            change(range.clone(), parameters);
            F::run_on(Isa::best(), Update { numbers, parameters, gradients: &gradients[range], moments });
        });
    }
}

/// Fewer parameters aren't shared.
const SHARED: usize = 2048;

/// Does something with all parameters, a range for each thread.
fn each_range(threads: &Threads, parameters: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    let parts = if parameters < SHARED { 1 } else { threads.count() };
    // Memory that threads write is apart by more than what they get at once.
    let at = |part: usize| if part == parts { parameters } else { (parameters * part / parts) & !(2 * LANES - 1) };
    threads.each(parts, &|part, _| work(at(part)..at(part + 1)));
}

/// An update of every parameter: step · m / (sqrt(v) · scale + epsilon).
struct Update<'a, F> {
    /// Step, scale, epsilon, and how much of the new the moments take.
    numbers: [F; 5],
    parameters: &'a mut [F],
    gradients: &'a [F],
    moments: [&'a mut [F]; 2],
}

impl<F: Float> Work<F> for Update<'_, F> {
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let [step, scale, epsilon, take_first, take_second] = self.numbers;
        let (step, scale, epsilon) = (V::splat(step), V::splat(scale), V::splat(epsilon));
        let (take_first, take_second) = (V::splat(take_first), V::splat(take_second));
        let [first, second] = self.moments;
        let (parameters, parameters_left) = self.parameters.as_chunks_mut::<LANES>();
        let (gradients, gradients_left) = self.gradients.as_chunks::<LANES>();
        let ((first, first_left), (second, second_left)) =
            (first.as_chunks_mut::<LANES>(), second.as_chunks_mut::<LANES>());
        // What is left is as wide as a vector.
        let mut left = [[F::ZERO; LANES]; 4];
        let rest = gradients_left.len();
        let [p, g, m, v] = &mut left;
        for (to, from) in
            [(&mut *p, &*parameters_left), (g, gradients_left), (&mut *m, first_left), (&mut *v, second_left)]
        {
            to[..rest].copy_from_slice(from);
        }
        let whole = parameters.iter_mut().zip(gradients).zip(first).zip(second);
        let [p, g, m, v] = &mut left;
        for (((p, g), m), v) in whole.chain([(((p, &*g), m), v)]) {
            let gradient = V::load(g);
            let first = (gradient - V::load(m)).mul_add(take_first, V::load(m));
            let second = (gradient * gradient - V::load(v)).mul_add(take_second, V::load(v));
            first.store(m);
            second.store(v);
            (V::load(p) - step * first / second.sqrt().mul_add(scale, epsilon)).store(p);
        }
        let [p, _, m, v] = &left;
        parameters_left.copy_from_slice(&p[..rest]);
        first_left.copy_from_slice(&m[..rest]);
        second_left.copy_from_slice(&v[..rest]);
    }
}

impl<F: Number> Kept for Adam<F> {
    fn put(&self, record: &mut Record) {
        record.put_counts("optimizer/steps", &[self.steps as usize]);
        record.put("optimizer/first", &self.first);
        record.put("optimizer/second", &self.second);
    }

    fn take(&mut self, record: &Record) -> Result<(), String> {
        let [steps] = record.take_counts("optimizer/steps")?;
        self.steps = i32::try_from(steps).map_err(|_| "optimizer/steps: too many")?;
        record.take_into("optimizer/first", &mut self.first)?;
        record.take_into("optimizer/second", &mut self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_the_same_on_any_number_of_threads() {
        let after = |threads: usize, parameters: usize| {
            let threads = Threads::new(threads);
            let mut adam = Adam::<f32>::new(config::Adam::DEFAULT, parameters);
            let mut p: Vec<f32> = (0..parameters).map(|i| (i as f32).sin()).collect();
            for update in 0..3 {
                let gradients: Vec<f32> = (0..parameters).map(|i| ((i + 7 * update) as f32).cos()).collect();
                adam.update(&threads, &mut p, &gradients);
            }
            p.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        for parameters in [0, 5, SHARED - 1, SHARED, 3 * SHARED + 13] {
            let one = after(1, parameters);
            assert!([2, 3, 7].into_iter().all(|threads| after(threads, parameters) == one), "{parameters}");
        }
    }

    /// Two updates, written out from the formulas of both frameworks' documentation.
    #[test]
    fn epsilon_stands_where_each_framework_has_it() {
        let settings = config::Adam {
            learning_rate: 0.1,
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 0.05,
            epsilon_form: EpsilonForm::Keras,
        };
        for form in [EpsilonForm::Keras, EpsilonForm::Torch] {
            let mut adam = Adam::<f64>::new(config::Adam { epsilon_form: form, ..settings }, 1);
            let mut p = [1.0];
            adam.update(&Threads::default(), &mut p, &[0.5]);
            adam.update(&Threads::default(), &mut p, &[-0.2]);
            let mut wanted = 1.0;
            let (mut m, mut v) = (0.0, 0.0);
            for (t, g) in [(1, 0.5), (2, -0.2)] {
                m = 0.9 * m + 0.1 * g;
                v = 0.99 * v + 0.01 * g * g;
                let (left_m, left_v) = (1.0 - 0.9_f64.powi(t), 1.0 - 0.99_f64.powi(t));
                wanted -= match form {
                    EpsilonForm::Keras => 0.1 * left_v.sqrt() / left_m * m / (v.sqrt() + 0.05),
                    EpsilonForm::Torch => 0.1 * (m / left_m) / ((v / left_v).sqrt() + 0.05),
                };
            }
            assert!((p[0] - wanted).abs() < 1e-14, "{form:?}: {} {wanted}", p[0]);
        }
    }
}
