//! A layer over time, sixteen rows after the other.
//! Must not live here: vectors and products (`vector`, `product`), formulas of a cell.

use std::ops::Range;

use super::cells::with_cell;
use super::product::{BLOCK, Begin, Packed, multiply};
use super::trace::{BlockParts, LaneTrace, Shape, keep, to_lanes, to_rows, zero_row};
use super::vector::{LANES, Vector, Work, cast, cast_mut};
use super::{Isa, Portable};
use crate::kernel::cell::{Cell, Forward};
use crate::kernel::float::Float;
use crate::kernel::recurrent::Sequence;
use crate::kernel::threads::{Parts, Threads};

/// As [`crate::kernel::recurrent::forward`]; into `output` [t, b, u] go the steps that are wanted.
pub fn forward<F: Float>(
    (isa, threads): (Isa, &Threads),
    layer: Sequence<'_, F>,
    (h, c): (&mut [F], &mut [F]),
    trace: &mut LaneTrace<F>,
    output: &mut [F],
) {
    let shape = Shape::new(&layer);
    let Shape { steps, tiles, units, .. } = shape;
    trace.make_room(shape, threads.count());
    sum_of_biases(trace, &layer);
    let LaneTrace { before, c: states, gates, kept, now, active, full, from_zero, bias, packs, pass, .. } = trace;
    let now_width = now.len() / tiles.max(1);
    let before = before.parts();
    let (states, gates, kept) = (Parts::new(states), Parts::new(gates), Parts::new(kept));
    let (now, active, full) = (Parts::new(now), Parts::new(active), Parts::new(full));
    let (from_zero, output, packs) = (Parts::new(from_zero), Parts::new(output), Parts::new(packs));
    let (h, c) = (Parts::new(h), Parts::new(c));
    threads.each(tiles, &|tile, thread| {
        let rows = tile * LANES..layer.b.min((tile + 1) * LANES);
        // SAFETY: nothing else has the number of this thread meanwhile.
        #[allow(unsafe_code)]
        let packs = unsafe { &mut packs.part(thread, 1)[0].0 };
        let packed = packs.of_pass(*pass, |packed| pack(packed, &layer, shape, bias, F::columns(isa)));
        // SAFETY: each is the part of this tile alone, and each tile is done once.
        #[allow(unsafe_code)]
        let work = unsafe {
            ForwardTile {
                layer,
                shape,
                tile,
                h: h.range(rows.start * units..rows.end * units),
                c: c.range(rows.start * shape.c..rows.end * shape.c),
                before: &before,
                states: states.part(tile, (steps + 1) * shape.c),
                gates: gates.part(tile, steps * shape.gates),
                kept: kept.part(tile, steps * shape.kept),
                now: now.part(tile, now_width),
                active: active.part(tile, steps),
                full: &mut full.part(tile, 1)[0].0,
                from_zero: &mut from_zero.part(tile, 1)[0].0,
                packed,
                output: &output,
                rows,
            }
        };
        F::run_on(isa, work);
    });
}

/// Of a recurrent part that isn't apart: else it brings its own bias.
fn sum_of_biases<F: Float>(trace: &mut LaneTrace<F>, layer: &Sequence<'_, F>) {
    let (first, second) = layer.weights.bias.split_at(trace.shape.gates);
    trace.bias.clear();
    trace.bias.extend_from_slice(first);
    trace.bias.iter_mut().zip(second).for_each(|(bias, second)| *bias += *second);
}

fn pack<F: Float>(packed: &mut [Packed<F>; 2], layer: &Sequence<'_, F>, shape: Shape, bias: &[F], columns: usize) {
    let Shape { gates, apart, .. } = shape;
    let weights = layer.weights;
    if apart {
        let (first, second) = weights.bias.split_at(gates);
        packed[0].pack(gates, columns, &[first, weights.kernel]);
        packed[1].pack(gates, columns, &[second, weights.recurrent]);
    } else {
        packed[0].pack(gates, columns, &[bias, weights.kernel, weights.recurrent]);
    }
}

/// All steps of sixteen rows.
struct ForwardTile<'a, 'l, F> {
    layer: Sequence<'l, F>,
    shape: Shape,
    tile: usize,
    /// Which rows of the batch, up to sixteen.
    rows: Range<usize>,
    /// Their states.
    h: &'a mut [F],
    c: &'a mut [F],
    /// Their parts of the trace.
    states: &'a mut [Portable<F>],
    gates: &'a mut [Portable<F>],
    kept: &'a mut [Portable<F>],
    now: &'a mut [Portable<F>],
    active: &'a mut [Portable<F>],
    full: &'a mut [bool],
    from_zero: &'a mut bool,
    /// All of it.
    before: &'a BlockParts<'a, F, { BLOCK[0] }>,
    packed: &'a [Packed<F>; 2],
    output: &'a Parts<'a, F>,
}

impl<F: Float> Work<F> for ForwardTile<'_, '_, F> {
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        with_cell!(self.layer.cell, cell => self.steps::<V, _>(cell));
    }
}

impl<F: Float> ForwardTile<'_, '_, F> {
    #[inline(always)]
    fn steps<V: Vector<Element = F>, C: Cell<V>>(self, cell: &C) {
        let ForwardTile { layer, shape, tile, rows, states, gates, kept, packed, output, .. } = self;
        let Shape { inputs, units, steps, .. } = shape;
        let (now, rest) = self.now.split_at_mut(shape.before());
        let (h_before, recurrent) = rest.split_at_mut(units);
        let (h_before, recurrent) = (cast_mut::<V>(h_before), cast_mut::<V>(recurrent));
        to_lanes::<V>(self.h, units, cast_mut(&mut now[inputs + 1..]));
        to_lanes::<V>(self.c, shape.c, cast_mut(states));
        now[inputs] = Portable([F::ONE; LANES]);
        for step in 0..steps {
            let first = step * layer.b + rows.start;
            let (c_before, c_after) = states.split_at_mut((step + 1) * shape.c);
            let c_before = &mut c_before[step * shape.c..];
            for row in (0..rows.len()).filter(|row| layer.mask.reset(first + row)) {
                zero_row(&mut now[inputs + 1..], row);
                zero_row(c_before, row);
            }
            to_lanes(&layer.x[first * inputs..(first + rows.len()) * inputs], inputs, cast_mut::<V>(now));
            let is_active = |row: usize| row < rows.len() && layer.mask.active(first + row);
            self.full[step] = (0..LANES).all(is_active);
            if !self.full[step] {
                self.active[step] = Portable(std::array::from_fn(|row| if is_active(row) { F::ONE } else { F::ZERO }));
            }
            if step == 0 {
                *self.from_zero = now[inputs + 1..].iter().all(|lane| *lane == Portable::default());
            }

            // SAFETY: of this step only this tile has a part.
            #[allow(unsafe_code)]
            let put = unsafe { self.before.put::<V>(step * shape.tiles + tile, cast(now)) };
            let (x, h) = cast::<V>(now).split_at(inputs + 1);
            let (c_before, c_after) = (cast::<V>(c_before), cast_mut::<V>(&mut c_after[..shape.c]));
            let gates = cast_mut::<V>(&mut gates[step * shape.gates..][..shape.gates]);
            // Of a state of zeros the product is zero.
            let known = if step == 0 && *self.from_zero { &[] } else { h };
            if shape.apart {
                multiply(gates, Begin::Bias, &packed[0], [&x[..inputs], &[]], ());
                multiply(recurrent, Begin::Bias, &packed[1], [known, &[]], put);
            } else {
                multiply(gates, Begin::Bias, &packed[0], [&x[..inputs], known], put);
            }
            let h = cast_mut::<V>(&mut now[inputs + 1..]);
            if !self.full[step] {
                h_before.copy_from_slice(h);
            }
            c_after.copy_from_slice(c_before);
            let kept = cast_mut::<V>(&mut kept[step * shape.kept..][..shape.kept]);
            cell.forward(Forward { gates, recurrent, h, c: c_after, kept, own: &[] });
            if !self.full[step] {
                let active = cast::<V>(&self.active[step..=step])[0];
                keep(h, active, h_before);
                keep(c_after, active, c_before);
            }
            if step >= layer.wanted {
                // SAFETY: these rows of this step belong to this tile alone.
                #[allow(unsafe_code)]
                let output = unsafe { output.range(first * units..(first + rows.len()) * units) };
                to_rows::<V>(cast(&now[inputs + 1..]), units, output);
            }
        }
        to_rows::<V>(cast(&now[inputs + 1..]), units, self.h);
        to_rows::<V>(cast(&states[steps * shape.c..]), shape.c, self.c);
    }
}
