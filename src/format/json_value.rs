//! The values of JSON: keys, numbers, times, and what passes through.
//!
//! Lives here: one value. Must not live here: where values are ([`super::path`]), and objects ([`super::json`]).

use std::fmt;

use arrow::datatypes::DataType;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Unexpected, Visitor};

use super::columns::Cell;
use super::logical::{self, Logical, Variable};
use super::times::{FRACTIONS, Ticks, TimeFrom};

/// Integers up to here are all there are as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A bare or quoted number that is none, as many languages write it; in `value` a value, which is null then.
pub(super) fn is_nan(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    ["nan", "inf", "infinity"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// The same JSON with null for each bare NaN and Infinity, which are none; `None`: there are none of them.
pub(super) fn without_nan(text: &str) -> Option<String> {
    let (bytes, mut fixed, mut copied, mut at) = (text.as_bytes(), String::new(), 0, 0);
    while let Some(byte) = bytes.get(at) {
        // Not of a list or an object: within it, each end would be looked for again.
        let end = || super::raw::end(text, at);
        match byte {
            b'"' => at = end(),
            b'-' | b'+' | b'n' | b'N' | b'i' | b'I' => {
                let end = end();
                if text.get(at..end).is_some_and(is_nan) {
                    fixed.push_str(&text[copied..at]);
                    fixed.push_str("null");
                    copied = end;
                }
                at = end.max(at + 1);
            }
            _ => at += 1,
        }
    }
    (copied > 0).then(|| {
        fixed.push_str(&text[copied..]);
        fixed
    })
}

/// Turns a visitor into a seed for any value.
macro_rules! seed {
    ($name:ident) => {
        impl<'de> DeserializeSeed<'de> for $name {
            type Value = <Self as Visitor<'de>>::Value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

/// A key as text.
pub(super) struct KeyText(pub Logical);

seed!(KeyText);

impl<'de> Visitor<'de> for KeyText {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or an integer as the key")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.0 {
            Logical::Decimal(scale) => logical::decimal(text, scale).map(Some).map_err(E::custom),
            _ => Ok(Some(text.to_string())),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        match self.0 {
            Logical::Variable => digits_of(map).map(Some),
            _ => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A number; null is NaN.
pub(super) struct Number {
    /// Whether text may be one.
    pub in_text: bool,
    pub logical: Logical,
}

seed!(Number);

impl<'de> Visitor<'de> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E>(self, number: f64) -> Result<f64, E> {
        Ok(number)
    }

    fn visit_u64<E>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_i64<E>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_unit<E>(self) -> Result<f64, E> {
        Ok(f64::NAN)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<f64, A::Error> {
        match self.logical {
            Logical::Variable => digits_of(map)?.parse().map_err(A::Error::custom),
            _ => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<f64, E> {
        match self.logical {
            Logical::Decimal(scale) => {
                let digits = logical::decimal(text, scale).map_err(E::custom)?;
                digits.parse().map_err(E::custom)
            }
            _ if is_nan(text) => Ok(f64::NAN),
            _ if self.in_text => number_of(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self)),
            _ => Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
    }
}

/// The digits of a decimal that is written as an object.
fn digits_of<'de, A: MapAccess<'de>>(map: A) -> Result<String, A::Error> {
    Variable::deserialize(MapAccessDeserializer::new(map))?.digits().map_err(A::Error::custom)
}

/// A number that is written as text.
fn number_of(text: &str) -> Option<f64> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.filter(|_| text.bytes().any(|byte| byte.is_ascii_digit()))
}

/// A time.
pub(super) struct Time {
    pub from: TimeFrom,
    /// Whether text may be a number.
    pub in_text: bool,
    pub logical: Logical,
}

seed!(Time);

impl Time {
    fn wrong<E: serde::de::Error>(&self, found: Unexpected<'_>) -> E {
        E::invalid_type(found, self)
    }
}

impl Visitor<'_> for Time {
    type Value = Ticks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.from {
            TimeFrom::Text => "a time as text (RFC 3339); one as an integer needs `unit`",
            TimeFrom::Fraction(_) => "a time as a number",
            _ => "a time as an integer",
        })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Ticks, E> {
        if self.from == TimeFrom::Text || self.logical == Logical::Text {
            return Ticks::of_text(text).map_err(E::custom);
        }
        if !self.in_text || self.logical != Logical::Plain {
            return Err(self.wrong(Unexpected::Str(text)));
        }
        match (text.trim().parse::<i64>(), number_of(text)) {
            (Ok(ticks), _) => self.visit_i64(ticks),
            (_, Some(number)) => self.visit_f64(number),
            _ => Err(self.wrong(Unexpected::Str(text))),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, ticks: u64) -> Result<Ticks, E> {
        match i64::try_from(ticks) {
            Ok(ticks) => self.visit_i64(ticks),
            Err(_) if self.from == TimeFrom::Text => Err(self.wrong(Unexpected::Unsigned(ticks))),
            Err(_) => Ok(Ticks::Beyond(ticks.to_string())),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, ticks: i64) -> Result<Ticks, E> {
        match (self.logical, self.from) {
            (Logical::Ticks(nanos), _) => Ok(Ticks::Of(ticks, Some(nanos))),
            (Logical::Plain, TimeFrom::Fraction(micros)) => Ok(Ticks::of_whole(ticks, micros)),
            (Logical::Plain, TimeFrom::Ticks) => Ok(Ticks::Of(ticks, None)),
            (Logical::TimeOfDay, _) => Err(E::custom("it is a time of day, which is on no day")),
            _ => Err(self.wrong(Unexpected::Signed(ticks))),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, ticks: f64) -> Result<Ticks, E> {
        match self.from {
            TimeFrom::Fraction(micros) if self.logical == Logical::Plain => Ok(Ticks::of_fraction(ticks, micros)),
            TimeFrom::Text => Err(self.wrong(Unexpected::Float(ticks))),
            // An integer of more digits than 64 bits hold comes as a float.
            _ if ticks.abs() >= 9.2e18 => Ok(Ticks::Beyond(ticks.to_string())),
            _ if ticks.fract() == 0.0 && ticks.abs() <= EXACT => self.visit_i64(ticks as i64),
            _ if ticks.fract() != 0.0 => {
                Err(E::custom(format!("expected a time as an integer, found {ticks}: {FRACTIONS}")))
            }
            _ => Err(self.wrong(Unexpected::Float(ticks))),
        }
    }

    fn visit_unit<E>(self) -> Result<Ticks, E> {
        Ok(Ticks::Null)
    }
}

/// The value of a passthrough column as it is written; text only where the column isn't, or where text may be a number.
pub(super) fn cell(written: &str, to: &DataType, in_text: bool, of: Logical) -> Result<Cell, String> {
    let wrong = |expected: &str| Err(format!("expected {expected}, found {written}"));
    let quoted = || serde_json::from_str::<String>(written).ok();
    if let Logical::Decimal(scale) = of
        && let Some(text) = quoted()
    {
        let digits = logical::decimal(&text, scale)?;
        return cell(&digits, to, false, Logical::Plain);
    }
    if of == Logical::Variable && written.starts_with('{') {
        let digits = serde_json::from_str::<Variable>(written).map_err(|e| e.to_string())?.digits()?;
        return cell(&digits, to, false, Logical::Plain);
    }
    let text = if written.starts_with('"') { quoted() } else { None };
    if *to != DataType::Boolean && text.as_deref().is_some_and(is_nan) {
        return Ok(Cell::Null);
    }
    let written = match &text {
        Some(text) if in_text => text.trim(),
        _ => written,
    };
    let is_number = written.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    Ok(match (to, written) {
        (_, "null") => Cell::Null,
        (DataType::Float64, _) => match written.parse() {
            Ok(number) if is_number && f64::is_finite(number) => Cell::Float(number),
            _ => return wrong("a number"),
        },
        (DataType::Int64, _) => match written.parse() {
            Ok(number) if is_number => Cell::Integer(number),
            _ => return wrong("an integer"),
        },
        (DataType::Boolean, "true") => Cell::Flag(true),
        (DataType::Boolean, "false") => Cell::Flag(false),
        (DataType::Boolean, _) => return wrong("true or false"),
        _ => Cell::Text(written.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_become_null() {
        for (text, expected) in [
            (
                r#"{"a":NaN,"b":-Infinity,"c":"NaN","d":[Infinity, nan]}"#,
                r#"{"a":null,"b":null,"c":"NaN","d":[null, null]}"#,
            ),
            (r#"{"a":+inf ,"n\"":-1}"#, r#"{"a":null ,"n\"":-1}"#),
        ] {
            assert_eq!(without_nan(text).as_deref(), Some(expected));
        }
        for text in [r#"{"a":null,"b":-5,"NaN":1,"c":"x\\"}"#, "", "-", "nano", r#"{"a":"unended NaN"#] {
            assert_eq!(without_nan(text), None, "{text}");
        }
    }
}
