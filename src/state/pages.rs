//! The rows of a checkpoint: pages that are never changed again, shared with the arena they are of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sections::{self, Damage};

/// About how many bytes a page has. Small pages make small deltas; but the fewer pages there are, the more of what is
/// known of them stays in the processor's cache: with 1,000,000 keys in random order, a quarter of this costs 150 ns
/// more per record.
const PAGE_BYTES: usize = 64 << 10;
/// Maximum number of rows of a page, as a power of two.
const MOST_ROWS: u32 = 10;

/// The most words that a row of a file may have: 2 GiB for a key. A page then has as many at most.
pub(super) const MOST_ROW_WORDS: usize = 1 << 28;

/// Rows of a page of rows of that many words, as a power of two.
pub(super) fn page_shift(width: usize) -> u32 {
    let rows = PAGE_BYTES / size_of::<u64>() / width.max(1);
    rows.max(1).ilog2().min(MOST_ROWS)
}

/// Words that a page has where there are `rows` rows of so many words.
pub(super) fn words_of(width: usize, page: usize, rows: usize) -> usize {
    let shift = page_shift(width);
    rows.saturating_sub(page << shift).min(1 << shift) * width
}

/// Rows that are never changed again.
#[derive(Debug, Clone)]
pub struct Page {
    words: Arc<Vec<u64>>,
    number: u64,
}

impl Page {
    /// A page with a number that no other page of this process has.
    pub(super) fn new(words: Vec<u64>) -> Page {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Page { words: Arc::new(words), number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Other words that differ from those of another page exactly where these do.
    pub(super) fn with_words(&self, words: Vec<u64>) -> Page {
        Page { words: Arc::new(words), number: self.number }
    }

    /// Its rows, concatenated.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Two pages with the same number have the same rows.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its rows, copied only if another one has them too.
    pub(super) fn into_words(self) -> Vec<u64> {
        Arc::unwrap_or_clone(self.words)
    }
}

/// All rows of a partition as of one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    width: usize,
    /// Rows of a page, as a power of two.
    shift: u32,
    rows: usize,
    pages: Vec<Page>,
}

impl Pages {
    /// Every page but the last is full.
    pub(super) fn new(width: usize, shift: u32, rows: usize, pages: Vec<Page>) -> Pages {
        Pages { width, shift, rows, pages }
    }

    /// As many rows in as many pages, of another width.
    pub(super) fn with_pages(&self, width: usize, pages: Vec<Page>) -> Pages {
        Pages { width, pages, ..*self }
    }

    /// Rows of `width` words each, concatenated; words that don't make a whole row are left out.
    pub fn from_words(width: usize, words: &[u64]) -> Pages {
        let rows = words.len().checked_div(width).unwrap_or(0);
        let page = width.max(1) << page_shift(width);
        let pages = words[..rows * width].chunks(page).map(|words| Page::new(words.to_vec())).collect();
        Pages { width, shift: page_shift(width), rows, pages }
    }

    /// Rows from the bytes of a file.
    pub(super) fn read(width: usize, rows: usize, bytes: &[u8]) -> Result<Pages, Damage> {
        let page = (width.max(1) << page_shift(width)) * size_of::<u64>();
        let read = |bytes| Ok(Page::new(sections::words(bytes, "words")?.collect()));
        Ok(Pages {
            width,
            shift: page_shift(width),
            rows,
            pages: bytes.chunks(page).map(read).collect::<Result<_, Damage>>()?,
        })
    }

    /// Words of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of a page, as a power of two.
    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The row of a slot.
    pub fn row(&self, slot: u32) -> &[u64] {
        let (slot, shift) = (slot as usize, self.shift);
        let at = (slot & ((1 << shift) - 1)) * self.width;
        &self.pages[slot >> shift].words[at..at + self.width]
    }

    /// The pages in order.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// These rows with some pages put in place of theirs, and `rows` rows in all; `None` if that leaves a gap.
    pub(super) fn patched(mut self, width: usize, rows: usize, changed: Vec<(usize, Vec<u64>)>) -> Option<Pages> {
        if !self.is_empty() && self.width != width || rows < self.rows {
            return None;
        }
        (self.width, self.shift, self.rows) = (width, page_shift(width), rows);
        for (page, words) in changed {
            match self.pages.len() {
                count if page < count => self.pages[page] = Page::new(words),
                count if page == count => self.pages.push(Page::new(words)),
                _ => return None,
            }
        }
        let whole = self.pages.len() == rows.div_ceil(1 << page_shift(width))
            && self.pages.iter().enumerate().all(|(n, page)| page.words.len() == words_of(width, n, rows));
        whole.then_some(self)
    }
}
