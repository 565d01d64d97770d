//! The text in which versions before fingerprints had fields wrote them, taken apart into fields, to show what differs.
//!
//! Those versions wrote how Rust shows a value: `Scale { half_life: Nanos(432000000000000), min_count: 3 }`. Here it
//! becomes what the pipeline file has in its place: `{ half_life: 5d, min_count: 3 }`.

use serde_json::{Map, Value};

use crate::config::Span;

/// Variants that only hold their value, and have no word in the pipeline file.
const PLAIN: [&str; 6] = ["Some", "Location", "Instant", "Step", "Column", "Single"];

/// A section's text as fields; `None` where it is nothing that those versions wrote.
pub(super) fn fields(section: &str, text: &str) -> Option<Value> {
    if section == "source" {
        return topic(text);
    }
    let mut reader = Reader { rest: text };
    let mut values = vec![reader.value()?];
    while !reader.rest.trim_start().is_empty() {
        values.push(reader.value()?);
    }
    let names: &[&str] = match section {
        "from and until" => &["from", "until", "emit_from"],
        "model" => &["version", "sha256"],
        _ => &[],
    };
    if !names.is_empty() {
        return (values.len() == names.len()).then(|| named(names, values));
    }
    let [value] = <[Value; 1]>::try_from(values).ok()?;
    Some(match (section, value) {
        // The sink of a topic was a tuple.
        ("sink", Value::Array(values)) if values.len() == 4 => {
            Value::from_iter([("kafka", named(&["topic", "format", "fields", "headers"], values))])
        }
        ("record", Value::Object(mut record)) => {
            if let Some(Value::Object(time)) = record.remove("time") {
                record.extend(
                    time.into_iter().map(|(name, value)| (if name == "column" { "time".into() } else { name }, value)),
                );
            }
            if let Some(Value::Object(mut key)) = record.get("key").cloned()
                && let Some(columns) = key.remove("melted")
            {
                record.remove("key");
                record.insert("columns_as_keys".into(), columns);
            }
            Value::Object(record)
        }
        (_, value) if value.is_object() || value.is_array() => value,
        _ => return None,
    })
}

/// What was read of a topic: `Some((topic, key, timestamp))`, and the format with what is read of the payloads.
fn topic(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    let Value::Array(message) = reader.value()? else { return None };
    let mut source = named(&["topic", "key", "timestamp"], message);
    source["reads"] = match serde_json::from_str(reader.rest.trim()) {
        Ok(reads) => reads,
        Err(_) => {
            let format = reader.value()?;
            let Value::Array(columns) = reader.value()? else { return None };
            let column = |pair: Value| Some((pair.get(0)?.as_str()?.to_string(), pair.get(1)?.clone()));
            let columns: Option<Map<String, Value>> = columns.into_iter().map(column).collect();
            Value::from_iter([("format", format), ("columns", Value::Object(columns?))])
        }
    };
    Some(source)
}

fn named(names: &[&str], values: Vec<Value>) -> Value {
    let pairs = names.iter().map(|name| name.to_string()).zip(values);
    Value::Object(pairs.filter(|(_, value)| !value.is_null()).collect())
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Value> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '"' => self.quoted().map(Value::String),
            '[' => self.list('[', ']').map(Value::Array),
            '(' => self.list('(', ')').map(Value::Array),
            '*' => {
                self.rest = self.rest.trim_start_matches('*');
                Some("***".into())
            }
            _ => self.word(),
        }
    }

    fn list(&mut self, open: char, close: char) -> Option<Vec<Value>> {
        self.take(open)?;
        let mut values = Vec::new();
        while self.take(close).is_none() {
            values.push(self.value()?);
            if self.take(',').is_none() {
                self.take(close)?;
                break;
            }
        }
        Some(values)
    }

    /// A word alone, with what it holds, or with fields.
    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find([',', ')', ']', '}', '{', '(']).unwrap_or(self.rest.len());
        let end = self.rest[..end].find(' ').unwrap_or(end);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let word = word.trim();
        if word.is_empty() {
            return None;
        }
        if self.rest.starts_with('(') {
            let mut held = self.raw_or_list(word)?;
            if held.len() != 1 {
                return Some(Value::Array(held));
            }
            let held = held.remove(0);
            return Some(match word {
                _ if PLAIN.contains(&word) => held,
                "Nanos" | "Months" | "Steps" => span(word, held.as_i64()?)?.into(),
                _ => Value::from_iter([(snake(word), held)]),
            });
        }
        if self.rest.starts_with(" {") || self.rest.starts_with('{') {
            let fields = self.fields()?;
            // Variants with fields; every other one is a struct, whose name is no word of the file.
            return Some(match word {
                "Parquet" | "Stdout" => Value::from_iter([(snake(word), fields)]),
                _ => fields,
            });
        }
        Some(match word {
            "None" => Value::Null,
            "Single" => Value::Null,
            "true" => true.into(),
            "false" => false.into(),
            _ => match serde_json::from_str::<Value>(word) {
                Ok(number) if number.is_number() => number,
                _ if word.chars().all(|c| c.is_ascii_alphanumeric()) => snake(word).into(),
                _ => word.into(),
            },
        })
    }

    /// What a variant holds; an instant is no value of its own but a text.
    fn raw_or_list(&mut self, word: &str) -> Option<Vec<Value>> {
        if word != "Instant" {
            return self.list('(', ')');
        }
        let (text, rest) = self.rest.strip_prefix('(')?.split_once(')')?;
        self.rest = rest;
        Some(vec![text.into()])
    }

    fn fields(&mut self) -> Option<Value> {
        self.take('{')?;
        let mut fields = Map::new();
        while self.take('}').is_none() {
            let (name, rest) = self.rest.trim_start().split_once(':')?;
            self.rest = rest;
            let name = match name {
                "predicate" => "where",
                name => name,
            };
            match self.value()? {
                Value::Null => {}
                value => drop(fields.insert(name.to_string(), value)),
            }
            if self.take(',').is_none() {
                self.take('}')?;
                break;
            }
        }
        // `Lags { columns: […] }` is a mapping of its own.
        match (fields.len(), fields.remove("columns")) {
            (1, Some(columns)) => Some(columns),
            (_, Some(columns)) => {
                fields.insert("columns".into(), columns);
                Some(Value::Object(fields))
            }
            _ => Some(Value::Object(fields)),
        }
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(wanted)?;
        Some(())
    }

    fn quoted(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(out);
                }
                '\\' => match chars.next()?.1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    other => out.push(other),
                },
                c => out.push(c),
            }
        }
        None
    }
}

fn span(unit: &str, length: i64) -> Option<String> {
    let span = match unit {
        "Nanos" => Span::Nanos(length),
        "Months" => Span::Months(u32::try_from(length).ok()?),
        _ => Span::Steps(length),
    };
    Some(span.to_string())
}

/// `DeadLetter` as the pipeline file has it: `dead_letter`.
fn snake(word: &str) -> String {
    let mut out = String::new();
    for (at, c) in word.chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_rust_showed_becomes_fields() {
        for (section, text, expected) in [
            (
                "on",
                "Policies { null: Skip, late: DeadLetter, reorder: Some(Nanos(5000000000)), watermark: Key }",
                json!({"null": "skip", "late": "dead_letter", "reorder": "5s", "watermark": "key"}),
            ),
            (
                "from and until",
                "Some(Instant(2024-01-01T01:00:00Z)) None Some(Step(7))",
                json!({"from": "2024-01-01T01:00:00Z", "emit_from": 7}),
            ),
            (
                "record",
                "Record { key: Column(\"a \\\"b\"), time: TimeColumn { column: \"ts\", unit: Some(Millisecond) }, values: [\"v\", \"w\"] }",
                json!({"key": "a \"b", "time": "ts", "unit": "millisecond", "values": ["v", "w"]}),
            ),
            (
                "sink",
                "(\"out\", Json, [\"temp\"], All)",
                json!({"kafka": {"topic": "out", "format": "json", "fields": ["temp"], "headers": "all"}}),
            ),
            (
                "sink",
                "Some(Parquet { path: Location(\"/a, b/out\"), fields: [], part_records: 40 })",
                json!({"parquet": {"path": "/a, b/out", "fields": [], "part_records": 40}}),
            ),
            (
                "stages",
                "[Filter(Filter { predicate: \"kind != 'z'\" }), Scale(Scale { values: [\"t\"], half_life: Nanos(1209600000000000), min_count: 3 }), Lags(Lags { columns: [(\"temp\", [1, 2])] }), Calendar(Calendar { features: [Hour], timezone: America/New_York })]",
                json!([
                    {"filter": {"where": "kind != 'z'"}},
                    {"scale": {"values": ["t"], "half_life": "2w", "min_count": 3}},
                    {"lags": [["temp", [1, 2]]]},
                    {"calendar": {"features": ["hour"], "timezone": "America/New_York"}},
                ]),
            ),
        ] {
            assert_eq!(fields(section, text), Some(expected), "{text}");
        }
        let source = "Some((\"in\", Some(\"key\"), None)) json [(\"kind\", String)]";
        assert_eq!(
            fields("source", source),
            Some(json!({"topic": "in", "key": "key", "reads": {"format": "json", "columns": {"kind": "string"}}}))
        );
        for text in ["", "fd1144812b3b", "Record { key", "\"x", "1 2 3"] {
            assert_eq!(fields("record", text), None, "{text}");
        }
    }
}
