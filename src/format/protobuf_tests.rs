//! What schemas of Protobuf may import, and decimals in them.

use arrow::util::display::array_value_to_string;

use super::*;
use crate::format::frame::put_frame;
use crate::format::law::{ID, bad, decode, planned, schema};
use crate::format::protobuf;

/// Value and carried text of a message with a field `v` and a carried `x`, or why it is refused.
fn read(text: &str, body: &[u8]) -> Result<(f64, String), String> {
    let (mut framed, _) = planned("protobuf", &schema(text), &["x"]);
    let mut payload = Vec::new();
    put_frame(ID, &mut payload);
    payload.push(0);
    // The key "a", the time 5.
    payload.extend([10, 1, b'a', 16, 5]);
    payload.extend(body);
    let decoded = decode(&mut framed, &[payload]);
    match bad(&decoded, 0) {
        Some(reason) => Err(format!("{reason} {}", decoded.details[0].1)),
        None => {
            let carried = array_value_to_string(&decoded.records.passthrough[0], 0).unwrap();
            Ok((decoded.records.values[0][0], carried))
        }
    }
}

fn sale(imports: &[&str], v: &str, x: &str, more: &str) -> String {
    let imports: String = imports.iter().map(|name| format!("import \"{name}\";\n")).collect();
    format!(
        "syntax = \"proto3\"; package shop;\n{imports}message Sale {{ string k = 1; int64 ts = 2; {v} v = 3; {x} x = 4; {more} }}"
    )
}

#[test]
fn what_every_client_has_need_not_be_registered() {
    let noted = sale(&["confluent/meta.proto", "confluent/type/decimal.proto"], "double", "int64", "")
        .replace("x = 4;", "x = 4 [(confluent.field_meta).doc = \"d\", (confluent.field_meta).params = { key: \"scale\", value: \"2\" }];")
        .replace("message Sale {", "option (confluent.file_meta).doc = \"f\"; message Sale { option (confluent.message_meta).tags = \"t\"; confluent.type.Decimal unread = 9;");
    let one = [&[25][..], &1.5_f64.to_le_bytes(), &[32, 7]].concat();
    assert_eq!(read(&noted, &one), Ok((1.5, "7".into())));
    let common: Vec<String> = [
        "calendar_period.CalendarPeriod",
        "color.Color",
        "date.Date",
        "datetime.DateTime",
        "dayofweek.DayOfWeek",
        "decimal.Decimal",
        "fraction.Fraction",
        "interval.Interval",
        "latlng.LatLng",
        "localized_text.LocalizedText",
        "money.Money",
        "month.Month",
        "quaternion.Quaternion",
        "timeofday.TimeOfDay",
    ]
    .map(str::to_string)
    .into();
    let imports: Vec<String> =
        common.iter().map(|name| format!("google/type/{}.proto", name.split_once('.').unwrap().0)).collect();
    let more: String = (10..)
        .zip(&common)
        .map(|(number, name)| format!("google.type.{} f{number} = {number};", name.split_once('.').unwrap().1))
        .collect();
    let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
    assert_eq!(read(&sale(&imports, "double", "int64", &more), &one), Ok((1.5, "7".into())));
    let wrappers = ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32"];
    for kind in wrappers {
        let text = sale(&["google/protobuf/wrappers.proto"], &format!("google.protobuf.{kind}Value"), "int64", "");
        assert!(read(&text, &[]).unwrap().0.is_nan(), "{kind}");
        assert_eq!(read(&text, &[26, 0]).unwrap().0, 0.0, "{kind}");
    }
    // One that is registered is taken rather than the built-in.
    let own = "syntax = \"proto3\"; package confluent.type; message Decimal { double value = 1; }";
    let text = sale(&["confluent/type/decimal.proto"], "double", "int64", "confluent.type.Decimal unread = 9;");
    let registered = Schema { references: vec![("confluent/type/decimal.proto".into(), own.into())], ..schema(&text) };
    let found = protobuf::messages(&registered).unwrap()[0].get_field_by_name("unread").unwrap();
    assert_eq!(found.kind().as_message().unwrap().fields().count(), 1);
}

#[test]
fn decimals_are_numbers() {
    let decimal = "confluent.type.Decimal";
    let text = sale(&["confluent/type/decimal.proto"], decimal, decimal, "");
    // -12.34 and 3.00: value, precision, scale.
    let (v, x) = ([10, 2, 0xfb, 0x2e, 16, 4, 24, 2], [10, 2, 0x01, 0x2c, 16, 3, 24, 2]);
    assert_eq!(read(&text, &[&[26, 8][..], &v, &[34, 8], &x].concat()), Ok((-12.34, "3.00".into())));
    let (value, carried) = read(&text, &[]).unwrap();
    assert!(value.is_nan() && carried.is_empty());
    assert_eq!(read(&text, &[26, 0]).unwrap().0, 0.0, "no bytes are zero");
    // The nearest float, where a division of two floats would give another.
    let third = [10, 13, 0x01, 0x0d, 0x23, 0xd9, 0xb4, 0xe7, 0x65, 0x5f, 0x55, 0x55, 0x55, 0x55, 0x55, 24, 30];
    let unscaled = third[2..15].iter().fold(0_i128, |value, byte| value << 8 | i128::from(*byte));
    let digits = format!("{unscaled:0>31}");
    let expected: f64 = format!("{}.{}", &digits[..digits.len() - 30], &digits[digits.len() - 30..]).parse().unwrap();
    assert_eq!(read(&text, &[&[26, third.len() as u8][..], &third].concat()).unwrap().0, expected);
    let long = [&[26, 21, 10, 17][..], &[1; 17], &[24, 2]].concat();
    let why = read(&text, &long).unwrap_err();
    assert_eq!(why, "bad_value field \"v\": a decimal of 17 bytes has more than 38 digits");
    let google = sale(&["google/type/decimal.proto"], "google.type.Decimal", "google.type.Decimal", "");
    assert_eq!(
        read(&google, &[26, 6, 10, 4, b'1', b'.', b'2', b'5', 34, 5, 10, 3, b'1', b'e', b'2']),
        Ok((1.25, "1e2".into()))
    );
    let why = read(&google, &[26, 3, 10, 1, b'x']).unwrap_err();
    assert_eq!(why, "bad_value field \"v\": \"x\" is no decimal number");
}

#[test]
fn an_integer_beyond_64_bits_with_a_sign_is_text_or_refused_with_its_value() {
    let most = [32, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    let text = sale(&[], "uint64", "uint64", "");
    let why = read(&text, &most).unwrap_err();
    assert_eq!(why, "bad_value field \"x\": 18446744073709551615 is beyond the range of 64-bit integers with a sign");
    let fixed = sale(&[], "fixed64", "fixed64", "");
    let why = read(&fixed, &[33, 0, 0, 0, 0, 0, 0, 0, 128]).unwrap_err();
    assert!(why.contains("9223372036854775808 is beyond"), "{why}");
    let value = [24, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    assert_eq!(read(&text, &value).unwrap().0, 18_446_744_073_709_551_615.0);
}
