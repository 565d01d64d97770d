//! Training's view of a pipeline: the same source and the same stages as serving, captured before the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::Late;
use crate::config::{Mode, Sequence, Stage, Task, TrainData};
use crate::error::{Context, counted};
use crate::metrics::free_memory;
use crate::record::{Batch, Clock, Features, Kind, Layout, PartitionId, Values};
use crate::runtime::engine::Partition;
use crate::runtime::kafka::{Takes, read_range};
use crate::runtime::plan::{Plan, PlannedSource};
use crate::source::Files;
use crate::stage::infer::texts;
use crate::train::{Column, Series, Space, Texts};
use crate::{Error, Result};

/// What a capture found besides the series.
#[derive(Debug, Default)]
pub struct Captured {
    /// One series per key, in the order of the keys' text.
    pub series: Vec<Series>,
    /// Records read.
    pub records: u64,
    /// Records that were refused, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Records that came after later ones of their key.
    pub late: Late,
}

impl Captured {
    /// How many records did not become rows, and why; `None` where all did. `drops`: whether a stage may drop rows, and
    /// none makes further ones.
    pub fn lost(&self, drops: bool) -> Option<String> {
        let rows: u64 = self.series.iter().map(|series| series.times.len() as u64).sum();
        let rejected: u64 = self.rejected.values().sum();
        let mut lost: Vec<String> =
            self.rejected.iter().map(|(reason, count)| format!("{count} were refused ({reason})")).collect();
        let dropped = self.records.saturating_sub(rejected).saturating_sub(rows);
        lost.extend((drops && dropped > 0).then(|| format!("{dropped} were filtered out")));
        (!lost.is_empty()).then(|| format!("of {}, {}", counted(self.records, "record"), lost.join(", ")))
    }
}

/// Which columns are captured beside the features.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Numbers that are targets.
    pub targets: &'a [String],
    /// The column of classes or transcripts, where those are the target.
    pub label: Option<&'a str>,
    /// Columns of text that embeddings look up.
    pub texts: &'a [&'a str],
    /// The column with what an example counts.
    pub weight: Option<&'a str>,
    /// The column of a split.
    pub split: Option<&'a str>,
}

/// Columns of a mean and a standard deviation.
type Pair = (usize, usize);

/// Indices of the columns of interest in the layout before the network.
struct Columns {
    features: Features,
    /// Per target: its column, those of its mean and standard deviation, and whether these are of logarithms.
    targets: Vec<(usize, Option<Pair>, bool)>,
    label: Option<usize>,
    texts: Vec<(usize, String)>,
    weight: Option<usize>,
    /// The flag of rows that end a sequence.
    ends: Option<usize>,
    split: Option<usize>,
}

/// Reads what is trained on through the stages before `infer`: all files of the source, or a range of its topic.
/// `progress` gets the records read so far, and of how many at most; of a topic, messages.
///
/// # Errors
/// Unreadable data; a range that the topic doesn't have; a target that the stages don't deliver.
pub fn capture(plan: &Plan, wanted: Wanted<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Captured> {
    let columns = Columns::find(plan.layout(), wanted)?;
    let most =
        plan.pipeline.train.as_ref().and_then(|train| train.memory).or_else(|| free_memory().map(|free| free / 2));
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let space = Space::new(most, &plan.pipeline.models);
    let (captured, series) = (Captured::default(), BTreeMap::new());
    let mut collecting = Collecting { columns, captured, series, space, progress };
    match &plan.source {
        PlannedSource::Files(files) => collecting.files(plan, &**files)?,
        PlannedSource::Kafka(topic) => {
            let data = plan.pipeline.train.as_ref().and_then(|train| train.data.as_ref());
            let data = data.map_or_else(TrainData::default, |data| data.value.clone());
            let kafka = plan.pipeline.source.kafka();
            let range = kafka.map(|kafka| data.of(kafka));
            let range = range.ok_or_else(|| Error::failed("a topic without Kafka: internal error, please report"))?;
            read_range(plan, topic, &range, &mut collecting)?;
        }
    }
    let mut captured = collecting.done();
    let (train, rule) = (plan.pipeline.train.as_ref(), plan.pipeline.record.sequence.as_ref());
    if let (Some(train), Some(rule), Some(infer)) = (train, rule, plan.pipeline.infer())
        && (train.task, infer.mode) == (Task::Ctc, Mode::Carry)
    {
        close(&mut captured.series, rule, &plan.layout().clock)?;
    }
    Ok(captured)
}

/// Flags the rows that end a sequence where only the next row shows it: in mode carry none is held for that.
fn close(series: &mut [Series], rule: &Sequence, clock: &Clock) -> Result<()> {
    let gap = match rule {
        Sequence::Gap(gap) => Some(clock.every(gap.value).map_err(Error::refused)?),
        _ => None,
    };
    for series in series {
        let mut latest = i64::MIN;
        for row in 0..series.times.len() {
            let time = series.times[row];
            if row > 0 && gap.is_some_and(|gap| clock.is_beyond(latest, gap, time)) {
                series.ends[row - 1] = true;
                latest = time;
            }
            latest = latest.max(time);
        }
        if let (Sequence::Key, Some(last)) = (rule, series.ends.len().checked_sub(1)) {
            series.ends[last] = true;
        }
    }
    Ok(())
}

/// A capture under way.
struct Collecting<'a> {
    columns: Columns,
    captured: Captured,
    /// Per partition, its series by slot.
    series: BTreeMap<PartitionId, Vec<Series>>,
    space: Arc<Space>,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Collecting<'_> {
    fn files(&mut self, plan: &Plan, files: &dyn Files) -> Result<()> {
        let mut chain = plan.chain()?;
        let mut partition = Partition::new(0.into(), &chain);
        let mut source = files.open(None)?;
        let source_layout = plan.layout_of_source();
        // `resample` puts records into their buckets whatever their order, or refuses them.
        let in_buckets = plan.pipeline.stages.iter().any(|stage| matches!(stage.value, Stage::Resample(_)));
        while let Some(mut records) = source.next()? {
            let first = partition.position;
            let batch = partition.process_taking(&mut chain, source_layout, &mut records)?;
            let file =
                |position: &u64| records.origins.get((position - first) as usize).map_or(0, |origin| origin.file);
            if !in_buckets {
                self.captured.late.processed(partition.late().iter().map(file));
            }
            let refused = batch.rejects.iter().filter(|reject| reject.reason == "late");
            self.captured.late.refused(refused.map(|reject| file(&reject.position)));
            self.take(&partition, batch, records.len() as u64)?;
            (self.progress)(self.captured.records, files.records());
        }
        let rest = partition.advance(&mut chain, None)?;
        self.take(&partition, rest, 0)
    }

    /// All series, in the order of their keys' text; those of a key in several partitions in that of the partitions.
    fn done(self) -> Captured {
        let mut captured = self.captured;
        captured.series = self.series.into_values().flatten().collect();
        captured.series.retain(|series| !series.times.is_empty());
        captured.series.sort_by(|a, b| a.key.cmp(&b.key));
        captured
    }
}

impl Takes for Collecting<'_> {
    fn take(&mut self, partition: &Partition, batch: Batch, records: u64) -> Result<()> {
        self.captured.records += records;
        for reject in &batch.rejects {
            *self.captured.rejected.entry(reject.reason).or_default() += 1;
        }
        let series = self.series.entry(partition.id).or_default();
        for slot in series.len()..partition.keys.len() {
            let key = partition.keys.get(u32::try_from(slot).unwrap_or(u32::MAX));
            let key = String::from_utf8_lossy(key).into_owned();
            series.push(Series::new(key, self.columns.targets.len(), &self.space));
        }
        self.columns.collect(&batch, series)
    }

    fn progress(&mut self, messages: u64, all: u64) {
        (self.progress)(messages, all);
    }
}

impl Columns {
    fn find(layout: &Layout, wanted: Wanted<'_>) -> Result<Self> {
        let targets = wanted
            .targets
            .iter()
            .map(|name| {
                let refused = |message: String| Error::refused(format!("train.target: {message}"));
                let column =
                    match layout.find(name).filter(|at| matches!(layout.columns[*at].kind, Kind::Passthrough(_))) {
                        Some(column) => column,
                        None => layout.number(name).map_err(refused)?,
                    };
                Ok((column, layout.columns[column].scaled_by, layout.columns[column].log))
            })
            .collect::<Result<_>>()?;
        let text = |word: &str, name: Option<&str>| {
            name.map(|name| {
                let message = || format!("{word}: {} (a resample stage drops text columns)", layout.unknown(name));
                layout.find(name).ok_or_else(|| Error::refused(message()))
            })
            .transpose()
        };
        let (label, split) = (text("train.target", wanted.label)?, text("train.split", wanted.split)?);
        let weight = text("train.sample_weight", wanted.weight)?;
        let looked_up = |name: &&str| Some((text("train.embeddings", Some(*name)).transpose()?, name.to_string()));
        let texts = wanted.texts.iter().filter_map(looked_up).map(|(column, name)| Ok((column?, name)));
        let texts = texts.collect::<Result<_>>()?;
        Ok(Columns {
            features: layout
                .features
                .clone()
                .ok_or_else(|| Error::failed("the stages end without inputs: internal error, please report"))?,
            targets,
            label,
            texts,
            weight,
            ends: layout.ends,
            split,
        })
    }

    /// Appends each row to its key's series.
    fn collect(&self, batch: &Batch, series: &mut [Series]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (inputs, usable, restart) = self.features.read(batch)?;
        let [Values::Vector(x, width)] = inputs[..] else {
            return Err(Error::failed("what is trained has other inputs than x: internal error, please report"));
        };
        let labels = self.label.map(|column| labels(&batch.columns[column].values)).transpose()?;
        let found = |(column, name): &(usize, String)| texts(&batch.columns[*column].values, name);
        let found = self.texts.iter().map(found).collect::<Result<Vec<_>>>()?;
        let weights =
            self.weight.map(|column| numbers("train.sample_weight", &batch.columns[column].values)).transpose()?;
        let ends = match self.ends.map(|column| &batch.columns[column].values) {
            Some(Values::Flag(ends)) => Some(ends),
            _ => None,
        };
        let split = match self.split.map(|column| &batch.columns[column].values) {
            Some(Values::Passthrough(array)) => Some(text("train.split", array)?),
            Some(_) => return Err(Error::refused("train.split: the column must hold text")),
            None => None,
        };
        let beside = |(column, ..): &(usize, Option<Pair>, bool)| match &batch.columns[*column].values {
            values @ Values::Passthrough(_) => numbers("train.target", values).map(Some),
            _ => Ok(None),
        };
        let beside = self.targets.iter().map(beside).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.rows() {
            let series = &mut series[batch.slots[row] as usize];
            series.times.push(batch.times[row])?;
            series.x.extend(&x[row * *width..(row + 1) * *width])?;
            series.usable.push(usable[row])?;
            series.restart.push(restart[row])?;
            if let Some(ends) = ends {
                series.ends.push(ends[row])?;
            }
            if let Some(weights) = &weights {
                series.weights.push(weights[row])?;
            }
            if let Some(labels) = &labels {
                series.labels.push(labels.is_valid(row).then(|| labels.value(row)))?;
            }
            series.texts.resize_with(found.len(), || Texts::new(series.times.space()));
            for (texts, found) in series.texts.iter_mut().zip(&found) {
                texts.push(found.is_valid(row).then(|| found.value(row)))?;
            }
            series.log.resize(self.targets.len(), false);
            for (i, (column, scaled_by, log)) in self.targets.iter().enumerate() {
                series.log[i] = *log;
                match &beside[i] {
                    Some(numbers) => {
                        series.targets[i].push(numbers[row])?;
                        series.observed[i].push(numbers[row].is_finite())?;
                    }
                    None => {
                        series.targets[i].push(batch.columns[*column].numbers()[row])?;
                        series.observed[i].push(batch.columns[*column].is_observed(row))?;
                    }
                }
                if let Some((mean, sd)) = scaled_by {
                    let pair = (batch.columns[*mean].numbers()[row], batch.columns[*sd].numbers()[row]);
                    series.scale[i].get_or_insert_with(|| Column::new(series.times.space())).push(pair)?;
                }
            }
            if let Some(split) = &split {
                let text = if split.is_null(row) { "" } else { split.value(row) };
                series.split.get_or_insert_with(|| Texts::new(series.times.space())).push(Some(text))?;
            }
        }
        Ok(())
    }
}

/// Classes as text: whole numbers without a fraction.
fn labels(values: &Values) -> Result<StringArray> {
    match values {
        Values::Passthrough(array) => text("train.target", array),
        Values::Number(_) | Values::Integer(_) | Values::Flag(_) => texts(values, "train.target"),
        _ => Err(Error::refused("train.target: the column must hold classes: text, integers or booleans")),
    }
}

/// Numbers; null is NaN.
fn numbers(word: &str, values: &Values) -> Result<Vec<f64>> {
    let refused = || format!("{word}: reading the column as numbers");
    match values {
        Values::Number(values) => Ok(values.clone()),
        Values::Passthrough(array) => {
            let numbers = cast(array, &DataType::Float64).or_refused(refused)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            Ok(numbers.iter().map(|number| number.unwrap_or(f64::NAN)).collect())
        }
        _ => Err(Error::refused(format!("{word}: the column must hold numbers"))),
    }
}

fn text(word: &str, array: &arrow::array::ArrayRef) -> Result<StringArray> {
    let utf8 = cast(array, &DataType::Utf8).or_refused(|| format!("{word}: reading the column as text"))?;
    utf8.as_any()
        .downcast_ref::<StringArray>()
        .cloned()
        .ok_or_else(|| Error::failed("a cast to text gave no text: internal error, please report"))
}
