//! Schemas and messages that ask for more than they have: bounded in memory and time, and an error that says what.

use super::Decoder;
use super::law::{ID, bad, decode, decoder_of, framed, in_frame, schema};

const RECORD: &str = "key: k, time: ts, values: [v]";
const USUAL: &str = r#"{"name":"k","type":"string"},{"name":"ts","type":"long"},{"name":"v","type":["null","double"]}"#;

fn with(more: &str) -> String {
    format!(r#"{{"type":"record","name":"R","namespace":"n","fields":[{USUAL},{more}]}}"#)
}

/// A message of the usual fields, and what follows.
fn body(more: &[u8]) -> Vec<u8> {
    in_frame(&[&[2, b'a', 2, 2][..], &1.5_f64.to_le_bytes(), more].concat())
}

fn read(text: &str, fields: &[&str], more: &[u8]) -> Result<String, String> {
    let mut decoder = decoder_of("avro", "", RECORD, fields, text)?;
    let decoded = decode(&mut decoder, &[body(more)]);
    match decoded.records.bad.first() {
        None => Ok(format!("{:?}", decoded.records.values)),
        Some((_, reason)) => Err(format!("{reason}: {}", decoded.details.first().map_or("", |(_, detail)| detail))),
    }
}

#[test]
fn a_type_of_avro_that_is_itself_ends() {
    // By a name that names nothing else: what is not read is known not to end where the schema says it does.
    let itself = with(r#"{"name":"x","type":{"name":"A","type":"A"}}"#);
    assert!(read(&itself, &[], &[]).is_ok());
    assert!(read(&itself, &["x"], &[]).is_err());
}

#[test]
fn a_chain_of_types_of_any_length_ends() {
    for reversed in [false, true] {
        let mut all: Vec<String> = (0..3000)
            .map(|n| format!(r#"{{"name":"f{n}","type":{{"type":"record","name":"A{n}","fields":[{{"name":"x","type":"A{}"}}]}}}}"#, n + 1))
            .collect();
        all.push(r#"{"name":"last","type":{"type":"fixed","name":"A3000","size":1}}"#.into());
        if reversed {
            all.reverse();
        }
        let found = read(&with(&all.join(",")), &["f0.x"], &[0; 3001]);
        assert!(found.is_err(), "{found:?}");
        let _ = read(&with(&all.join(",")), &[], &[0; 3001]);
    }
}

#[test]
fn a_type_that_is_made_of_a_billion_others_is_refused() {
    let level = |n: usize| {
        let inner = if n == 0 { "\"null\"".to_string() } else { format!("\"A{}\"", n - 1) };
        format!(
            r#"{{"name":"f{n}","type":{{"type":"record","name":"A{n}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":{inner}}}]}}}}"#
        )
    };
    let all: Vec<String> = (0..60).map(level).collect();
    let text = with(&all.join(","));
    // Passed over: its values have no bytes, and there are 2^60 of them.
    let error = read(&text, &[], &[]).unwrap_err();
    assert!(error.contains("bad_avro: far more values than bytes"), "{error}");
    // Read: written out, it would have no end.
    let error = read(&text, &["f59.a"], &[]).unwrap_err();
    assert!(error.contains("more than 100000 types"), "{error}");
}

#[test]
fn an_array_of_values_without_bytes_is_passed_over_and_never_read() {
    let text = with(r#"{"name":"w","type":[{"type":"array","items":"null"},{"type":"array","items":"double"}]}"#);
    // 2^62 of them, in a block; then the end of the array.
    let endless = [&[0][..], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0]].concat();
    assert!(read(&text, &[], &endless).is_ok());
    let vectors = "key: k, time: ts, values: [v], vectors: { w: { width: any } }";
    let error = decoder_of("avro", "", vectors, &[], &text).err().unwrap();
    assert!(error.contains("an array of values without bytes"), "{error}");
}

#[test]
fn lengths_and_counts_of_avro_beyond_the_body_are_refused() {
    let text = with(
        r#"{"name":"l","type":{"type":"array","items":"string"}},{"name":"f","type":{"type":"fixed","name":"F","size":4000000000000000000}}"#,
    );
    let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for more in [&huge[..], &[1, 1], &[&[3][..], &huge].concat(), &[0, 0], &[2, 0xfd, 0xff, 0xff, 0xff, 0x0f]] {
        let error = read(&text, &[], more).unwrap_err();
        assert!(error.starts_with("bad_avro"), "{error}");
    }
}

#[test]
fn a_schema_of_protobuf_that_is_nested_without_end_is_refused() {
    for text in [
        format!("syntax = \"proto3\"; {}", "message M { ".repeat(100_000)),
        format!("syntax = \"proto3\"; option (x) = {}", "{ a: ".repeat(100_000)),
        format!("syntax = \"proto2\"; message M {{ optional int32 a = 1 [default = {}1]; }}", "(".repeat(100_000)),
        // What isn't a bracket closes none.
        format!("syntax = \"proto3\"; {}", "message M { /* } */".repeat(100_000)),
        format!("syntax = \"proto3\"; {}", "message M { // }\n".repeat(100_000)),
        format!("syntax = \"proto3\"; {}", "message M { option (x) = \"\\\"}\"; ".repeat(100_000)),
        format!("syntax = \"proto3\"; {}", "message M { ) ".repeat(100_000)),
    ] {
        let error = decoder_of("protobuf", "", RECORD, &[], &text).err().unwrap();
        assert!(error.contains("nested more than 100 deep"), "{error}");
    }
}

#[test]
fn brackets_in_the_comments_of_a_schema_nest_nothing() {
    let line = |n: usize| format!("// {n} < 5, {{ [ ( it's\n/* \" < */ option java_package = \"a<{{'\\\"(\"; \n");
    let comments: String = (0..300).map(line).collect();
    let comments = comments.replacen("option java_package", "option go_package", 1);
    let comments = comments.replace("option java_package = \"a<{'\\\"(\"; ", "");
    let text = format!(
        "syntax = \"proto3\"; {comments} message M {{ string k = 1; int64 ts = 2; double v = 3; map<string, int32> m = 4; }}"
    );
    decoder_of("protobuf", "", RECORD, &[], &text).map(drop).unwrap();
}

#[test]
fn a_message_of_protobuf_that_is_nested_without_end_is_a_bad_one() {
    let text = "syntax = \"proto3\"; message M { string k = 1; int64 ts = 2; double v = 3; M m = 4; }";
    let mut decoder = decoder_of("protobuf", "", RECORD, &[], text).unwrap();
    // Each is in the one before: their lengths are longer from in to out.
    let mut inner: Vec<u8> = Vec::new();
    for _ in 0..20_000 {
        let mut around = vec![0x22];
        let mut length = inner.len();
        while length > 0x7f {
            around.push(length as u8 & 0x7f | 0x80);
            length >>= 7;
        }
        around.push(length as u8);
        around.extend(&inner);
        inner = around;
    }
    let decoded = decode(&mut decoder, &[in_frame(&[&[0][..], &inner].concat())]);
    assert_eq!(bad(&decoded, 0), Some("bad_protobuf"));
    let groups = [&[0][..], &[0x23; 200_000]].concat();
    assert_eq!(bad(&decode(&mut decoder, &[in_frame(&groups)]), 0), Some("bad_protobuf"));
}

#[test]
fn a_message_on_which_the_library_panics_is_a_bad_one_and_the_next_is_read() {
    struct Panics(bool);
    impl super::framed::Body for Panics {
        fn read(&mut self, _: &[u8], _: &mut super::columns::Row) -> Result<(), super::columns::Fault> {
            match std::mem::replace(&mut self.0, false) {
                true => panic!("index out of bounds"),
                false => Err(("bad_avro", "the next".into())),
            }
        }
    }
    let mut decoder = framed("avro", &schema(super::law::AVRO));
    decoder.read_by(ID, Box::new(Panics(true)));
    let decoded = decode(&mut decoder as &mut dyn Decoder, &[in_frame(&[0]), in_frame(&[0])]);
    let details: Vec<&str> = decoded.details.iter().map(|(_, detail)| detail.as_str()).collect();
    assert_eq!(details, ["it can't be decoded: index out of bounds", "the next"]);
}

#[test]
fn json_that_is_nested_without_end_or_beyond_numbers_is_read_or_a_bad_message() {
    let mut decoder = super::law::json();
    let deep = |open: &str, close: &str| {
        format!(r#"{{"k":"a","ts":1,"a":1,"b":2,"more":{}1{}}}"#, open.repeat(100_000), close.repeat(100_000))
    };
    let long = format!(r#"{{"k":"a","ts":1,"a":{}.{}e-5,"b":2}}"#, "9".repeat(200_000), "9".repeat(200_000));
    let messages = [
        deep("[", "]"),
        deep("{\"x\":", "}"),
        r#"{"k":"a","ts":1,"a":1e999999,"b":2}"#.into(),
        r#"{"k":"a","ts":1,"a":1e-99999999999999999999,"b":2}"#.into(),
        long,
        r#"{"k":"a","k":"b","ts":1,"a":1,"b":2}"#.into(),
    ];
    let messages: Vec<Vec<u8>> = messages.into_iter().map(String::into_bytes).collect();
    super::law::alone_as_together(decoder.as_mut(), &messages).unwrap();
    let decoded = decode(decoder.as_mut(), &messages);
    let bad: Vec<bool> = (0..messages.len()).map(|index| bad(&decoded, index).is_some()).collect();
    assert_eq!(bad, [false, false, true, false, true, true]);
}
