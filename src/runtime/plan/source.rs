//! What a pipeline reads: its files or topics, and which columns of them.

use super::Purpose;
use crate::config::{At, Input, Pipeline, Split, Stage};
use crate::error::Problems;
use crate::record::Layout;
use crate::{source, stage};

/// What a pipeline reads, found.
pub enum Source {
    /// Files, listed and their columns found.
    Files(Box<source::Files>),
    /// A topic, asked about, and how its messages are decoded.
    Kafka(Box<source::topic::PlannedTopic>),
}

impl Source {
    pub(super) fn plan(pipeline: &Pipeline, fields: &[At<String>], problems: &mut Problems) -> Option<Source> {
        match &pipeline.source.input {
            Input::Parquet(_) => {
                let found = source::parquet::plan(pipeline, fields, problems)?;
                Some(Source::Files(Box::new(source::Files::Parquet(found))))
            }
            Input::DeadLetters(letters) => {
                let found = source::dead_letters::plan(pipeline, letters, fields, problems)?;
                Some(Source::Files(Box::new(source::Files::DeadLetters(found))))
            }
            Input::Kafka(kafka) => {
                source::topic::plan(pipeline, kafka, fields, problems).map(|found| Source::Kafka(Box::new(found)))
            }
        }
    }

    /// Columns of its records.
    pub fn layout(&self) -> &Layout {
        match self {
            Source::Files(files) => files.layout(),
            Source::Kafka(source) => &source.decoder.layout,
        }
    }
}

/// Columns beside key, time and values that may have to be read: what the sink asks for, filters compare and the split
/// names. Names that stages make aren't in the source; the stages find out.
pub(super) fn wanted(pipeline: &Pipeline, purpose: Purpose) -> Vec<At<String>> {
    let mut wanted = Vec::new();
    if let (Purpose::Run, Some(sink)) = (purpose, &pipeline.sink) {
        wanted.extend(sink.fields().iter().cloned());
    }
    for stage in &pipeline.stages {
        if let Stage::Filter(filter) = &stage.value {
            let columns = stage::filter_columns(&filter.predicate);
            wanted.extend(columns.into_iter().map(|value| At { value, place: filter.predicate.place }));
        }
    }
    if let (Purpose::Train, Some(train)) = (purpose, &pipeline.train)
        && let Split::Column(column) = &train.split.value
    {
        wanted.push(At { value: column.clone(), place: train.split.place });
    }
    let made = made_by_stages(pipeline);
    wanted.retain(|column: &At<String>| !made.contains(&column.value));
    wanted
}

/// Names of the columns that the stages make: these can't be read.
fn made_by_stages(pipeline: &Pipeline) -> Vec<String> {
    let mut made = Vec::new();
    for stage in &pipeline.stages {
        match &stage.value {
            Stage::Resample(_) => made.extend(["observed", "age"].map(String::from)),
            Stage::Calendar(calendar) => made.extend(calendar.features.iter().flat_map(|feature| {
                let name = format!("{:?}", feature.value).to_lowercase();
                [format!("{name}_sin"), format!("{name}_cos")]
            })),
            Stage::Lags(lags) => made.extend(
                lags.columns
                    .iter()
                    .flat_map(|(column, lags)| lags.iter().map(move |lag| format!("{}_lag_{lag}", column.value))),
            ),
            Stage::Infer(_) => {
                made.extend(["prediction", "prediction_time", "model_version", "warm_up"].map(String::from));
            }
            Stage::Score(_) => made.extend(["residual", "residual_sd", "tail", "alert"].map(String::from)),
            Stage::Filter(_) | Stage::Scale(_) => {}
        }
    }
    made
}
