//! One contiguous block of rows per partition: row `slot` holds everything that is remembered of one key.
//!
//! A row is a whole number of `u64` words: first the engine's own header, then each stage's part, in stage order.
//! Words keep every part aligned for `f64` and `i64`; `bytemuck` gives typed views without copying.

use bytemuck::Pod;

/// All rows of a partition.
#[derive(Debug, Clone)]
pub struct Arena {
    initial: Vec<u64>,
    words: Vec<u64>,
}

impl Arena {
    /// An arena whose new rows are copies of `initial`.
    pub fn new(initial: Vec<u64>) -> Self {
        Arena { initial, words: Vec::new() }
    }

    /// Words of a row.
    pub fn width(&self) -> usize {
        self.initial.len()
    }

    /// Rows there are.
    pub fn len(&self) -> usize {
        if self.initial.is_empty() { 0 } else { self.words.len() / self.initial.len() }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Adds rows until there are `count`.
    pub fn grow_to(&mut self, count: usize) {
        while self.len() < count {
            self.words.extend_from_slice(&self.initial);
        }
    }

    /// All words, for a checkpoint.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Replaces all rows by those of a checkpoint; false (and no change) if they don't divide into rows.
    pub fn restore(&mut self, words: Vec<u64>) -> bool {
        let fits = !self.initial.is_empty() && words.len().is_multiple_of(self.initial.len());
        if fits {
            self.words = words;
        }
        fits
    }

    /// The part of every row from word `start`, `width` words wide.
    pub fn rows(&mut self, start: usize, width: usize) -> Rows<'_> {
        Rows { stride: self.initial.len(), initial: &self.initial[start..start + width], start, words: &mut self.words }
    }
}

/// One stage's part of every row.
#[derive(Debug)]
pub struct Rows<'a> {
    stride: usize,
    start: usize,
    initial: &'a [u64],
    words: &'a mut [u64],
}

impl Rows<'_> {
    /// The part of one key.
    pub fn get(&self, slot: u32) -> &[u64] {
        let at = slot as usize * self.stride + self.start;
        &self.words[at..at + self.initial.len()]
    }

    /// The part of one key, to write.
    pub fn get_mut(&mut self, slot: u32) -> &mut [u64] {
        let at = slot as usize * self.stride + self.start;
        &mut self.words[at..at + self.initial.len()]
    }

    /// Puts the part of one key back to what a new key has.
    pub fn reset(&mut self, slot: u32) {
        let at = slot as usize * self.stride + self.start;
        self.words[at..at + self.initial.len()].copy_from_slice(self.initial);
    }

    /// The first words of a key's part as a header `H`, the rest as a slice of `T`. `H` must be a whole number of
    /// words (asserted by `bytemuck`), `T` of 4 or 8 bytes.
    pub fn split_mut<H: Pod, T: Pod>(&mut self, slot: u32) -> (&mut H, &mut [T]) {
        let (head, rest) = self.get_mut(slot).split_at_mut(size_of::<H>() / size_of::<u64>());
        (bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(head)), bytemuck::cast_slice_mut(rest))
    }
}
