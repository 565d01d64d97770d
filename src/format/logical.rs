//! What the schema within Kafka Connect's JSON wrapper says of a value: a time as an integer, a decimal as bytes.
//!
//! Lives here: Connect's and Debezium's names of types. Must not live here: where values are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::columns::{Columns, Target};
use super::path::splits;
use crate::record::digits;

/// What a value means beyond its JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Logical {
    /// Nothing more.
    #[default]
    Plain,
    /// A time or a date: an integer since 1970, in ticks of that many nanoseconds.
    Ticks(i64),
    /// A time as text.
    Text,
    /// A time of day.
    TimeOfDay,
    /// A decimal of this scale: its unscaled bytes, in base64.
    Decimal(i32),
    /// An object of a scale and a decimal of it.
    Variable,
}

const DAY: i64 = 86_400_000_000_000;

/// The names of schemas, and what their values are.
const NAMES: [(&str, Logical); 14] = [
    ("org.apache.kafka.connect.data.Timestamp", Logical::Ticks(1_000_000)),
    ("org.apache.kafka.connect.data.Date", Logical::Ticks(DAY)),
    ("org.apache.kafka.connect.data.Time", Logical::TimeOfDay),
    ("org.apache.kafka.connect.data.Decimal", Logical::Decimal(0)),
    ("io.debezium.data.VariableScaleDecimal", Logical::Variable),
    ("io.debezium.time.Timestamp", Logical::Ticks(1_000_000)),
    ("io.debezium.time.MicroTimestamp", Logical::Ticks(1_000)),
    ("io.debezium.time.NanoTimestamp", Logical::Ticks(1)),
    ("io.debezium.time.Date", Logical::Ticks(DAY)),
    ("io.debezium.time.ZonedTimestamp", Logical::Text),
    ("io.debezium.time.IsoTimestamp", Logical::Text),
    ("io.debezium.time.Time", Logical::TimeOfDay),
    ("io.debezium.time.MicroTime", Logical::TimeOfDay),
    ("io.debezium.time.NanoTime", Logical::TimeOfDay),
];

impl Logical {
    /// What a Connect schema says of its values.
    fn of(schema: &Value) -> Logical {
        let name = schema.get("name").and_then(Value::as_str).unwrap_or_default();
        match NAMES.iter().find(|(known, _)| *known == name).map(|(_, logical)| *logical) {
            Some(Logical::Decimal(_)) => {
                let scale = schema.pointer("/parameters/scale");
                let scale = scale.and_then(|scale| scale.as_str().map_or(scale.as_i64(), |text| text.parse().ok()));
                scale.and_then(|scale| i32::try_from(scale).ok()).map_or(Logical::Plain, Logical::Decimal)
            }
            found => found.unwrap_or_default(),
        }
    }
}

/// What a schema says of the columns that are read; only those of which it says something.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Logicals(Vec<(Target, Logical)>);

impl Logicals {
    /// What a schema says, as JSON; nothing where it is none.
    pub fn new(schema: &str, columns: &Columns) -> Logicals {
        let schema: Value = serde_json::from_str(schema).unwrap_or_default();
        let mut found = Vec::new();
        for (name, target) in &columns.fields {
            let (base, name) = super::envelope::place(columns.envelope, name);
            // The wrapper's own field is what the schema is of.
            let base = base.strip_prefix("payload").unwrap_or(base);
            let within = if base.is_empty() { Some(&schema) } else { field(&schema, base) };
            let logical = within.and_then(|within| find(within, name)).map(Logical::of).unwrap_or_default();
            if logical != Logical::Plain {
                found.push((*target, logical));
            }
        }
        Logicals(found)
    }

    /// What it says of a column.
    pub fn of(&self, target: Target) -> Logical {
        self.0.iter().find(|(of, _)| *of == target).map(|(_, logical)| *logical).unwrap_or_default()
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn field<'v>(schema: &'v Value, name: &str) -> Option<&'v Value> {
    let mut fields = schema.get("fields")?.as_array()?.iter();
    fields.find(|field| field.get("field").and_then(Value::as_str) == Some(name))
}

/// The schema of a field by its name with dots; the longest name that is there counts.
fn find<'v>(schema: &'v Value, name: &str) -> Option<&'v Value> {
    field(schema, name).or_else(|| splits(name).find_map(|(segment, rest)| find(field(schema, segment)?, rest)))
}

/// The digits of a decimal, from its unscaled bytes in base64.
pub(super) fn decimal(text: &str, scale: i32) -> Result<String, String> {
    let bytes = STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty());
    let wrong = || format!("expected a decimal as bytes in base64, as the message's schema says, found \"{text}\"");
    digits(&bytes.ok_or_else(wrong)?, i64::from(scale)).map_err(|why| format!("\"{text}\": {why}"))
}

/// Debezium's decimal whose scale comes with each value.
#[derive(Deserialize)]
pub(super) struct Variable {
    scale: i32,
    value: String,
}

impl Variable {
    /// Its digits.
    pub fn digits(&self) -> Result<String, String> {
        decimal(&self.value, self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_their_digits() {
        let decimal = |bytes: &[u8], scale| decimal(&STANDARD.encode(bytes), scale);
        for (bytes, scale, digits) in [
            (&[1, 0][..], 2, "2.56"),
            (&[255], 2, "-0.01"),
            (&[0, 200], 0, "200"),
            (&[5], -2, "500"),
            (&[0], 3, "0.000"),
            (&[0x80, 0], 1, "-3276.8"),
        ] {
            assert_eq!(decimal(bytes, scale).as_deref(), Ok(digits));
        }
        assert!(decimal(&[1; 17], 2).unwrap_err().contains("more than 38 digits"));
        assert!(super::decimal("12.5", 2).unwrap_err().contains("base64"));
        assert!(super::decimal("", 2).is_err());
    }
}
