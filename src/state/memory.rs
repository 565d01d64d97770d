//! Everything that is remembered of the keys of a partition: the rows of the stages and the network's numbers.
//!
//! Must not live here: which key has which slot (`keys`), and when a checkpoint is taken (`runtime`).
//! Room is left for fixed chunks with a free list, paged and checkpointed as rows are, for what has no fixed width.

use std::sync::Arc;

use super::arena::Rows;
use super::{Arena, Bank, Frozen, Keys, RowLayout, RowSpan};
use crate::Result;

/// What a stage works on.
#[derive(Debug)]
pub struct State<'a> {
    /// Its part of every row.
    pub rows: Rows<'a>,
    /// The network's numbers, for a stage that runs one.
    pub bank: Option<&'a mut Bank>,
    /// The keys that the slots belong to.
    pub keys: Option<&'a Keys>,
}

impl<'a> State<'a> {
    /// The same, with the keys.
    pub fn of(self, keys: &'a Keys) -> State<'a> {
        State { keys: Some(keys), ..self }
    }
}

/// Everything that is remembered of the keys of a partition, by slot.
#[derive(Debug, Clone)]
pub struct Memory {
    layout: Arc<RowLayout>,
    arena: Arena,
    bank: Option<Bank>,
}

impl Memory {
    /// No slots yet, of this layout.
    pub fn new(layout: Arc<RowLayout>) -> Self {
        // Pages of rows and numbers hold the same slots, so that a checkpoint puts them together page by page.
        let arena = Arena::in_pages_of(layout.width(), layout.initial().to_vec());
        let bank = layout.bank().map(|_| Bank::host(layout.bank_initial(), layout.width()));
        Memory { layout, arena, bank }
    }

    /// Whose words are where in a row of a checkpoint.
    pub fn spans(&self) -> &[RowSpan] {
        self.layout.spans()
    }

    /// Slots there are.
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.arena.is_empty()
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.bank.as_ref().map_or(0, Bank::bytes)
    }

    /// Adds slots until there are `count`.
    #[inline]
    pub fn grow_to(&mut self, count: usize) {
        if count > self.arena.len() {
            self.arena.grow_to(count);
            if let Some(bank) = &mut self.bank {
                bank.grow_to(count);
            }
        }
    }

    /// The part of the layout's `index`-th stage.
    #[inline]
    pub fn part(&mut self, index: usize) -> State<'_> {
        let part = self.layout.parts()[index];
        let bank = if part.has_bank { self.bank.as_mut() } else { None };
        State { rows: self.arena.rows(part.start, part.width), bank, keys: None }
    }

    /// Puts a slot back to what a new one has.
    pub fn reset(&mut self, slot: u32) {
        let width = self.arena.width();
        self.arena.rows(0, width).reset(slot);
        if let Some(bank) = &mut self.bank {
            bank.reset(slot);
        }
    }

    /// Takes the `index`-th stage's part of all slots from the part `of` of another memory, which is of the same width.
    pub fn copy_part(&mut self, index: usize, from: &mut Memory, of: usize) {
        let slots = u32::try_from(self.len().min(from.len())).unwrap_or(u32::MAX);
        let width = self.layout.parts()[index].width;
        let (from, mut to) = (from.part(of), self.part(index));
        if width > 0 {
            (0..slots).for_each(|slot| to.rows.get_mut(slot).copy_from_slice(from.rows.get(slot)));
        }
        if let (Some(from), Some(to)) = (from.bank, to.bank) {
            to.copy(from, slots);
        }
    }

    /// Everything as it is now, shared until it is written.
    pub fn freeze(&mut self) -> Frozen {
        let bank = self.layout.bank().zip(self.bank.as_mut());
        Frozen::new(self.arena.freeze(), bank.map(|(place, bank)| (place.start, bank.freeze())))
    }

    /// Replaces everything by what a checkpoint has; false (and no change) if its rows are of another width.
    ///
    /// # Errors
    /// As [`Frozen::resolve`].
    pub fn restore(&mut self, frozen: &Frozen) -> Result<bool> {
        let snapshot = frozen.resolve()?;
        if !snapshot.is_empty() && snapshot.width() != self.layout.width() {
            return Ok(false);
        }
        let Some((place, bank)) = self.layout.bank().zip(self.bank.as_mut()) else {
            return Ok(self.arena.restore(&snapshot.joined()));
        };
        let (rows, numbers) = snapshot.parted(place.start, bank.width());
        Ok(self.arena.restore(&rows) && bank.restore(&numbers))
    }
}
