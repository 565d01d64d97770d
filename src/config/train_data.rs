//! `train.data`: which range of a topic is trained on; `train.memory`: how much of it is in memory.

use std::collections::BTreeMap;

use super::read::{Field, Fields, Reader};
use super::table::{Shape, word};
use super::words::Words;
use super::yaml::Kind;
use super::{At, KafkaSource, Moment, Problems, Start, Train, TrainData, Until};

const OFFSETS: &str = "offsets by partition such as { 0: 1500, 1: 1720 }";

pub(super) const DATA: Words = Words::new(
    "`data`",
    &[
        word(
            "start",
            Shape::Any(&[Shape::Word(&["earliest"]), Shape::Moment, Shape::Names(&Shape::COUNT)]),
            "Where training begins to read the topic: earliest, a time, or offsets by partition; by default `start` of \
             the source, or earliest",
        ),
        word(
            "until",
            Shape::Any(&[Shape::Word(&["end", "now"]), Shape::Moment, Shape::Names(&Shape::COUNT)]),
            "Before what training ends: end, now, a time, or offsets by partition; by default `until` of the source, \
             or end",
        ),
    ],
);

/// Reads `data`.
pub(super) fn data(reader: &mut Reader, fields: &Fields) -> Option<At<TrainData>> {
    let field = fields.get("data")?;
    let fields = reader.section(field, &DATA)?;
    let mut data = TrainData::default();
    if let Some(field) = fields.get("start") {
        match (&field.node.kind, field.node.text()) {
            (Kind::Map(_), _) => data.first = offsets(reader, field).unwrap_or_default(),
            (_, Some("earliest")) => data.start = Some(field.at(Start::Earliest)),
            _ => data.start = time(reader, field, "earliest, a time").map(|at| field.at(Start::At(at))),
        }
    }
    if let Some(field) = fields.get("until") {
        match (&field.node.kind, field.node.text()) {
            (Kind::Map(_), _) => data.ends = offsets(reader, field).unwrap_or_default(),
            (_, Some("end")) => data.until = Some(field.at(Until::End)),
            (_, Some("now")) => data.until = Some(field.at(Until::Now)),
            _ => data.until = time(reader, field, "end, now, a time").map(|at| field.at(Until::At(at))),
        }
    }
    for (partition, end) in &data.ends {
        if data.first.get(partition).is_some_and(|first| first > end) {
            reader.note(field, format_args!("partition {partition}: the offset of `until` is below that of `start`"));
        }
    }
    Some(field.at(data))
}

/// Bytes, such as `2GB`.
pub(super) fn memory(reader: &mut Reader, field: Field<'_>) -> Option<u64> {
    const UNITS: [(&str, f64); 3] = [("MB", 1e6), ("GB", 1e9), ("TB", 1e12)];
    let text = field.node.text().unwrap_or_default().trim();
    let bytes = UNITS.iter().find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?.trim_end();
        let plain = number.starts_with(|c: char| c.is_ascii_digit()) && number.ends_with(|c: char| c.is_ascii_digit());
        Some(number.parse::<f64>().ok().filter(|_| plain && !number.contains(['e', 'E']))? * bytes)
    });
    // From a float that is no number of bytes, a whole number comes all the same.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    bytes.map(|bytes| bytes as u64).or_else(|| reader.expected(field, "an amount of memory such as 500MB or 2GB"))
}

fn time(reader: &mut Reader, field: Field<'_>, words: &str) -> Option<Moment> {
    match reader.moment(field)?.value {
        at @ Moment::Instant(_) => Some(at),
        Moment::Step(_) => reader.expected(field, &format!("{words}, or {OFFSETS}")),
    }
}

fn offsets(reader: &mut Reader, field: Field<'_>) -> Option<BTreeMap<u32, i64>> {
    let mut offsets = BTreeMap::new();
    for named in reader.names(field, OFFSETS)? {
        let Ok(partition) = named.name.parse() else {
            let message = format_args!("expected the number of a partition, found \"{}\"", super::one_line(named.name));
            reader.problems.add(named.name_place, message);
            continue;
        };
        offsets.extend(reader.integer(named, 0, i64::MAX).map(|offset| (partition, offset)));
    }
    if offsets.is_empty() && reader.problems.is_empty() {
        return reader.expected(field, OFFSETS);
    }
    Some(offsets)
}

/// What doesn't fit the source; `None`: it isn't Kafka.
pub(super) fn check(problems: &mut Problems, train: &Train, kafka: Option<&KafkaSource>) {
    let Some(data) = &train.data else { return };
    let Some(kafka) = kafka else {
        let message = "`data` is a range of a topic: of files, write `from` and `until` within `source`";
        return problems.add(data.place, message);
    };
    if kafka.topics.is_some() && !(data.first.is_empty() && data.ends.is_empty()) {
        problems.add(data.place, "offsets need one `topic`: of several topics, write times");
    }
    let range = data.of(kafka);
    if let (Start::At(start), Until::At(until)) = (range.start, range.until)
        && range.first.is_empty()
        && range.ends.is_empty()
        && start.is_before(until) != Some(true)
    {
        problems.add(data.place, "`until` must be later than `start`");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{TopicRange, parse};

    fn of(source: &str, data: &str) -> String {
        format!(
            "name: a\nsource: {{ {source} }}\nrecord: {{ key: k, time: t, values: [v] }}\n\
             stages: [ infer: {{ model: m }} ]\ntrain: {{ target: v{data} }}\n"
        )
    }

    fn range(kafka: &str, data: &str) -> TopicRange {
        let text = of(&format!("kafka: {{ brokers: b, topic: t, key: k{kafka} }}"), data);
        let pipeline = parse(&text, Path::new("p.yaml")).unwrap();
        let data = pipeline.train.as_ref().unwrap().data.clone();
        data.map(|data| data.value).unwrap_or_default().of(pipeline.source.kafka().unwrap())
    }

    #[test]
    fn a_range_is_by_words_times_or_offsets_and_else_that_of_the_source() {
        let all = range("", "");
        assert_eq!(all, range(", start: latest, until: end", ""), "nobody trains on nothing");
        assert_eq!(all, range(", start: 2024-01-01, until: now", ", data: { start: earliest, until: end }"));
        let times = range(", start: 2024-01-01, until: 2024-02-01", "");
        assert_eq!(times, range("", ", data: { start: 2024-01-01, until: 2024-02-01T00:00:00Z }"));
        assert_ne!(times, range(", start: 2024-01-01", ", data: { until: now }"));
        let offsets = range(", start: 2024-01-01", ", data: { start: { 0: 5, 2: 0 }, until: { 0: 6, 1: 9 } }");
        assert_eq!((&offsets.first, &offsets.ends), (&[(0, 5), (2, 0)].into(), &[(0, 6), (1, 9)].into()));
        assert_eq!((offsets.start, offsets.until), (all.start, all.until), "other partitions are read whole");
    }

    #[test]
    fn memory_has_a_unit() {
        let memory = |text: &str| {
            let text = of("parquet: { path: d }", &format!(", memory: {text}"));
            parse(&text, Path::new("p.yaml")).map(|pipeline| pipeline.train.unwrap().value.memory)
        };
        for (text, bytes) in [("2GB", 2_000_000_000), ("1.5 GB", 1_500_000_000), ("0MB", 0), ("3TB", 3_000_000_000_000)]
        {
            assert_eq!(memory(text).unwrap(), Some(bytes), "{text}");
        }
        for text in ["2", "-1GB", "1e3MB", "GB", "2 gb", "[]", ".5GB"] {
            let error = memory(text).unwrap_err().to_string();
            assert!(error.contains("an amount of memory such as 500MB"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_range_is_named() {
        let topic = "kafka: { brokers: b, topic: t, key: k }";
        for (source, data, words) in [
            ("parquet: { path: d }", "start: earliest", "5:27: `data` is a range of a topic: of files, write `from`"),
            ("kafka: { brokers: b, topics: [t], key: k }", "until: { 0: 5 }", "offsets need one `topic`"),
            (topic, "start: 2024-02-01, until: 2024-02-01", "`until` must be later than `start`"),
            (topic, "start: 5", "expected earliest, a time, or offsets by partition such as { 0: 1500"),
            (topic, "until: latest", "`until`"),
            (topic, "start: { one: 5 }", "expected the number of a partition, found \"one\""),
            (topic, "start: {}", "expected offsets by partition"),
            (topic, "start: { 0: -5 }", "a whole number"),
            (topic, "start: { 0: 5 }, until: { 0: 4 }", "partition 0: the offset of `until` is below that"),
            (topic, "from: 5", "`from`"),
        ] {
            let error = parse(&of(source, &format!(", data: {{ {data} }}")), Path::new("p.yaml")).unwrap_err();
            assert!(error.to_string().contains(words), "{data}: {error}");
        }
    }
}
