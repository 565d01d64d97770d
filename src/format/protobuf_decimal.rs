//! Decimals in Protobuf: `confluent.type.Decimal` and `google.type.Decimal`. They are text, digit by digit, and as
//! values of a record the nearest 64-bit float.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage};

const CONFLUENT: &str = "confluent.type.Decimal";
const GOOGLE: &str = "google.type.Decimal";
/// Maximum digits before or after the point.
const MOST: i64 = 1000;

/// Whether a field is one.
pub(super) fn is_decimal(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if matches!(message.full_name(), CONFLUENT | GOOGLE))
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
        CONFLUENT => Some(plain(part("value")?.as_bytes()?, i64::from(part("scale")?.as_i32()?))),
        _ => None,
    }
}

/// An unscaled integer as text with a point.
fn plain(bytes: &[u8], scale: i64) -> Result<String, String> {
    let (first, rest) = bytes.split_first().map_or((0, &[][..]), |(first, rest)| (*first as i8, rest));
    if rest.len() > 15 || scale.abs() > MOST {
        return Err(format!("a decimal of {} bytes and scale {scale} is too long", bytes.len()));
    }
    let unscaled = rest.iter().fold(i128::from(first), |value, byte| value << 8 | i128::from(*byte));
    let digits = unscaled.unsigned_abs().to_string();
    let sign = if unscaled < 0 { "-" } else { "" };
    Ok(match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{part}")
        }
        // A zero has no more digits by that.
        Err(_) if unscaled == 0 => "0".into(),
        Err(_) => format!("{sign}{digits}{}", "0".repeat(usize::try_from(-scale).unwrap_or_default())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_with_a_scale_is_a_number() {
        for (bytes, scale, text) in [
            (&[0x01, 0x2c][..], 2, "3.00"),
            (&[0xff], 2, "-0.01"),
            (&[0x80], 0, "-128"),
            (&[0, 0x80], 1, "12.8"),
            (&[5], -3, "5000"),
            (&[], 2, "0.00"),
            (&[], -2, "0"),
            (&[0x7f; 16], 0, "169473963133173273960190490760135540607"),
        ] {
            assert_eq!(plain(bytes, scale).as_deref(), Ok(text), "{bytes:?} {scale}");
        }
        assert!(plain(&[1; 17], 0).is_err() && plain(&[1], 1001).is_err() && plain(&[1], i64::from(i32::MIN)).is_err());
    }
}
