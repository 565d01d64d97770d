//! What a pipeline reads: its files or topics, and which columns of them.

use super::Purpose;
use crate::config::{At, Format, Input, KafkaSource, Metadatum, Mode, Per, Pipeline, Sequence, Split};
use crate::error::Problems;
use crate::format::plan_decoder;
use crate::record::Layout;
use crate::{source, stage, train};

/// What a pipeline reads, found.
pub enum PlannedSource {
    /// Files, listed and their columns found.
    Files(Box<dyn source::Files>),
    /// A topic, asked about, and how its messages are decoded.
    Kafka(Box<source::topic::PlannedTopic>),
}

impl PlannedSource {
    pub(in crate::runtime) fn plan(
        pipeline: &Pipeline,
        fields: &[At<String>],
        problems: &mut Problems,
    ) -> Option<PlannedSource> {
        PlannedSource::asking(pipeline, fields, (true, Purpose::Run), problems)
    }

    /// The same; unless `asks`, without asking brokers.
    pub(super) fn asking(
        pipeline: &Pipeline,
        fields: &[At<String>],
        (asks, purpose): (bool, Purpose),
        problems: &mut Problems,
    ) -> Option<PlannedSource> {
        match &pipeline.source.input {
            Input::Kafka(kafka) if !asks => source::topic::unasked(pipeline, kafka, fields, problems)
                .map(|found| PlannedSource::Kafka(Box::new(found))),
            Input::Parquet(_) => {
                source::parquet::plan(pipeline, fields, problems).map(|found| PlannedSource::Files(Box::new(found)))
            }
            Input::DeadLetters(letters) => {
                let found = source::dead_letters::plan(pipeline, letters, fields, problems)?;
                Some(PlannedSource::Files(Box::new(found)))
            }
            Input::Kafka(kafka) => {
                let is_train = purpose == Purpose::Train;
                let more = if is_train { Vec::new() } else { of_other_versions(pipeline, kafka, fields) };
                let all = (!more.is_empty()).then(|| [fields, &more].concat());
                // Without them, if a history for example has not got them.
                let with_all = all.and_then(|all| {
                    source::topic::plan(pipeline, kafka, &all, is_train, &mut Problems::new(&pipeline.file))
                });
                let found = with_all.or_else(|| source::topic::plan(pipeline, kafka, fields, is_train, problems))?;
                Some(PlannedSource::Kafka(Box::new(found)))
            }
        }
    }

    /// What is worth saying of it before it is read.
    pub fn notes(&self) -> &[String] {
        match self {
            PlannedSource::Files(files) => files.notes(),
            PlannedSource::Kafka(source) => &source.notes,
        }
    }

    /// Columns of its records.
    pub fn layout(&self) -> &Layout {
        match self {
            PlannedSource::Files(files) => files.layout(),
            PlannedSource::Kafka(source) => &source.decoder.layout,
        }
    }
}

/// A source whose `from` or `until` may be wrong, without them: what else is wrong is found as well.
pub(super) fn without_times(pipeline: &Pipeline, purpose: Purpose) -> Option<PlannedSource> {
    let (Input::Parquet(_), false) =
        (&pipeline.source.input, pipeline.source.from.is_none() && pipeline.source.until.is_none())
    else {
        return None;
    };
    let mut pipeline = pipeline.clone();
    (pipeline.source.from, pipeline.source.until) = (None, None);
    PlannedSource::plan(&pipeline, &wanted(&pipeline, purpose), &mut Problems::default())
}

/// Columns that another version of the model looks up, which may take over while the pipeline runs or be active where
/// it stopped, of those that messages may lack. A field of Avro without a default is none of them.
fn of_other_versions(pipeline: &Pipeline, kafka: &KafkaSource, fields: &[At<String>]) -> Vec<At<String>> {
    if matches!(kafka.encoding.format.value, Format::Avro(_)) || holds_whole_rows(pipeline) {
        return Vec::new();
    }
    let reads = |fields: &[At<String>]| plan_decoder(pipeline, fields, &mut Problems::new(&pipeline.file)).is_some();
    let ever = stage::from_source(&stage::steps(pipeline, None), &stage::ever_looked_up(pipeline));
    let mut more: Vec<At<String>> =
        ever.into_iter().filter(|column| !fields.iter().any(|field| field.value == column.value)).collect();
    more.retain(|column| reads(std::slice::from_ref(column)));
    more
}

/// Whether a stage keeps rows with all their columns in its state, which another column would change.
fn holds_whole_rows(pipeline: &Pipeline) -> bool {
    let is_held = matches!(pipeline.record.sequence.as_deref(), Some(Sequence::Gap(_)));
    pipeline.on.reorder.is_some() || (is_held && pipeline.infer().is_some_and(|infer| infer.mode == Mode::Sequence))
}

/// Columns that the pipeline file names, and not only its model: those that filters compare and the sink writes.
pub(super) fn named(pipeline: &Pipeline) -> Vec<String> {
    let mut steps = stage::steps(pipeline, None);
    steps.retain(|step| step.operator.word() != "infer");
    let sink = pipeline.sink.as_ref().map_or_else(Vec::new, |sink| sink.fields().to_vec());
    stage::from_source(&steps, &sink).into_iter().map(|column| column.value).collect()
}

/// Columns besides key, time and values that must be read: what filters compare, the sink writes and the split names,
/// where no stage before makes them.
pub(super) fn wanted(pipeline: &Pipeline, purpose: Purpose) -> Vec<At<String>> {
    match (purpose, &pipeline.sink, &pipeline.train) {
        (Purpose::Run, sink, _) => {
            let mut fields = sink.as_ref().map_or_else(Vec::new, |sink| sink.fields().to_vec());
            // What is the same in a whole partition needs no way through the stages.
            if let Some(kafka) = pipeline.source.kafka() {
                let of = |name: &At<String>| kafka.encoding.metadata.find(name);
                fields.retain(|name| !of(name).is_some_and(Metadatum::is_constant));
            }
            stage::from_source(&stage::steps(pipeline, None), &fields)
        }
        (Purpose::Train, _, train) => {
            let mut after = Vec::new();
            if let Some(train) = train {
                let head = train::head::head(train);
                // Numbers ahead are values of the record.
                let is_beside = head.is_text() || head.is_beside_values();
                let labels: &[_] = if is_beside { &train.targets } else { &[] };
                let weight = head.sample_weight().map(|weight| At { value: weight.into(), place: train.place });
                let is_value = |name: &At<String>| pipeline.record.values.iter().any(|value| value.value == name.value);
                let per = match &train.per {
                    Some(Per::Column(column)) => Some(column.clone()),
                    Some(Per::Key) | None => None,
                };
                let texts = train.embeddings.iter().filter_map(|embedding| embedding.column.clone()).chain(per);
                after.extend(labels.iter().cloned().chain(weight).chain(texts).filter(|name| !is_value(name)));
                if let Split::Column(column) = &train.split.value {
                    after.push(At { value: column.clone(), place: train.split.place });
                }
            }
            stage::from_source(&stage::before_infer(pipeline), &after)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn what_other_versions_look_up_is_read_where_messages_may_lack_it_and_no_state_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let schema = folder.path().join("r.avsc");
        std::fs::write(&schema, r#"{ "type": "record", "name": "R", "fields": [ { "name": "ts", "type": "long" } ] }"#)
            .unwrap();
        let avro = format!(", format: {{ avro: {{ schema: {{ file: {} }} }} }}", schema.display());
        let train = "target: v, per: region, embeddings: [ { column: word, size: 2 }, { column: v, size: 2 } ]";
        let of = |source: &str, record: &str, infer: &str, train: &str, rest: &str| -> Vec<String> {
            let text = format!(
                "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, key: id{source} }} }}\n\
                 record: {{ key: id, time: {{ column: ts, unit: ms }}, values: [v]{record} }}\n\
                 stages: [ infer: {{ model: m{infer} }} ]\nsink: {{ kafka: {{ topic: o, fields: [shop] }} }}\n{train}{rest}"
            );
            let pipeline = config::parse(&text, Path::new("p.yaml")).unwrap();
            let fields = wanted(&pipeline, Purpose::Run);
            assert_eq!(fields.iter().map(|field| field.value.as_str()).collect::<Vec<_>>(), ["shop"]);
            let kafka = pipeline.source.kafka().unwrap();
            of_other_versions(&pipeline, kafka, &fields).into_iter().map(|column| column.value).collect()
        };
        let forecast = format!("train: {{ {train} }}\n");
        assert_eq!(of("", "", "", &forecast, ""), ["region", "v", "word"]);
        assert_eq!(of("", "", "", "", ""), [""; 0]);
        assert_eq!(of(&avro, "", "", &forecast, ""), [""; 0]);
        assert_eq!(of("", "", "", &forecast, "on: { reorder: 5s }\n"), [""; 0]);
        let classes = "train: { target: shop, per: region }\n";
        let ends = |rule: &str| of("", &format!(", sequence: {rule}"), ", mode: sequence", classes, "");
        assert_eq!(ends("{ length: 4 }"), ["region"]);
        assert_eq!(ends("{ gap: 5s }"), [""; 0]);
    }
}
