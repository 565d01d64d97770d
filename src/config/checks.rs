//! Checks that concern several sections of the file and need nothing to be opened.

use super::record::check_sequence;
use super::{
    At, DeadLetters, Input, KafkaSource, Key, KeyFormat, Location, Moment, Pipeline, Place, Problems, Sink, Start,
    Task, Until, metadata, one_line, stages, train_data,
};

/// Adds a problem for everything that doesn't fit together. Refused values are replaced by empty ones, which are
/// skipped.
pub(super) fn across(problems: &mut Problems, pipeline: &Pipeline) {
    source(problems, pipeline);
    record(problems, pipeline);
    check_sequence(problems, pipeline);
    stages::check(pipeline, problems);
    train(problems, pipeline);
    places_of_output(problems, pipeline);
    kafka(problems, pipeline);
    if let Some(encoding) = pipeline.source.encoding() {
        metadata::check(problems, pipeline, encoding);
    }
}

fn source(problems: &mut Problems, pipeline: &Pipeline) {
    let source = &pipeline.source;
    let mut before = |first: (&str, Option<Moment>), second: &str, moment: Moment, place: Place| {
        let Some(other) = first.1 else { return };
        match other.is_before(moment) {
            Some(true) => {}
            Some(false) => problems.add(place, format_args!("`{second}` must be later than `{}`", first.0)),
            None => problems.add(place, format_args!("`{second}` and `{}`: one is a time, the other a step", first.0)),
        }
    };
    if let Some(until) = &source.until {
        before(("from", source.from.as_ref().map(|m| m.value)), "until", until.value, until.place);
        before(("emit_from", source.emit_from.as_ref().map(|m| m.value)), "until", until.value, until.place);
    }
}

fn record(problems: &mut Problems, pipeline: &Pipeline) {
    let record = &pipeline.record;
    let mut taken: Vec<(&str, &str)> = Vec::new();
    if !record.time.column.is_empty() {
        taken.push((&record.time.column, "the time"));
    }
    if let Key::Column(key) = &record.key
        && !key.is_empty()
    {
        if taken.iter().any(|(column, _)| *column == key.value) {
            problems.add(key.place, format_args!("column \"{}\" is already the time", one_line(key)));
        }
        taken.push((key, "the key"));
    }
    let melted: &[_] = if let Key::Melted(columns) = &record.key { columns } else { &[] };
    let vectors = || record.vectors.iter().map(|column| &column.name);
    for column in record.values.iter().chain(melted).chain(vectors()) {
        if let Some((_, what)) = taken.iter().find(|(name, _)| *name == column.value) {
            problems.add(column.place, format_args!("column \"{}\" is already {what}", one_line(column)));
        }
    }
    for column in vectors().filter(|column| record.values.iter().any(|value| value.value == column.value)) {
        problems.add(column.place, format_args!("column \"{}\" is already one of the values", one_line(column)));
    }
}

fn train(problems: &mut Problems, pipeline: &Pipeline) {
    if let (Some(train), None) = (&pipeline.train, pipeline.infer()) {
        problems.add(train.place, "`train` needs an `infer` under `stages`: it names the model, its mode and window");
    }
    if let Some(train) = &pipeline.train {
        train_data::check(problems, train, pipeline.source.kafka());
    }
    if let (Some(train), Some(infer)) = (&pipeline.train, pipeline.infer()) {
        for (word, written) in [("beam", &infer.beam), ("max_tokens", &infer.max_tokens)] {
            if let Some(written) = written.as_ref().filter(|_| train.task != Task::Ctc) {
                problems.add(written.place, format_args!("`{word}` is for transcripts: `task: ctc` within `train`"));
            }
        }
    }
}

/// What can't be combined with Kafka, or not without it.
fn kafka(problems: &mut Problems, pipeline: &Pipeline) {
    let sink = pipeline.sink.as_ref().map(|sink| (&sink.value, sink.place));
    if let (Some(ahead), Input::Parquet(_)) = (&pipeline.on.ahead, &pipeline.source.input) {
        problems.add(
            ahead.place,
            "`ahead` compares with the timestamps of messages, which files don't have: write `until` within `source`, \
             or a filter on the time",
        );
    }
    let Some(kafka) = pipeline.source.kafka() else {
        if let Some((Sink::Kafka(_), place)) = sink {
            problems.add(place, "a pipeline that reads files writes to Parquet or stdout, not to Kafka");
        }
        if let DeadLetters::Kafka(_) = &pipeline.dead_letters.value {
            problems.add(pipeline.dead_letters.place, "dead letters go to a topic only from a Kafka source");
        }
        return letters(problems, pipeline);
    };
    if let Some(from) = &pipeline.source.from {
        problems.add(from.place, "`from` is for files: on Kafka write `start` within `kafka`");
    }
    if let Some(until) = &pipeline.source.until {
        problems.add(until.place, "`until` here is for files: on Kafka write it within `kafka`");
    }
    if let (Start::At(start), Some(At { value: Until::At(until), place })) = (kafka.start.value, &kafka.until)
        && start.is_before(*until) != Some(true)
    {
        problems.add(*place, "`until` must be later than `start`");
    }
    if let Some(name) = kafka.encoding.key.as_ref().filter(|_| kafka.history.is_some())
        && kafka.encoding.key_format != KeyFormat::Text
    {
        problems
            .add(name.place, "with a `history` keys are text: rows of files are partitioned by the text of their key");
    }
    let is_message_key = |key: &At<String>| kafka.encoding.key.as_ref().is_some_and(|name| name.value == key.value);
    let other_key = match &pipeline.record.key {
        Key::Column(key) if is_message_key(key) => None,
        Key::Column(key) => Some(key.place),
        Key::Melted(columns) => columns.first().map(|column| column.place),
        Key::Single => Some(pipeline.record.time.place),
    };
    if let Some(place) = other_key.filter(|_| !kafka.partitioned_by_key.value) {
        problems.add(
            place,
            "state belongs to the partition of a key's messages: read the message's key as this column (`key` within \
             `kafka`), or, if all \
             messages of a key are in one partition, state so with `partitioned_by: key`",
        );
    }
    topics(problems, pipeline, kafka);
    if let [Some(key), Some(timestamp)] = [kafka.encoding.key.as_ref(), kafka.encoding.timestamp.as_ref()]
        && key.value == timestamp.value
    {
        problems.add(timestamp.place, format_args!("column \"{}\" is already the message's key", one_line(timestamp)));
    }
}

/// What a source of dead letters can't be combined with.
fn letters(problems: &mut Problems, pipeline: &Pipeline) {
    let source = &pipeline.source;
    let Input::DeadLetters(letters) = &source.input else { return };
    for (word, moment) in [("from", &source.from), ("until", &source.until)] {
        if let Some(moment) = moment {
            problems.add(
                moment.place,
                format_args!("`{word}` is for files of records: dead letters are always read completely"),
            );
        }
    }
    if pipeline.dead_letters.folder().is_some_and(|folder| folder.value == letters.path.value) {
        let place = if pipeline.dead_letters.place == Place::default() {
            letters.path.place
        } else {
            pipeline.dead_letters.place
        };
        problems.add(
            place,
            "records that are refused again would go to the folder that is read: give `dead_letters` another folder",
        );
    }
}

/// No topic is used twice.
fn topics(problems: &mut Problems, pipeline: &Pipeline, kafka: &KafkaSource) {
    let sink = pipeline.sink.as_ref().map(|sink| &sink.value);
    let mut written = Vec::new();
    if let Some(Sink::Kafka(sink)) = sink {
        let same = kafka.reads(&sink.topic.value) && sink.brokers.value == kafka.brokers.value;
        if same && !sink.topic.value.is_empty() {
            let message = "the sink is the source: output would be read as input";
            match kafka.topics.as_ref().filter(|topics| topics.pattern().is_some()) {
                Some(topics) => problems.add(
                    topics.place,
                    format_args!("{message}: `matching` matches topic \"{}\"", one_line(&sink.topic.value)),
                ),
                None => problems.add(sink.topic.place, message),
            }
        }
        written.push((sink.topic.value.as_str(), "the sink"));
    }
    match (&pipeline.dead_letters.value, sink) {
        (DeadLetters::Kafka(topic), Some(Sink::Kafka(_)) | None) => {
            let is_source = kafka.reads(&topic.value).then_some("the source");
            let of_sink = written.iter().find(|(name, _)| *name == topic.value).map(|(_, what)| *what);
            if let Some(what) = is_source.or(of_sink).filter(|_| !topic.value.is_empty()) {
                problems.add(topic.place, format_args!("topic \"{}\" is already {what}", one_line(&topic.value)));
            }
        }
        (DeadLetters::Kafka(topic), _) => {
            problems.add(topic.place, "dead letters go to a topic only with a Kafka sink: write a folder");
        }
        (DeadLetters::Parquet(_), _) => {}
    }
}

/// Refuses output within the source: the next run would read it.
fn places_of_output(problems: &mut Problems, pipeline: &Pipeline) {
    let Some(Sink::Parquet { path, .. }) = pipeline.sink.as_ref().map(|sink| &sink.value) else { return };
    let same = |a: &Location, b: &Location| !a.0.is_empty() && a == b;
    if pipeline.source.path().is_some_and(|source| same(source, path)) {
        problems.add(path.place, "the sink is the source: output would be read as input by the next run");
    }
    if same(&pipeline.state.path, path) || pipeline.dead_letters.folder().is_some_and(|letters| same(letters, path)) {
        problems.add(path.place, "output, state and dead letters each need their own folder");
    }
}
