//! What the bytes of keys look like, where they are hardly the text that they are read as.

/// Says what keys look like; `None` for plain text, and where there are no keys.
pub(super) fn shape<'a>(keys: impl Iterator<Item = &'a [u8]> + Clone) -> Option<String> {
    let all = |is: &dyn Fn(&[u8]) -> bool| keys.clone().all(is);
    let first = keys.clone().find(|key| !key.is_empty())?;
    let plain = |key: &[u8]| std::str::from_utf8(key).is_ok_and(|text| !text.chars().any(char::is_control));
    let integers = |width: usize| all(&|key| key.len() == width) && !all(&plain);
    let framed = |key: &[u8]| key.len() > 5 && key[0] == 0 && key[1..5] != [0; 4];
    if integers(4) || integers(8) {
        return Some(format!(
            "keys look like integers of {} bytes: read as text, each is {} characters that mean nothing",
            first.len(),
            first.len()
        ));
    }
    if all(&framed) {
        let id = u32::from_be_bytes([first[1], first[2], first[3], first[4]]);
        return Some(format!(
            "keys look like those of a schema registry (id {id}): read as text, the id is part of the key, so another \
             schema gives each key another state"
        ));
    }
    if all(&|key| key.len() > 1 && key.starts_with(b"\"") && key.ends_with(b"\"")) {
        return Some(
            "keys are JSON text in quotes: the quotes are part of the key, which \"a\" and a tell apart".into(),
        );
    }
    if all(&|key| key.starts_with(b"{") && key.ends_with(b"}")) {
        return Some("keys are JSON objects: two that are written differently are two keys".into());
    }
    let odd = keys.clone().filter(|key| !plain(key)).count();
    (odd * 2 > keys.count()).then(|| "keys hardly look like text: most hold bytes that no text has".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(keys: &[&[u8]]) -> String {
        shape(keys.iter().copied()).unwrap_or_default()
    }

    #[test]
    fn keys_that_are_no_text_are_recognised() {
        assert!(said(&[b"\0\0\0\x01", b"\0\0\x02\x07"]).contains("integers of 4 bytes"));
        assert!(said(&[b"\0\0\0\0\0\0\0\x01", b"\0\0\0\0\x01\0\0\0"]).contains("integers of 8 bytes"));
        assert!(said(&[b"\0\0\0\0\x03\x0cshop-1", b"\0\0\0\0\x03\x02a"]).contains("schema registry (id 3)"));
        assert!(said(&[b"\"shop-1\"", b"\"b\""]).contains("in quotes"));
        assert!(said(&[b"{\"a\":1}"]).contains("objects"));
        assert!(said(&[b"\xff\xfe\x01", b"\x80a", b"ok"]).contains("hardly"));
    }

    #[test]
    fn text_is_no_news() {
        for keys in [vec![], vec!["shop"], vec!["shop", "\"a\""], vec!["1234", "5678"], vec!["café"], vec![""]] {
            let keys: Vec<&[u8]> = keys.into_iter().map(str::as_bytes).collect();
            assert_eq!(shape(keys.iter().copied()), None, "{keys:?}");
        }
    }
}
