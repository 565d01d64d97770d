//! The first rows of a pipeline's data as a network would get them: a graph of others is proved on them before it is
//! served. Of a topic it is the last messages, which are there to be looked at.
//!
//! Must not live here: what is proved (`model::import`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::{Chain, Order, Partition};
use super::plan::PlannedSource;
use crate::config::{self, At, Pipeline};
use crate::error::{Problems, counted};
use crate::kafka::sample::Sample;
use crate::metrics::Metrics;
use crate::model::import::{AskedRows, Rows, Sequence};
use crate::record::{Batch, Layout, PartitionId, Records, SourceTopic, Values};
use crate::source::topic::PlannedTopic;
use crate::stage::{self, Step, infer::Inputs};
use crate::{Error, Result};

/// Records that are read at most.
const RECORDS: u64 = 200_000;
/// Numbers that are kept at most.
const NUMBERS: usize = 16 << 20;
/// Keys that are waited for before reading ends.
const KEYS: usize = 8;

/// A pipeline up to its `infer`, whatever model that names; one without `infer` is taken whole.
pub struct BeforeInfer {
    pipeline: Pipeline,
    source: PlannedSource,
    /// The columns that there are.
    pub layout: Layout,
}

impl BeforeInfer {
    /// Plans it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn plan(pipeline: Pipeline) -> Result<BeforeInfer> {
        let mut problems = Problems::new(&pipeline.file);
        let steps = stage::before_infer(&pipeline);
        let fields = stage::from_source(&steps, &[]);
        let Some(source) = PlannedSource::plan(&pipeline, &fields, &mut problems) else {
            problems.finish(())?;
            return Err(Error::refused("the source can't be planned"));
        };
        let layout = stage::chain(&steps, source.layout().clone(), &mut problems).layout;
        drop(steps);
        problems.finish(BeforeInfer { pipeline, source, layout })
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Its first rows; `None`: the topic has no messages yet.
    ///
    /// # Errors
    /// Inputs that its columns don't give, files that can't be read, brokers that don't answer.
    pub fn rows(&self, asked: AskedRows<'_>) -> Result<Option<Rows>> {
        let mut problems = Problems::new(&self.pipeline.file);
        let mut steps = stage::before_infer(&self.pipeline);
        let infer = self.pipeline.infer();
        let place = infer.as_ref().map_or(config::NOWHERE, |infer| infer.place);
        let (gap, ttl) = infer.map_or((None, None), |infer| (infer.gap.clone(), infer.ttl.clone()));
        let metrics = Arc::new(Metrics::new()?);
        let inputs = Inputs { inputs: asked.inputs.to_vec(), gap, ttl, metrics: Some(metrics.clone()) };
        steps.push(Step { place, operator: Box::new(inputs) });
        let planned = stage::chain(&steps, self.source.layout().clone(), &mut problems);
        let mut stages = planned.build(&mut problems);
        problems.finish(())?;
        if let PlannedSource::Files(files) = &self.source
            && let Some(unread) = files.unread()
        {
            stages.iter_mut().for_each(|stage| stage.take_unread(&unread));
        }
        let mut chain = Chain::new(stages, Order::of(&self.pipeline), metrics);
        let mut taking = Taking::new(asked, &planned.layout);
        match &self.source {
            PlannedSource::Files(files) => {
                let listed = files.files();
                taking.rows.source = match &listed.files[..] {
                    [] => "no files".into(),
                    [one] => one.name.clone(),
                    [first, more @ ..] => format!("{} and {} more", first.name, counted(more.len(), "file")),
                };
                let mut partition = Partition::new(0.into(), &chain);
                let mut reader = files.open(None)?;
                let mut at_end = true;
                while let Some(mut records) = reader.next()? {
                    taking.records(&mut partition, &mut chain, files.layout(), &mut records)?;
                    if taking.is_enough() {
                        at_end = false;
                        break;
                    }
                }
                if at_end {
                    let rest = partition.advance(&mut chain, None)?;
                    taking.batch(&partition, &rest)?;
                }
                taking.end(&partition);
            }
            PlannedSource::Kafka(topic) => {
                let Some(kafka) = self.pipeline.source.kafka() else { return Ok(None) };
                taking.rows.source = format!("the last messages of {}", kafka.shown());
                for (id, mut records) in messages(kafka, topic)? {
                    let mut partition = Partition::new(id, &chain);
                    taking.records(&mut partition, &mut chain, &topic.decoder.layout, &mut records)?;
                    taking.end(&partition);
                }
                if taking.rows.records == 0 {
                    return Ok(None);
                }
            }
        }
        Ok(Some(taking.rows))
    }
}

/// The last messages of each partition of the topics, as records.
fn messages(kafka: &config::KafkaSource, topic: &PlannedTopic) -> Result<Vec<(PartitionId, Records)>> {
    let mut topics: Vec<(SourceTopic, config::KafkaSource, u32)> = Vec::new();
    if topic.found.is_empty() {
        topics.push((SourceTopic::ONLY, kafka.clone(), topic.partitions));
    }
    for (found, partitions) in &topic.found {
        let name = At { value: found.name().unwrap_or_default().to_owned(), place: kafka.topic.place };
        topics.push((*found, kafka.of_topic(name), *partitions));
    }
    let mut all = Vec::new();
    for (of, kafka, partitions) in topics {
        let sample = Sample::take(&kafka, partitions, &topic.decoder)
            .map_err(|why| Error::failed(format!("topic {}: its last messages can't be read: {why}", *kafka.topic)))?;
        for (number, (_, decoded)) in sample.partitions {
            all.push((PartitionId::of(of, number), decoded.records));
        }
    }
    Ok(all)
}

/// Rows that are collected key by key.
struct Taking<'a> {
    asked: AskedRows<'a>,
    layout: &'a Layout,
    rows: Rows,
    /// The sequence of each slot of the partition at hand that is not at its end.
    open: Vec<Option<Sequence>>,
    /// Rows that each slot had so far, and those of them that were kept.
    seen: Vec<(usize, usize)>,
    kept: usize,
    numbers: usize,
    full: usize,
    refused: BTreeMap<&'static str, u64>,
}

impl<'a> Taking<'a> {
    fn new(asked: AskedRows<'a>, layout: &'a Layout) -> Self {
        Taking {
            asked,
            layout,
            rows: Rows::default(),
            open: Vec::new(),
            seen: Vec::new(),
            kept: 0,
            numbers: 0,
            full: 0,
            refused: BTreeMap::new(),
        }
    }

    /// Whether what was asked for is there, of several keys where the data have them.
    fn is_enough(&self) -> bool {
        let of_keys = self.full >= KEYS || self.seen.iter().filter(|(_, kept)| *kept > 0).count() >= KEYS;
        self.rows.records >= RECORDS || self.numbers >= NUMBERS || of_keys && self.kept >= self.asked.most
    }

    /// Runs records through the stages and keeps what comes out.
    fn records(
        &mut self,
        partition: &mut Partition,
        chain: &mut Chain,
        layout: &Layout,
        records: &mut Records,
    ) -> Result<()> {
        self.rows.records += records.len() as u64;
        let batch = partition.process_taking(chain, layout, records)?;
        for reject in &batch.rejects {
            *self.refused.entry(reject.reason).or_default() += 1;
        }
        self.batch(partition, &batch)
    }

    fn batch(&mut self, partition: &Partition, batch: &Batch) -> Result<()> {
        let Some(features) = self.layout.features.as_ref().filter(|_| !batch.is_empty()) else { return Ok(()) };
        let (inputs, usable, restart) = features.read(batch)?;
        let targets: Vec<Option<usize>> = self.asked.targets.iter().map(|name| self.layout.number(name).ok()).collect();
        self.open.resize_with(partition.keys.len(), || None);
        self.seen.resize(partition.keys.len(), (0, 0));
        for row in 0..batch.rows() {
            let slot = batch.slots[row] as usize;
            self.seen[slot].0 += 1;
            if !usable[row] || self.seen[slot].1 >= self.asked.each || self.numbers >= NUMBERS {
                continue;
            }
            if restart[row] {
                self.close(partition, slot);
            }
            let first = self.seen[slot].0;
            let sequence = self.open[slot].get_or_insert_with(|| Sequence {
                first,
                inputs: vec![Vec::new(); inputs.len()],
                targets: vec![Vec::new(); targets.len()],
                scale: vec![None; targets.len()],
                log: targets
                    .iter()
                    .map(|column| column.is_some_and(|column| self.layout.columns[column].log))
                    .collect(),
                ..Sequence::default()
            });
            for (values, kept) in inputs.iter().zip(&mut sequence.inputs) {
                let before = kept.len();
                match values {
                    Values::Vector(x, width) => {
                        kept.extend(x[row * width..(row + 1) * width].iter().map(|value| f64::from(*value)));
                    }
                    Values::Doubles(x, width) => kept.extend_from_slice(&x[row * width..(row + 1) * width]),
                    Values::Integer(x) => kept.push(x[row] as f64),
                    _ => {
                        return Err(Error::failed(
                            "an input of the network has no numbers: internal error, please report",
                        ));
                    }
                }
                self.numbers += kept.len() - before;
            }
            for (n, target) in targets.iter().enumerate() {
                let Some(column) = *target else { continue };
                let seen = batch.columns[column].is_observed(row);
                let value = if seen { batch.columns[column].numbers()[row] } else { f64::NAN };
                sequence.targets[n].push(value);
                if let Some((mean, sd)) = self.layout.columns[column].scaled_by {
                    let pair = (batch.columns[mean].numbers()[row], batch.columns[sd].numbers()[row]);
                    sequence.scale[n].get_or_insert_default().push(pair);
                }
            }
            sequence.rows += 1;
            self.kept += 1;
            self.seen[slot].1 += 1;
            self.full += usize::from(self.seen[slot].1 == self.asked.each);
        }
        Ok(())
    }

    /// A slot's sequence is at its end.
    fn close(&mut self, partition: &Partition, slot: usize) {
        if let Some(sequence) = self.open[slot].take() {
            let key = String::from_utf8_lossy(partition.keys.get(slot as u32)).into_owned();
            self.rows.sequences.push(Sequence { key, ..sequence });
        }
    }

    /// The partition is at its end.
    fn end(&mut self, partition: &Partition) {
        (0..self.open.len()).for_each(|slot| self.close(partition, slot));
        self.open.clear();
        self.seen.clear();
        self.rows.refused = self.refused.iter().map(|(reason, count)| (*reason, *count)).collect();
    }
}
