//! `on.null`: how values that are null, NaN or infinite are treated.
//!
//! Every value that isn't finite becomes NaN first, so that no infinity ever reaches a later stage. Then, by policy:
//! `carry` puts the key's last finite value in its place, flagged as not observed (before there is one, NaN stays);
//! `skip` leaves NaN, on which later stages and `infer` take no step; `reset` does so too and flags the row in the
//! internal column `restart`, where any value of the row is null; `refuse` sends the record to the dead letters.
//!
//! A vector is as many values. Samples, whose number differs, can't be carried: with `carry` what isn't there stays so.
//!
//! State per key: for `carry`, the last finite value of each column, NaN before there is one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Build, Operator, Stage, columns};
use crate::Result;
use crate::config::OnNull;
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Column, Kind, Layout, Reject, Role, Values, vector_of};
use crate::state::{State, StateSpec};

impl Operator for OnNull {
    fn word(&self) -> &'static str {
        "nulls"
    }

    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        Some(json!({ "null": OnNull::word(*self) }))
    }

    /// Plans the policy for the record's values.
    fn plan(&self, _place: Place, layout: &mut Layout, _problems: &mut Problems) -> Option<Box<dyn Build>> {
        let values = columns::values(layout);
        let (vectors, samples) = columns::vectors(layout);
        if *self == OnNull::Reset {
            layout.restart = Some(layout.add("restart", Kind::Flag, Role::Internal));
        }
        let names = values.iter().map(|column| layout.columns[*column].name.clone()).collect();
        let vectors = vectors.into_iter().map(|(column, width)| Carried {
            column,
            width,
            name: layout.columns[column].name.clone(),
        });
        Some(Box::new(Nulls {
            policy: *self,
            values,
            names,
            vectors: vectors.collect(),
            samples,
            null: Vec::new(),
            unread: None,
        }))
    }
}

/// The last values of rows that a source leaves unread, since a filter drops them: they are carried all the same. Of
/// each key they come before all of its rows that are read.
pub trait Unread: Send + Sync {
    /// The last finite value of a key in one of the record's values; NaN without any.
    ///
    /// # Errors
    /// Rows that can't be read after all.
    fn last(&self, key: &[u8], value: usize) -> Result<f64>;
}

#[derive(Clone)]
struct Nulls {
    policy: OnNull,
    values: Vec<usize>,
    names: Vec<String>,
    vectors: Vec<Carried>,
    /// Columns of any number of values.
    samples: Vec<usize>,
    /// Per row of the batch, whether any value is null.
    null: Vec<bool>,
    /// For `carry`, where the source leaves rows unread.
    unread: Option<Arc<dyn Unread>>,
}

/// A column of vectors.
#[derive(Clone)]
struct Carried {
    column: usize,
    width: usize,
    name: String,
}

impl Nulls {
    /// Vectors, item by item as values are; `words` are those of the state before them.
    fn vectors(&mut self, batch: &mut Batch, state: &mut State<'_>, mut words: usize) {
        let carries = self.policy == OnNull::Carry;
        for Carried { column, width, .. } in &self.vectors {
            let Values::Vector(numbers, _) = &mut batch.columns[*column].values else { continue };
            let end = words + width.div_ceil(2);
            for (row, numbers) in numbers.chunks_exact_mut((*width).max(1)).enumerate() {
                let is_whole = numbers.iter().fold(true, |all, number| all & number.is_finite());
                self.null[row] |= !is_whole;
                if carries {
                    let last = &mut state.rows.get_mut(batch.slots[row])[words..end];
                    let last: &mut [f32] = &mut bytemuck::cast_slice_mut(last)[..*width];
                    for (number, last) in numbers.iter_mut().zip(last) {
                        if number.is_finite() {
                            *last = *number;
                        }
                        *number = *last;
                    }
                } else if !is_whole {
                    numbers.iter_mut().filter(|number| !number.is_finite()).for_each(|number| *number = f32::NAN);
                }
            }
            if carries {
                words = end;
            }
        }
        // Nothing is asked of them otherwise.
        let samples: &[usize] = match self.policy {
            OnNull::Reset | OnNull::Refuse => &self.samples,
            OnNull::Carry | OnNull::Skip => &[],
        };
        for column in samples {
            if let Values::Passthrough(array) = &batch.columns[*column].values {
                for (row, null) in self.null.iter_mut().enumerate() {
                    let samples = vector_of(array, row);
                    *null |= samples.is_none_or(|samples| samples.iter().any(|number| !number.is_finite()));
                }
            }
        }
    }
}

impl Stage for Nulls {
    fn name(&self) -> &'static str {
        "nulls"
    }

    fn state(&self) -> StateSpec {
        let carried: &[String] = if self.policy == OnNull::Carry { &self.names } else { &[] };
        let spec = carried.iter().fold(StateSpec::default(), |spec, name| spec.f64(format!("{name}.last"), f64::NAN));
        let vectors: &[Carried] = if self.policy == OnNull::Carry { &self.vectors } else { &[] };
        vectors.iter().fold(spec, |spec, vector| spec.f32s_unknown(format!("{}.last", vector.name), vector.width))
    }

    fn take_unread(&mut self, unread: &Arc<dyn Unread>) {
        self.unread = Some(unread.clone());
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        self.null.clear();
        self.null.resize(batch.rows(), false);
        for (part, index) in self.values.iter().enumerate() {
            let Column { values: Values::Number(values), observed } = &mut batch.columns[*index] else { continue };
            for row in 0..values.len() {
                if values[row].is_finite() {
                    if self.policy == OnNull::Carry {
                        state.rows.get_mut(batch.slots[row])[part] = values[row].to_bits();
                    }
                    continue;
                }
                self.null[row] = true;
                values[row] = f64::NAN;
                if self.policy == OnNull::Carry {
                    let mut last = f64::from_bits(state.rows.get(batch.slots[row])[part]);
                    if let (true, Some(unread), Some(keys)) = (last.is_nan(), &self.unread, state.keys) {
                        last = unread.last(keys.get(batch.slots[row]), part)?;
                        state.rows.get_mut(batch.slots[row])[part] = last.to_bits();
                    }
                    let flags = observed.get_or_insert_with(|| values.iter().map(|v| v.is_finite()).collect());
                    flags[row] = false;
                    values[row] = last;
                } else if let Some(flags) = observed {
                    flags[row] = false;
                }
            }
        }
        if !self.vectors.is_empty() || !self.samples.is_empty() {
            let words = self.values.len();
            self.vectors(batch, state, words);
        }
        match self.policy {
            OnNull::Carry | OnNull::Skip => {}
            OnNull::Reset => batch.columns.push(Values::Flag(self.null.clone()).into()),
            OnNull::Refuse => {
                let refused = self.null.iter().zip(&batch.positions).filter(|(null, _)| **null);
                batch.rejects.extend(refused.map(|(_, position)| Reject { position: *position, reason: "null_value" }));
                // An earlier stage may have refused records after these: their order must not depend on batches.
                batch.rejects.sort_by_key(|reject| reject.position);
                self.null.iter_mut().for_each(|null| *null = !*null);
                batch.keep(&self.null);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::testing::{self, Table};

    fn table() -> Table {
        let mut table = Table::new(&["value", "other"]);
        for (key, time, value) in
            [(0, 1, f64::NAN), (0, 2, 5.0), (1, 2, f64::INFINITY), (0, 3, f64::NEG_INFINITY), (0, 4, 7.0)]
        {
            table.push(key, time, &[value, 1.0]);
        }
        table
    }

    fn run(policy: OnNull) -> (Layout, Batch) {
        let table = table();
        let mut layout = table.layout();
        let mut problems = Problems::new("p.yaml");
        let stage = testing::plan(&policy, &mut layout, &mut problems).unwrap();
        assert!(problems.is_empty());
        let out = testing::run(&mut [stage], &table.batch(), &[2, 3]);
        (layout, out)
    }

    #[test]
    fn carry_puts_the_keys_last_value_in_place() {
        let (_, out) = run(OnNull::Carry);
        let values = out.columns[0].numbers();
        assert!(values[0].is_nan() && values[2].is_nan(), "{values:?}");
        assert_eq!([values[1], values[3], values[4]], [5.0, 5.0, 7.0]);
        let observed: Vec<bool> = (0..5).map(|row| out.columns[0].is_observed(row)).collect();
        assert_eq!(observed, [false, true, false, false, true]);
        assert!((0..5).all(|row| out.columns[1].is_observed(row)));
    }

    #[test]
    fn skip_and_reset_leave_nan_and_reset_flags_it() {
        let (_, out) = run(OnNull::Skip);
        let null: Vec<bool> = out.columns[0].numbers().iter().map(|v| v.is_nan()).collect();
        assert_eq!(null, [true, false, true, true, false]);
        let (layout, out) = run(OnNull::Reset);
        let restart = layout.restart.unwrap();
        assert!(matches!(&out.columns[restart].values, Values::Flag(flags) if *flags == null));
        assert!(out.columns[0].numbers()[3].is_nan());
    }

    #[test]
    fn refuse_removes_the_record() {
        let (_, out) = run(OnNull::Refuse);
        assert_eq!(out.columns[0].numbers(), [5.0, 7.0]);
        assert_eq!(out.rejects.iter().map(|r| r.position).collect::<Vec<_>>(), [0, 2, 3]);
        assert!(out.rejects.iter().all(|r| r.reason == "null_value"));
    }

    #[test]
    fn a_vector_is_as_many_values_and_samples_are_none_of_them() {
        let table = |rows: &[(u32, [f64; 3])], empty: Table| {
            let mut table = empty;
            rows.iter().enumerate().for_each(|(at, (key, values))| table.push(*key, at as i64, values));
            table
        };
        let nan = f64::NAN;
        let rows = [(0, [1.0, 2.0, nan]), (1, [1.0, nan, 3.0]), (0, [1.0, nan, 5.0]), (0, [1.0, f64::INFINITY, nan])];
        let table = table(&rows, Table::new(&["v"]).vectors("x", 2));
        let run = |policy: OnNull| {
            let mut layout = table.layout();
            let mut problems = Problems::new("p.yaml");
            let stage = testing::plan(&policy, &mut layout, &mut problems).unwrap();
            let out = testing::run(&mut [stage], &table.batch(), &[1, 3]);
            let numbers: &[f32] = match out.columns.get(1).map(|column| &column.values) {
                Some(Values::Vector(numbers, 2)) => numbers,
                _ => &[],
            };
            (numbers.iter().map(|n| if n.is_nan() { -1.0 } else { *n }).collect::<Vec<_>>(), layout, out)
        };
        assert_eq!(run(OnNull::Carry).0, [2.0, -1.0, -1.0, 3.0, 2.0, 5.0, 2.0, 5.0]);
        assert_eq!(run(OnNull::Skip).0, [2.0, -1.0, -1.0, 3.0, -1.0, 5.0, -1.0, -1.0]);
        let (_, layout, out) = run(OnNull::Reset);
        let restart = layout.restart.unwrap();
        assert!(matches!(&out.columns[restart].values, Values::Flag(flags) if flags.iter().all(|flag| *flag)));
        assert_eq!(run(OnNull::Refuse).2.rejects.len(), 4);
        let mut samples = Table::new(&[]).samples("s", 2);
        [[2.0, 7.0, 8.0], [1.0, nan, 0.0], [0.0, 0.0, 0.0]].iter().for_each(|row| samples.push(0, 0, row));
        let stage = testing::plan(&OnNull::Refuse, &mut samples.layout(), &mut Problems::default()).unwrap();
        let out = testing::run(&mut [stage], &samples.batch(), &[]);
        assert_eq!(out.rejects.iter().map(|reject| reject.position).collect::<Vec<_>>(), [1], "none is no null");
    }

    #[test]
    fn bits_do_not_depend_on_batches_or_interleaving() {
        testing::laws(&["value", "other"], 64, |layout, problems| {
            testing::plan(&OnNull::Carry, layout, problems).into_iter().collect()
        });
        testing::laws_on(&Table::new(&["value"]).vectors("x", 3), 64, |layout, problems| {
            testing::plan(&OnNull::Carry, layout, problems).into_iter().collect()
        });
        testing::laws(&["value", "other"], 64, |layout, problems| {
            testing::plan(&OnNull::Reset, layout, problems).into_iter().collect()
        });
    }
}
