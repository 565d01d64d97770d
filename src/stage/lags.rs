//! `lags: { value: [1, 2, 24] }`: columns `value_lag_1` … with the key's value that many rows back.
//!
//! NaN before the key has that many rows. Every row counts, also one whose value is null, carried forward or filled. A
//! lag is scaled by the pair of its own row, not of the row it comes from: both numbers then mean the same to a model.
//!
//! State per key and column: the place of the next value, then a ring of as many values as the longest lag.

use serde_json::{Value, json};

use super::{Build, Operator, Stage, columns};
use crate::Result;
use crate::config::{self, At};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Kind, Layout, Role, Values};
use crate::state::{State, StateSpec};

impl Operator for config::Lags {
    fn word(&self) -> &'static str {
        "lags"
    }

    fn numbers(&self) -> Vec<At<String>> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    fn adds(&self) -> Vec<String> {
        let names = |(name, lags): &(At<String>, Vec<u32>)| -> Vec<String> {
            lags.iter().map(|lag| format!("{}_lag_{lag}", name.value)).collect()
        };
        self.columns.iter().flat_map(names).collect()
    }

    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        Some(json!({ "lags": self.columns.iter().map(|(name, lags)| json!([name.value, lags])).collect::<Vec<_>>() }))
    }

    /// Plans the lags of each column.
    fn plan(&self, _place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let mut rings = Vec::new();
        let mut start = 0;
        for (name, lags) in &self.columns {
            let column = columns::number(layout, name, problems);
            if lags.contains(&0) {
                problems.add(name.place, format!("a lag of \"{}\" is 0; the nearest earlier row is 1", name.value));
            }
            for lag in lags {
                let lagged = format!("{}_lag_{lag}", name.value);
                let index = columns::add(layout, lagged, Kind::Number, Role::Feature, name.place, problems);
                layout.columns[index].scaled_by = column.and_then(|column| layout.columns[column].scaled_by);
                layout.columns[index].log = column.is_some_and(|column| layout.columns[column].log);
                layout.columns[index].lag_of = column;
                layout.columns[index].computed = column.and_then(|column| layout.columns[column].computed);
            }
            let lags: Vec<usize> = lags.iter().filter(|lag| **lag > 0).map(|lag| *lag as usize).collect();
            if let (Some(column), Some(longest)) = (column, lags.iter().max().copied()) {
                rings.push(Ring { name: name.value.clone(), column, start, longest, lags });
                start += 1 + longest;
            }
        }
        (rings.len() == self.columns.len()).then(|| Box::new(Lagged { rings }) as Box<dyn Build>)
    }
}

#[derive(Clone)]
struct Ring {
    name: String,
    column: usize,
    start: usize,
    longest: usize,
    lags: Vec<usize>,
}

#[derive(Clone)]
struct Lagged {
    rings: Vec<Ring>,
}

impl Stage for Lagged {
    fn name(&self) -> &'static str {
        "lags"
    }

    fn state(&self) -> StateSpec {
        self.rings.iter().fold(StateSpec::default(), |spec, Ring { name, longest, .. }| {
            spec.u64(format!("{name}.next"), 0).f64s(format!("{name}.ring"), *longest, f64::NAN)
        })
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let rows = batch.rows();
        for Ring { column, start, longest, lags, .. } in &self.rings {
            let mut lagged = vec![Vec::with_capacity(rows); lags.len()];
            for (slot, value) in batch.slots.iter().zip(batch.columns[*column].numbers()) {
                let part = &mut state.rows.get_mut(*slot)[*start..=*start + *longest];
                let (next, ring) = (part[0] as usize, 1);
                for (lag, out) in lags.iter().zip(&mut lagged) {
                    let back = if *lag <= next { next - lag } else { next + longest - lag };
                    out.push(f64::from_bits(part[ring + back]));
                }
                part[ring + next] = value.to_bits();
                part[0] = if next + 1 == *longest { 0 } else { next as u64 + 1 };
            }
            batch.columns.extend(lagged.into_iter().map(|values| Values::Number(values).into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::testing::{self, Table};

    fn config(columns: &[(&str, &[u32])]) -> config::Lags {
        let columns =
            columns.iter().map(|(name, lags)| (At::default_value((*name).to_owned()), lags.to_vec())).collect();
        config::Lags { columns }
    }

    #[test]
    fn a_lag_is_the_keys_value_that_many_rows_back() {
        let mut table = Table::new(&["value", "other"]);
        for row in 0..20 {
            table.push(row % 2, i64::from(row), &[f64::from(row), f64::from(100 + row)]);
        }
        let mut layout = table.layout();
        layout.columns[0].scaled_by = Some((7, 8));
        let mut problems = Problems::new("p.yaml");
        let stage = testing::plan(&config(&[("value", &[1, 3]), ("other", &[2])]), &mut layout, &mut problems).unwrap();
        assert!(problems.is_empty());
        let (one, three, two) =
            (layout.find("value_lag_1").unwrap(), layout.find("value_lag_3").unwrap(), layout.find("other_lag_2"));
        assert_eq!(layout.columns[three].scaled_by, Some((7, 8)));
        let out = testing::run(&mut [stage], &table.batch(), &[3, 4, 11]);
        for row in 0..20_usize {
            let expect = |back: usize, base: f64| match row.checked_sub(2 * back) {
                Some(row) => base + row as f64,
                None => f64::NAN,
            };
            assert_eq!(out.columns[one].numbers()[row].to_bits(), expect(1, 0.0).to_bits(), "row {row}");
            assert_eq!(out.columns[three].numbers()[row].to_bits(), expect(3, 0.0).to_bits(), "row {row}");
            assert_eq!(out.columns[two.unwrap()].numbers()[row].to_bits(), expect(2, 100.0).to_bits(), "row {row}");
        }
    }

    #[test]
    fn an_unknown_column_and_a_second_name_are_problems() {
        let mut layout = Table::new(&["value"]).layout();
        let mut problems = Problems::new("p.yaml");
        assert!(testing::plan(&config(&[("valu", &[1])]), &mut layout, &mut problems).is_none());
        testing::plan(&config(&[("value", &[1, 1])]), &mut layout, &mut problems);
        let text = problems.finish(()).unwrap_err().to_string();
        assert!(
            text.contains("did you mean \"value\"?") && text.contains("\"value_lag_1\", but there is one"),
            "{text}"
        );
    }

    #[test]
    fn bits_do_not_depend_on_batches_or_interleaving() {
        testing::laws(&["value", "other"], 64, |layout, problems| {
            testing::plan(&config(&[("value", &[1, 5]), ("other", &[3])]), layout, problems).into_iter().collect()
        });
    }
}
