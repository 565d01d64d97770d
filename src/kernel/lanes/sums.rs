//! The gradients of a layer's numbers: sums over all rows and steps.
//! Must not live here: gradients of rows (`backward`).

use super::Isa;
use super::product::BLOCK;
use super::trace::{Blocks, LaneTrace, Shape};
use super::vector::{Vector, Work, cast};
use crate::kernel::float::Float;
use crate::kernel::threads::{Parts, Threads};

/// Steps that are summed up before the next: a block of each side stays in the first cache.
const TOGETHER: usize = 40;

/// Sums over all rows and steps of what gates are made of times gradients of gates. The rows of `sums` are those of the
/// former; if the recurrent part is apart, the bias of each side is its own.
pub fn sum_up<F: Float>(
    (isa, threads): (Isa, &Threads),
    trace: &LaneTrace<F>,
    [gates, recurrent]: [&Blocks<F, { BLOCK[1] }>; 2],
    sums: &mut [F],
) {
    let Shape { inputs, gates: width, apart, .. } = trace.shape;
    let sums = Parts::new(sums);
    let blocks = width.div_ceil(BLOCK[1]);
    threads.each(if apart { 2 * blocks } else { blocks }, &|part| {
        let (d, rows, first_sum) = match apart {
            false => (gates, 0..trace.shape.before(), 0),
            true if part < blocks => (gates, 0..inputs + 1, 0),
            true => (recurrent, inputs..trace.shape.before(), inputs + 1),
        };
        F::run_on(isa, Sums { trace, d, rows, first_sum, block: part % blocks, sums: &sums });
    });
}

/// The sums of a block of columns.
struct Sums<'a, F> {
    trace: &'a LaneTrace<F>,
    /// Gradients of the gates, and a block of them.
    d: &'a Blocks<F, { BLOCK[1] }>,
    block: usize,
    /// Which rows are wanted, and which of the sums the first of them is.
    rows: std::ops::Range<usize>,
    first_sum: usize,
    sums: &'a Parts<'a, F>,
}

impl<F: Float> Work<F> for Sums<'_, F> {
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let Shape { inputs, gates: width, tiles, .. } = self.trace.shape;
        let steps = self.trace.shape.all_steps();
        let columns = self.block * BLOCK[1]..width.min((self.block + 1) * BLOCK[1]);
        // The first steps of all rows, if there the hidden state is zero.
        let zero = if self.trace.from_zero.iter().all(|zero| *zero) { tiles } else { 0 };
        for from in (0..steps).step_by(TOGETHER) {
            let to = steps.min(from + TOGETHER);
            for left in self.rows.start / BLOCK[0]..self.rows.end.div_ceil(BLOCK[0]) {
                let from = if left * BLOCK[0] > inputs { from.max(zero).min(to) } else { from };
                let mut block = [[F::ZERO; BLOCK[1]]; BLOCK[0]];
                V::block(
                    cast(self.trace.before.block(left, from..to)),
                    cast(self.d.block(self.block, from..to)),
                    &mut block,
                );
                for (row, block) in (left * BLOCK[0]..).zip(&block) {
                    if !self.rows.contains(&row) {
                        continue;
                    }
                    let at = (self.first_sum + row - self.rows.start) * width;
                    // SAFETY: these columns belong to this part of the work alone.
                    #[allow(unsafe_code)]
                    let into = unsafe { self.sums.range(at + columns.start..at + columns.end) };
                    into.iter_mut().zip(block).for_each(|(into, sum)| *into += *sum);
                }
            }
        }
    }
}
