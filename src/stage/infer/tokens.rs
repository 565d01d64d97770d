//! Ids of texts: the place of a row's text in the vocabulary of a version. Must not live here: how a vocabulary is
//! learned (`train`).

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::rows::Made;
use crate::error::Context;
use crate::record::{Batch, Values};
use crate::{Error, Result};

/// A vocabulary, and the column that holds its texts.
#[derive(Clone)]
pub(super) struct Tokens {
    column: usize,
    name: String,
    ids: HashMap<String, i64>,
}

impl Tokens {
    /// The texts by id, from 1.
    pub(super) fn new(column: usize, name: &str, tokens: &[String]) -> Tokens {
        Tokens { column, name: name.into(), ids: tokens.iter().cloned().zip(1..).collect() }
    }

    /// Writes the id of each row: 0 for null and for a text that the vocabulary doesn't have.
    ///
    /// # Errors
    /// A column that holds no texts.
    pub(super) fn read(&self, batch: &Batch, made: &mut Made) -> Result<()> {
        let Made::I64(ids) = made else { return Ok(()) };
        let texts = texts(&batch.columns[self.column].values, &self.name)?;
        for (id, text) in ids.iter_mut().zip(texts.iter()) {
            *id = text.and_then(|text| self.ids.get(text)).copied().unwrap_or(0);
        }
        Ok(())
    }
}

/// The texts of a column: whole numbers without a fraction. What serving looks up and what training learns from.
///
/// # Errors
/// A column of vectors or times.
pub fn texts(values: &Values, name: &str) -> Result<StringArray> {
    let number = |value: &f64| value.is_finite().then(|| value.to_string());
    match values {
        Values::Passthrough(array) => utf8(array, name),
        Values::Number(values) => Ok(values.iter().map(number).collect()),
        Values::Integer(values) => Ok(values.iter().map(|value| Some(value.to_string())).collect()),
        Values::Flag(values) => Ok(values.iter().map(|value| Some(value.to_string())).collect()),
        _ => Err(Error::refused(format!("column \"{name}\" must hold text, integers or booleans"))),
    }
}

fn utf8(array: &ArrayRef, name: &str) -> Result<StringArray> {
    let utf8 = cast(array, &DataType::Utf8).or_refused(|| format!("reading column \"{name}\" as text"))?;
    utf8.as_any()
        .downcast_ref::<StringArray>()
        .cloned()
        .ok_or_else(|| Error::failed("a cast to text gave no text: internal error, please report"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{BooleanArray, Int64Array};

    #[test]
    fn an_id_is_the_place_in_the_vocabulary_whatever_holds_the_text() {
        let batch = |values: Values| Batch { columns: vec![values.into()], ..Batch::default() };
        let ids = |tokens: &[&str], values: Values| {
            let tokens: Vec<String> = tokens.iter().map(|token| token.to_string()).collect();
            let mut made = Made::I64(vec![9; values.rows()]);
            Tokens::new(0, "word", &tokens).read(&batch(values), &mut made).unwrap();
            if let Made::I64(ids) = made { ids } else { panic!() }
        };
        let array = |array: ArrayRef| Values::Passthrough(array);
        let words = StringArray::from(vec![Some("to"), None, Some("be"), Some("To"), Some("")]);
        assert_eq!(ids(&["be", "to", ""], array(Arc::new(words))), [2, 0, 1, 0, 3]);
        assert_eq!(ids(&["-7", "12"], array(Arc::new(Int64Array::from(vec![Some(12), Some(1), None])))), [2, 0, 0]);
        assert_eq!(ids(&["-7", "12"], Values::Number(vec![12.0, -7.0, f64::NAN, 0.5])), [2, 1, 0, 0]);
        assert_eq!(ids(&["true"], array(Arc::new(BooleanArray::from(vec![true, false])))), [1, 0]);
        assert_eq!(ids(&["3"], Values::Integer(vec![3, 4])), [1, 0]);
        assert!(texts(&Values::Vector(vec![0.0], 1), "v").unwrap_err().to_string().contains("\"v\" must hold text"));
    }
}
