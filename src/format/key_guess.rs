//! What keys look like by their bytes. A guess, for messages: nothing is decided by it.

/// What a key looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Text without control characters.
    Text,
    /// A JSON string, in quotes.
    QuotedJson,
    /// A JSON object.
    Object,
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
            (Some(text), _) if text.starts_with('{') && text.ends_with('}') => Shape::Object,
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
            Shape::Object => "JSON objects",
            Shape::Int => "4-byte integers",
            Shape::Long => "8-byte integers",
            Shape::Framed => "Confluent's frame with a schema's id",
            Shape::Bytes => "bytes",
        }
    }

    /// The format that makes one text of what is one key; `None`: there is none in this version.
    fn format(self) -> Option<&'static str> {
        match self {
            Shape::Text => Some("text"),
            Shape::QuotedJson => Some("json"),
            Shape::Int => Some("int"),
            Shape::Long => Some("long"),
            Shape::Bytes => Some("bytes"),
            Shape::Object | Shape::Framed => None,
        }
    }
}

/// What these keys look like, if most of them aren't text; `None`: there are none.
pub fn of_most<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Option<Shape> {
    let mut counts = std::collections::BTreeMap::new();
    keys.for_each(|key| *counts.entry(Shape::of(key)).or_insert(0_usize) += 1);
    let all: usize = counts.values().sum();
    let text = counts.remove(&Shape::Text).unwrap_or_default();
    if all == 0 || text * 2 >= all {
        return (all > 0).then_some(Shape::Text);
    }
    // A frame of 8 bytes among longer and shorter ones is a frame.
    if counts.contains_key(&Shape::Framed) {
        let long = counts.remove(&Shape::Long).unwrap_or_default();
        *counts.entry(Shape::Framed).or_default() += long;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(shape, _)| shape)
}

/// What to write in the pipeline file where keys of this shape are read as text into a column; `None`: text fits.
pub fn advice(shape: Shape, column: &str) -> Option<String> {
    let looks = shape.text();
    match (shape, shape.format()) {
        (Shape::Text, _) => None,
        (Shape::Object, _) => Some(format!("keys look like {looks}: two that are written differently are two keys")),
        (_, Some(format)) => {
            Some(format!("keys look like {looks}: write `key: {{ column: {column}, format: {format} }}`"))
        }
        (_, None) => Some(format!(
            "keys look like {looks}, whose id would be part of the key: if they are Avro, write `key: {{ column: \
             {column}, format: avro }}`; else take the key from a field of the message (`record.key`, with \
             `partitioned_by: key`)"
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
            (br#"{"a":1}"#, Shape::Object),
            (&[255, 254], Shape::Bytes),
        ] {
            assert_eq!(Shape::of(key), shape, "{key:?}");
        }
    }

    fn said(keys: &[&[u8]]) -> String {
        of_most(keys.iter().copied()).and_then(|shape| advice(shape, "shop")).unwrap_or_default()
    }

    #[test]
    fn keys_that_are_no_text_are_recognised() {
        let text = "keys look like 4-byte integers: write `key: { column: shop, format: int }`";
        assert_eq!(said(&[b"\0\0\0\x01", b"\0\0\x02\x07", b"shop"]), text);
        assert!(said(&[b"\0\0\0\0\0\0\0\x01", b"\0\0\0\0\x01\0\0\0"]).contains("format: long"));
        assert!(said(&[b"\0\0\0\0\x03\x0cshop-1", b"\0\0\0\0\x03\x02a"]).contains("format: avro"));
        assert!(said(&[b"\0\0\0\0\x03\x04ab", b"\0\0\0\0\x03\x04cd", b"\0\0\0\0\x03\x02a"]).contains("frame"));
        assert!(said(&[b"\"shop-1\"", b"\"b\""]).contains("in quotes: write `key: { column: shop, format: json }`"));
        assert!(said(&[b"{\"a\":1}"]).contains("written differently"));
        assert!(said(&[b"\xff\xfe\x01", b"\x80a", b"ok"]).contains("format: bytes"));
    }

    #[test]
    fn text_is_no_news() {
        for keys in [vec![], vec!["shop"], vec!["shop", "\"a\""], vec!["1234", "5678"], vec!["café"], vec![""]] {
            let keys: Vec<&[u8]> = keys.into_iter().map(str::as_bytes).collect();
            assert_eq!(said(&keys), "", "{keys:?}");
        }
        assert_eq!(of_most(std::iter::empty()), None);
    }
}
