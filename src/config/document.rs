//! The top of the file, and the sections about records: `source`, `record`, `on`.

use std::path::Path;

use super::effective::value;
use super::include::INCLUDE;
use super::pipeline::ON_NULL;
use super::read::{Field, Fields, Reader};
use super::table::{Shape, names, word};
use super::words::{Words, at_most_one, exactly_one};
use super::yaml::Node;
use super::{
    At, EpochUnit, FileOrder, Input, Key, Location, OnError, OnLate, ParquetFiles, Pipeline, Policies, Record,
};
use super::{
    Delivery, NOWHERE, OnPartitions, OnTombstone, Stage, TimeColumn, kafka_read, kafka_words, models, output, record,
    stages, train, train_words, vectors,
};
use super::{Source, Watermark, search};
use crate::problem::Place;

/// The whole file; the table begins here.
pub(super) const PIPELINE: Words = Words::new(
    "the pipeline",
    &[
        word("name", Shape::Name, "Name of the pipeline; the folder of its state has this name").needed(),
        word("source", Shape::Section(&SOURCE), "Where records come from").needed(),
        word("record", Shape::Section(&RECORD), "Which columns are key, time and values").needed(),
        word("on", Shape::Section(&ON), "What to do with null values, late records and unreadable records").or("{}"),
        word("dead_letters", Shape::Section(&output::DEAD_LETTERS), "Where refused records go, with origin and reason")
            .or("{ parquet: { path: dead_letters/ } }"),
        word("stages", Shape::List(&Shape::Section(&stages::STAGES)), "Operators in order").or("[]"),
        word("sink", Shape::Section(&output::SINK), "Where output goes; `kolk run` needs it"),
        word("state", Shape::Section(&output::STATE), "Where state is stored and how often").or("{}"),
        word("runtime", Shape::Section(&output::RUNTIME), "Threads, batches, HTTP").or("{}"),
        word("metrics", Shape::Section(&output::METRICS), "Labels that every metric has"),
        word("models", models::SHAPE, "Folder of the model registry, local; or a section with it").or("models/"),
        word("train", Shape::Section(&train_words::TRAIN), "How to train; `kolk train` needs it"),
        word("search", Shape::Section(&search::SEARCH), "Fields of `train` with values to try; `kolk search` needs it"),
        word(
            INCLUDE,
            Shape::Any(&[Shape::Text, Shape::Some(&Shape::Text)]),
            "Files with what several pipelines share, relative to this one; what is written here wins",
        ),
    ],
)
.later(&["tests"]);
const SOURCE: Words = Words::new(
    "`source`",
    &[
        word("parquet", Shape::Section(&SOURCE_PARQUET), "Parquet files"),
        word("kafka", Shape::Section(&kafka_words::SOURCE), "A topic"),
        word("dead_letters", Shape::Section(&kafka_words::LETTERS), "Replays rejected messages from a folder of them"),
        word("from", Shape::Moment, "Records before it are not read. On Kafka, use `start` instead"),
        word("until", Shape::Moment, "Records at or after it are not read. On Kafka, use `until` of `kafka` instead"),
        word("emit_from", Shape::Moment, "Records before it advance the state, but nothing is written for them"),
    ],
)
.choices(&[exactly_one(&["parquet", "kafka", "dead_letters"])])
.elsewhere(&[("path", "write it as parquet: { path: … }")]);
const SOURCE_PARQUET: Words = Words::new(
    "`parquet`",
    &[
        word(
            "path",
            Shape::Any(&[Shape::Path, Shape::Some(&Shape::Path)]),
            "File, folder, glob or URL; or a list of single files, in the order of the list",
        )
        .needed(),
        word(
            "order",
            Shape::Word(&names(&ORDERS)),
            "The order in which files are read: by name, or by their first times",
        )
        .or("path"),
    ],
);
const RECORD: Words = Words::new(
    "`record`",
    &[
        word("key", Shape::Text, "Column of the series that a record belongs to; without it there is one series"),
        word("columns_as_keys", Shape::SomeTexts, "Instead of `key`: each of these columns becomes a key of its name"),
        word(
            "time",
            Shape::Any(&[Shape::Text, Shape::Section(&TIME)]),
            "Column with the time: a timestamp, a date, or an integer",
        )
        .needed(),
        word("values", Shape::Texts, "Numeric columns; needed without `columns_as_keys` and `vectors`")
            .or_from(|file| file.near(0, "columns_as_keys").and_then(|_| value("[value]"))),
        word("vectors", vectors::SHAPE, "Columns of many numbers, such as the samples of a sound, with their widths"),
        word(
            "sequence",
            record::SEQUENCE,
            "Where a sequence of records ends: with its key (files), at a record that says so, after a pause, or after \
             so many records",
        ),
    ],
)
.choices(&[at_most_one(&["key", "columns_as_keys"])]);
const TIME: Words = Words::new(
    "`time`",
    &[
        word("column", Shape::Text, "The column").needed(),
        word("unit", Shape::Word(&names(&UNITS)), "What an integer counts since 1970; `step`: no clock"),
        word(
            "timezone",
            Shape::Zone,
            "Whose days and months there are; of the column's own zone where it isn't written",
        ),
    ],
);
const ON: Words = Words::new(
    "`on`",
    &[
        word(
            "null",
            Shape::Word(&names(&ON_NULL)),
            "Null, NaN and infinite values: use the key's last value, take no step, reset the key's recurrent state, or \
             refuse the record",
        )
        .or("carry"),
        word("late", Shape::Word(&names(&LATES)), "Records that are older than the newest of their key").or("process"),
        word(
            "reorder",
            Shape::Span { zero: true },
            "Records are held per key until the key's time is that much later, and emitted in the order of their times",
        )
        .or("0s"),
        word(
            "ahead",
            Shape::Span { zero: true },
            "Records whose time is further ahead of their message's timestamp go to the dead letters; any far by default",
        ),
        word("watermark", Shape::Word(&names(&WATERMARKS)), "Which records show that a bucket of `resample` is over")
            .or("key"),
        word("error", Shape::Word(&names(&ERRORS)), "Records that cannot be decoded").or("dead_letter"),
        word("tombstone", Shape::Word(&names(&TOMBSTONES)), "Messages with a key and without a payload").or("reset"),
        word("partitions", Shape::Word(&names(&PARTITIONS)), "Kafka: partitions that a topic gets").or("refuse"),
    ],
);

const ORDERS: [(&str, FileOrder); 2] = [("path", FileOrder::Path), ("time", FileOrder::Time)];
const UNITS: [(&str, EpochUnit); 7] = [
    ("s", EpochUnit::Second),
    ("ms", EpochUnit::Millisecond),
    ("us", EpochUnit::Microsecond),
    ("ns", EpochUnit::Nanosecond),
    ("float_s", EpochUnit::FloatSecond),
    ("float_ms", EpochUnit::FloatMillisecond),
    ("step", EpochUnit::Step),
];
const WATERMARKS: [(&str, Watermark); 2] = [("key", Watermark::Key), ("partition", Watermark::Partition)];
const LATES: [(&str, OnLate); 2] = [("process", OnLate::Process), ("dead_letter", OnLate::DeadLetter)];
const TOMBSTONES: [(&str, OnTombstone); 3] =
    [("reset", OnTombstone::Reset), ("skip", OnTombstone::Skip), ("dead_letter", OnTombstone::DeadLetter)];
const PARTITIONS: [(&str, OnPartitions); 2] = [("refuse", OnPartitions::Refuse), ("adopt", OnPartitions::Adopt)];
const ERRORS: [(&str, OnError); 2] = [("dead_letter", OnError::DeadLetter), ("refuse", OnError::Refuse)];

/// Reads the whole file. Whatever is wrong becomes a problem, and a default replaces the value.
pub(super) fn pipeline(reader: &mut Reader, root: &Node, file: &Path) -> Pipeline {
    let whole = Field { name: "the file", name_place: Place::new(1, 1), node: root };
    let fields = reader.section(whole, &PIPELINE).unwrap_or(Fields::unread(PIPELINE.section));
    let record = record(reader, &fields);
    let stages = fields.get("stages").and_then(|field| stages::stages(reader, field)).unwrap_or_default();
    let mode = stages.iter().find_map(|stage| match &stage.value {
        Stage::Infer(infer) => Some(infer.mode),
        _ => None,
    });
    let mode = mode.unwrap_or_default();
    let train = fields.get("train").and_then(|field| train::train(reader, field, &record, mode));
    let search = fields.get("search").and_then(|field| search::search(reader, field));
    if let (Some(field), None) = (fields.get("search"), fields.get("train")) {
        reader.note(field, "needs a `train` section");
    }
    let name = reader.need(&fields, "name").and_then(|f| reader.name(f, "a name")).unwrap_or_default();
    let runtime = output::runtime(reader, &fields);
    let delivery = runtime.delivery.value;
    let source = source(reader, &fields, &name, delivery);
    let (models, public_keys) = models::read(reader, &fields);
    Pipeline {
        file: file.into(),
        name,
        on: fields.get("on").and_then(|field| policies(reader, field)).unwrap_or_default(),
        dead_letters: output::dead_letters(reader, &fields),
        sink: fields.get("sink").and_then(|field| output::sink(reader, field, source.kafka(), delivery)),
        source,
        state: output::state(reader, &fields),
        runtime,
        metric_labels: output::metrics(reader, &fields),
        models,
        public_keys,
        stages,
        record,
        train,
        search,
        written: std::mem::take(&mut reader.written),
    }
}

fn source(reader: &mut Reader, fields: &Fields, name: &str, delivery: Delivery) -> Source {
    let fields = match reader.need(fields, "source") {
        Some(field) => reader.section(field, &SOURCE).unwrap_or(Fields::unread(SOURCE.section)),
        None => Fields::unread(SOURCE.section),
    };
    let input = reader.one_of(&fields, &["parquet", "kafka", "dead_letters"]).and_then(|kind| match kind.name {
        "dead_letters" => kafka_read::dead_letters(reader, kind).map(|letters| Input::DeadLetters(Box::new(letters))),
        "kafka" => kafka_read::source(reader, kind, name, delivery).map(|kafka| Input::Kafka(Box::new(kafka))),
        _ => parquet(reader, kind).map(Input::Parquet),
    });
    let mut moment = |name| fields.get(name).and_then(|field| reader.moment(field));
    let (from, until, emit_from) = (moment("from"), moment("until"), moment("emit_from"));
    Source { input: input.unwrap_or(Input::Parquet(ParquetFiles::default())), from, until, emit_from }
}

fn parquet(reader: &mut Reader, field: Field<'_>) -> Option<ParquetFiles> {
    let fields = reader.section(field, &SOURCE_PARQUET)?;
    let path = reader.need(&fields, "path")?;
    let (path, list) = if path.node.is_list() {
        let entries = reader.list(path, "files")?;
        let list: Vec<At<Location>> = entries.into_iter().filter_map(|entry| reader.location(entry)).collect();
        let Some(first) = list.first().cloned() else { return reader.expected(path, "at least one file") };
        (first, list)
    } else {
        (reader.location(path)?, Vec::new())
    };
    let order = fields.get("order").and_then(|field| Some(field.at(reader.word(field, &ORDERS, &[])?)));
    Some(ParquetFiles { path, list, order: order.unwrap_or_default() })
}

fn record(reader: &mut Reader, fields: &Fields) -> Record {
    let fields = match reader.need(fields, "record") {
        Some(field) => reader.section(field, &RECORD).unwrap_or(Fields::unread(RECORD.section)),
        None => Fields::unread(RECORD.section),
    };
    let time = reader.need(&fields, "time").and_then(|field| time(reader, field));
    let melted = fields.get("columns_as_keys");
    let key = match (fields.get("key"), melted) {
        (None, None) => Key::Single,
        (Some(key), None) => Key::Column(reader.text(key, "a column").unwrap_or_default()),
        (None, Some(columns)) => Key::Melted(reader.some_texts(columns, "columns").unwrap_or_default()),
        (Some(_), Some(_)) => {
            reader.one_of(&fields, &["key", "columns_as_keys"]);
            Key::Single
        }
    };
    let vectors = fields.get("vectors").map(|field| vectors::vectors(reader, field)).unwrap_or_default();
    let has_vectors = fields.get("vectors").is_some();
    if let (Some(vectors), Some(melted)) = (fields.get("vectors"), melted) {
        reader.note(vectors, format_args!("with `{}` every column is a series of single numbers", melted.name));
    }
    let values = match (fields.get("values"), melted) {
        (Some(values), melted) => {
            let names = reader.texts(values, "columns").unwrap_or_default();
            if !has_vectors {
                reader.not_empty(values);
            }
            if melted.is_some() && names.len() > 1 {
                reader.note(values, "with `columns_as_keys` there is one value: write one name for it, or none");
            }
            names
        }
        (None, Some(_)) => vec![At::default_value("value".to_string())],
        (None, None) if has_vectors => Vec::new(),
        (None, None) => {
            reader.need(&fields, "values");
            Vec::new()
        }
    };
    let time =
        time.unwrap_or(At { value: TimeColumn { column: String::new(), unit: None, timezone: None }, place: NOWHERE });
    let sequence = fields.get("sequence").map(|field| record::sequence(reader, field));
    Record { key, time, values, vectors, sequence }
}

fn time(reader: &mut Reader, field: Field<'_>) -> Option<At<TimeColumn>> {
    if field.node.text().is_some() {
        let column = reader.text(field, "a column, or { column, unit, timezone }")?;
        return Some(field.at(TimeColumn { column: column.value, unit: None, timezone: None }));
    }
    let fields = reader.section(field, &TIME)?;
    let column = reader.need(&fields, "column").and_then(|field| reader.text(field, "a column"));
    let unit = fields.get("unit").and_then(|field| reader.word(field, &UNITS, &[]));
    let timezone = fields.get("timezone").and_then(|field| reader.timezone(field)).map(|zone| zone.value);
    let column = column?;
    Some(At { place: column.place, value: TimeColumn { column: column.value, unit, timezone } })
}

fn policies(reader: &mut Reader, field: Field<'_>) -> Option<Policies> {
    let fields = reader.section(field, &ON)?;
    let reorder = fields.get("reorder").and_then(|field| reader.span(field, true)).filter(|span| !span.is_zero());
    Some(Policies {
        null: fields.get("null").and_then(|f| reader.word(f, &ON_NULL, &[])).unwrap_or_default(),
        late: fields.get("late").and_then(|f| reader.word(f, &LATES, &[])).unwrap_or_default(),
        reorder,
        ahead: fields.get("ahead").and_then(|field| reader.span(field, true)),
        watermark: fields.get("watermark").and_then(|f| reader.word(f, &WATERMARKS, &[])).unwrap_or_default(),
        tombstone: fields.get("tombstone").and_then(|f| reader.word(f, &TOMBSTONES, &[])).unwrap_or_default(),
        partitions: fields
            .get("partitions")
            .and_then(|f| Some(f.at(reader.word(f, &PARTITIONS, &[])?)))
            .unwrap_or_default(),
        error: fields.get("error").and_then(|f| reader.word(f, &ERRORS, &[])).unwrap_or_default(),
    })
}
