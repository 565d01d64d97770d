//! What the passes over a layer keep, in memory that is used again.
//! Must not live here: what is computed (`forward`, `backward`, `sums`).

use super::Portable;
use super::product::{BLOCK, Between, Packs};
use super::vector::{LANES, Vector, uncast, uncast_mut};
use crate::kernel::float::Float;
use crate::kernel::recurrent::Sequence;
use crate::kernel::threads::{Apart, Parts};

/// Vectors of what a layer has at a step of a tile of sixteen rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    /// Width of the input.
    pub inputs: usize,
    /// Width of the layer.
    pub units: usize,
    /// All gates.
    pub gates: usize,
    /// The states besides the hidden one.
    pub c: usize,
    pub kept: usize,
    /// Whether the recurrent part of the gates is apart.
    pub apart: bool,
    /// The first gradient of gates that is not the same on both sides, down to a whole block; beyond them all where no
    /// part is apart.
    pub same: usize,
    pub steps: usize,
    pub tiles: usize,
}

impl Shape {
    /// Of a layer and its sequence.
    pub fn new<F: Float>(layer: &Sequence<'_, F>) -> Shape {
        let form = layer.cell.form();
        let units = layer.units;
        let gates = form.gates.len() * units;
        let same = form.same_gates * units;
        Shape {
            inputs: layer.inputs,
            units,
            gates,
            c: (form.states.len() - 1) * units,
            kept: form.kept * units,
            apart: form.recurrent_apart,
            same: if form.recurrent_apart { same - same % BLOCK[1] } else { gates.next_multiple_of(BLOCK[1]) },
            steps: layer.t,
            tiles: layer.b.div_ceil(LANES),
        }
    }

    /// What gates are made of: the layer's input, a one for the bias, the hidden state before.
    pub fn before(&self) -> usize {
        self.inputs + 1 + self.units
    }

    /// Steps of all tiles. Those of one time follow each other.
    pub fn all_steps(&self) -> usize {
        self.steps * self.tiles
    }
}

/// What a forward pass leaves for the backward pass: vectors of all steps of the first sixteen rows, then of the next.
#[derive(Debug, Clone, Default)]
pub struct LaneTrace<F> {
    pub(super) shape: Shape,
    /// Input, one and hidden state before each step, after resets.
    pub(super) before: Blocks<F, { BLOCK[0] }>,
    /// The other states before each step, after resets; of one step more than there are.
    pub(super) c: Vec<Portable<F>>,
    /// Gates after activation.
    pub(super) gates: Vec<Portable<F>>,
    /// What the cell keeps.
    pub(super) kept: Vec<Portable<F>>,
    /// Of each tile: input, one, hidden state; the same hidden state before a step; the recurrent part of the gates.
    pub(super) now: Vec<Portable<F>>,
    /// Of each step: not zero for the rows that have a step.
    pub(super) active: Vec<Portable<F>>,
    /// Of each tile, whether all sixteen rows have the step.
    pub(super) full: Vec<Apart<Vec<bool>>>,
    /// Of each tile, whether its hidden state is zero before the first step.
    pub(super) from_zero: Vec<Apart<bool>>,
    /// The sum of both biases, unless the second belongs to a recurrent part that is apart.
    pub(super) bias: Vec<F>,
    /// Of each thread: bias and kernel, and the recurrent kernel below it unless that is apart; then it is the second.
    pub(super) packs: Vec<Apart<Packs<F>>>,
    /// Passes so far.
    pub(super) pass: usize,
}

impl<F: Float> LaneTrace<F> {
    pub(super) fn make_room(&mut self, shape: Shape, threads: usize) {
        let Shape { steps, tiles, .. } = shape;
        self.shape = shape;
        self.pass += 1;
        room(&mut self.packs, threads);
        self.before.make_room(shape.before(), shape.all_steps());
        room(&mut self.c, tiles * (steps + 1) * shape.c);
        room(&mut self.gates, tiles * steps * shape.gates);
        room(&mut self.kept, tiles * steps * shape.kept);
        room(&mut self.now, tiles * (shape.before() + shape.units + if shape.apart { shape.gates } else { 0 }));
        room(&mut self.active, tiles * steps);
        room(&mut self.full, tiles);
        self.full.iter_mut().filter(|full| full.0.len() != steps).for_each(|full| room(&mut full.0, steps));
        room(&mut self.from_zero, tiles);
    }
}

/// Scratch of the backward pass.
#[derive(Debug, Clone, Default)]
pub struct LaneScratch<F> {
    /// Gradient of the gates before activation, input's side.
    pub(super) gates: Blocks<F, { BLOCK[1] }>,
    /// The same, recurrent side, of the gates from [`Shape::same`] on.
    pub(super) recurrent: Blocks<F, { BLOCK[1] }>,
    /// Of each tile: the gradients of the states, those before a step, the hidden state, the gradients of the gates at
    /// a step and of the layer's input.
    pub(super) now: Vec<Portable<F>>,
    /// Of each thread: the recurrent kernel, transposed, and the kernel, transposed, if the input's gradient is wanted.
    pub(super) packs: Vec<Apart<Packs<F>>>,
    /// Passes so far.
    pub(super) pass: usize,
}

impl<F: Float> LaneScratch<F> {
    /// Vectors of `now` of a tile.
    pub(super) fn now_width(shape: Shape, with_dx: bool) -> usize {
        let Shape { inputs, units, gates, c, apart, .. } = shape;
        2 * (units + c) + units + gates * if apart { 2 } else { 1 } + if with_dx { inputs } else { 0 }
    }

    pub(super) fn make_room(&mut self, shape: Shape, with_dx: bool, threads: usize) {
        let Shape { tiles, gates, same, .. } = shape;
        self.pass += 1;
        room(&mut self.packs, threads);
        self.gates.make_room(gates, shape.all_steps());
        self.recurrent.make_room(gates.saturating_sub(same), shape.all_steps());
        room(&mut self.now, tiles * Self::now_width(shape, with_dx));
    }
}

fn room<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) {
    buffer.resize(len, T::default());
}

/// Vectors of all steps, a few of them side by side, step after step, then the next few.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks<F, const WIDTH: usize> {
    values: Vec<Portable<F>>,
    steps: usize,
}

impl<F: Float, const WIDTH: usize> Blocks<F, WIDTH> {
    fn make_room(&mut self, vectors: usize, steps: usize) {
        self.steps = steps;
        room(&mut self.values, vectors.next_multiple_of(WIDTH) * steps);
    }

    /// Some steps of a block.
    pub fn block(&self, block: usize, steps: std::ops::Range<usize>) -> &[Portable<F>] {
        let first = block * self.steps;
        &self.values[(first + steps.start) * WIDTH..(first + steps.end) * WIDTH]
    }

    /// All steps of a block.
    pub fn of(&self, block: usize) -> &[Portable<F>] {
        self.block(block, 0..self.steps)
    }

    /// To be written by several threads.
    pub fn parts(&mut self) -> BlockParts<'_, F, WIDTH> {
        BlockParts { steps: self.steps, values: Parts::new(&mut self.values) }
    }

    /// Copies the vectors from `first` on out of a step.
    #[inline(always)]
    pub fn take<V: Vector<Element = F>>(&self, step: usize, first: usize, into: &mut [V]) {
        let values = super::vector::cast::<V>(&self.values);
        for (at, into) in (first..).zip(into) {
            *into = values[(at / WIDTH * self.steps + step) * WIDTH + at % WIDTH];
        }
    }
}

/// [`Blocks`] that several threads write.
pub(super) struct BlockParts<'a, F, const WIDTH: usize> {
    values: Parts<'a, Portable<F>>,
    steps: usize,
}

impl<F: Float, const WIDTH: usize> BlockParts<'_, F, WIDTH> {
    /// To copy all vectors of a step, some at a time.
    ///
    /// # Safety
    /// Nobody else uses the step until all are copied.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub unsafe fn put<'a, V: Vector<Element = F>>(&'a self, step: usize, vectors: &'a [V]) -> Put<'a, V, WIDTH> {
        Put { into: self, step, vectors }
    }
}

/// Copies the vectors of a step, a few before each tile of a product: another thread has read that memory, so the
/// processor has to get it back, and does so while it multiplies. It can't where all are copied at once.
pub(super) struct Put<'a, V: Vector, const WIDTH: usize> {
    into: &'a BlockParts<'a, V::Element, WIDTH>,
    step: usize,
    vectors: &'a [V],
}

impl<V: Vector, const WIDTH: usize> Put<'_, V, WIDTH> {
    /// Copies all.
    #[inline(always)]
    pub fn all(mut self) {
        self.before(0, 1);
    }
}

impl<V: Vector, const WIDTH: usize> Between for Put<'_, V, WIDTH> {
    #[inline(always)]
    #[allow(unsafe_code)]
    fn before(&mut self, at: usize, of: usize) {
        let Put { into, step, vectors } = self;
        let blocks = vectors.len().div_ceil(WIDTH);
        let (first, last) = (blocks * at / of, blocks * (at + 1) / of);
        let room = |block: usize, len: usize| {
            let at = (block * into.steps + *step) * WIDTH;
            // SAFETY: vectors of this step; the caller of `BlockParts::put` promises that nobody else uses them.
            super::vector::cast_mut::<V>(unsafe { into.values.range(at..at + len) })
        };
        let (whole, rest) = vectors.as_chunks::<WIDTH>();
        // As an iterator over `whole` it takes one in a hundred of the whole update longer.
        #[allow(clippy::needless_range_loop)]
        for block in first..last.min(whole.len()) {
            if let Some(into) = room(block, WIDTH).first_chunk_mut::<WIDTH>() {
                *into = whole[block];
            }
        }
        if last > whole.len() && !rest.is_empty() {
            room(whole.len(), rest.len()).iter_mut().zip(rest).for_each(|(into, vector)| *into = *vector);
        }
    }
}

impl<A: Between, B: Between> Between for (A, B) {
    #[inline(always)]
    fn before(&mut self, at: usize, of: usize) {
        self.0.before(at, of);
        self.1.before(at, of);
    }
}

/// Puts [rows, width] into `width` vectors; rows that are missing are zero.
#[inline(always)]
pub(super) fn to_lanes<V: Vector>(rows: &[V::Element], width: usize, lanes: &mut [V]) {
    let lanes = &mut lanes[..width];
    let mut first = 0;
    if rows.len() < LANES * width {
        lanes.fill(V::ZERO);
    } else if V::TRANSPOSES {
        for (block, lanes) in lanes.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let mut square = [V::ZERO; LANES];
            for (at, row) in square.iter_mut().enumerate() {
                if let Some(values) = rows[at * width + block * LANES..].first_chunk() {
                    *row = V::load(values);
                }
            }
            *lanes = V::transpose(square);
        }
        first = width / LANES * LANES;
    }
    let lanes = uncast_mut(lanes);
    for (at, row) in rows.chunks_exact(width.max(1)).enumerate() {
        for (lane, value) in lanes[first..].iter_mut().zip(&row[first..]) {
            lane.0[at] = *value;
        }
    }
}

/// Takes [rows, width] out of `width` vectors.
#[inline(always)]
pub(super) fn to_rows<V: Vector>(lanes: &[V], width: usize, rows: &mut [V::Element]) {
    let mut first = 0;
    if V::TRANSPOSES && rows.len() == LANES * width {
        for (block, lanes) in lanes[..width].as_chunks::<LANES>().0.iter().enumerate() {
            for (at, row) in V::transpose(*lanes).into_iter().enumerate() {
                if let Some(values) = rows[at * width + block * LANES..].first_chunk_mut() {
                    row.store(values);
                }
            }
        }
        first = width / LANES * LANES;
    }
    let lanes = uncast(lanes);
    for (at, row) in rows.chunks_exact_mut(width.max(1)).enumerate() {
        for (lane, value) in lanes[first..].iter().zip(&mut row[first..]) {
            *value = lane.0[at];
        }
    }
}

/// Makes a row zero.
pub(super) fn zero_row<F: Float>(lanes: &mut [Portable<F>], row: usize) {
    lanes.iter_mut().for_each(|lane| lane.0[row] = F::ZERO);
}

/// Where a row is not active, what was before.
#[inline(always)]
pub(super) fn keep<V: Vector>(after: &mut [V], active: V, before: &[V]) {
    after.iter_mut().zip(before).for_each(|(after, before)| *after = after.or_where_zero(active, *before));
}
