//! Rows and numbers apart in memory, together in a checkpoint: shared until written, and what was written before is
//! read.

use std::sync::Arc;

use proptest::prelude::*;

use super::checkpoint::Checkpoint;
use super::delta::{Outline, apply, encode};
use super::{Bank, CommitPosition, Frozen, KeyList, Memory, RowLayout, StateSpec, Type};

/// Words of the stage before the network: so many that a page has few rows.
const WIDE: usize = 500;
const NUMBERS: usize = 5;

/// A wide stage, a network with an odd count of numbers, and a stage after it.
fn layout() -> Arc<RowLayout> {
    let wide = StateSpec::default().f64s("ring", WIDE, 0.25);
    let network = StateSpec::default().u64("steps", 0).tensor("h", Type::F32, &[0; 8]).tensor(
        "c",
        Type::F32,
        &[0; 4 * (NUMBERS - 2)],
    );
    Arc::new(RowLayout::new([("wide", wide), ("infer", network), ("score", StateSpec::default().i64("last", -1))]))
}

/// Two memories that must hold the same: one with a bank, one whose rows are whole as they were before there were
/// banks.
struct Both {
    memory: Memory,
    whole: Vec<Vec<u64>>,
}

impl Both {
    fn new() -> Both {
        Both { memory: Memory::new(layout()), whole: Vec::new() }
    }

    fn grow(&mut self, by: usize) {
        let mut row = vec![0.25_f64.to_bits(); WIDE];
        row.extend([0, 0, 0, 0, -1_i64 as u64]);
        (0..by).for_each(|_| self.whole.push(row.clone()));
        self.memory.grow_to(self.whole.len());
    }

    fn steps(&mut self, slot: u32, value: u64) {
        self.memory.part(1).rows.get_mut(slot)[0] = value;
        self.whole[slot as usize][WIDE] = value;
    }

    fn number(&mut self, slot: u32, n: usize, value: f32) {
        let Some(Bank::Host(bank)) = self.memory.part(1).bank else { panic!("the network has the bank") };
        bank.numbers().get_mut(slot)[4 * n..4 * n + 4].copy_from_slice(&value.to_le_bytes());
        let numbers: &mut [f32] = bytemuck::cast_slice_mut(&mut self.whole[slot as usize][WIDE + 1..WIDE + 4]);
        numbers[n] = value;
    }

    fn checkpoint(&mut self, sequence: u64) -> Checkpoint {
        let mut keys = KeyList::default();
        (0..self.whole.len()).for_each(|slot| keys.push(slot.to_string().as_bytes()));
        let at = Some(CommitPosition { sequence, offset: 0, hash: 0 });
        Checkpoint { keys, rows: self.memory.freeze(), at, ..Checkpoint::default() }
    }
}

fn check(frozen: &Frozen, whole: &[Vec<u64>]) {
    let snapshot = frozen.resolve().unwrap();
    assert_eq!(snapshot.len(), whole.len());
    (0..whole.len()).for_each(|slot| assert_eq!(*snapshot.row(slot as u32), whole[slot]));
}

#[derive(Debug, Clone)]
enum Step {
    Grow(usize),
    Steps(prop::sample::Index, u64),
    Number(prop::sample::Index, usize, f32),
    Reset(prop::sample::Index),
    Freeze,
    Drop,
    Restore(prop::sample::Index, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => (1..20_usize).prop_map(Step::Grow),
        3 => (index(), any::<u64>()).prop_map(|(at, value)| Step::Steps(at, value)),
        5 => (index(), 0..NUMBERS, -1e3..1e3_f32).prop_map(|(at, n, value)| Step::Number(at, n, value)),
        1 => index().prop_map(Step::Reset),
        2 => Just(Step::Freeze),
        1 => Just(Step::Drop),
        1 => (index(), any::<bool>()).prop_map(|(at, read)| Step::Restore(at, read)),
    ]
}

proptest! {
    #[test]
    fn rows_and_numbers_are_one_row_in_a_checkpoint(steps in proptest::collection::vec(step(), 1..50)) {
        let mut both = Both::new();
        let mut frozen: Vec<(Checkpoint, Vec<Vec<u64>>)> = Vec::new();
        for step in steps {
            let rows = both.whole.len();
            match step {
                Step::Grow(by) => both.grow(by),
                Step::Steps(at, value) if rows > 0 => both.steps(at.index(rows) as u32, value),
                Step::Number(at, n, value) if rows > 0 => both.number(at.index(rows) as u32, n, value),
                Step::Reset(at) if rows > 0 => {
                    let slot = at.index(rows);
                    both.memory.reset(slot as u32);
                    let mut fresh = Both::new();
                    fresh.grow(1);
                    both.whole[slot].clone_from(&fresh.whole[0]);
                }
                Step::Freeze => frozen.push((both.checkpoint(0), both.whole.clone())),
                Step::Drop => frozen.truncate(1),
                Step::Restore(at, read) if !frozen.is_empty() => {
                    let (checkpoint, whole) = &frozen[at.index(frozen.len())];
                    // As the bytes of a file have it, or as it was shared.
                    let checkpoint =
                        if read { Checkpoint::decode(&checkpoint.encode().unwrap()).unwrap() } else { checkpoint.clone() };
                    prop_assert!(both.memory.restore(&checkpoint.rows).unwrap());
                    both.whole.clone_from(whole);
                }
                _ => {}
            }
            check(&both.memory.freeze(), &both.whole);
        }
        frozen.iter().for_each(|(checkpoint, whole)| check(&checkpoint.rows, whole));
    }
}

#[test]
fn what_is_written_are_the_bytes_of_whole_rows() {
    let mut both = Both::new();
    both.grow(40);
    both.steps(3, 7);
    both.number(39, 4, 2.5);
    let checkpoint = both.checkpoint(1);
    let whole = super::Pages::from_words(WIDE + 5, &both.whole.concat());
    let before = Checkpoint { rows: whole.into(), ..checkpoint.clone() };
    assert_eq!(checkpoint.encode().unwrap(), before.encode().unwrap());
    assert!(
        !Memory::new(Arc::new(RowLayout::new([("a", StateSpec::default().u64("b", 0))])))
            .restore(&before.rows)
            .unwrap()
    );
}

#[test]
fn a_delta_has_the_pages_whose_rows_or_numbers_changed() {
    let mut both = Both::new();
    both.grow(64);
    let mut base = both.checkpoint(1);
    let pages = base.rows.resolve().unwrap().pages();
    let rows = 64 / pages;
    assert_eq!(pages, 4);
    // A checkpoint that was read is a base as well: what is restored from it has its pages' numbers.
    let read = Checkpoint::decode(&base.encode().unwrap()).unwrap();
    for (sequence, start) in [(2, base.clone()), (3, read)] {
        base = Checkpoint { at: Some(CommitPosition { sequence, offset: 0, hash: 0 }), ..start };
        assert!(both.memory.restore(&base.rows).unwrap());
        let outline = Outline::of(&base).unwrap().unwrap();
        both.steps(0, 9 + sequence);
        both.number(3 * rows as u32, 0, 1.0 + sequence as f32);
        let next = Checkpoint { keys: base.keys.clone(), ..both.checkpoint(sequence + 1) };
        let changed = outline.changed(&next).unwrap().unwrap();
        assert_eq!(changed, [0, 3]);
        let applied = apply(&encode(&next, &outline, &changed).unwrap(), base.clone()).unwrap();
        check(&applied.rows, &both.whole);
    }
}

/// By a version that had the network's numbers among the words of the row: 3 keys after calendar, scale and lags,
/// through LSTM(3) and score.
#[test]
fn a_checkpoint_of_before_is_read_and_written_again_as_it_was() {
    let bytes = include_bytes!("../../tests/fixtures/state/whole_rows.checkpoint");
    let checkpoint = Checkpoint::decode(bytes).unwrap();
    let network =
        StateSpec::default().u64("steps", 0).tensor("h_0", Type::F32, &[0; 12]).tensor("c_0", Type::F32, &[0; 12]);
    let before = StateSpec::default().f64s("before", 17, 0.0);
    let layout =
        RowLayout::new([("before", before), ("infer", network), ("score", StateSpec::default().f64s("s", 29, 0.0))]);
    let mut memory = Memory::new(Arc::new(layout));
    assert!(memory.restore(&checkpoint.rows).unwrap());
    let slot = checkpoint.keys.find(b"key-3").unwrap();
    let mut infer = memory.part(1);
    assert_eq!(infer.rows.get(slot), [397]);
    let Some(Bank::Host(bank)) = &mut infer.bank else { panic!("the network has the bank") };
    let numbers = [0.020208906_f32, 0.004331042, 0.01579364, 0.04899171, 0.0068945587, 0.026208151];
    assert_eq!(bank.numbers().get(slot), numbers.map(f32::to_le_bytes).concat());
    let again = Checkpoint { rows: memory.freeze(), ..checkpoint };
    assert_eq!(again.encode().unwrap(), bytes);
}
