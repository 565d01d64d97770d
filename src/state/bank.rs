//! The network's numbers by slot, apart from the stages' state: the executor gathers and scatters them.
//!
//! Must not live here: what the numbers are (a stage's [`super::StateSpec`] names its tensors), and running a network
//! (`model::executor`).

use super::arena::Rows;
use super::{Arena, Pages};

/// The network's numbers of all keys of a partition. Later also in a device's memory.
#[derive(Debug, Clone)]
pub enum Bank {
    /// In this process' memory.
    Host(HostBank),
}

/// Numbers in this process' memory, each tensor's in its own type, in pages that checkpoints share as they share those
/// of an [`Arena`].
#[derive(Debug, Clone)]
pub struct HostBank {
    arena: Arena,
    numbers: usize,
}

/// The numbers of each slot, to read and write.
#[derive(Debug)]
pub struct Numbers<'a> {
    rows: Rows<'a>,
    numbers: usize,
}

impl Numbers<'_> {
    /// Words of 32 bits of a slot.
    pub fn words(&self) -> usize {
        self.numbers
    }

    /// The bytes of a slot.
    #[inline]
    pub fn get(&self, slot: u32) -> &[u8] {
        &bytemuck::cast_slice(self.rows.get(slot))[..self.numbers * size_of::<u32>()]
    }

    /// The bytes of a slot, to write.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(self.rows.get_mut(slot))[..self.numbers * size_of::<u32>()]
    }
}

impl HostBank {
    /// The numbers of all slots.
    pub fn numbers(&mut self) -> Numbers<'_> {
        let width = self.arena.width();
        Numbers { rows: self.arena.rows(0, width), numbers: self.numbers }
    }
}

impl Bank {
    /// A bank in this process' memory, of which a new slot begins with `initial`; pages have as many rows as those of a
    /// table of `row_words` words.
    pub(super) fn host(initial: &[u32], row_words: usize) -> Bank {
        let mut words = vec![0_u64; initial.len().div_ceil(size_of::<u64>() / size_of::<u32>())];
        bytemuck::cast_slice_mut(&mut words)[..initial.len()].copy_from_slice(initial);
        Bank::Host(HostBank { arena: Arena::in_pages_of(row_words, words), numbers: initial.len() })
    }

    /// Words of a slot.
    pub fn width(&self) -> usize {
        let Bank::Host(bank) = self;
        bank.arena.width()
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> usize {
        let Bank::Host(bank) = self;
        bank.arena.bytes()
    }

    /// Adds slots until there are `count`.
    pub(super) fn grow_to(&mut self, count: usize) {
        let Bank::Host(bank) = self;
        bank.arena.grow_to(count);
    }

    /// Puts a slot back to what a new one has.
    pub(super) fn reset(&mut self, slot: u32) {
        let Bank::Host(bank) = self;
        let width = bank.arena.width();
        bank.arena.rows(0, width).reset(slot);
    }

    /// All numbers as they are now, shared until they are written.
    pub(super) fn freeze(&mut self) -> Pages {
        let Bank::Host(bank) = self;
        bank.arena.freeze()
    }

    /// Replaces all numbers by those of a checkpoint; false (and no change) if they are of another width.
    pub(super) fn restore(&mut self, pages: &Pages) -> bool {
        let Bank::Host(bank) = self;
        bank.arena.restore(pages)
    }

    /// Takes the numbers of the first `count` slots from another bank of the same width.
    pub(super) fn copy(&mut self, from: &mut Bank, count: u32) {
        let (Bank::Host(bank), Bank::Host(from)) = (self, from);
        let (from, mut to) = (from.numbers(), bank.numbers());
        (0..count).for_each(|slot| to.get_mut(slot).copy_from_slice(from.get(slot)));
    }
}
