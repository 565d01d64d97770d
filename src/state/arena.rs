//! The rows of a partition, in pages: row `slot` holds the whole state of one key.
//!
//! A row is a whole number of `u64` words: first the engine's own header, then each stage's part, in stage order.
//! Words keep every part aligned for `f64` and `i64`; `bytemuck` gives typed views without copying.
//!
//! [`Arena::freeze`] shares all pages with a checkpoint and copies none of them: a page is copied when it is written
//! while a checkpoint still has it, and taken back when no checkpoint has it. A page that was written gets a new number
//! at the next freeze, so two checkpoints tell by numbers which pages differ.

use bytemuck::Pod;

use super::pages::{Page, Pages, page_shift};

/// All rows of a partition.
#[derive(Debug, Clone)]
pub struct Arena {
    initial: Vec<u64>,
    /// Rows of a page, as a power of two.
    shift: u32,
    rows: usize,
    pages: Vec<Live>,
}

/// A page: the arena's own, or shared with checkpoints as long as it isn't written.
#[derive(Debug, Clone, Default)]
struct Live {
    /// Empty while `shared` is set.
    own: Vec<u64>,
    shared: Option<Page>,
}

impl Live {
    fn words(&self) -> &[u64] {
        match &self.shared {
            Some(page) => page.words(),
            None => &self.own,
        }
    }

    // Whether a page is shared is a plain field: asking an `Arc` would cost an atomic exchange for each record.
    #[inline]
    fn words_mut(&mut self) -> &mut Vec<u64> {
        if self.shared.is_some() {
            self.unshare();
        }
        &mut self.own
    }

    #[cold]
    fn unshare(&mut self) {
        if let Some(page) = self.shared.take() {
            self.own = page.into_words();
        }
    }

    fn freeze(&mut self) -> Page {
        self.shared.get_or_insert_with(|| Page::new(std::mem::take(&mut self.own))).clone()
    }
}

impl Arena {
    /// An arena whose new rows are copies of `initial`.
    pub fn new(initial: Vec<u64>) -> Self {
        Arena::in_pages_of(initial.len(), initial)
    }

    /// As [`Arena::new`], with as many rows to a page as if they had `width` words.
    pub(super) fn in_pages_of(width: usize, initial: Vec<u64>) -> Self {
        Arena { shift: page_shift(width), initial, rows: 0, pages: Vec::new() }
    }

    /// Words of a row.
    pub fn width(&self) -> usize {
        self.initial.len()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.rows * self.initial.len() * size_of::<u64>()
    }

    /// Adds rows until there are `count`.
    pub fn grow_to(&mut self, count: usize) {
        while self.rows < count {
            let page = self.rows >> self.shift;
            if page == self.pages.len() {
                self.pages.push(Live::default());
            }
            self.pages[page].words_mut().extend_from_slice(&self.initial);
            self.rows += 1;
        }
    }

    /// All rows as they are now, shared until they are written.
    pub fn freeze(&mut self) -> Pages {
        Pages::new(self.width(), self.shift, self.rows, self.pages.iter_mut().map(Live::freeze).collect())
    }

    /// Replaces all rows by those of a checkpoint; false (and no change) if they or their pages are of another width.
    pub fn restore(&mut self, rows: &Pages) -> bool {
        let fits = rows.is_empty() || rows.width() == self.width() && rows.shift() == self.shift;
        if fits {
            self.rows = rows.len();
            self.pages = rows.pages().iter().map(|page| Live { own: Vec::new(), shared: Some(page.clone()) }).collect();
        }
        fits
    }

    /// The part of every row from word `start`, `width` words wide.
    pub fn rows(&mut self, start: usize, width: usize) -> Rows<'_> {
        Rows {
            stride: self.initial.len(),
            shift: self.shift,
            initial: &self.initial[start..start + width],
            start,
            pages: &mut self.pages,
        }
    }
}

/// One stage's part of every row.
#[derive(Debug)]
pub struct Rows<'a> {
    stride: usize,
    shift: u32,
    start: usize,
    initial: &'a [u64],
    pages: &'a mut [Live],
}

impl Rows<'_> {
    /// Page of a slot, and where its part begins there.
    #[inline]
    fn place(&self, slot: u32) -> (usize, usize) {
        let slot = slot as usize;
        let row = slot & ((1 << self.shift) - 1);
        (slot >> self.shift, row * self.stride + self.start)
    }

    /// The part of one key.
    #[inline]
    pub fn get(&self, slot: u32) -> &[u64] {
        let (page, at) = self.place(slot);
        &self.pages[page].words()[at..at + self.initial.len()]
    }

    /// The part of one key, to write.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> &mut [u64] {
        let (page, at) = self.place(slot);
        &mut self.pages[page].words_mut()[at..at + self.initial.len()]
    }

    /// Resets the part of one key to that of a new key.
    pub fn reset(&mut self, slot: u32) {
        let initial = self.initial;
        self.get_mut(slot).copy_from_slice(initial);
    }

    /// The first words of a key's part as a header `H`, the rest as a slice of `T`. `H` must be a whole number of
    /// words (asserted by `bytemuck`), `T` of 4 or 8 bytes.
    #[inline]
    pub fn split_mut<H: Pod, T: Pod>(&mut self, slot: u32) -> (&mut H, &mut [T]) {
        let (head, rest) = self.get_mut(slot).split_at_mut(size_of::<H>() / size_of::<u64>());
        (bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(head)), bytemuck::cast_slice_mut(rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Grow(usize),
        Write(prop::sample::Index, u64),
        Reset(prop::sample::Index),
        Freeze,
        Drop(prop::sample::Index),
        Restore(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            2 => (1..40_usize).prop_map(Step::Grow),
            6 => (index(), any::<u64>()).prop_map(|(at, word)| Step::Write(at, word)),
            1 => index().prop_map(Step::Reset),
            2 => Just(Step::Freeze),
            1 => index().prop_map(Step::Drop),
            1 => index().prop_map(Step::Restore),
        ]
    }

    fn flat(pages: &Pages) -> Vec<u64> {
        pages.pages().iter().flat_map(|page| page.words()).copied().collect()
    }

    proptest! {
        /// Rows of 1,200 words, so that a page has few of them.
        #[test]
        fn pages_are_one_block_of_rows(steps in proptest::collection::vec(step(), 1..60)) {
            const WIDTH: usize = 1200;
            let initial: Vec<u64> = (0..WIDTH as u64).collect();
            let mut arena = Arena::new(initial.clone());
            let mut model: Vec<u64> = Vec::new();
            let mut frozen: Vec<(Pages, Vec<u64>)> = Vec::new();
            for step in steps {
                let rows = model.len() / WIDTH;
                match step {
                    Step::Grow(by) => {
                        arena.grow_to(rows + by);
                        (0..by).for_each(|_| model.extend(&initial));
                    }
                    Step::Write(at, word) if rows > 0 => {
                        let row = at.index(rows);
                        arena.rows(7, 3).get_mut(row as u32)[1] = word;
                        model[row * WIDTH + 8] = word;
                    }
                    Step::Reset(at) if rows > 0 => {
                        let row = at.index(rows);
                        arena.rows(0, WIDTH).reset(row as u32);
                        model[row * WIDTH..(row + 1) * WIDTH].copy_from_slice(&initial);
                    }
                    Step::Freeze => frozen.push((arena.freeze(), model.clone())),
                    Step::Drop(at) if !frozen.is_empty() => { frozen.swap_remove(at.index(frozen.len())); }
                    Step::Restore(at) if !frozen.is_empty() => {
                        let (pages, words) = &frozen[at.index(frozen.len())];
                        prop_assert!(arena.restore(pages));
                        model.clone_from(words);
                    }
                    _ => {}
                }
                prop_assert_eq!(arena.len(), model.len() / WIDTH);
                let (count, rows) = (arena.len(), arena.rows(0, WIDTH));
                for row in 0..count {
                    prop_assert_eq!(rows.get(row as u32), &model[row * WIDTH..(row + 1) * WIDTH]);
                }
            }
            for (pages, words) in &frozen {
                prop_assert_eq!(&flat(pages), words, "a frozen page was written");
            }
            // Pages with the same number are the same, whenever they were frozen.
            for (one, _) in &frozen {
                for (other, _) in &frozen {
                    for (a, b) in one.pages().iter().zip(other.pages()) {
                        prop_assert!(a.number() != b.number() || a.words() == b.words());
                    }
                }
            }
        }
    }

    #[test]
    fn only_what_was_written_gets_a_new_number() {
        let mut arena = Arena::new(vec![0; 2048]);
        arena.grow_to(10);
        let numbers = |pages: &Pages| pages.pages().iter().map(Page::number).collect::<Vec<_>>();
        let first = arena.freeze();
        assert_eq!(numbers(&first).len(), 3);
        assert_eq!(numbers(&first), numbers(&arena.freeze()), "nothing was written");
        arena.rows(0, 2048).get_mut(5)[0] = 1;
        assert_eq!(arena.rows(0, 2048).get(0)[0], 0);
        let (before, after) = (numbers(&first), numbers(&arena.freeze()));
        assert_eq!((before[0], before[2]), (after[0], after[2]));
        assert_ne!(before[1], after[1]);
        assert!(!Arena::new(vec![0; 2]).restore(&first), "another width");
    }

    #[test]
    fn a_page_that_no_checkpoint_has_is_not_copied() {
        let mut arena = Arena::new(vec![0; 2048]);
        arena.grow_to(1);
        let at = arena.rows(0, 2048).get(0).as_ptr();
        drop(arena.freeze());
        assert_eq!(arena.rows(0, 2048).get_mut(0).as_ptr(), at);
        let kept = arena.freeze();
        assert_ne!(arena.rows(0, 2048).get_mut(0).as_ptr(), at);
        assert_eq!(kept.row(0).as_ptr(), at);
    }
}
