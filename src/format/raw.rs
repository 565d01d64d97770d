//! The text of a value within JSON, as it is written: serde_json says only what a value means.
//!
//! Where a value begins and ends, in text that serde_json reads at the same time. What isn't JSON it refuses; here any
//! place will do then.

/// Where a value begins, after its name that ends at `at`.
pub(super) fn after_name(text: &str, at: usize) -> usize {
    let colon = skip_space(text, at);
    skip_space(text, if text.as_bytes().get(colon) == Some(&b':') { colon + 1 } else { colon })
}

/// Where the value of field number `field` of the object begins that the text is.
pub(super) fn of_field(text: &str, field: usize) -> usize {
    let mut at = skip_space(text, 0) + 1;
    for number in 0.. {
        at = skip_space(text, at);
        if text.as_bytes().get(at) == Some(&b',') {
            at = skip_space(text, at + 1);
        }
        at = after_name(text, end(text, at));
        if number == field || at >= text.len() {
            break;
        }
        at = end(text, at);
    }
    at.min(text.len())
}

/// Where the value ends that begins at `at`.
pub(super) fn end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at),
        Some(b'{' | b'[') => {
            let (mut depth, mut at) = (0_usize, at);
            while let Some(byte) = bytes.get(at) {
                match byte {
                    b'"' => {
                        at = string_end(bytes, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return at;
                }
            }
            bytes.len()
        }
        _ => {
            let rest = bytes.get(at..).unwrap_or_default();
            let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            at + rest.iter().position(is_end).unwrap_or(rest.len())
        }
    }
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn skip_space(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_found_as_they_are_written() {
        let text = r#" { "a" : 1.10 ,"b\"}":"x\\\"]","c":{ "z":[1,{"y":"}"}], "a":2 } , "d":[ ] ,"e":null} "#;
        let found: Vec<&str> = (0..5).map(|field| of_field(text, field)).map(|at| &text[at..end(text, at)]).collect();
        let expected = ["1.10", r#""x\\\"]""#, r#"{ "z":[1,{"y":"}"}], "a":2 }"#, "[ ]", "null"];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn no_text_is_left(text in r#"[\[\]{}",:\\a1 é]{0,24}"#, at in 0_usize..30, field in 0_usize..5) {
            prop_assert!(end(&text, at) <= text.len().max(at));
            prop_assert!(of_field(&text, field) <= text.len());
            prop_assert!(after_name(&text, at) <= text.len().max(at));
        }
    }
}
