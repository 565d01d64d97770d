//! Transcripts: a text for each sequence, whose tokens come in order at steps that nobody marked (`task: ctc`).
//!
//! Lives here: tokens of a text, what a batch holds of them, and how transcripts are judged and shown. Must not live
//! here: the sums over all ways and the decoding (`train::ctc`).
//!
//! An output is the probability of a token at a step, the last one that of the blank. A transcript is the newest that
//! any record of the sequence has. One that needs more steps than there are teaches nothing, and counts as wrong.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::{Evaluation, Head};
use crate::config::{self, Tokens};
use crate::error::counted;
use crate::model::{Input, Manifest};
use crate::record::Clock;
use crate::train::ctc;
use crate::train::dataset::Dataset;
use crate::train::pass::Model;
use crate::train::report::figure;
use crate::train::report::html::{escape, section};
use crate::train::scaling::Scaling;
use crate::train::split::Subset;
use crate::train::windows::Examples;
use crate::{Error, Result};

/// Beginnings that the search for the most likely transcript keeps, where serving has none.
const BEAM: usize = 16;
/// Transcripts that the report shows.
const SHOWN: usize = 20;
/// Transcripts as the target.
#[derive(Debug, Clone)]
pub struct Ctc {
    column: Vec<String>,
    kind: Tokens,
    /// The tokens of the train part, in their order; none as long as nothing is learned of them.
    tokens: Vec<String>,
    index: BTreeMap<String, u32>,
}

impl Ctc {
    /// The head of a `train` section.
    pub fn new(train: &config::Train) -> Self {
        let column = train.targets.iter().map(|name| name.value.clone()).collect();
        Ctc { column, kind: train.tokens, tokens: Vec::new(), index: BTreeMap::new() }
    }

    fn with(&self, tokens: Vec<String>) -> Ctc {
        let index = tokens.iter().zip(0..).map(|(token, at)| (token.clone(), at)).collect();
        Ctc { tokens, index, ..self.clone() }
    }

    fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        match self.kind {
            Tokens::Words => text.split_whitespace().collect(),
            Tokens::Chars => text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect(),
        }
    }

    /// A text as tokens; one that the train part doesn't have is the blank's number, which no decoding gives.
    fn tokens(&self, text: &str) -> Vec<u32> {
        let unknown = self.tokens.len() as u32;
        self.split(text).into_iter().map(|token| self.index.get(token).copied().unwrap_or(unknown)).collect()
    }

    /// Tokens as a text.
    fn join(&self, tokens: &[u32]) -> String {
        let names: Vec<&str> =
            tokens.iter().map(|token| self.tokens.get(*token as usize).map_or("?", String::as_str)).collect();
        names.join(self.between())
    }

    /// What stands between two tokens of a text; the blank's name in a manifest.
    fn between(&self) -> &'static str {
        if self.kind == Tokens::Words { " " } else { "" }
    }
}

impl Head for Ctc {
    fn columns(&self) -> &[String] {
        &self.column
    }

    fn is_text(&self) -> bool {
        true
    }

    fn outputs(&self) -> usize {
        if self.tokens.is_empty() { 0 } else { self.tokens.len() + 1 }
    }

    fn reach(&self) -> usize {
        0
    }

    fn residual(&self) -> Vec<Input> {
        Vec::new()
    }

    fn target(&self, _: &Dataset, _: usize, _: usize, _: usize) -> Option<f64> {
        None
    }

    fn is_example(&self, data: &Dataset, series: usize, step: usize) -> bool {
        data.label_of_sequence(series, step).is_some()
    }

    fn wanted_width(&self) -> usize {
        1
    }

    /// A row of the batch has its tokens at the first steps, each with weight 1; none where there are too few steps.
    fn put_sequence(&self, data: &Dataset, _: &Scaling, at: (usize, usize), lane: usize, batch: &mut Examples) {
        let Some(text) = data.label_of_sequence(at.0, at.1) else { return };
        let (tokens, steps) = (self.tokens(text), data.steps[at.0].since[at.1] as usize);
        if ctc::needs(&tokens) > steps || tokens.contains(&(self.tokens.len() as u32)) {
            return;
        }
        for (at, token) in tokens.into_iter().enumerate() {
            batch.wanted[at * batch.batch + lane] = token as f32;
            batch.weight[at * batch.batch + lane] = 1.0;
        }
    }

    /// By token.
    fn loss(&self, y: &[f32], batch: &Examples, gradient: &mut Vec<f32>) -> f64 {
        let (outputs, rows) = (self.outputs(), batch.batch);
        gradient.clear();
        gradient.resize(y.len(), 0.0);
        let count: f32 = batch.weight.iter().sum();
        let mut sum = 0.0;
        for lane in 0..rows {
            let cells = || (0..batch.steps).map(|at| at * rows + lane);
            let tokens: Vec<u32> =
                cells().take_while(|cell| batch.weight[*cell] > 0.0).map(|cell| batch.wanted[cell] as u32).collect();
            if tokens.is_empty() {
                continue;
            }
            let steps: Vec<usize> = cells().take_while(|cell| batch.active[*cell]).collect();
            let own: Vec<f32> =
                steps.iter().flat_map(|cell| &y[cell * outputs..(cell + 1) * outputs]).copied().collect();
            let mut slopes = vec![0.0; own.len()];
            sum += ctc::loss(&own, outputs, &tokens, &mut slopes);
            for (cell, slopes) in steps.into_iter().zip(slopes.chunks_exact(outputs)) {
                let to = &mut gradient[cell * outputs..(cell + 1) * outputs];
                to.iter_mut().zip(slopes).for_each(|(to, slope)| *to = slope / count);
            }
        }
        if count > 0.0 { sum / f64::from(count) } else { 0.0 }
    }

    fn add_loss(&self, data: &Dataset, _: &Scaling, origin: (usize, usize), y: &[f32], total: &mut (f64, f64)) {
        let Some(text) = data.label_of_sequence(origin.0, origin.1) else { return };
        let tokens = self.tokens(text);
        if tokens.contains(&(self.tokens.len() as u32)) {
            return;
        }
        let loss = ctc::loss(y, self.outputs(), &tokens, &mut vec![0.0; y.len()]);
        if loss.is_finite() {
            *total = (total.0 + loss, total.1 + tokens.len() as f64);
        }
    }

    fn learned(&self, data: &Dataset) -> Result<Option<Arc<dyn Head>>> {
        let mut tokens = std::collections::BTreeSet::new();
        for series in 0..data.series.len() {
            for step in data.origins(series, Subset::Train) {
                tokens.extend(data.label_of_sequence(series, step).map(|text| self.split(text)).unwrap_or_default());
            }
        }
        let column = self.column.join(", ");
        if tokens.is_empty() {
            return Err(Error::refused(format!("every transcript in column \"{column}\" of the train part is empty")));
        }
        if self.tokens.is_empty() {
            return Ok(Some(Arc::new(self.with(tokens.into_iter().map(String::from).collect()))));
        }
        match tokens.iter().find(|token| !self.index.contains_key(**token)) {
            None => Ok(None),
            Some(other) => Err(Error::refused(format!(
                "column \"{column}\" holds the token \"{other}\", which the version that training goes on with doesn't \
                 know"
            ))),
        }
    }

    fn with_classes(&self, classes: &[String]) -> Option<Arc<dyn Head>> {
        // The last one is the blank.
        let tokens = &classes[..classes.len().saturating_sub(1)];
        Some(Arc::new(self.with(tokens.to_vec())))
    }

    fn evaluate(&self, data: &Dataset, model: &Model) -> Result<Arc<dyn Evaluation>> {
        let mut found = CtcEvaluation { column: self.column.join(", "), ..CtcEvaluation::default() };
        let (outputs, width) = (self.outputs(), if data.plan.beam > 1 { data.plan.beam } else { BEAM });
        let mut is_finite = true;
        model.forecasts(data, Subset::Test, &mut |series, step, y| {
            let Some(text) = data.label_of_sequence(series, step) else { return };
            is_finite &= y.iter().all(|y| y.is_finite());
            let (tokens, greedy, beam) = (self.tokens(text), ctc::greedy(y, outputs), ctc::beam(y, outputs, width));
            found.sequences += 1;
            found.exact += u64::from(beam == tokens);
            found.tokens += tokens.len() as u64;
            found.wrong_greedy += ctc::distance(&greedy, &tokens) as u64;
            found.wrong += ctc::distance(&beam, &tokens) as u64;
            found.too_short += u64::from(ctc::needs(&tokens) > data.steps[series].since[step] as usize);
            if found.samples.len() < SHOWN {
                found.samples.push((data.series[series].key.clone(), text.to_string(), self.join(&beam)));
            }
        });
        if !is_finite {
            return Err(Error::failed("the trained network gives values that are not finite: lower the learning rate"));
        }
        Ok(Arc::new(found))
    }

    fn describe(&self, manifest: &mut Manifest) {
        manifest.targets.clone_from(&self.column);
        manifest.classes.clone_from(&self.tokens);
        manifest.classes.push(self.between().into());
    }

    fn headline(&self) -> String {
        format!("transcribes each sequence into {}, of {}", self.column.join(", "), counted(self.tokens.len(), "token"))
    }

    fn words(&self) -> Vec<(&'static str, String)> {
        let tokens = if self.kind == Tokens::Words { "words" } else { "characters" };
        vec![("loss", "CTC, by token".into()), ("tokens", tokens.into())]
    }

    fn needs(&self) -> (String, &'static str) {
        (format!("a transcript in column \"{}\" in one of its rows", self.column.join(", ")), "the filters")
    }
}

/// Transcripts of the test part against the true ones.
#[derive(Debug, Clone, Default)]
pub struct CtcEvaluation {
    column: String,
    sequences: u64,
    /// Sequences without any error.
    exact: u64,
    tokens: u64,
    /// Tokens to insert, remove or replace in what the beam gives, and in what is most likely step by step.
    wrong: u64,
    wrong_greedy: u64,
    /// Sequences with fewer steps than their transcript needs.
    too_short: u64,
    /// Key, true transcript, what was told.
    samples: Vec<(String, String, String)>,
}

impl CtcEvaluation {
    /// Errors by token, of the beam and step by step.
    pub fn error_rates(&self) -> (f64, f64) {
        let by = |wrong: u64| wrong as f64 / self.tokens.max(1) as f64;
        (by(self.wrong), by(self.wrong_greedy))
    }

    fn exact(&self) -> f64 {
        self.exact as f64 / self.sequences.max(1) as f64
    }
}

impl Evaluation for CtcEvaluation {
    fn metrics(&self) -> BTreeMap<String, f64> {
        let (beam, greedy) = self.error_rates();
        let all = [("token_error", beam), ("token_error_greedy", greedy), ("exact", self.exact())];
        all.map(|(name, value)| (format!("{}.{name}", self.column), value)).into()
    }

    fn figures(&self) -> Vec<String> {
        vec![format!("{}.token_error", self.column)]
    }

    fn warnings(&self) -> Vec<String> {
        if self.too_short == 0 {
            return Vec::new();
        }
        vec![format!(
            "{} of the test part have fewer steps than their transcript needs",
            counted(self.too_short, "sequence")
        )]
    }

    fn table(&self) -> String {
        let (beam, greedy) = self.error_rates();
        format!(
            "{} of the test part, {} with {}\n  error by token   {}   (step by step: {})\n  without error    {}",
            self.column,
            counted(self.sequences, "sequence"),
            counted(self.tokens, "token"),
            figure(beam),
            figure(greedy),
            figure(self.exact())
        )
    }

    fn cards(&self, out: &mut String) {
        let (beam, greedy) = self.error_rates();
        // Writing into a String can't fail, here and below.
        let _ = writeln!(
            out,
            "<div class=\"cards\">\n<div class=\"card\"><b>{:.2} %</b><span>errors by token on the test part; step by step \
             {:.2} %</span></div>\n<div class=\"card\"><b>{:.1} %</b><span>of {} without error</span></div>\n</div>",
            beam * 100.0,
            greedy * 100.0,
            self.exact() * 100.0,
            counted(self.sequences, "sequence")
        );
    }

    fn sections(&self, out: &mut String, _: &Clock, _: bool) -> Result<()> {
        section(out, "Transcripts of the test part", "The first ones; what differs is bold.".into());
        out.push_str("<table class=\"text\">\n<tr><th>key</th><th>true</th><th>told</th></tr>\n");
        for (key, text, told) in &self.samples {
            let told = if text == told { escape(told) } else { format!("<b>{}</b>", escape(told)) };
            let _ = writeln!(out, "<tr><td>{}</td><td>{}</td><td>{told}</td></tr>", escape(key), escape(text));
        }
        out.push_str("</table>\n");
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Length, Split, Task};
    use crate::model::ModelKind;
    use crate::network::testing::Numbers;
    use crate::train::plan::tests::{plan_of, section};
    use crate::train::{Plan, Series, train};

    /// Sequences of tones of two or three steps each, with silence between; which tones is the transcript.
    fn songs(keys: usize) -> Vec<Series> {
        let mut numbers = Numbers(9);
        let mut series = Vec::new();
        for key in 0..keys {
            let mut s = Series { key: format!("k{key}"), ..Series::default() };
            let mut text = String::new();
            for note in 0..1 + key % 4 {
                let tone = (numbers.next().unwrap() + 1.0) * 1.499;
                text.push(['a', 'b', 'c'][tone as usize]);
                for at in 0..4 {
                    let on = at < 2 + note % 2;
                    s.x.extend(&[0, 1, 2].map(|of| if on && of == tone as usize { 1.0 } else { 0.0 })).unwrap();
                }
            }
            let rows = s.x.len() / 3;
            s.times = (0..rows as i64).collect();
            (s.usable, s.restart) = (vec![true; rows].into(), (0..rows).map(|row| row == 0).collect());
            s.ends = (0..rows).map(|row| row + 1 == rows).collect();
            s.labels = std::iter::repeat_n(Some(text.as_str()), rows).collect();
            series.push(s);
        }
        series
    }

    fn plan(tokens: Tokens) -> Plan {
        let mut train = section(1, &["song"]);
        (train.task, train.tokens, train.length) = (Task::Ctc, tokens, Length::Epochs(60));
        train.inputs = ["x", "y", "z"].map(|name| config::At::default_value(name.into())).to_vec();
        train.split.value = Split::ByKey([0.6, 0.2, 0.2]);
        Plan { kind: ModelKind::Sequence, ..plan_of(&train, None) }
    }

    #[test]
    fn tones_are_transcribed() {
        let trained = train(&songs(120), &plan(Tokens::Chars), &mut |_| ()).unwrap();
        let found: &CtcEvaluation = trained.evaluation.as_any().downcast_ref().unwrap();
        assert!(found.error_rates().0 < 0.05 && found.sequences > 10, "{}", found.table());
        assert_eq!(trained.architecture.outputs, 4);
        let mut manifest = crate::model::testing::manifest("m", &trained.architecture, 1);
        trained.plan.head.describe(&mut manifest);
        assert_eq!(manifest.classes, ["a", "b", "c", ""]);
    }

    #[test]
    fn what_is_too_long_for_its_steps_or_has_other_tokens_teaches_nothing() {
        let mut series = songs(40);
        let plan = plan(Tokens::Words);
        for s in &mut series {
            s.labels = std::iter::repeat_n(Some("one two"), s.times.len()).collect();
        }
        // Three steps are too few for a word that comes four times.
        series[0].labels = std::iter::repeat_n(Some("one one one one one one"), series[0].times.len()).collect();
        let data = Dataset::new(&series, &plan).unwrap();
        let learned = plan.learned(&data).unwrap().unwrap();
        let data = Dataset::new(&series, &learned).unwrap();
        let mut batch = Examples::default();
        let last = |series: usize| (series as u32, data.steps[series].rows.len() as u32 - 1);
        crate::train::sequences::fill(&mut batch, &data, &Scaling::neutral(&learned), &[last(0), last(1)]);
        assert_eq!(batch.weight.iter().sum::<f32>(), 2.0);
        assert_eq!((batch.wanted[1], batch.wanted[3]), (0.0, 1.0));
    }
}
