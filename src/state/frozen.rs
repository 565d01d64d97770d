//! A partition's rows and numbers as of one moment, on their way into a checkpoint or out of one.
//!
//! In a checkpoint a row is whole: the network's numbers are in the part of the stage that runs it. In memory they are
//! apart, in pages of the same slots. Must not live here: the bytes of a checkpoint (`checkpoint`, `delta`).

use std::borrow::Cow;

use super::{Page, Pages};
use crate::Result;

/// What a partition had in memory when a checkpoint was taken. Whoever writes it resolves it first, in a thread of its
/// own. All of it is in this process' memory; a device's pages would be copied until then.
#[derive(Debug, Clone, Default)]
pub struct Frozen(Snapshot);

/// Rows and numbers that are never changed again. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    rows: Pages,
    /// The network's numbers, and the word of a whole row at which they begin.
    bank: Option<(usize, Pages)>,
}

impl Frozen {
    /// Rows, and numbers that belong at a word of a whole row; both have pages of the same slots.
    pub(super) fn new(rows: Pages, bank: Option<(usize, Pages)>) -> Frozen {
        Frozen(Snapshot { rows, bank })
    }

    /// What was frozen, as soon as all of it is in this process' memory.
    ///
    /// # Errors
    /// None today; later a device that is gone.
    pub fn resolve(&self) -> Result<&Snapshot> {
        Ok(&self.0)
    }
}

impl From<Pages> for Frozen {
    /// Whole rows.
    fn from(rows: Pages) -> Frozen {
        Frozen::new(rows, None)
    }
}

impl Snapshot {
    /// Words of a whole row.
    pub fn width(&self) -> usize {
        self.rows.width() + self.bank.as_ref().map_or(0, |(_, bank)| bank.width())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The whole row of a slot.
    pub fn row(&self, slot: u32) -> Cow<'_, [u64]> {
        let row = self.rows.row(slot);
        match &self.bank {
            None => Cow::Borrowed(row),
            Some((at, bank)) => Cow::Owned(join(row, row.len(), *at, bank.row(slot), bank.width())),
        }
    }

    /// Rows of a page: what a checkpoint of changes has of it, has all of them.
    pub fn rows_of_page(&self) -> usize {
        1 << self.rows.shift()
    }

    /// Pages of whole rows there are.
    pub(super) fn pages(&self) -> usize {
        self.rows.pages().len()
    }

    /// The whole rows of a page, one after the other.
    pub(super) fn page(&self, n: usize) -> Cow<'_, [u64]> {
        let rows = self.rows.pages()[n].words();
        match &self.bank {
            None => Cow::Borrowed(rows),
            Some((at, bank)) => Cow::Owned(join(rows, self.rows.width(), *at, bank.pages()[n].words(), bank.width())),
        }
    }

    /// Words of a page.
    pub(super) fn page_words(&self, n: usize) -> usize {
        let words = |pages: &Pages| pages.pages().get(n).map_or(0, |page| page.words().len());
        words(&self.rows) + self.bank.as_ref().map_or(0, |(_, bank)| words(bank))
    }

    /// Pages with the same numbers have the same rows: the number of the rows, and that of the network's numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (u64, u64)> {
        let bank = self.bank.as_ref().map_or(&self.rows, |(_, bank)| bank).pages();
        self.rows.pages().iter().zip(bank).map(|(rows, bank)| (rows.number(), bank.number()))
    }

    /// Whole rows.
    pub(super) fn joined(&self) -> Cow<'_, Pages> {
        if self.bank.is_none() {
            return Cow::Borrowed(&self.rows);
        }
        let pages = (0..self.pages()).map(|n| Page::new(self.page(n).into_owned())).collect();
        Cow::Owned(self.rows.with_pages(self.width(), pages))
    }

    /// The rows without the numbers, and `width` words of numbers that belong at word `at` of a whole row. Their pages
    /// keep the numbers that they have in a whole one, so that the next checkpoint knows which of them changed.
    pub(super) fn parted(&self, at: usize, width: usize) -> (Cow<'_, Pages>, Cow<'_, Pages>) {
        match &self.bank {
            Some((here, bank)) if *here == at && bank.width() == width => {
                (Cow::Borrowed(&self.rows), Cow::Borrowed(bank))
            }
            _ => {
                let whole = self.joined();
                let (rows, bank) = whole.pages().iter().map(|page| part(page, whole.width(), at, width)).unzip();
                let rest = whole.width().saturating_sub(width);
                (Cow::Owned(whole.with_pages(rest, rows)), Cow::Owned(whole.with_pages(width, bank)))
            }
        }
    }
}

/// Whole rows of rows of `width` words and numbers of `numbers` words, which get to word `at`.
fn join(rows: &[u64], width: usize, at: usize, bank: &[u64], numbers: usize) -> Vec<u64> {
    let mut whole = Vec::with_capacity(rows.len() + bank.len());
    for (row, numbers) in rows.chunks_exact(width).zip(bank.chunks_exact(numbers)) {
        whole.extend_from_slice(&row[..at]);
        whole.extend_from_slice(numbers);
        whole.extend_from_slice(&row[at..]);
    }
    whole
}

/// The rows of a page without their `numbers` words at word `at`, and those.
fn part(page: &Page, width: usize, at: usize, numbers: usize) -> (Page, Page) {
    let mut rows = Vec::with_capacity(page.words().len());
    let mut bank = Vec::new();
    for row in page.words().chunks_exact(width) {
        rows.extend_from_slice(&row[..at]);
        bank.extend_from_slice(&row[at..at + numbers]);
        rows.extend_from_slice(&row[at + numbers..]);
    }
    (page.with_words(rows), page.with_words(bank))
}
