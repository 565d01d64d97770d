//! What a value of a record must be, since a stage later on couldn't bear another one: an id beyond its table fails
//! whole batches. Must not live here: what becomes of a record that isn't so (`runtime::engine`).

use super::infer::is_whole;
use crate::record::{Column, Layout};

/// A value of the record that must be a whole number within bounds, or null.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// Its column.
    pub column: String,
    /// The least that it may be.
    pub least: f64,
    /// The greatest that it may be.
    pub most: f64,
    /// Whether it is an id.
    pub is_id: bool,
}

impl Judge {
    /// Why records are refused.
    pub fn reason(&self) -> &'static str {
        if self.is_id { "bad_id" } else { "bad_value" }
    }

    /// The records of a batch that aren't so, each with what exactly is wrong.
    pub fn refused(&self, layout: &Layout, columns: &[Column]) -> Vec<(usize, String)> {
        let values = layout.find(&self.column).map_or(&[][..], |column| columns[column].numbers());
        let wrong =
            values.iter().enumerate().filter(|(_, value)| !value.is_nan() && !is_whole(**value, self.least, self.most));
        wrong.map(|(index, value)| (index, self.shown(*value))).collect()
    }

    fn shown(&self, value: f64) -> String {
        let Judge { column, least, most, is_id } = self;
        let what = if *is_id { "ids are whole numbers" } else { "the model takes whole numbers" };
        format!("column \"{column}\" is {value}, {what} from {least} to {most}")
    }
}
