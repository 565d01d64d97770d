//! A layer backward through time, sixteen rows after the other.
//! Must not live here: sums over rows and steps (`sums`), formulas of a cell.

use std::ops::Range;

use super::cells::with_cell;
use super::product::{BLOCK, Begin, Packed, multiply};
use super::sums::sum_up;
use super::trace::{BlockParts, LaneScratch, LaneTrace, Shape, keep, to_lanes, to_rows, zero_row};
use super::vector::{LANES, Vector, Work, cast, cast_mut};
use super::{Isa, Portable};
use crate::kernel::cell::{Backward, Cell};
use crate::kernel::float::Float;
use crate::kernel::recurrent::{Ends, Gradients, Sequence};
use crate::kernel::threads::{Parts, Threads};

/// As [`crate::kernel::recurrent::backward`].
pub fn backward<F: Float>(
    (isa, threads): (Isa, &Threads),
    layer: Sequence<'_, F>,
    trace: &LaneTrace<F>,
    (dh_out, ends): (&[F], &mut Ends<F>),
    gradients: Gradients<'_, F>,
    dx: &mut [F],
    scratch: &mut LaneScratch<F>,
) {
    let shape = trace.shape;
    let with_dx = !dx.is_empty();
    scratch.make_room(shape, with_dx, threads.count());
    let LaneScratch { gates, recurrent, now, packs, pass } = scratch;
    let (gate_parts, recurrent_parts) = (gates.parts(), recurrent.parts());
    let (now, dx, packs) = (Parts::new(now), Parts::new(dx), Parts::new(packs));
    let Ends { after, before } = ends;
    let mut none = [Vec::new(), Vec::new()];
    let with_before = before.is_some();
    let [h_before, c_before] = before.as_mut().unwrap_or(&mut none);
    if with_before {
        h_before.resize(layer.b * shape.units, F::ZERO);
        c_before.resize(layer.b * shape.c, F::ZERO);
    }
    let before = [Parts::new(h_before), Parts::new(c_before)];
    threads.each(shape.tiles, &|tile, thread| {
        // SAFETY: nothing else has the number of this thread meanwhile.
        #[allow(unsafe_code)]
        let packs = unsafe { &mut packs.part(thread, 1)[0].0 };
        let packed = packs.of_pass(*pass, |packed| pack(packed, &layer, F::columns(isa), with_dx));
        // SAFETY: the part of this tile alone, and each tile is done once.
        #[allow(unsafe_code)]
        let now = unsafe { now.part(tile, LaneScratch::<F>::now_width(shape, with_dx)) };
        let work = BackwardTile {
            layer,
            trace,
            rows: tile * LANES..layer.b.min((tile + 1) * LANES),
            tile,
            dh_out,
            after: &after[..],
            before: with_before.then_some(&before),
            gates: &gate_parts,
            recurrent: &recurrent_parts,
            now,
            packed,
            dx: &dx,
        };
        F::run_on(isa, work);
    });
    after.clear();
    sum_up((isa, threads), trace, [gates, recurrent], gradients);
}

fn pack<F: Float>(packed: &mut [Packed<F>; 2], layer: &Sequence<'_, F>, columns: usize, with_dx: bool) {
    packed[0].pack_transposed(layer.units, columns, layer.weights.recurrent);
    if with_dx {
        packed[1].pack_transposed(layer.inputs, columns, layer.weights.kernel);
    }
}

/// All steps of sixteen rows, backward.
struct BackwardTile<'a, 'l, F> {
    layer: Sequence<'l, F>,
    trace: &'a LaneTrace<F>,
    rows: Range<usize>,
    tile: usize,
    dh_out: &'a [F],
    after: &'a [F],
    before: Option<&'a [Parts<'a, F>; 2]>,
    gates: &'a BlockParts<'a, F, { BLOCK[1] }>,
    recurrent: &'a BlockParts<'a, F, { BLOCK[1] }>,
    now: &'a mut [Portable<F>],
    packed: &'a [Packed<F>; 2],
    dx: &'a Parts<'a, F>,
}

impl<F: Float> Work<F> for BackwardTile<'_, '_, F> {
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        with_cell!(self.layer.cell, cell => self.steps::<V, _>(cell));
    }
}

impl<F: Float> BackwardTile<'_, '_, F> {
    #[inline(always)]
    fn steps<V: Vector<Element = F>, C: Cell<V>>(self, cell: &C) {
        let BackwardTile { layer, trace, rows, tile, dh_out, packed, .. } = self;
        let shape = trace.shape;
        let Shape { inputs, units, steps, .. } = shape;
        let (states, rest) = self.now.split_at_mut(units + shape.c);
        let (old, rest) = rest.split_at_mut(units + shape.c);
        let (h, rest) = cast_mut::<V>(rest).split_at_mut(units);
        let (d_gates, rest) = rest.split_at_mut(shape.gates);
        let (d_recurrent, dx_lanes) = rest.split_at_mut(if shape.apart { shape.gates } else { 0 });
        states.fill(Portable::default());
        if !self.after.is_empty() {
            let after = &self.after[rows.start * shape.c..rows.end * shape.c];
            to_lanes::<V>(after, shape.c, cast_mut(&mut states[units..]));
        }
        let without_output = steps - dh_out.len() / (layer.b * units).max(1);
        for step in (0..steps).rev() {
            let first = step * layer.b + rows.start;
            let at = tile * steps + step;
            let (dh, dc) = states.split_at_mut(units);
            if step >= without_output {
                let out = &dh_out[(first - without_output * layer.b) * units..][..rows.len() * units];
                // Before the cell gets it, the room for the hidden state is free.
                to_lanes::<V>(out, units, h);
                cast_mut::<V>(dh).iter_mut().zip(&*h).for_each(|(dh, out)| *dh += *out);
            }
            let full = trace.full[tile].0[step];
            if !full {
                old[..units].copy_from_slice(dh);
                old[units..].copy_from_slice(dc);
            }
            let (dh, dc) = (cast_mut::<V>(dh), cast_mut::<V>(dc));
            if cell.reads_h() {
                trace.before.take(step * shape.tiles + tile, inputs + 1, h);
            }
            cell.backward(Backward {
                gates: cast(&trace.gates[at * shape.gates..][..shape.gates]),
                h,
                c: cast(&trace.c[(tile * (steps + 1) + step) * shape.c..][..shape.c]),
                kept: cast(&trace.kept[at * shape.kept..][..shape.kept]),
                dh,
                dc,
                d_gates,
                d_recurrent,
                own: &[],
                d_own: &mut [],
            });
            if !full {
                let active = cast::<V>(&trace.active[at..=at])[0];
                let (dh_old, dc_old) = cast::<V>(old).split_at(units);
                keep(dh, active, dh_old);
                keep(dc, active, dc_old);
                for d in d_gates.iter_mut().chain(&mut *d_recurrent) {
                    *d = d.or_where_zero(active, V::ZERO);
                }
            }
            let place = step * shape.tiles + tile;
            // SAFETY: of this step only this tile has a part.
            #[allow(unsafe_code)]
            let put = unsafe {
                let own = d_recurrent.get(shape.same..).unwrap_or_default();
                (self.gates.put(place, d_gates), self.recurrent.put(place, own))
            };
            // Before the first step is a constant, unless its gradient is asked for.
            if step > 0 || self.before.is_some() {
                multiply(dh, Begin::Output, &packed[0], [if shape.apart { d_recurrent } else { d_gates }, &[]], put);
            } else {
                put.0.all();
                put.1.all();
            }
            if !self.dx.is_empty() {
                dx_lanes.fill(V::ZERO);
                multiply(dx_lanes, Begin::Output, &packed[1], [d_gates, &[]], ());
                // SAFETY: these rows of this step belong to this tile alone.
                #[allow(unsafe_code)]
                let dx = unsafe { self.dx.range(first * inputs..(first + rows.len()) * inputs) };
                to_rows::<V>(dx_lanes, inputs, dx);
            }
            for row in (0..rows.len()).filter(|row| layer.mask.reset(first + row)) {
                zero_row(states, row);
            }
        }
        if let Some([h_before, c_before]) = self.before {
            let (dh, dc) = cast::<V>(states).split_at(units);
            // SAFETY: these rows belong to this tile alone.
            #[allow(unsafe_code)]
            let (h_before, c_before) = unsafe {
                let of = |width: usize| rows.start * width..rows.end * width;
                (h_before.range(of(units)), c_before.range(of(shape.c)))
            };
            to_rows::<V>(dh, units, h_before);
            to_rows::<V>(dc, shape.c, c_before);
        }
    }
}
