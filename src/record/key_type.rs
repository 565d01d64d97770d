//! Types of key columns. Within kolk a key is text in UTF-8; here is what text a value has, and the way back.
//!
//! Each value has one text and each text of a type one value, so that no two keys become one and outputs have the type
//! of the source. Must not live here: which column is the key (`source`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, LargeStringArray, StringArray, StringBuilder,
    UInt32Array,
};
use arrow::compute::{CastOptions, cast, cast_with_options, take};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;

/// Bytes of a UUID.
const UUID: i32 = 16;

/// How a field says that it is one of Arrow's extension types, and which.
const EXTENSION: &str = "ARROW:extension:name";
const ARROW_UUID: &str = "arrow.uuid";

/// Type of the key column, for output. Inside, a key is its text in UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    /// Text, plain or by dictionary; written as Utf8.
    Utf8,
    /// Any integer type; written as that type. Its text is its decimal form.
    Integer(DataType),
    /// `true` and `false`.
    Boolean,
    /// A decimal type; its text has as many digits after the point as the type has.
    Decimal(DataType),
    /// A date, `2024-01-31`. Written as Date32, which Parquet has a type for.
    Date,
    /// 16 bytes; its text has hexadecimal digits and hyphens, in lower case.
    Uuid,
    /// Bytes, of one length or of any; its text is hexadecimal, in lower case.
    Binary(DataType),
}

impl KeyType {
    /// Keys of this plain type, without dictionaries and views; `None` where it can't be a key. `is_uuid`: it says that
    /// its 16 bytes are a UUID.
    pub fn of(data_type: &DataType, is_uuid: bool) -> Option<KeyType> {
        Some(match data_type {
            DataType::Utf8 | DataType::LargeUtf8 => KeyType::Utf8,
            t if t.is_integer() => KeyType::Integer(t.clone()),
            DataType::Boolean => KeyType::Boolean,
            t if t.is_decimal() => KeyType::Decimal(t.clone()),
            DataType::Date32 | DataType::Date64 => KeyType::Date,
            DataType::FixedSizeBinary(UUID) if is_uuid => KeyType::Uuid,
            DataType::FixedSizeBinary(_) => KeyType::Binary(data_type.clone()),
            DataType::Binary | DataType::LargeBinary => KeyType::Binary(DataType::Binary),
            _ => return None,
        })
    }

    /// The type that it is written as.
    pub fn data_type(&self) -> DataType {
        match self {
            KeyType::Utf8 => DataType::Utf8,
            KeyType::Boolean => DataType::Boolean,
            KeyType::Date => DataType::Date32,
            KeyType::Uuid => DataType::FixedSizeBinary(UUID),
            KeyType::Integer(data_type) | KeyType::Decimal(data_type) | KeyType::Binary(data_type) => data_type.clone(),
        }
    }

    /// The column of the output.
    pub fn field(&self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), false);
        if *self != KeyType::Uuid {
            return field;
        }
        field.with_metadata(HashMap::from([(EXTENSION.to_string(), ARROW_UUID.to_string())]))
    }

    /// Texts of values, null where they are null.
    ///
    /// # Errors
    /// Values of another type.
    pub fn texts(&self, values: &ArrayRef) -> Result<LargeStringArray, ArrowError> {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let values = cast_with_options(values, &self.data_type(), &strict)?;
        Ok(match self {
            KeyType::Uuid | KeyType::Binary(_) => {
                let values = cast(&values, &DataType::LargeBinary)?;
                let text = |bytes: &[u8]| if *self == KeyType::Uuid { uuid_text(bytes) } else { hexadecimal(bytes) };
                values.as_binary::<i64>().iter().map(|value| value.map(text)).collect()
            }
            _ => cast_with_options(&values, &DataType::LargeUtf8, &strict)?.as_string::<i64>().clone(),
        })
    }

    /// The values of rows whose texts are given by numbers, in the type of [`KeyType::data_type`].
    ///
    /// # Errors
    /// A text that no value of the type has.
    pub fn values<'a>(&self, rows: &[u32], text: impl Fn(u32) -> Option<&'a str>) -> Result<ArrayRef, String> {
        let text = |row: u32| text(row).ok_or("a key is not valid UTF-8: the state is damaged");
        if *self == KeyType::Utf8 {
            let mut builder = StringBuilder::with_capacity(rows.len(), rows.len() * 8);
            for row in rows {
                builder.append_value(text(*row)?);
            }
            return Ok(Arc::new(builder.finish()));
        }
        // Few keys come often in a batch: each is read once.
        let mut seen: HashMap<u32, u32> = HashMap::new();
        let mut texts: Vec<&str> = Vec::new();
        let mut picked: Vec<u32> = Vec::with_capacity(rows.len());
        for row in rows {
            let next = u32::try_from(texts.len()).map_err(|e| e.to_string())?;
            let at = *seen.entry(*row).or_insert(next);
            if at == next {
                texts.push(text(*row)?);
            }
            picked.push(at);
        }
        let values =
            self.values_of(&texts).map_err(|text| format!("key \"{text}\" is not the {} it was", self.word()))?;
        take(&values, &UInt32Array::from(picked), None).map_err(|e| e.to_string())
    }

    /// The values of texts, or the first that is none.
    fn values_of<'a>(&self, texts: &[&'a str]) -> Result<ArrayRef, &'a str> {
        let bytes = || -> Result<Vec<Vec<u8>>, &'a str> {
            let without = |text: &str| if *self == KeyType::Uuid { text.replace('-', "") } else { text.to_string() };
            texts.iter().map(|text| unhex(&without(text)).ok_or(*text)).collect()
        };
        let first = texts.first().copied().unwrap_or_default();
        Ok(match self {
            KeyType::Binary(DataType::Binary) => Arc::new(BinaryArray::from_iter_values(bytes()?)),
            KeyType::Uuid | KeyType::Binary(_) => {
                let (DataType::FixedSizeBinary(width), bytes) = (self.data_type(), bytes()?) else { return Err(first) };
                let values = bytes.into_iter().map(Some);
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, width).map_err(|_| first)?)
            }
            _ => {
                let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
                let values = cast(&array, &self.data_type()).map_err(|_| first)?;
                if let Some(nulls) = values.nulls()
                    && let Some(row) = nulls.iter().position(|valid| !valid)
                {
                    return Err(texts[row]);
                }
                values
            }
        })
    }

    fn word(&self) -> &'static str {
        match self {
            KeyType::Utf8 => "text",
            KeyType::Integer(_) => "integer",
            KeyType::Boolean => "boolean",
            KeyType::Decimal(_) => "decimal",
            KeyType::Date => "date",
            KeyType::Uuid => "UUID",
            KeyType::Binary(_) => "bytes",
        }
    }
}

/// Whether a column says that its bytes are a UUID.
pub fn is_uuid(field: &Field) -> bool {
    field.extension_type_name() == Some(ARROW_UUID)
}

/// Bytes as text: hexadecimal digits, in lower case.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

/// A UUID as text: hexadecimal digits and hyphens. Bytes that are not 16 have no hyphens.
pub fn uuid_text(bytes: &[u8]) -> String {
    let mut text = hexadecimal(bytes);
    if bytes.len() == 16 {
        [20, 16, 12, 8].into_iter().for_each(|at| text.insert(at, '-'));
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray, Int32Array, UInt64Array,
    };

    #[test]
    fn each_value_has_a_text_and_comes_back() {
        let bytes: Vec<u8> = (0..16).map(|n| n * 17).collect();
        let uuid = FixedSizeBinaryArray::try_from_iter([bytes.clone()].into_iter()).unwrap();
        let decimals = Decimal128Array::from(vec![1250, -5, 0]).with_precision_and_scale(10, 2).unwrap();
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![19_753]));
        let dictionary = DictionaryArray::new(Int32Array::from(vec![0, 0]), dates.clone());
        let cases: Vec<(KeyType, ArrayRef, &[&str])> = vec![
            (KeyType::Utf8, Arc::new(StringArray::from(vec!["a", ""])), &["a", ""]),
            (
                KeyType::Integer(DataType::UInt64),
                Arc::new(UInt64Array::from(vec![u64::MAX])),
                &["18446744073709551615"],
            ),
            (KeyType::Boolean, Arc::new(BooleanArray::from(vec![true, false])), &["true", "false"]),
            (KeyType::Decimal(DataType::Decimal128(10, 2)), Arc::new(decimals), &["12.50", "-0.05", "0.00"]),
            (KeyType::Date, dates, &["2024-01-31"]),
            (KeyType::Date, Arc::new(dictionary), &["2024-01-31", "2024-01-31"]),
            (KeyType::Date, Arc::new(Date64Array::from(vec![19_753 * 86_400_000])), &["2024-01-31"]),
            (KeyType::Uuid, Arc::new(uuid.clone()), &["00112233-4455-6677-8899-aabbccddeeff"]),
            (KeyType::Binary(DataType::FixedSizeBinary(16)), Arc::new(uuid), &["00112233445566778899aabbccddeeff"]),
            (
                KeyType::Binary(DataType::Binary),
                Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""])),
                &["00ff", ""],
            ),
        ];
        for (key, values, expected) in cases {
            let texts = key.texts(&values).unwrap();
            assert_eq!(texts.iter().map(Option::unwrap).collect::<Vec<_>>(), expected, "{key:?}");
            let rows: Vec<u32> = (0..texts.len() as u32).collect();
            let back = key.values(&rows, |row| Some(texts.value(row as usize))).unwrap();
            assert_eq!(&back, &cast(&values, &key.data_type()).unwrap(), "{key:?}");
        }
    }

    #[test]
    fn what_is_no_value_is_told() {
        for (key, text, word) in [
            (KeyType::Integer(DataType::Int8), "200", "integer"),
            (KeyType::Boolean, "perhaps", "boolean"),
            (KeyType::Date, "soon", "date"),
            (KeyType::Uuid, "00", "UUID"),
            (KeyType::Binary(DataType::Binary), "abc", "bytes"),
        ] {
            let message = key.values(&[0], |_| Some(text)).unwrap_err();
            assert_eq!(message, format!("key \"{text}\" is not the {word} it was"));
        }
    }
}
