//! The keys of messages: from their bytes to the text that a key is within kolk, and back. Each text has one form in
//! bytes, so that outputs are partitioned by key as the input is.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::config::KeyFormat;
use crate::record::hexadecimal;

/// A message's key as text, or why it is none.
///
/// # Errors
/// Bytes of another format, for people.
pub fn text_of(format: KeyFormat, key: &[u8]) -> Result<Cow<'_, str>, String> {
    let wide = |bytes: usize| {
        format!(
            "expected {bytes} bytes (format: {}), found {}{}",
            format.word(),
            key.len(),
            super::key_guess::hint(key)
        )
    };
    Ok(match format {
        KeyFormat::Text => std::str::from_utf8(key).map_err(|e| format!("{e}{}", super::key_guess::hint(key)))?.into(),
        KeyFormat::Int => i32::from_be_bytes(key.try_into().map_err(|_| wide(4))?).to_string().into(),
        KeyFormat::Long => i64::from_be_bytes(key.try_into().map_err(|_| wide(8))?).to_string().into(),
        KeyFormat::Bytes => hexadecimal(key).into(),
        // Its schema is needed: [`super::schema_key`].
        KeyFormat::Avro | KeyFormat::Protobuf => return Err("this key is read with a schema".into()),
        KeyFormat::Json => json_text(std::str::from_utf8(super::frame::json(key)).map_err(|e| e.to_string())?),
    })
}

/// A key's text as a message's key.
pub fn bytes_of(format: KeyFormat, text: &[u8]) -> Cow<'_, [u8]> {
    let (as_text, same) = (std::str::from_utf8(text).unwrap_or_default(), Cow::Borrowed(text));
    match format {
        // A key has many schemas, and its outputs one place: the text's.
        KeyFormat::Text | KeyFormat::Avro | KeyFormat::Protobuf => same,
        // The text came of such a number.
        KeyFormat::Int => as_text.parse::<i32>().map_or(same, |number| number.to_be_bytes().to_vec().into()),
        KeyFormat::Long => as_text.parse::<i64>().map_or(same, |number| number.to_be_bytes().to_vec().into()),
        KeyFormat::Bytes => {
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            text.chunks(2).map(byte).collect::<Option<Vec<u8>>>().map_or(same, Cow::Owned)
        }
        KeyFormat::Json if is_json(as_text) => same,
        KeyFormat::Json => serde_json::Value::from(as_text).to_string().into_bytes().into(),
    }
}

/// A string without its quotes, unless what is in them is JSON too: `"5"` isn't 5. What is no JSON is a string that was
/// written without quotes.
fn json_text(key: &str) -> Cow<'_, str> {
    let key = if is_json(key) { key.trim() } else { return key.into() };
    match serde_json::from_str::<String>(key) {
        Ok(text) if is_json(&text) => serde_json::Value::from(text).to_string().into(),
        Ok(text) => text.into(),
        Err(_) => key.into(),
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(format: KeyFormat, key: &[u8]) -> Result<String, String> {
        text_of(format, key).map(Cow::into_owned)
    }

    #[test]
    fn keys_are_text_and_come_back() {
        for (format, key, expected) in [
            (KeyFormat::Text, &b"shop-1"[..], "shop-1"),
            (KeyFormat::Int, &[0, 0, 0, 1], "1"),
            (KeyFormat::Int, &[255, 255, 255, 254], "-2"),
            (KeyFormat::Long, &[0, 0, 0, 1, 0, 0, 0, 0], "4294967296"),
            (KeyFormat::Bytes, &[0, 171, 16], "00ab10"),
            (KeyFormat::Bytes, &[], ""),
            (KeyFormat::Json, br#""shop-1""#, "shop-1"),
            (KeyFormat::Json, b"5", "5"),
            (KeyFormat::Json, br#""5""#, r#""5""#),
            (KeyFormat::Json, br#"{"b":1,"a":2}"#, r#"{"b":1,"a":2}"#),
            (KeyFormat::Json, br#""a\"b""#, r#"a"b"#),
        ] {
            assert_eq!(text(format, key).as_deref(), Ok(expected), "{format:?}");
            assert_eq!(bytes_of(format, expected.as_bytes()), key, "{format:?}");
        }
        assert_eq!(text(KeyFormat::Json, b"shop-1").as_deref(), Ok("shop-1"), "quoted or not, it is one key");
        assert!(text(KeyFormat::Int, b"shop-1").unwrap_err().starts_with("expected 4 bytes (format: int), found 6"));
        assert!(text(KeyFormat::Text, &[0, 0, 0, 200]).unwrap_err().contains("format: int"));
    }

    proptest! {
        #[test]
        fn different_keys_are_different_texts(number: i64, bytes: Vec<u8>, words in ".{0,12}") {
            let there_and_back = |format, key: &[u8]| bytes_of(format, text_of(format, key).unwrap().as_bytes()).into_owned();
            prop_assert_eq!(there_and_back(KeyFormat::Long, &number.to_be_bytes()), number.to_be_bytes());
            prop_assert_eq!(there_and_back(KeyFormat::Bytes, &bytes), bytes);
            prop_assert_eq!(there_and_back(KeyFormat::Text, words.as_bytes()), words.as_bytes());
            let json = serde_json::Value::from(words).to_string();
            prop_assert_eq!(there_and_back(KeyFormat::Json, json.as_bytes()), json.as_bytes());
        }
    }
}
