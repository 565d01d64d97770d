//! Laws of the form for many rows at once: the same bits on every kind of vector and any number of threads, the numbers
//! of the form for any cell.

use super::{Isa, LANES, LaneScratch, LaneTrace, Portable, Vector, Work, backward, cells, forward};
use crate::kernel::CellKind;
use crate::kernel::float::{Float, Number};
use crate::kernel::recurrent::{self, Ends, Gradients, Mask, Sequence, Trace, Weights};
use crate::kernel::threads::Threads;
use crate::network::testing::Numbers;

/// tanh and sigmoid of some numbers.
struct Activations<'a>(&'a [[f32; LANES]], &'a mut Vec<[[f32; LANES]; 2]>);

impl Work<f32> for Activations<'_> {
    #[inline(always)]
    fn run<V: Vector<Element = f32>>(self) {
        for x in self.0 {
            let mut found = [[0.0; LANES]; 2];
            V::load(x).tanh().store(&mut found[0]);
            V::load(x).sigmoid().store(&mut found[1]);
            self.1.push(found);
        }
    }
}

#[test]
fn activations_are_within_2e_7_and_have_the_same_bits_on_every_kind_of_vector() {
    let steps = (-300_000..=300_000).map(|i| i as f32 * 7e-5);
    let ends = [1e-30, -1e-30, 50.0, -50.0, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0];
    let values: Vec<f32> = steps.chain(ends).collect();
    let rows: Vec<[f32; LANES]> = values.chunks_exact(LANES).map(|row| row.try_into().unwrap()).collect();
    let all: Vec<_> = Isa::all()
        .into_iter()
        .map(|isa| {
            let mut found = Vec::new();
            isa.run(Activations(&rows, &mut found));
            found
        })
        .collect();
    for (x, y) in rows.as_flattened().iter().zip(all[0].iter().flat_map(|[a, b]| a.iter().zip(b))) {
        if x.is_nan() {
            assert!(y.0.is_nan() && y.1.is_nan());
            continue;
        }
        let exact = f64::from(*x);
        assert!((f64::from(*y.0) - exact.tanh()).abs() <= 2e-7, "tanh {x}: {}", y.0);
        assert!((f64::from(*y.1) - Number::sigmoid(exact)).abs() <= 2e-7, "sigmoid {x}: {}", y.1);
    }
    let bits = |found: &[[[f32; LANES]; 2]]| found.as_flattened().as_flattened().iter().map(|v| v.to_bits()).collect();
    let first: Vec<u32> = bits(&all[0]);
    assert!(all.iter().all(|found| bits(found) == first));
}

/// A layer with numbers, and a batch for it.
struct Case<F> {
    cell: CellKind,
    /// Inputs, units, timesteps, rows.
    size: [usize; 4],
    weights: [Vec<F>; 3],
    x: Vec<F>,
    masks: [Vec<bool>; 2],
    state: [Vec<F>; 2],
    d: Vec<F>,
}

/// Everything that the passes give.
type Found<F> = Vec<Vec<F>>;

impl<F: Float> Case<F> {
    fn new(cell: CellKind, size: [usize; 4], masked: bool, seed: u64) -> Self {
        let [inputs, units, t, b] = size;
        let gates = cell.gates() * units;
        let mut numbers = Numbers(seed);
        let mut some = |n: usize| -> Vec<F> {
            numbers.by_ref().take(n).map(|value| F::from_f64(f64::from(value) * 0.5)).collect()
        };
        let weights = [some(inputs * gates), some(units * gates), some(2 * gates)];
        let (x, d) = (some(t * b * inputs), some(t * b * units));
        let c = (cell.form().states.len() - 1) * units;
        let state = [some(b * units), some(b * c)];
        let below = |values: Vec<F>, limit: f64| values.into_iter().map(|v| v.to_f64() < limit).collect::<Vec<bool>>();
        let masks = if masked { [below(some(t * b), -0.3), below(some(t * b), 0.25)] } else { [vec![], vec![]] };
        Case { cell, size, weights, x, masks, state, d }
    }

    fn layer(&self) -> Sequence<'_, F> {
        let [inputs, units, t, b] = self.size;
        let [kernel, recurrent, bias] = &self.weights;
        let mask = Mask { reset: &self.masks[0], active: &self.masks[1] };
        let weights = Weights { kernel, recurrent, bias };
        Sequence { cell: self.cell, inputs, units, weights, x: &self.x, t, b, mask, dropout: &[], wanted: 0 }
    }

    fn found(
        &self,
        run: impl Fn(&mut [F], &mut [F]) -> Vec<F>,
        back: impl Fn(Gradients<'_, F>, &mut [F], &mut Ends<F>),
    ) -> Found<F> {
        let [mut h, mut c] = self.state.clone();
        let output = run(&mut h, &mut c);
        let [mut kernel, mut recurrent, mut bias] = self.weights.clone().map(|values| vec![F::ONE; values.len()]);
        let mut dx = vec![F::ZERO; self.x.len()];
        let others = self.state[1].iter().map(|value| *value + *value).collect();
        let mut ends = Ends { after: others, before: Some(Default::default()) };
        back(Gradients { kernel: &mut kernel, recurrent: &mut recurrent, bias: &mut bias }, &mut dx, &mut ends);
        let [h_before, c_before] = ends.before.unwrap();
        vec![output, h, c, kernel, recurrent, bias, dx, h_before, c_before]
    }

    fn lanes(&self, isa: Isa, threads: usize) -> Found<F> {
        let how = (isa, &Threads::new(threads));
        let trace = std::cell::RefCell::new(LaneTrace::default());
        self.found(
            |h, c| {
                let mut output = vec![F::ZERO; self.d.len()];
                forward(how, self.layer(), (h, c), &mut trace.borrow_mut(), &mut output);
                output
            },
            |gradients, dx, ends| {
                let mut scratch = LaneScratch::default();
                backward(how, self.layer(), &trace.borrow(), (&self.d, ends), gradients, dx, &mut scratch);
            },
        )
    }

    fn rows(&self) -> Found<F> {
        let trace = std::cell::RefCell::new(Trace::default());
        self.found(
            |h, c| {
                recurrent::forward_rows(self.layer(), h, c, &mut trace.borrow_mut());
                trace.borrow().output.clone()
            },
            |gradients, dx, ends| {
                let mut scratch = recurrent::Scratch::default();
                scratch.ends = std::mem::take(ends);
                recurrent::backward_rows(self.layer(), &trace.borrow(), &self.d, gradients, dx, &mut scratch);
                *ends = scratch.ends;
            },
        )
    }
}

/// Sizes with whole and partial tiles and blocks.
const SIZES: [[usize; 4]; 5] = [[1, 1, 3, 1], [1, 50, 10, 32], [3, 7, 45, 19], [5, 33, 6, 50], [17, 24, 2, 16]];

fn served() -> impl Iterator<Item = CellKind> {
    CellKind::ALL.iter().copied().filter(|cell| cells::serves(*cell))
}

#[test]
fn the_same_bits_on_every_kind_of_vector_and_any_number_of_threads() {
    for cell in served() {
        for (size, masked) in SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]) {
            let case = Case::<f32>::new(cell, size, masked, 5);
            let bits = |found: &Found<f32>| -> Vec<Vec<u32>> {
                found.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
            };
            let first = bits(&case.lanes(Isa::best(), 1));
            for isa in Isa::all() {
                for threads in [1, 2, 3] {
                    let found = bits(&case.lanes(isa, threads));
                    assert!(found == first, "{cell:?} {size:?} masked {masked}: {isa:?}, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn the_numbers_are_those_of_the_form_for_any_cell() {
    for cell in served() {
        for (size, masked) in SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]) {
            let case = Case::<f64>::new(cell, size, masked, 9);
            for (found, wanted) in case.lanes(Isa::Portable, 2).iter().zip(case.rows()) {
                assert_eq!(found.len(), wanted.len());
                for (found, wanted) in found.iter().zip(wanted) {
                    let near = (found - wanted).abs() <= 1e-10 * (1.0 + wanted.abs());
                    assert!(near, "{cell:?} {size:?} masked {masked}: {found} {wanted}");
                }
            }
        }
    }
}

#[test]
fn what_has_no_row_may_hold_anything() {
    for cell in served() {
        let mut case = Case::<f32>::new(cell, [1, 5, 4, 17], false, 3);
        // A bias that makes a ReLU layer of no input grow beyond all bounds.
        case.weights[2].fill(1e20);
        case.weights[1].fill(1e20);
        case.x.fill(-3e20);
        case.weights[0].fill(1.0);
        case.state.iter_mut().for_each(|values| values.fill(0.0));
        let found = case.lanes(Isa::best(), 1);
        assert!(found.iter().flatten().all(|value| value.is_finite()), "{cell:?}: {found:?}");
    }
}

#[test]
fn a_vector_is_laid_out_as_portable_ones_are() {
    let values: Vec<Portable<f32>> =
        (0..3).map(|i| Portable(std::array::from_fn(|row| (16 * i + row) as f32))).collect();
    struct Twice<'a>(&'a [Portable<f32>], &'a mut [Portable<f32>]);
    impl Work<f32> for Twice<'_> {
        #[inline(always)]
        fn run<V: Vector<Element = f32>>(self) {
            let (from, into) = (super::vector::cast::<V>(self.0), super::vector::cast_mut::<V>(self.1));
            from.iter().zip(into).for_each(|(from, into)| *into = *from + *from);
        }
    }
    for isa in Isa::all() {
        let mut found = values.clone();
        isa.run(Twice(&values, &mut found));
        for (i, value) in found.iter().flat_map(|vector| vector.0).enumerate() {
            assert_eq!(value, 2.0 * i as f32, "{isa:?}");
        }
    }
}
