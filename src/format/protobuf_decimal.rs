//! Decimals in Protobuf: `confluent.type.Decimal`, `google.type.Decimal`, and what Debezium writes where each value has
//! a scale of its own. They are text, digit by digit, and as values of a record the nearest 64-bit float.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage};

use crate::record::digits;

const CONFLUENT: &str = "confluent.type.Decimal";
const GOOGLE: &str = "google.type.Decimal";
/// Debezium's, in whatever package or message the converter puts it.
const VARIABLE: &str = "VariableScaleDecimal";

/// Whether a field is one.
pub(super) fn is_decimal(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if matches!(message.full_name(), CONFLUENT | GOOGLE) || is_variable(&message))
}

/// A message as the text of a number, if it is a decimal that has one.
pub(super) fn text(message: &DynamicMessage) -> Option<Result<String, String>> {
    let part = |name: &str| message.get_field_by_name(name);
    match message.descriptor().full_name() {
        GOOGLE => {
            let text = part("value")?.as_str()?.trim().to_string();
            Some(match text.parse::<f64>() {
                // An empty text is zero, as its documents say.
                _ if text.is_empty() => Ok("0".into()),
                Ok(value) if value.is_finite() => Ok(text),
                _ => Err(format!("\"{text}\" is no decimal number")),
            })
        }
        name if name == CONFLUENT || is_variable(&message.descriptor()) => {
            Some(digits(part("value")?.as_bytes()?, i64::from(part("scale")?.as_i32()?)))
        }
        _ => None,
    }
}

fn is_variable(message: &MessageDescriptor) -> bool {
    let is = |field: &str, kind| message.get_field_by_name(field).is_some_and(|field| field.kind() == kind);
    message.name() == VARIABLE && is("scale", Kind::Int32) && is("value", Kind::Bytes)
}
