//! What keys look like by their bytes. A guess, for messages: nothing is decided by it.

/// What a key looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Text without control characters.
    Text,
    /// A JSON string, in quotes.
    QuotedJson,
    /// 4 bytes that are no text.
    Int,
    /// 8 bytes that are no text.
    Long,
    /// Begins as Confluent's frame does, with a schema's id.
    Framed,
    /// Anything else.
    Bytes,
}

impl Shape {
    /// Of one key.
    pub fn of(key: &[u8]) -> Shape {
        let text = std::str::from_utf8(key).ok().filter(|text| !text.chars().any(char::is_control));
        match (text, key) {
            (Some(text), _) if text.len() > 1 && text.starts_with('"') && text.ends_with('"') => Shape::QuotedJson,
            (Some(_), _) => Shape::Text,
            (None, [_, _, _, _]) => Shape::Int,
            // A number below 2^24, or a frame with a small id and three bytes: the former is far more usual.
            (None, [_, _, _, _, _, _, _, _]) => Shape::Long,
            (None, [0, 0, _, _, _, _, ..]) => Shape::Framed,
            (None, _) => Shape::Bytes,
        }
    }

    /// In words, in the plural.
    pub fn text(self) -> &'static str {
        match self {
            Shape::Text => "text",
            Shape::QuotedJson => "JSON strings in quotes",
            Shape::Int => "4-byte integers",
            Shape::Long => "8-byte integers",
            Shape::Framed => "Confluent's frame with a schema's id",
            Shape::Bytes => "bytes",
        }
    }

    /// The format that fits it; `None`: there is none in this version.
    fn format(self) -> Option<&'static str> {
        match self {
            Shape::Text => Some("text"),
            Shape::QuotedJson => Some("json"),
            Shape::Int => Some("int"),
            Shape::Long => Some("long"),
            Shape::Bytes => Some("bytes"),
            Shape::Framed => None,
        }
    }
}

/// What most of these keys look like; `None`: there are none.
pub fn of_most<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Option<Shape> {
    let mut counts = std::collections::BTreeMap::new();
    keys.for_each(|key| *counts.entry(Shape::of(key)).or_insert(0_usize) += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(shape, _)| shape)
}

/// What to write in the pipeline file where keys of this shape become a column; `None`: text, the default, fits.
pub fn advice(shape: Shape, column: &str) -> Option<String> {
    let looks = shape.text();
    match shape.format() {
        Some("text") => None,
        Some(format) => Some(format!("keys look like {looks}: write `key: {{ column: {column}, format: {format} }}`")),
        None => Some(format!(
            "keys look like {looks}, whose id would be part of the key: take the key from a field of the message \
             (`record.key`, with `partitioned_by: key`)"
        )),
    }
}

/// For the end of a message about one key: what it looks like, if that isn't text.
pub(super) fn hint(key: &[u8]) -> String {
    match Shape::of(key) {
        Shape::Text => String::new(),
        shape => match shape.format() {
            Some(format) => format!("; it looks like one of {} (format: {format})", shape.text()),
            None => format!("; it looks like {}", shape.text()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_their_bytes() {
        for (key, shape) in [
            (&b"shop-1"[..], Shape::Text),
            (b"", Shape::Text),
            (b"1234", Shape::Text),
            (br#""shop-1""#, Shape::QuotedJson),
            (&[0, 0, 0, 1], Shape::Int),
            (&[0, 0, 0, 0, 0, 0, 0, 1], Shape::Long),
            (b"\0\0\0\0\x01\x0cshop-1", Shape::Framed),
            (&[255, 254], Shape::Bytes),
        ] {
            assert_eq!(Shape::of(key), shape, "{key:?}");
        }
        let most = of_most([&[0, 0, 0, 1][..], &[0, 0, 0, 2], b"shop"].into_iter());
        assert_eq!(most, Some(Shape::Int));
        assert_eq!(of_most(std::iter::empty()), None);
        let text = advice(Shape::Int, "shop").unwrap();
        assert_eq!(text, "keys look like 4-byte integers: write `key: { column: shop, format: int }`");
        assert_eq!(advice(Shape::Text, "shop"), None);
    }
}
