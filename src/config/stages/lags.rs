//! `lags: { value: [1, 2, 24] }`

use super::{MAX_RING, Options};
use crate::config::At;
use crate::config::read::{Field, Reader};
use crate::config::words::Words;

/// `lags: { value: [1, 2, 24] }`
#[derive(Debug, Clone)]
pub struct Lags {
    /// Per column, the lags in rows, each at least 1, ascending. Column `v`, lag 24 becomes `v_lag_24`.
    pub columns: Vec<(At<String>, Vec<u32>)>,
}

impl Options for Lags {
    /// Its fields are columns.
    const WORDS: Words = Words::new("`lags`", &[]);

    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let mut columns = Vec::new();
        for column in reader.names(field, "columns with their lags, such as `value: [1, 24]`")? {
            let mut lags: Vec<u32> = Vec::new();
            for item in reader.list(column, "lags in rows").unwrap_or_default() {
                let Some(lag) = reader.count(item, 1, MAX_RING).and_then(|n| u32::try_from(n).ok()) else { continue };
                if lags.contains(&lag) {
                    reader.note(item, format_args!("{lag} is listed twice"));
                } else {
                    lags.push(lag);
                }
            }
            reader.not_empty(column);
            lags.sort_unstable();
            columns.push((At { value: column.name.to_string(), place: column.name_place }, lags));
        }
        if columns.is_empty() {
            return reader.wrong(field, "names no column");
        }
        Some(Lags { columns })
    }
}
