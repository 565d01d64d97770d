//! The section `record`: which columns are key, time and values, and where sequences end.
//!
//! Lives here: its types, and how `sequence` is read and checked. Must not live here: the other fields' reader
//! (`document`), and what a sequence does (`stage::sequence`).

use super::read::{Field, Reader};
use super::table::{Shape, word};
use super::words::{Words, exactly_one};
use super::{At, Infer, Mode, Pipeline, Problems, Span, Task, VectorColumn};
use crate::zone::Zone;

/// `record:`
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose series a record belongs to.
    pub key: Key,
    /// The time column and, for integers, its unit.
    pub time: At<TimeColumn>,
    /// Numeric columns in order. With `columns_as_keys` there is exactly one, named `value` unless written otherwise.
    pub values: Vec<At<String>>,
    /// Columns of many numbers, in order.
    pub vectors: Vec<VectorColumn>,
    /// Where the sequences of a key end.
    pub sequence: Option<At<Sequence>>,
}

/// `sequence:` of `record`: where the sequences of a key end.
#[derive(Debug, Clone, PartialEq)]
pub enum Sequence {
    /// `key`: with the key's last record of the input.
    Key,
    /// `end: column`: with a record that has true there.
    End(At<String>),
    /// `gap: 5m`: before a record that comes later than that after the one before it.
    Gap(At<Span>),
    /// `length: n`: with every n-th record of the key.
    Length(usize),
}

/// The key of a record.
#[derive(Debug, Clone)]
pub enum Key {
    /// `key: column`
    Column(At<String>),
    /// `columns_as_keys: [a, b]`: each column becomes a key named like it.
    Melted(Vec<At<String>>),
    /// No `key:`: the whole source is one series, whose key is the empty string.
    Single,
}

/// `time: ts` or `time: { column: ts, unit: s, timezone: Europe/Berlin }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeColumn {
    /// Column name.
    pub column: String,
    /// Unit of an integer epoch; `None`: the column's own type decides, an integer is then a step without a clock.
    /// (JSON has no types: there, no unit means RFC 3339 text.)
    pub unit: Option<EpochUnit>,
    /// Whose days and months there are; `None`: those of the column's own zone, else UTC's.
    pub timezone: Option<Zone>,
}

/// Unit of an integer time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochUnit {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
    /// Seconds with a fraction; in kolk microseconds.
    FloatSecond,
    /// Milliseconds with a fraction; in kolk microseconds.
    FloatMillisecond,
    /// `step`: no clock, an integer that only counts. What an integer column of a typed source is without a unit; JSON
    /// has to say so.
    Step,
}

impl EpochUnit {
    /// Microseconds of a unit whose times have fractions.
    pub fn fractional(self) -> Option<i64> {
        match self {
            EpochUnit::FloatSecond => Some(1_000_000),
            EpochUnit::FloatMillisecond => Some(1_000),
            _ => None,
        }
    }
}

/// Records of a sequence at most, where their number is what ends it.
const LONGEST: usize = 1 << 30;

/// What `sequence` takes.
pub(super) const SEQUENCE: Shape = Shape::Any(&[Shape::Word(&["key"]), Shape::Section(&SEQUENCES)]);
const SEQUENCES: Words = Words::new(
    "`sequence`",
    &[
        word("end", Shape::Text, "Column with true, or 1, on the last record of each sequence"),
        word("gap", Shape::Span { zero: false }, "A sequence ends if the key has no records for longer"),
        word("length", Shape::Integer(1, LONGEST as i64), "A sequence ends with every n-th record of the key"),
    ],
)
.choices(&[exactly_one(&["end", "gap", "length"])]);

/// Reads `sequence`. A refused one is replaced by an end without a column: the file has a `sequence`.
pub(super) fn sequence(reader: &mut Reader, field: Field<'_>) -> At<Sequence> {
    let refused = At { value: Sequence::End(At::default()), place: field.name_place };
    read(reader, field).unwrap_or(refused)
}

fn read(reader: &mut Reader, field: Field<'_>) -> Option<At<Sequence>> {
    if let Some(text) = field.node.text() {
        return match text {
            "key" => Some(field.at(Sequence::Key)),
            _ => reader.expected(field, "key, { end: COLUMN }, { gap: 5m } or { length: n }"),
        };
    }
    let fields = reader.section(field, &SEQUENCES)?;
    let rule = reader.one_of(&fields, &["end", "gap", "length"])?;
    let sequence = match rule.name {
        "end" => Sequence::End(reader.text(rule, "a column")?),
        "gap" => Sequence::Gap(reader.span(rule, false)?),
        _ => Sequence::Length(reader.count(rule, 1, LONGEST)?),
    };
    Some(At { value: sequence, place: field.name_place })
}

/// Notes what of `sequence` doesn't fit together with the rest of the file.
pub(super) fn check_sequence(problems: &mut Problems, pipeline: &Pipeline) {
    let infer: Option<At<&Infer>> = pipeline.infer();
    let mode = infer.as_ref().map(|infer| infer.mode);
    let Some(sequence) = &pipeline.record.sequence else {
        if let (Some(infer), Some(Mode::Sequence)) = (infer, mode) {
            problems.add(
                infer.place,
                "mode sequence needs `sequence` within `record`: where a sequence ends, as in `sequence: { end: last }`",
            );
        } else if let (Some(train), Some(Mode::Carry)) = (pipeline.train.as_ref(), mode)
            && train.task == Task::Ctc
        {
            problems.add(
                train.place,
                "`task: ctc` needs `sequence` within `record`: where a transcript ends, as in `sequence: { end: last }`",
            );
        }
        return;
    };
    match mode {
        Some(Mode::Sequence | Mode::Carry) => {}
        Some(Mode::Window) => problems.add(
            sequence.place,
            "`sequence` is for `infer` in mode sequence or carry: in mode window the last rows count, whatever \
             sequence they are of",
        ),
        None => problems.add(sequence.place, "`sequence` needs an `infer` under `stages`: nothing else reads it"),
    }
    let is_kafka = pipeline.source.kafka().is_some();
    match (&sequence.value, &pipeline.record.key) {
        (Sequence::Key, _) if is_kafka => problems.add(
            sequence.place,
            "`sequence: key` is for files: on Kafka no record is known to be the last one of its key; write \
             { end: COLUMN }, { gap: 5m } or { length: n }",
        ),
        (Sequence::End(column), _) if column.is_empty() => {}
        (Sequence::End(column), Key::Melted(_)) => problems
            .add(column.place, "with `columns_as_keys` there is no column beside the values: write key, gap or length"),
        (Sequence::End(column), key) => {
            let record = &pipeline.record;
            if column.value == record.time.column {
                problems.add(column.place, format_args!("column \"{}\" is already the time", super::one_line(column)));
            }
            if matches!(key, Key::Column(key) if key.value == column.value) {
                problems.add(column.place, format_args!("column \"{}\" is already the key", super::one_line(column)));
            }
        }
        _ => {}
    }
}
