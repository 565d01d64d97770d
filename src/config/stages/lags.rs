//! `lags: { value: [1, 2, 24] }`, `lags: { value: 1..24 }`

use std::collections::BTreeSet;

use super::{MAX_RING, Options};
use crate::config::At;
use crate::config::read::{Field, Reader};
use crate::config::table::Shape;
use crate::config::words::Words;

/// `lags: { value: [1, 2, 24] }`
#[derive(Debug, Clone)]
pub struct Lags {
    /// Per column, the lags in rows, each at least 1, ascending. Column `v`, lag 24 becomes `v_lag_24`.
    pub columns: Vec<(At<String>, Vec<u32>)>,
}

const LAG: Shape = Shape::Integer(1, MAX_RING as i64);
const RANGE: Shape = Shape::Pattern(r"^\s*[0-9]+\s*\.\.\s*[0-9]+\s*$");

impl Options for Lags {
    /// Its fields are columns.
    const ABOUT: &'static str = "Adds the key's values of earlier rows";
    const SHAPE: Shape = Shape::Names(&Shape::Any(&[RANGE, Shape::Some(&Shape::Any(&[LAG, RANGE]))]));
    const WORDS: Words = Words::new("`lags`", &[]);

    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let mut columns = Vec::new();
        for column in reader.names(field, "columns with their lags, such as `value: [1, 24]` or `value: 1..24`")? {
            // A range may stand alone, without brackets.
            let items = match column.node.text().is_some_and(|text| text.contains("..")) {
                true => vec![column],
                false => reader.list(column, "lags in rows").unwrap_or_default(),
            };
            let mut lags = BTreeSet::new();
            for item in items {
                let Some((first, last)) = range(reader, item) else { continue };
                let twice = (first..=last).find(|lag| !lags.insert(*lag));
                if let Some(lag) = twice {
                    reader.note(item, format_args!("{lag} is listed twice"));
                    lags.extend(first..=last);
                }
            }
            reader.not_empty(column);
            let lags = lags.into_iter().collect();
            columns.push((At { value: column.name.to_string(), place: column.name_place }, lags));
        }
        if columns.is_empty() {
            return reader.wrong(field, "names no column");
        }
        Some(Lags { columns })
    }
}

/// One lag, or the first and last of `1..24`, both included.
fn range(reader: &mut Reader, item: Field<'_>) -> Option<(u32, u32)> {
    let Some((first, last)) = item.node.text().and_then(|text| text.split_once("..")) else {
        let lag = reader.count(item, 1, MAX_RING).and_then(|n| u32::try_from(n).ok())?;
        return Some((lag, lag));
    };
    let lag = |text: &str| text.trim().parse().ok().filter(|lag| (1..=MAX_RING).contains(&(*lag as usize)));
    match (lag(first), lag(last)) {
        (Some(first), Some(last)) if first <= last => Some((first, last)),
        (Some(_), Some(_)) => reader.expected(item, "a range from the smaller lag to the larger, such as 1..24"),
        _ => reader.expected(item, &format!("a range such as 1..24, of whole numbers from 1 to {MAX_RING}")),
    }
}
