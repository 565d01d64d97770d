use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::ColumnType;
use crate::format::law::{JSON, alone_as_together, bad, json_of, pipeline};
use crate::record::TimeRange;

fn decode(decoder: &mut JsonDecoder, payloads: &[&[u8]]) -> Decoded {
    let payloads: Vec<Vec<u8>> = payloads.iter().map(|payload| payload.to_vec()).collect();
    crate::format::law::decode(decoder, &payloads)
}

fn cell(decoded: &Decoded, column: usize, row: usize) -> String {
    arrow::util::display::array_value_to_string(&decoded.records.passthrough[column], row).unwrap()
}

#[test]
fn fields_become_columns() {
    let (mut decoder, layout) = json_of(JSON);
    assert_eq!(layout.names().collect::<Vec<_>>(), ["a", "b", "shop", "n", "on"]);
    let text = r#" {"k":"x","ts":5,"a":1,"b":-2.5e3,"shop":"north","n":7,"on":true,"other":{"k":[1]}} "#;
    let second = r#"{"b":null,"k":12,"ts":6,"shop":{"z":1,"a":[2]},"n":null}"#;
    let decoded = decode(&mut decoder, &[text.as_bytes(), second.as_bytes()]);
    let records = &decoded.records;
    assert_eq!((records.key(0), records.key(1)), (&b"x"[..], &b"12"[..]));
    assert_eq!(records.times, [5, 6]);
    assert_eq!((records.values[0][0], records.values[1][0]), (1.0, -2500.0));
    assert!(records.values[0][1].is_nan() && records.values[1][1].is_nan());
    assert_eq!([cell(&decoded, 0, 0), cell(&decoded, 1, 0), cell(&decoded, 2, 0)], ["north", "7", "true"]);
    assert_eq!([cell(&decoded, 0, 1), cell(&decoded, 1, 1)], [r#"{"z":1,"a":[2]}"#, ""]);
    assert_eq!(records.origins.iter().map(|origin| origin.row).collect::<Vec<_>>(), [0, 2]);
    assert!(records.bad.is_empty());
}

#[test]
fn what_is_carried_keeps_its_bytes() {
    let (mut decoder, _) = json_of(JSON);
    for (written, carried) in [
        ("327267367867168100001", "327267367867168100001"),
        ("-327267367867168100001.50", "-327267367867168100001.50"),
        ("1.10", "1.10"),
        ("1e999", "1e999"),
        ("-0", "-0"),
        ("true", "true"),
        ("null", ""),
        (r#""1.10""#, "1.10"),
        (r#""a\u0062\n\"""#, "ab\n\""),
        (r#"{ "z":1.10, "a":[2 ,{"b":"}]"}],"z":2 }"#, r#"{ "z":1.10, "a":[2 ,{"b":"}]"}],"z":2 }"#),
        ("[ ]", "[ ]"),
    ] {
        for name in ["shop", r"s\u0068op"] {
            for (before, after) in [("", ""), (r#""x":[1,"\"]"],"#, ""), ("", r#","\u0061":5"#)] {
                let text = format!(r#" {{{before}"k":"x","ts":5 , "{name}" : {written} {after}}}"#);
                let decoded = decode(&mut decoder, &[text.as_bytes()]);
                assert_eq!((cell(&decoded, 0, 0).as_str(), decoded.records.bad.len()), (carried, 0), "{text}");
            }
        }
    }
    let last = decode(&mut decoder, &[br#"{"k":"x","ts":5,"shop":2.0,"n":9223372036854775807}"#]);
    assert_eq!([cell(&last, 0, 0), cell(&last, 1, 0)], ["2.0", "9223372036854775807"]);
    let bad = decode(&mut decoder, &[br#"{"k":"x","ts":5,"n":9223372036854775808}"#]);
    assert_eq!(bad.records.bad, [(0, "bad_value")]);
}

#[test]
fn what_is_wrong_is_named() {
    let (mut decoder, _) = json_of(JSON);
    for (payload, reason, detail) in [
        (&br#"{"k":"x","ts":5,"a":"1.5"}"#[..], "bad_value", "expected a number"),
        (br#"{"k":"x","ts":5,"a":true}"#, "bad_value", "expected a number"),
        (br#"{"k":"x","ts":5,"a":1e999}"#, "bad_json", "number out of range"),
        (br#"{"k":1.5,"ts":5}"#, "bad_value", "text or an integer"),
        (br#"{"k":"x","ts":"2024-01-01"}"#, "bad_value", "a time as an integer"),
        (br#"{"k":"x","ts":5.5}"#, "bad_value", "a time as an integer"),
        (br#"{"k":"x","ts":5,"n":"7"}"#, "bad_value", "expected an integer"),
        (br#"{"k":"x","ts":5,"a":1,"a":2}"#, "bad_value", "field \"a\" comes twice"),
        (br#"{"k":"x","k":"y","ts":5}"#, "bad_value", "field \"k\" comes twice"),
        (br#"{"k":"x","ts":5,"n":1,"ts":5}"#, "bad_value", "field \"ts\" comes twice"),
        (br#"{"k":null,"ts":5}"#, "null_key", "field \"k\" is missing or null"),
        (br#"{"ts":5}"#, "null_key", "\"k\""),
        (br#"{"k":"x"}"#, "null_time", "field \"ts\" is missing or null"),
        (br#"{"k":"x","ts":5}{}"#, "bad_json", "trailing"),
        (br#"{"k":"x","ts":5"#, "bad_json", "EOF"),
        (b"", "bad_json", "EOF"),
        (b"[1]", "bad_value", "an object"),
        (b"\xff{}", "bad_json", "utf-8"),
    ] {
        let decoded = decode(&mut decoder, &[payload]);
        assert_eq!(decoded.records.bad, [(0, reason)], "{}", String::from_utf8_lossy(payload));
        let found = decoded.details.first().map_or("", |(_, detail)| detail.as_str());
        assert!(found.contains(detail), "{found}");
    }
}

#[test]
fn keys_and_times_of_the_message() {
    let yaml = "
name: p
source: { kafka: { brokers: b, topic: t, key: sensor, timestamp: at } }
record: { key: sensor, time: at, values: [a] }
";
    let (mut decoder, layout) = json_of(yaml);
    assert_eq!((layout.key_name.as_str(), layout.time_name.as_str()), ("sensor", "at"));
    let decoded = decode(&mut decoder, &[br#"{"a":1}"#, br#"{"a":2}"#]);
    assert_eq!((decoded.records.key(1), decoded.records.times[1]), (&b"key"[..], 1001));
    let text = "
name: p
source: { kafka: { brokers: b, topic: t, partitioned_by: key } }
record: { key: k, time: ts, values: [a] }
";
    let (mut decoder, _) = json_of(text);
    let decoded = decode(&mut decoder, &[br#"{"k":"x","ts":"2024-01-01T00:00:01+01:00"}"#, br#"{"k":"x","ts":5}"#]);
    assert_eq!(decoded.records.times[0], 1_704_063_601_000_000);
    assert_eq!(decoded.records.bad, [(1, "bad_value")]);
}

#[test]
fn a_wide_message_is_a_record_for_each_key() {
    let yaml = "
name: p
source: { kafka: { brokers: b, topic: t, partitioned_by: key } }
record: { columns_as_keys: [x, y], time: { column: ts, unit: step } }
";
    let (mut decoder, _) = json_of(yaml);
    let decoded = decode(&mut decoder, &[br#"{"ts":1,"x":5,"y":6}"#, br#"{"ts":"no"}"#, br#"{"ts":2,"y":7}"#]);
    let records = &decoded.records;
    assert_eq!((records.len(), &records.bad[..]), (5, &[(2, "bad_value")][..]));
    assert_eq!((records.key(0), records.key(1), records.key(4)), (&b"x"[..], &b"y"[..], &b"y"[..]));
    assert_eq!((records.values[0][1], records.values[0][4]), (6.0, 7.0));
    assert!(records.values[0][3].is_nan());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let record = (any_json(), any_json(), any_json(), any_json(), any_json()).prop_map(|(k, ts, a, shop, n)| {
        json!({ "k": k, "ts": ts, "a": a, "shop": shop, "n": n }).to_string().into_bytes()
    });
    let good = (".{1,6}", any::<i64>(), any::<f64>())
        .prop_map(|(k, ts, a)| json!({ "k": k, "ts": ts, "a": a }).to_string().into_bytes());
    let cut =
        (good.clone(), any::<prop::sample::Index>()).prop_map(|(bytes, at)| bytes[..at.index(bytes.len())].to_vec());
    prop_oneof![
        good,
        record,
        any_json().prop_map(|v| v.to_string().into_bytes()),
        cut,
        proptest::collection::vec(any::<u8>(), 0..40)
    ]
}

proptest! {
    /// The law, and what is good and what isn't.
    #[test]
    fn no_message_harms_another(payloads in proptest::collection::vec(any_payload(), 1..20)) {
        let (mut decoder, _) = json_of(JSON);
        alone_as_together(&mut decoder, &payloads).map_err(TestCaseError::fail)?;
        let decoded = crate::format::law::decode(&mut decoder, &payloads);
        for (index, payload) in payloads.iter().enumerate() {
            if let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(payload) {
                let nan = |v: &Value| v.as_str().is_some_and(crate::format::json_value::is_nan);
                let number = |name: &str| object.get(name).is_none_or(|v| v.is_null() || v.is_number() || nan(v));
                let key = object.get("k").is_some_and(|k| k.is_string() || k.is_i64() || k.is_u64());
                let range = TimeRange::of_ticks(Some(1_000_000));
                let whole = |ms: f64| ms.fract() == 0.0 && ms.abs() <= 2_f64.powi(53);
                let ms = |ts: &Value| ts.as_i64().or_else(|| ts.as_f64().filter(|ms| whole(*ms)).map(|ms| ms as i64));
                let time = object.get("ts").and_then(ms).is_some_and(|ms| range.has(ms));
                let good = key && time && number("a")
                    && object.get("n").is_none_or(|n| n.is_null() || n.is_i64() || nan(n));
                prop_assert_eq!(bad(&decoded, index).is_none(), good, "{}", String::from_utf8_lossy(payload));
            }
        }
    }
}

#[test]
fn column_types_are_those_declared() {
    let pipeline = pipeline(JSON);
    let kafka = pipeline.source.kafka().unwrap();
    assert_eq!(
        kafka.encoding.columns.iter().map(|(_, t)| *t).collect::<Vec<_>>(),
        [ColumnType::Int64, ColumnType::Boolean]
    );
}
