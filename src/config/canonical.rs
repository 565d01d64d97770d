//! Sections of the pipeline file in one form, equal exactly where they mean the same: state keeps it to know what it
//! was made by.
//!
//! A default that is written and one that is left out mean the same, so defaults are left out. The form is kept for
//! years, so it may only grow: a new field is left out where it has its default.

use serde_json::{Map, Value, json};

use super::{
    At, ColumnType, DeadLetters, Encoding, EpochUnit, Format, Headers, KafkaSink, Key, Moment, OnError, OnLate,
    OnTombstone, Policies, Record, Sequence, Sink, Source, Stamp, VectorColumn, Watermark,
};

/// A section that only has what isn't default.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn with(mut self, name: &str, value: Option<Value>) -> Fields {
        if let Some(value) = value {
            self.0.insert(name.into(), value);
        }
        self
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn texts(names: &[At<String>]) -> Value {
    names.iter().map(|name| name.as_str()).collect()
}

/// Names that may be missing.
fn further(names: &[At<String>]) -> Option<Value> {
    (!names.is_empty()).then(|| texts(names))
}

/// A column of vectors, with its name: their order is that of the columns.
fn vector(column: &VectorColumn) -> Value {
    Fields::default()
        .with("column", Some(json!(column.name.value)))
        .with("width", column.width.map(|width| json!(width)))
        .with("type", column.number.map(|number| json!(number.word())))
        .done()
}

impl Source {
    /// `from`, `until` and `emit_from`.
    pub fn canonical_times(&self) -> Value {
        let time = |moment: &Option<At<Moment>>| moment.as_ref().map(|moment| json!(moment.to_string()));
        Fields::default()
            .with("from", time(&self.from))
            .with("until", time(&self.until))
            .with("emit_from", time(&self.emit_from))
            .done()
    }
}

impl Record {
    /// The section in its canonical form.
    pub fn canonical(&self) -> Value {
        let (key, columns) = match &self.key {
            Key::Column(key) => (Some(json!(key.value)), None),
            Key::Melted(columns) => (None, Some(texts(columns))),
            Key::Single => (None, None),
        };
        let unit = self.time.unit.map(|unit| match unit {
            EpochUnit::Second => "s",
            EpochUnit::Millisecond => "ms",
            EpochUnit::Microsecond => "us",
            EpochUnit::Nanosecond => "ns",
            EpochUnit::FloatSecond => "float_s",
            EpochUnit::FloatMillisecond => "float_ms",
            EpochUnit::Step => "step",
        });
        Fields::default()
            .with("key", key)
            .with("columns_as_keys", columns)
            .with("time", Some(json!(self.time.column)))
            .with("unit", unit.map(|unit| json!(unit)))
            .with("timezone", self.time.timezone.as_ref().map(|zone| json!(zone.name())))
            .with("values", Some(texts(&self.values)))
            .with("vectors", (!self.vectors.is_empty()).then(|| self.vectors.iter().map(vector).collect()))
            .with("sequence", self.sequence.as_ref().map(|sequence| sequence.canonical()))
            .done()
    }
}

impl Sequence {
    fn canonical(&self) -> Value {
        match self {
            Sequence::Key => json!("key"),
            Sequence::End(column) => json!({ "end": column.value }),
            Sequence::Gap(span) => json!({ "gap": span.to_string() }),
            Sequence::Length(length) => json!({ "length": length }),
        }
    }
}

impl Policies {
    /// The section in its canonical form.
    pub fn canonical(&self) -> Value {
        let late = match self.late {
            OnLate::Process => None,
            OnLate::DeadLetter => Some(json!("dead_letter")),
        };
        let watermark = match self.watermark {
            Watermark::Key => None,
            Watermark::Partition => Some(json!("partition")),
        };
        let tombstone = match self.tombstone {
            OnTombstone::Reset => None,
            OnTombstone::Skip => Some(json!("skip")),
            OnTombstone::DeadLetter => Some(json!("dead_letter")),
        };
        let error = match self.error {
            OnError::DeadLetter => None,
            OnError::Refuse => Some(json!("refuse")),
        };
        Fields::default()
            .with("null", (self.null != Default::default()).then(|| json!(self.null.word())))
            .with("late", late)
            .with("reorder", self.reorder.as_ref().map(|span| json!(span.to_string())))
            .with("ahead", self.ahead.as_ref().map(|span| json!(span.to_string())))
            .with("watermark", watermark)
            .with("tombstone", tombstone)
            .with("error", error)
            .done()
    }
}

impl Encoding {
    /// The types of columns that the file says, for formats without types.
    pub fn canonical_columns(&self) -> Value {
        let column = |(name, data_type): &(At<String>, ColumnType)| (name.value.clone(), json!(data_type.word()));
        Value::Object(self.columns.iter().map(column).collect())
    }
}

impl Format {
    /// How payloads are written, in canonical form; how the registry is asked for leave doesn't matter.
    fn canonical(&self) -> Value {
        let (word, schema) = match self {
            Format::Json => return json!("json"),
            Format::Avro(schema) => ("avro", schema),
            Format::Protobuf(schema) => ("protobuf", schema),
        };
        let schema = Fields::default()
            .with("registry", Some(json!(schema.registry.value)))
            .with("subject", Some(json!(schema.subject.value)))
            .with("message", schema.message.as_ref().map(|message| json!(message.value)))
            .with("schema", schema.output.as_ref().map(|pin| pin.canonical()));
        json!({ word: schema.done() })
    }
}

impl Sink {
    /// The section in its canonical form.
    pub fn canonical(&self) -> Value {
        match self {
            Sink::Parquet { path, fields, part_records } => {
                let part_records = (*part_records != Sink::PART_RECORDS).then(|| json!(part_records));
                let section = Fields::default()
                    .with("path", Some(json!(path.0)))
                    .with("fields", further(fields))
                    .with("part_records", part_records);
                json!({ "parquet": section.done() })
            }
            Sink::Stdout { fields } => {
                json!({ "stdout": Fields::default().with("fields", further(fields)).done() })
            }
            Sink::Kafka(kafka) => {
                let KafkaSink { topic, format, fields, headers, timestamp, .. } = &**kafka;
                let headers = match headers {
                    Headers::None => None,
                    Headers::All => Some(json!("all")),
                    Headers::Named(names) => Some(json!(names)),
                };
                let section = Fields::default()
                    .with("topic", Some(json!(topic.value)))
                    .with("format", Some(format.canonical()))
                    .with("fields", further(fields))
                    .with("headers", headers)
                    .with("timestamp", (timestamp.value == Stamp::Record).then(|| json!("record")));
                json!({ "kafka": section.done() })
            }
        }
    }
}

impl DeadLetters {
    /// The section in its canonical form.
    pub fn canonical(&self) -> Value {
        match self {
            DeadLetters::Parquet(path) => json!({ "parquet": path.0 }),
            DeadLetters::Kafka(topic) => json!({ "kafka": topic.value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sections: &str) -> super::super::Pipeline {
        let text =
            format!("name: p\nsource: {{ parquet: {{ path: in }} }}\nrecord: {{ time: ts, values: [v] }}\n{sections}");
        super::super::parse(&text, std::path::Path::new("/p/p.yaml")).unwrap()
    }

    /// A default that is written is none that is written: so a field that comes later, with its default, changes
    /// nothing.
    #[test]
    fn defaults_are_left_out() {
        let plain = read("sink: { parquet: { path: out } }");
        let written = read(
            "on: { null: carry, late: process, reorder: 0s, watermark: key, tombstone: reset, error: dead_letter }\n\
             sink: { parquet: { path: out, fields: [], part_records: 131072 } }",
        );
        for pipeline in [plain, written] {
            assert_eq!(pipeline.on.canonical(), json!({}));
            assert_eq!(pipeline.source.canonical_times(), json!({}));
            assert_eq!(pipeline.record.canonical(), json!({"time": "ts", "values": ["v"]}));
            assert_eq!(pipeline.sink.unwrap().canonical(), json!({"parquet": {"path": "/p/out"}}));
        }
        let other = read("on: { null: skip, reorder: 90s }\nsink: { stdout: { fields: [a] } }");
        assert_eq!(other.on.canonical(), json!({"null": "skip", "reorder": "90s"}));
        assert_eq!(other.sink.unwrap().canonical(), json!({"stdout": {"fields": ["a"]}}));
    }

    #[test]
    fn moments_are_shown_as_they_are_read() {
        for text in ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00.500Z", "-7"] {
            assert_eq!(Moment::parse(text).unwrap().to_string(), text);
        }
    }
}
