//! Vectors in every format: what is read of them, and what is refused of them.

use arrow::array::ArrayRef;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

use super::*;
use crate::format::frame::put_frame;
use crate::format::law::{ID, bad, decode, in_frame, json_of, planned_with, schema};
use crate::format::protobuf;
use crate::record::vector_of;

const VECTORS: &str = "vectors: { x: 3, s: { width: any, type: int16 } }";

/// The vectors of a message, null as -9; or why it is refused.
type Found = Result<[Option<Vec<f32>>; 2], (&'static str, String)>;

fn found(decoder: &mut dyn Decoder, payload: &[u8]) -> Found {
    // With one before it that has nothing, whose memory is used again.
    let decoded = decode(decoder, &[payload.to_vec(), payload.to_vec()]);
    if let Some(reason) = bad(&decoded, 1) {
        return Err((reason, decoded.details.last().map(|(_, detail)| detail.clone()).unwrap_or_default()));
    }
    let known = |n: f32| if n.is_nan() { -9.0 } else { n };
    let of = |array: &ArrayRef| Some(vector_of(array, 1)?.into_iter().map(known).collect());
    assert!(decoded.records.values.is_empty(), "a record may have vectors alone");
    Ok([of(&decoded.records.vectors[0]), of(&decoded.records.vectors[1])])
}

fn width(width: usize) -> Found {
    Err((
        "bad_vector",
        format!("column \"x\": a vector of {width} number{}, expected 3", if width == 1 { "" } else { "s" }),
    ))
}

const NONE: [f32; 3] = [-9.0; 3];

#[test]
fn json_has_arrays_and_bytes_in_base64() {
    let yaml = "name: p\nsource: { kafka: { brokers: b, topic: t, partitioned_by: key } }\n\
                record: { key: k, time: { column: ts, unit: ms }, vectors: { x: 3, s: { width: any, type: int16 } } }";
    let (mut decoder, layout) = json_of(yaml);
    assert_eq!(layout.columns[0].name, "x");
    let mut of = |vectors: &str| found(&mut decoder, format!("{{\"k\":\"a\",\"ts\":5,{vectors}}}").as_bytes());
    let full = || Ok([Some(vec![1.0, -9.0, 2.5]), Some(vec![-1.0, 0.5])]);
    assert_eq!(of(r#""x":[1,null,2.5],"s":[-32768,16384]"#), full());
    assert_eq!(of(r#""s":"AIAAQA==","x":[1, NaN, 2.5]"#), full());
    assert_eq!(of(r#""x":[1,"NaN",2.5],"s":[-32768,16384]"#), full());
    assert_eq!(of(r#""x":null,"s":null"#), Ok([Some(NONE.to_vec()), None]));
    assert_eq!(of(r#""z":[1]"#), Ok([Some(NONE.to_vec()), None]), "what is missing is null");
    assert_eq!(of(r#""x":[1e300,-0.1,0],"s":[]"#), Ok([Some(vec![f32::INFINITY, -0.1, 0.0]), Some(vec![])]));
    assert_eq!(of(r#""x":[1,2]"#), width(2));
    assert_eq!(of(r#""x":[]"#), width(0));
    let why = of(r#""s":"AIAA""#).unwrap_err();
    assert_eq!(why, ("bad_vector", "column \"s\": 3 bytes, which are no whole numbers of int16".into()));
    for (vectors, expected) in [
        (r#""x":[1,"2",3]"#, "expected a number"),
        (r#""x":5"#, "expected an array of numbers"),
        (r#""x":"AAAA""#, "expected an array of numbers"),
        (r#""x":[[1,2,3]]"#, "expected a number"),
        (r#""s":"-""#, "or bytes that are int16 in base64"),
    ] {
        let (reason, detail) = of(vectors).unwrap_err();
        assert!(reason == "bad_value" && detail.contains(expected), "{reason} {detail}");
    }
    let (mut decoder, _) = json_of(&yaml.replace("partitioned_by: key", "partitioned_by: key, numbers: text"));
    assert_eq!(
        found(&mut decoder, br#"{"k":"a","ts":5,"x":["1"," 2.5",null]}"#),
        Ok([Some(vec![1.0, 2.5, -9.0]), None])
    );
}

fn avro_schema(x: &str, s: &str) -> Schema {
    schema(&format!(
        r#"{{"type":"record","name":"S","fields":[{{"name":"k","type":"string"}},{{"name":"ts","type":"long"}},{{"name":"x","type":{x}}},{{"name":"s","type":{s}}}]}}"#
    ))
}

/// A message of a schema; `vectors`: the two columns as they are encoded.
fn avro(x: &str, s: &str, vectors: &[u8]) -> Found {
    let (mut framed, _) = planned_with("avro", &avro_schema(x, s), &[], VECTORS);
    let mut bytes = Vec::new();
    put_frame(ID, &mut bytes);
    bytes.extend([2, b'a', 10]);
    bytes.extend(vectors);
    found(&mut framed, &bytes)
}

const FLOATS: &str = r#"{"type":"array","items":"float"}"#;

#[test]
fn avro_has_arrays_bytes_and_fixed() {
    let floats = |numbers: &[f32]| -> Vec<u8> {
        let items = numbers.iter().flat_map(|number| number.to_le_bytes());
        std::iter::once(numbers.len() as u8 * 2).chain(items).chain([0]).collect()
    };
    let loud = [0, 0x80, 0, 0x40];
    let bytes = [&[8][..], &loud].concat();
    let full = || Ok([Some(vec![1.0, 2.0, -0.5]), Some(vec![-1.0, 0.5])]);
    assert_eq!(avro(FLOATS, r#""bytes""#, &[floats(&[1.0, 2.0, -0.5]), bytes.clone()].concat()), full());
    let fixed = r#"{"type":"fixed","name":"Four","size":4}"#;
    assert_eq!(avro(FLOATS, fixed, &[floats(&[1.0, 2.0, -0.5]), loud.to_vec()].concat()), full());
    // Integers, in blocks of one; a union with null around it all.
    let ints = r#"["null",{"type":"array","items":"int"}]"#;
    let blocks = [2, 2, 2, 2, 4, 2, 1, 0];
    assert_eq!(
        avro(ints, r#"["null","bytes"]"#, &[&blocks[..], &[0]].concat()),
        Ok([Some(vec![1.0, 2.0, -1.0]), None])
    );
    assert_eq!(
        avro(ints, r#""bytes""#, &[&[0][..], &bytes].concat()),
        Ok([Some(NONE.to_vec()), Some(vec![-1.0, 0.5])])
    );
    let nullable = r#"{"type":"array","items":["null","double"]}"#;
    let items = [&[6, 2][..], &1.5_f64.to_le_bytes(), &[0, 2], &2.5_f64.to_le_bytes(), &[0], &bytes].concat();
    assert_eq!(avro(nullable, r#""bytes""#, &items), Ok([Some(vec![1.5, -9.0, 2.5]), Some(vec![-1.0, 0.5])]));
    let several = r#"{"type":"array","items":["null","int","double"]}"#;
    let items = [&[6, 2, 4, 4][..], &0.5_f64.to_le_bytes(), &[0, 0], &bytes].concat();
    assert_eq!(avro(several, r#""bytes""#, &items), Ok([Some(vec![2.0, 0.5, -9.0]), Some(vec![-1.0, 0.5])]));
    assert_eq!(avro(FLOATS, r#""bytes""#, &[floats(&[1.0, 2.0]), bytes].concat()), width(2));
    let (reason, detail) = avro(FLOATS, r#""bytes""#, &[&floats(&[0.0; 3])[..], &[2, 1]].concat()).unwrap_err();
    assert_eq!(reason, "bad_vector");
    assert!(detail.contains("1 byte, which are no whole numbers of int16"), "{detail}");
    // A message with another writer's schema: the vector is none there.
    let (mut framed, _) = planned_with("avro", &avro_schema(FLOATS, r#""bytes""#), &[], VECTORS);
    framed.learn(&Schema { id: 9, ..avro_schema(r#""string""#, r#""bytes""#) });
    let mut other = Vec::new();
    put_frame(9, &mut other);
    other.extend([2, b'a', 10, 2, b'b', 0]);
    assert_eq!(found(&mut framed, &other).unwrap_err().0, "bad_schema");
}

#[test]
fn protobuf_has_repeated_numbers_and_bytes() {
    let text = |x: &str| {
        schema(&format!(
            "syntax = \"proto3\"; package shop; import \"google/protobuf/wrappers.proto\";
             message Sale {{ string k = 1; int64 ts = 2; repeated {x} x = 3; bytes s = 4; }}"
        ))
    };
    let message = |x: &str, fields: &[(&str, Value)]| -> Found {
        let schema = text(x);
        let mut message = DynamicMessage::new(protobuf::messages(&schema).unwrap().remove(0));
        message.set_field_by_name("k", Value::String("a".into()));
        message.set_field_by_name("ts", Value::I64(5));
        fields.iter().for_each(|(name, value)| message.set_field_by_name(name, value.clone()));
        let (mut framed, _) = planned_with("protobuf", &schema, &[], VECTORS);
        found(&mut framed, &in_frame(&[&[0][..], &message.encode_to_vec()].concat()))
    };
    let list = |all: &[f32]| ("x", Value::List(all.iter().map(|number| Value::F32(*number)).collect()));
    let loud = ("s", Value::Bytes(vec![0, 0x80, 0, 0x40].into()));
    let full = || Ok([Some(vec![1.0, 2.0, -0.5]), Some(vec![-1.0, 0.5])]);
    assert_eq!(message("float", &[list(&[1.0, 2.0, -0.5]), loud.clone()]), full());
    let ints = ("x", Value::List([1, 2, -3].map(Value::I32).to_vec()));
    assert_eq!(message("sint32", &[ints]), Ok([Some(vec![1.0, 2.0, -3.0]), None]), "no bytes are no samples");
    assert_eq!(message("double", &[loud]), Ok([Some(NONE.to_vec()), Some(vec![-1.0, 0.5])]), "no items are null");
    assert_eq!(message("float", &[list(&[1.0])]), width(1));
    // Not packed: each number has its tag.
    let mut unpacked = vec![0, 0x0a, 1, b'a', 0x10, 5];
    for number in [1.0_f32, 2.0, -0.5] {
        unpacked.push(0x1d);
        unpacked.extend(number.to_le_bytes());
    }
    let (mut framed, _) = planned_with("protobuf", &text("float"), &[], VECTORS);
    assert_eq!(found(&mut framed, &in_frame(&unpacked)), Ok([Some(vec![1.0, 2.0, -0.5]), None]));
    // What can't be a vector is refused at the start.
    let reader = |x: &str| protobuf::ProtobufReaderSchema::new(&text(x), None).unwrap();
    for x in ["string", "Sale", "bytes"] {
        assert!(reader(x).type_of("x", crate::format::columns::Use::Vector).is_err(), "{x}");
    }
    assert!(reader("google.protobuf.DoubleValue").type_of("x", crate::format::columns::Use::Vector).is_ok());
}
