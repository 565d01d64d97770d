//! The gradients of a layer's numbers: sums over all rows and steps.
//! Must not live here: gradients of rows (`backward`).

use std::ops::Range;

use super::product::BLOCK;
use super::trace::{Blocks, LaneTrace, Shape};
use super::vector::{Vector, Work, cast};
use super::{Isa, Portable};
use crate::kernel::float::Float;
use crate::kernel::recurrent::Gradients;
use crate::kernel::threads::{Parts, Threads};

/// Steps that are summed up before the next: a block of each side stays in the first cache.
const TOGETHER: usize = 40;

/// Fewer blocks for each thread are cut into halves.
const FEW: usize = 8;

/// Sums over all rows and steps of what gates are made of times gradients of gates. If the recurrent part is apart, the
/// bias of each side is its own.
pub fn sum_up<F: Float>(
    (isa, threads): (Isa, &Threads),
    trace: &LaneTrace<F>,
    [gates, recurrent]: [&Blocks<F, { BLOCK[1] }>; 2],
    gradients: Gradients<'_, F>,
) {
    let Shape { inputs, gates: width, same, .. } = trace.shape;
    let (first, second) = gradients.bias.split_at_mut(width);
    let (kernel, first, second) = (Parts::new(gradients.kernel), Parts::new(first), Parts::new(second));
    let into = Into { kernel, bias: [first, second], recurrent: Parts::new(gradients.recurrent) };
    let blocks = width.div_ceil(BLOCK[1]);
    // A part is a block of columns, or of few blocks a half: of the rows of each side.
    let halves = if blocks < FEW * threads.count() { 2 } else { 1 };
    threads.each(halves * blocks, &|part, _| {
        let (block, half) = (part / halves, part % halves);
        let before = trace.shape.before();
        let own = block.checked_sub(same / BLOCK[1]);
        let sides = if let Some(own) = own {
            [(gates, block, 0..inputs + 1, &[0][..]), (recurrent, own, inputs..before, &[1])]
        } else {
            // The biases have the same gradient; there may be no second one.
            [(gates, block, 0..before, &[0, 1][..]), (gates, block, 0..0, &[])]
        };
        for (d, d_block, rows, biases) in sides {
            let (first, last) = (rows.start / BLOCK[0], rows.end.div_ceil(BLOCK[0]));
            let cut = |at: usize| (first + (last - first) * at / halves) * BLOCK[0];
            let rows = rows.start.max(cut(half))..rows.end.min(cut(half + 1));
            F::run_on(isa, Sums { trace, d: d.of(d_block), rows, biases, block, into: &into });
        }
    });
}

/// Where sums go.
struct Into<'a, F> {
    kernel: Parts<'a, F>,
    bias: [Parts<'a, F>; 2],
    recurrent: Parts<'a, F>,
}

/// The sums of a block of columns, or of some of its rows.
struct Sums<'a, F> {
    trace: &'a LaneTrace<F>,
    /// The block, and the gradients of its gates.
    block: usize,
    d: &'a [Portable<F>],
    /// Which rows of what gates are made of are wanted.
    rows: Range<usize>,
    /// Which biases get the sums of the ones.
    biases: &'a [usize],
    into: &'a Into<'a, F>,
}

impl<F: Float> Work<F> for Sums<'_, F> {
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let Shape { inputs, gates: width, tiles, .. } = self.trace.shape;
        let steps = self.trace.shape.all_steps();
        // The first steps of all rows, if there the hidden state is zero.
        let zero = if self.trace.from_zero.iter().all(|zero| zero.0) { tiles } else { 0 };
        let columns = self.block * BLOCK[1]..width.min((self.block + 1) * BLOCK[1]);
        let put = |parts: &Parts<'_, F>, row: usize, is_first: bool, sums: &[F; BLOCK[1]]| {
            // SAFETY: these columns belong to this part of the work alone.
            #[allow(unsafe_code)]
            let into = unsafe { parts.range(row * width + columns.start..row * width + columns.end) };
            let into = into.iter_mut().zip(sums);
            if is_first {
                into.for_each(|(into, sum)| *into = *sum);
            } else {
                into.for_each(|(into, sum)| *into += *sum);
            }
        };
        for first in (0..steps.max(1)).step_by(TOGETHER) {
            let to = steps.min(first + TOGETHER);
            for left in self.rows.start / BLOCK[0]..self.rows.end.div_ceil(BLOCK[0]) {
                let from = if left * BLOCK[0] > inputs { first.max(zero).min(to) } else { first };
                let mut block = [[F::ZERO; BLOCK[1]]; BLOCK[0]];
                V::block(
                    cast(self.trace.before.block(left, from..to)),
                    cast(&self.d[from * BLOCK[1]..to * BLOCK[1]]),
                    &mut block,
                );
                for (row, sums) in (left * BLOCK[0]..).zip(&block).filter(|(row, _)| self.rows.contains(row)) {
                    match row.checked_sub(inputs) {
                        None => put(&self.into.kernel, row, first == 0, sums),
                        Some(0) => {
                            let of = self.biases.iter().map(|bias| &self.into.bias[*bias]);
                            of.filter(|bias| !bias.is_empty()).for_each(|bias| put(bias, 0, first == 0, sums));
                        }
                        Some(unit) => put(&self.into.recurrent, unit - 1, first == 0, sums),
                    }
                }
            }
        }
    }
}
