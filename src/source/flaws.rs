//! Values that a row is refused for: where they are, what is wrong with them, and what stands in their place.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{self, CastOptions, cast_with_options, concat, nullif};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::schema::Columns;
use crate::record::{NO_TIME, TIME_OUT_OF_RANGE, explain_beyond, rows_beyond};

/// A value that a row is refused for.
pub(super) struct Flaw {
    pub column: String,
    /// Of the batch.
    pub row: usize,
    pub reason: &'static str,
    /// What exactly is wrong, for people.
    pub detail: String,
}

/// Times beyond the calendar, in the time column and the passthrough ones.
pub(super) fn beyond(times: &[i64], passthrough: &[ArrayRef], columns: &Columns) -> Vec<Flaw> {
    let (range, nanos) = (columns.clock.range(), columns.clock.nanos_per_tick);
    let flaw = |column: &str, row, detail| Flaw { column: column.into(), row, reason: TIME_OUT_OF_RANGE, detail };
    let mut flaws = Vec::new();
    // One loop without branches for what is almost always so.
    if !times.iter().fold(true, |fine, time| fine & range.has(*time)) {
        for (row, time) in times.iter().enumerate().filter(|(_, time)| !range.has(**time) && **time != NO_TIME) {
            flaws.push(flaw(&columns.time, row, explain_beyond(&columns.time, *time, nanos)));
        }
    }
    for (array, (name, _)) in passthrough.iter().zip(&columns.passthrough) {
        let detail = || format!("column \"{name}\" is beyond the years 1 to 9999");
        flaws.extend(rows_beyond(array).into_iter().map(|row| flaw(name, row, detail())));
    }
    flaws
}

/// The batch with null in the place of what is refused, so that nothing wrong is shown of it.
pub(super) fn without_flaws(batch: &RecordBatch, flaws: &[Flaw]) -> Result<RecordBatch, ArrowError> {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, array)| {
        let mut refused = vec![false; array.len()];
        let mut rows = flaws.iter().filter(|flaw| flaw.column == *field.name()).peekable();
        if rows.peek().is_none() {
            return Ok((field.name(), array.clone(), true));
        }
        rows.for_each(|flaw| refused[flaw.row] = true);
        Ok((field.name(), nullif(array, &BooleanArray::from(refused))?, true))
    });
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ArrowError>>()?)
}

/// A column as the type that it has over all files. What isn't the same there is refused.
pub(super) fn widened(
    array: &ArrayRef,
    to: &DataType,
    name: &str,
    flaws: &mut Vec<Flaw>,
) -> Result<ArrayRef, ArrowError> {
    let exactly = |array: &ArrayRef| -> Result<ArrayRef, ArrowError> {
        let cast = cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?;
        let is_rounded = array.data_type().is_integer() && to.is_floating();
        if is_rounded && compute::cast(&cast, array.data_type())?.to_data() != array.to_data() {
            return Err(ArrowError::CastError("it is rounded".into()));
        }
        Ok(cast)
    };
    if let Ok(all) = exactly(array) {
        return Ok(all);
    }
    let mut parts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        let one = array.slice(row, 1);
        parts.push(exactly(&one).unwrap_or_else(|_| {
            // What has no text isn't shown: the text of an error would be taken for the value.
            let options = FormatOptions::default().with_display_error(false);
            let shown = ArrayFormatter::try_new(&one, &options).and_then(|shown| shown.value(0).try_to_string());
            let shown = shown.unwrap_or_default();
            let detail = format!("column \"{name}\": {shown} can't be {to}, as which the column is read");
            flaws.push(Flaw { column: name.to_string(), row, reason: "bad_value", detail });
            new_null_array(to, 1)
        }));
    }
    concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}
