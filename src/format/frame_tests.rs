//! Schemas that are named elsewhere than in Confluent's frame: in a header of the message, or by a fingerprint.

use super::*;
use crate::format::avro_schema::fingerprint;
use crate::format::frame::KEY_SCHEMA;
use crate::format::law::{AVRO, ID, PROTO, bad, framed, in_frame, schema};
use crate::format::protobuf_key::ProtobufKey;

/// "x", 1, 1.5 as a body of AVRO.
const BODY: &[u8] = b"\x02x\x02\x02\0\0\0\0\0\0\xf8\x3f";

/// What a decoder makes of a payload with this header: the key, or why it is refused.
fn read(decoder: &mut Framed, payload: &[u8], header: Option<&[u8]>) -> Result<String, &'static str> {
    let mut messages = Messages::default();
    messages.push(0, 0, None, Some(payload));
    let other = ("trace".to_string(), Some(b"1".to_vec()));
    let header = header.map(|bytes| (VALUE_SCHEMA.to_string(), Some(bytes.to_vec())));
    messages.headers.push([other].into_iter().chain(header).collect());
    let decoded = decoder.decode(&messages, 0..1, &mut Decided::default()).unwrap_or_else(|e| panic!("{e}"));
    match bad(&decoded, 0) {
        Some(reason) => Err(reason),
        None => Ok(String::from_utf8(decoded.records.key(0).to_vec()).unwrap()),
    }
}

const GUID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

#[test]
fn a_header_names_the_schema() {
    let mut avro = framed("avro", &schema(AVRO));
    avro.bodies.insert(SchemaName::Guid(GUID), (avro.make)(&schema(AVRO)));
    let guid = [&[1][..], &GUID].concat();
    assert_eq!(read(&mut avro, BODY, Some(&[0, 0, 0, 0, ID as u8])), Ok("x".into()));
    assert_eq!(read(&mut avro, BODY, Some(&guid)), Ok("x".into()));
    assert_eq!(read(&mut avro, &in_frame(BODY), None), Ok("x".into()), "without a header it is before the body");
    assert_eq!(read(&mut avro, &in_frame(BODY), Some(&guid)), Err("bad_avro"), "a header takes precedence");
    for wrong in [&[][..], &[0, 0, 7], &[1, 2], &[2; 17]] {
        assert_eq!(read(&mut avro, BODY, Some(wrong)), Err("bad_frame"), "{wrong:?}");
    }
    // In Protobuf the indexes of the message follow in the header; without any it is the first.
    let mut protobuf = framed("protobuf", &schema(PROTO));
    protobuf.bodies.insert(SchemaName::Guid(GUID), (protobuf.make)(&schema(PROTO)));
    let sale = [10, 1, b'x', 16, 1];
    assert_eq!(read(&mut protobuf, &sale, Some(&[&guid[..], &[2, 2]].concat())), Ok("x".into()));
    assert_eq!(read(&mut protobuf, &sale, Some(&[0, 0, 0, 0, ID as u8, 2, 2])), Ok("x".into()));
    assert_eq!(read(&mut protobuf, &sale, Some(&guid)), Err("bad_protobuf"), "the first is another message");
    assert_eq!(SchemaName::Guid(GUID).to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
}

#[test]
fn a_fingerprint_names_the_schema() {
    // As fastavro computes them.
    let sale = r#"{"type":"record","name":"Sale","namespace":"shop","doc":"d","fields":[
        {"name":"k","type":{"type":"string","logicalType":"uuid","avro.java.string":"String"},"aliases":["x"]},
        {"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"},"default":0},
        {"name":"v","type":["null","double"],"default":null},
        {"name":"e","type":{"type":"enum","name":"Kind","symbols":["A","B"],"default":"A"}},
        {"name":"n","type":["null","Sale"]},{"name":"f","type":{"type":"fixed","name":"other.F","size":16}},
        {"name":"m","type":{"type":"map","values":{"type":"array","items":"other.F"}}}]}"#;
    for (text, expected) in
        [(r#""int""#, "7275d51a3f395c8f"), (r#""string""#, "8f014872634503c7"), (sale, "23ddc70347265eb7")]
    {
        let found = fingerprint(&schema(text)).unwrap();
        assert_eq!(format!("{:016x}", u64::from_le_bytes(found)), expected, "{text}");
    }
    let mut avro = framed("avro", &schema(AVRO));
    avro.schemas = Arc::new(Schemas::new(None, &[Arc::new(schema(AVRO))]));
    let of = fingerprint(&schema(AVRO)).unwrap();
    assert_eq!(read(&mut avro, &[&[0xc3, 1][..], &of, BODY].concat(), None), Ok("x".into()));
    assert_eq!(read(&mut avro, &[&[0xc3, 1][..], &[0; 8], BODY].concat(), None), Err("unknown_schema"));
    assert_eq!(read(&mut avro, &[0xc3, 1, 2], None), Err("bad_frame"));
    assert_eq!(
        read(&mut framed("protobuf", &schema(PROTO)), &[&[0xc3, 1][..], &of, BODY].concat(), None),
        Err("bad_frame")
    );
}

#[test]
fn keys_in_protobuf() {
    let of = |text: &str, field: Option<&str>| ProtobufKey::new(&schema(text), field).unwrap();
    let one = |kind: &str| {
        format!(
            "syntax = \"proto3\"; import \"google/protobuf/wrappers.proto\"; message K {{ {kind} k = 1; }} enum E {{ A = 0; B = 1; }}"
        )
    };
    for (kind, body, expected) in [
        ("string", &[10, 1, b'a'][..], Some("a")),
        ("string", &[], Some("")),
        ("optional string", &[], None),
        ("int64", &[8, 5], Some("5")),
        ("sint32", &[8, 3], Some("-2")),
        ("uint64", &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], Some("18446744073709551615")),
        ("bool", &[8, 1], Some("true")),
        ("bytes", &[10, 2, 0, 171], Some("00ab")),
        ("E", &[8, 1], Some("B")),
        ("google.protobuf.StringValue", &[10, 3, 10, 1, b'a'], Some("a")),
        ("google.protobuf.StringValue", &[], None),
    ] {
        let key = of(&one(kind), None);
        let framed = [&[0][..], body].concat();
        assert_eq!(key.text(None, &framed).unwrap().as_deref(), expected, "{kind}");
        assert_eq!(key.text(Some(&[]), body).unwrap().as_deref(), expected, "{kind}, indexes in a header");
    }
    for (text, field, why) in [
        (&*one("double"), None, "a key is one value"),
        (&one("google.protobuf.Timestamp").replace("wrappers", "timestamp"), None, "a key is one value"),
        (&one("repeated string"), None, "a key is one value"),
        (&one("string").replace("k = 1;", "k = 1; string l = 2;"), None, "a message of 2 fields: a key is one value"),
        (&one("string"), Some("x"), "there is no field \"x\" in K"),
    ] {
        let why_not = of(text, field).text(None, &[0]).unwrap_err();
        assert!(why_not.contains(why), "{why_not}");
    }
    let two = of(&one("string").replace("k = 1;", "k = 1; string l = 2;"), Some("l"));
    assert_eq!(two.text(None, &[0, 10, 1, b'a', 18, 1, b'b']).unwrap().as_deref(), Some("b"));
    // The second message of its file, the first within it.
    let nested =
        "syntax = \"proto3\"; message A { string a = 1; } message B { string b = 1; message C { int32 c = 1; } }";
    let key = of(nested, None);
    assert_eq!(key.text(None, &[4, 2, 0, 8, 7]).unwrap().as_deref(), Some("7"));
    assert_eq!(key.text(Some(&[4, 2, 0]), &[8, 7]).unwrap().as_deref(), Some("7"));
    assert_eq!(key.text(None, &[2, 2, 10, 1, b'z']).unwrap().as_deref(), Some("z"));
    assert_eq!(key.text(None, &[2, 4, 8, 7]).unwrap_err(), "the schema has no message 2");
    assert!(key.text(None, &[0, 10, 5, b'z']).is_err(), "truncated");
}

#[test]
fn a_key_has_a_header_of_its_own() {
    let schemas = Arc::new(Schemas::new(None, &[]));
    let mut keys = SchemaKeys::new(schemas, Language::Avro, None);
    keys.learn(&schema(r#""string""#));
    let mut messages = Messages::default();
    messages.push(0, 0, Some(b"\x02a"), None);
    messages.headers.push(vec![
        (VALUE_SCHEMA.into(), Some(vec![0, 0, 0, 0, 99])),
        (KEY_SCHEMA.into(), Some(vec![0, 0, 0, 0, ID as u8])),
    ]);
    assert_eq!(keys.text(&messages, 0), Some(Ok("a".into())));
}
