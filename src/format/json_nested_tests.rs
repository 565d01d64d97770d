//! What others write as JSON: nested, in envelopes, with numbers that are none or text, with times of all kinds.

use super::*;
use crate::config::At;
use crate::error::Problems;
use crate::format::columns;
use crate::format::law::{pipeline, read_one};

/// A decoder with these fields of the source and of the record, and passthrough columns.
fn decoder_of(source: &str, record: &str, fields: &[&str]) -> JsonDecoder {
    let yaml = format!(
        "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, partitioned_by: key{source} }} }}\nrecord: {{ {record} }}"
    );
    let pipeline = pipeline(&yaml);
    let encoding = pipeline.source.encoding().unwrap();
    let fields: Vec<At<String>> = fields.iter().map(|name| At::default_value((*name).to_string())).collect();
    let types = columns::declared(encoding, pipeline.record.time.unit);
    let mut problems = Problems::new("p.yaml");
    let planned = columns::plan(&pipeline, encoding, &fields, &types, &mut problems);
    let (columns, _) = problems.finish(planned).unwrap().unwrap();
    JsonDecoder::new(Arc::new(columns)).unwrap()
}

/// One message as `key time values passthrough`, or why it is none.
fn shown(decoder: &mut JsonDecoder, payload: &[u8]) -> String {
    read_one(decoder, br#"{"schema":{"type":"struct"},"payload":{"k":"from the key"}}"#, payload)
}

#[test]
fn a_name_with_dots_is_a_field_within_a_field() {
    let record = "key: who.id, time: { column: at.ms, unit: ms }, values: [m.a, m.deep.b]";
    let mut decoder = decoder_of("", record, &["who.name", "m.deep"]);
    for (payload, expected) in [
        (
            &br#"{"who":{"id":"x","name":"N"},"at":{"ms":5},"m":{"a":1,"deep":{"b":2,"z":[{"b":9}]}}}"#[..],
            r#"x 5 [1.0, 2.0] ["N", "{\"b\":2,\"z\":[{\"b\":9}]}"]"#,
        ),
        // Names with escapes, and space around everything.
        (
            br#" { "x":[1], "wh\u006f" : { "i\u0064":"x","n\u0061me" : "N" } , "at" :{"ms":5},"m":{"a":1,"deep" : { "b":2 }}} "#,
            r#"x 5 [1.0, 2.0] ["N", "{ \"b\":2 }"]"#,
        ),
        // What is null or missing on the way is null.
        (br#"{"who":{"id":7},"at":{"ms":5},"m":null}"#, "7 5 [NaN, NaN] [\"null\", \"null\"]"),
        (br#"{"who":{"id":7},"at":{"ms":5},"m":{"deep":{}}}"#, "7 5 [NaN, NaN] [\"null\", \"{}\"]"),
        // The longest name that is there wins, wherever it stands.
        (
            br#"{"who":{"id":"x"},"who.id":"y","at.ms":6,"at":{"ms":5},"m":{"a":1,"deep.b":3,"deep":{"b":2}}}"#,
            r#"y 6 [1.0, 3.0] ["null", "{\"b\":2}"]"#,
        ),
        (br#"{"who":5,"at":{"ms":5}}"#, "bad_value: invalid type: integer `5`, expected an object as \"who\""),
        (br#"{"who":{"id":"x"},"who":{},"at":{"ms":5}}"#, "bad_value: field \"who\" comes twice"),
        (br#"{"who":{"id":"x","id":"y"},"at":{"ms":5}}"#, "bad_value: field \"who.id\" comes twice"),
        (br#"{"who":{"id":"x"},"at":{"ms":"soon"}}"#, "bad_value: \"at.ms\": invalid type: string \"soon\", expected a time"),
        (br#"{"who":{"id":"x"},"at":{}}"#, "null_time: field \"at.ms\" is missing or null"),
        (br#"{"who":{"id":"x"},"at":{"ms":5},"m":{"a":"1"}}"#, "bad_value: \"m.a\": invalid type: string \"1\", expected a number"),
    ] {
        let found = shown(&mut decoder, payload);
        assert!(found.starts_with(expected), "{}\n{found}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn debezium_s_envelope_is_the_row_after_the_change() {
    let record = "key: k, time: { column: source.ts_ms, unit: ms }, values: [v]";
    let mut decoder = decoder_of(", envelope: debezium", record, &["envelope.op", "before.v"]);
    decoder.stop_at_deletes();
    for (payload, expected) in [
        (
            r#"{"before":null,"after":{"k":"x","v":1},"source":{"ts_ms":5},"op":"c","ts_ms":9}"#,
            r#"x 5 [1.0] ["c", "null"]"#,
        ),
        (r#"{"op":"r","before":null,"after":{"k":"x","v":1},"source":{"ts_ms":5}}"#, r#"x 5 [1.0] ["r", "null"]"#),
        (
            r#"{"before":{"k":"w","v":2},"after":{"k":"x","v":1},"source":{"ts_ms":5},"op":"u"}"#,
            r#"x 5 [1.0] ["u", "2"]"#,
        ),
        (
            r#"{"schema":{},"payload":{"before":null,"after":{"k":"x","v":1},"source":{"ts_ms":5},"op":"c"}}"#,
            r#"x 5 [1.0] ["c", "null"]"#,
        ),
        (r#"{"before":{"k":"x","v":2},"after":null,"source":{"ts_ms":5},"op":"d"}"#, "deleted Some(\"x\")"),
        (r#"{"schema":null,"payload":{"op":"d","before":{"k":7}}}"#, "deleted Some(\"7\")"),
        (r#"{"before":null,"after":null,"op":"d"}"#, "deleted Some(\"from the key\")"),
        (r#"{"schema":null,"payload":null}"#, "deleted Some(\"from the key\")"),
        (
            r#"{"before":null,"after":null,"op":"u","source":{"ts_ms":5}}"#,
            "bad_envelope: \"op\" is \"u\", but \"after\" is null",
        ),
        (r#"{"op":"t","source":{"ts_ms":5}}"#, "bad_envelope: \"op\" is \"t\": the table was truncated"),
        (r#"{"op":"m","message":{"prefix":"p"}}"#, "bad_envelope: \"op\" is \"m\""),
        (r#"{"ts_ms":5}"#, "bad_envelope: there is no \"op\""),
        (r#"{"status":"BEGIN","id":"571:53195829"}"#, "bad_envelope: there is no \"op\""),
        (
            r#"{"op":"c","after":"{\"_id\":1}"}"#,
            "bad_value: invalid type: string \"{\\\"_id\\\":1}\", expected an object as \"after\"",
        ),
        (r#"{"op":"c","after":{"v":1},"source":{"ts_ms":5}}"#, "null_key: field \"k\" is missing or null"),
    ] {
        let found = shown(&mut decoder, payload.as_bytes());
        assert!(found.starts_with(expected), "{payload}\n{found}");
    }
}

#[test]
fn decoding_stops_at_a_delete() {
    let source = ", envelope: debezium";
    let record = "key: k, time: { column: ts, unit: ms }, values: [v]";
    let mut decoder = decoder_of(source, record, &[]);
    let mut messages = Messages::default();
    for (offset, op) in ["c", "u", "d", "c"].into_iter().enumerate() {
        let payload = format!(r#"{{"before":{{"k":"x"}},"after":{{"k":"x","ts":5}},"op":"{op}"}}"#);
        messages.push(offset as i64, 0, None, Some(payload.as_bytes()));
    }
    let all = decoder.decode(&messages, 0..4, &mut Decided::default()).unwrap();
    assert_eq!((all.records.len(), all.records.bad, all.deleted), (4, vec![(2, "tombstone")], None));
    decoder.stop_at_deletes();
    let first = decoder.decode(&messages, 0..4, &mut Decided::default()).unwrap();
    assert_eq!((first.records.len(), first.deleted), (2, Some(Deleted { index: 2, key: Some(b"x".to_vec()) })));
    assert_eq!(decoder.decode(&messages, 3..4, &mut Decided::default()).unwrap().records.len(), 1);
}

#[test]
fn connect_s_envelope_says_what_its_values_are() {
    let field = |name: &str, rest: &str| format!(r#"{{"field":"{name}",{rest}}}"#);
    let schema = |time: &str| {
        let fields = [
            field("k", r#""type":"string""#),
            field("ts", &format!(r#""type":"int64","name":"{time}""#)),
            field("v", r#""type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}"#),
            field(
                "n",
                r#""type":"struct","fields":[{"field":"d","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"1"}}]"#,
            ),
        ];
        format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(","))
    };
    let payload = r#"{"k":"x","ts":1700000000123,"v":"AQA=","n":{"d":"Zg=="}}"#;
    let mut decoder = decoder_of(", envelope: connect", "key: k, time: ts, values: [v]", &["n.d"]);
    let expected = |micros: &str| format!(r#"x {micros} [2.56] ["10.2"]"#);
    for (name, micros) in [
        ("org.apache.kafka.connect.data.Timestamp", "1700000000123000"),
        ("io.debezium.time.MicroTimestamp", "1700000000123"),
        ("io.debezium.time.NanoTimestamp", "1700000000"),
    ] {
        for _ in 0..2 {
            let text = format!(r#"{{"schema":{},"payload":{payload}}}"#, schema(name));
            assert_eq!(shown(&mut decoder, text.as_bytes()), expected(micros), "{name}");
            let after = format!(r#"{{"payload":{payload},"schema":{}}}"#, schema(name));
            assert_eq!(shown(&mut decoder, after.as_bytes()), expected(micros), "{name} after its payload");
        }
    }
    // A decimal with a scale of its own.
    let own = r#"{"schema":{"type":"struct","fields":[{"field":"v","type":"struct","name":"io.debezium.data.VariableScaleDecimal"},
        {"field":"n","type":"struct","name":"io.debezium.data.VariableScaleDecimal"}]},
        "payload":{"k":"x","ts":"2023-11-14T22:13Z","v":{"scale":1,"value":"AQA="},"n":{"scale":2,"value":"_w=="}}}"#;
    let mut variable = decoder_of(", envelope: connect", "key: k, time: ts, values: [v]", &["n"]);
    assert_eq!(shown(&mut variable, own.replace('_', "/").as_bytes()), "x 1699999980000000 [25.6] [\"-0.01\"]");
    let text = format!(r#"{{"schema":{},"payload":{payload}}}"#, schema("io.debezium.time.MicroTime"));
    assert!(shown(&mut decoder, text.as_bytes()).starts_with("bad_value: \"ts\": it is a time of day"));
    // The schema of the message before says nothing about this one.
    let text = format!(r#"{{"schema":null,"payload":{payload}}}"#);
    assert!(shown(&mut decoder, text.as_bytes()).starts_with("bad_value: \"ts\": invalid type: integer"));
    let bare = shown(&mut decoder, payload.as_bytes());
    assert!(bare.starts_with("bad_envelope: there is no \"payload\""), "{bare}");
    let text = r#"{"schema":null,"payload":{"k":"x","ts":"2023-11-14T22:13Z","v":1,"n":null}}"#;
    assert_eq!(shown(&mut decoder, text.as_bytes()), "x 1699999980000000 [1.0] [\"null\"]");
}

#[test]
fn numbers_that_are_none_are_null_and_text_is_one_where_asked() {
    let record = "key: k, time: { column: ts, unit: ms }, values: [v]";
    let mut strict = decoder_of(", columns: { n: int64, f: float64 }", record, &["n", "f", "s"]);
    for (payload, expected) in [
        (
            r#"{"k":"x","ts":5,"v":NaN,"n":1,"f":-Infinity,"s":"NaN","other":[NaN,{"a":Infinity}]}"#,
            r#"x 5 [NaN] ["1", "null", "NaN"]"#,
        ),
        (r#"{"k":"x","ts":5,"v":"NaN","n":1,"f":"-Infinity","s":NaN}"#, r#"x 5 [NaN] ["1", "null", "null"]"#),
        (r#"{"k":"NaN","ts":5,"v":1}"#, r#"NaN 5 [1.0] ["null", "null", "null"]"#),
        (r#"{"k":NaN,"ts":5,"v":1}"#, "null_key: field \"k\" is missing or null"),
        (r#"{"k":"x","ts":NaN,"v":1}"#, "null_time: field \"ts\" is missing or null"),
        (r#"{"k":"x","ts":5,"v":"1.5"}"#, "bad_value: \"v\": invalid type: string \"1.5\", expected a number"),
        (r#"{"k":"x","ts":5,"v":NaNs}"#, "bad_json: "),
    ] {
        let found = shown(&mut strict, payload.as_bytes());
        assert!(found.starts_with(expected), "{payload}\n{found}");
    }
    let mut text = decoder_of(", columns: { n: int64, f: float64 }, numbers: text", record, &["n", "f", "s"]);
    for (payload, expected) in [
        (r#"{"k":"x","ts":"5","v":" 1.5e1","n":"7","f":"2.5","s":"1.50"}"#, r#"x 5 [15.0] ["7", "2.5", "1.50"]"#),
        (r#"{"k":"x","ts":5,"v":1,"n":7,"f":"NaN"}"#, r#"x 5 [1.0] ["7", "null", "null"]"#),
        (r#"{"k":"x","ts":5,"v":""}"#, "bad_value: \"v\": invalid value: string \"\", expected a number"),
        (r#"{"k":"x","ts":5,"v":"1e999"}"#, "bad_value: \"v\""),
        (r#"{"k":"x","ts":5,"v":"one"}"#, "bad_value: \"v\""),
        (r#"{"k":"x","ts":"soon","v":1}"#, "bad_value: \"ts\""),
        (r#"{"k":"x","ts":5,"v":1,"n":"7.5"}"#, "bad_value: \"n\": expected an integer, found \"7.5\""),
    ] {
        let found = shown(&mut text, payload.as_bytes());
        assert!(found.starts_with(expected), "{payload}\n{found}");
    }
}

#[test]
fn times_are_read_as_others_write_them() {
    for (time, written, expected) in [
        ("ts", r#""2024-01-31T12:00:00.5Z""#, "x 1706702400500000"),
        ("ts", r#""2024-01-31T12:00Z""#, "x 1706702400000000"),
        ("ts", r#""2024-01-31 13:00:00+0100""#, "x 1706702400000000"),
        ("ts", r#""2024-01-31T12:00:00+00""#, "x 1706702400000000"),
        (
            "ts",
            "1706702400",
            "bad_value: \"ts\": invalid type: integer `1706702400`, expected a time as text (RFC 3339); one as an integer needs `unit`",
        ),
        ("{ column: ts, unit: float_s }", "1706702400.25", "x 1706702400250000"),
        ("{ column: ts, unit: float_s }", "1706702400", "x 1706702400000000"),
        ("{ column: ts, unit: float_s }", "1.7067024e9", "x 1706702400000000"),
        ("{ column: ts, unit: float_ms }", "1706702400000.25", "x 1706702400000250"),
        ("{ column: ts, unit: float_s }", "1e300", "time_out_of_range: field \"ts\""),
        ("{ column: ts, unit: float_s }", "1706702400000", "time_out_of_range: column \"ts\""),
        ("{ column: ts, unit: float_s }", r#""1706702400.25""#, "bad_value: \"ts\": invalid type: string"),
        ("{ column: ts, unit: s }", "1706702400.0", "x 1706702400"),
        (
            "{ column: ts, unit: s }",
            "1706702400.25",
            "bad_value: \"ts\": expected a time as an integer, found 1706702400.25: `unit: float_s`",
        ),
    ] {
        let mut decoder = decoder_of("", &format!("key: k, time: {time}, values: [v]"), &[]);
        let found = shown(&mut decoder, format!(r#"{{"k":"x","ts":{written},"v":1}}"#).as_bytes());
        assert!(found.starts_with(expected), "{time} {written}\n{found}");
    }
}

#[test]
fn what_may_come_before_an_object_is_passed_over() {
    let mut decoder = decoder_of("", "key: k, time: { column: ts, unit: ms }, values: [v]", &["s"]);
    let text = br#"{"k":"x","ts":5,"v":1,"s":{"a":1}}"#;
    for before in [&b""[..], b"\xef\xbb\xbf", b"\0\0\0\0\x07", b"\0\0\0\0\x07\xef\xbb\xbf"] {
        let found = shown(&mut decoder, &[before, text].concat());
        assert_eq!(found, r#"x 5 [1.0] ["{\"a\":1}"]"#, "{before:?}");
    }
    assert!(shown(&mut decoder, b"\0\0\0").starts_with("bad_json: "));
    assert!(shown(&mut decoder, b"\0\0\0\0\x07").starts_with("bad_json: "));
}

#[test]
fn keys_are_taken_out_of_connect_s_wrapper() {
    let source = ", envelope: connect, key: { column: k, format: json }";
    let mut decoder = decoder_of(source, "key: k, time: { column: ts, unit: ms }, values: [v]", &[]);
    let mut key = |key: &[u8]| {
        let mut messages = Messages::default();
        messages.push(0, 0, Some(key), Some(br#"{"schema":null,"payload":{"ts":5}}"#));
        let decoded = decoder.decode(&messages, 0..1, &mut Decided::default()).unwrap();
        String::from_utf8(decoded.records.key(0).to_vec()).unwrap()
    };
    assert_eq!(key(br#"{"schema":{"type":"string"},"payload":"north"}"#), "north");
    assert_eq!(key(br#"{"payload":{"id": 1},"schema":null}"#), r#"{"id": 1}"#);
    assert_eq!(key(br#""north""#), "north");
    assert_eq!(key(b"\0\0\0\0\x07\"north\""), "north");
    assert_eq!(key(br#"{"payload":1}"#), r#"{"payload":1}"#);
    let source = ", envelope: debezium, key: { column: k, format: json, field: id.n }";
    let mut decoder = decoder_of(source, "key: k, time: { column: ts, unit: ms }, values: [v]", &[]);
    let mut messages = Messages::default();
    for key in [&br#"{"schema":{},"payload":{"id":{"n":"north"}}}"#[..], br#"{"id":{"n":7}}"#, br#"{"id":5}"#] {
        messages.push(messages.len() as i64, 0, Some(key), Some(br#"{"op":"c","after":{"ts":5}}"#));
    }
    let decoded = decoder.decode(&messages, 0..3, &mut Decided::default()).unwrap();
    assert_eq!((decoded.records.key(0), decoded.records.key(1)), (&b"north"[..], &b"7"[..]));
    assert_eq!(decoded.details, [(2, "the message's key: it has no field \"id.n\"".to_string())]);
}
