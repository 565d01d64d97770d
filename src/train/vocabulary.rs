//! Which ids the embeddings have: learned from the train part, most frequent first.
//!
//! Lives here: counting, ids of rows, and what is shown as unseen while learning. Must not live here: the vectors
//! (`network`), ids in serving (`stage::infer`).

use std::collections::HashMap;

use super::init::Random;
use super::split::Subset;
use super::windows::Examples;
use super::{Column, Plan, Series};
use crate::network::{Architecture, Embedding, Vocabulary};
use crate::{Error, Result, config};

/// An embedding of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// The column of its texts; `None`: they are keys.
    pub column: Option<String>,
    /// Numbers of a vector.
    pub size: usize,
    /// Texts that have an id at most.
    pub max_tokens: usize,
    /// Rows of the train part that a text needs for an id.
    pub min_count: usize,
    /// Share of rows that are shown as unseen while learning.
    pub unseen: f64,
    /// The texts by id, from 1; empty until they are learned.
    pub tokens: Vec<String>,
}

impl Embedded {
    /// That of the `train` section.
    pub fn new(embedding: &config::Embedding) -> Embedded {
        let config::Embedding { column, size, max_tokens, min_count, unseen } = embedding.clone();
        Embedded { column: column.map(|column| column.value), size, max_tokens, min_count, unseen, tokens: Vec::new() }
    }

    /// Its table.
    pub fn table(&self) -> Embedding {
        Embedding { rows: self.tokens.len() + 1, size: self.size }
    }

    /// For people: `region (5 texts, 4 numbers each)`.
    pub fn in_words(&self) -> String {
        let of = if self.column.is_some() { "texts" } else { "keys" };
        let name = self.column.as_deref().unwrap_or("the key");
        format!("{name} ({} {of}, {} numbers each)", self.tokens.len(), self.size)
    }
}

impl Plan {
    /// What a version keeps of its embeddings.
    pub fn vocabularies(&self) -> Vec<Vocabulary> {
        let kept =
            |embedded: &Embedded| Vocabulary { column: embedded.column.clone(), tokens: embedded.tokens.clone() };
        self.embeddings.iter().map(kept).collect()
    }

    /// The columns of texts that embeddings read, in their order.
    pub fn text_columns(&self) -> impl Iterator<Item = &str> {
        let per = self.per.as_ref().and_then(|per| per.column());
        self.embeddings.iter().filter_map(|embedded| embedded.column.as_deref()).chain(per)
    }
}

/// The plan with the vocabularies of the train part; `None` where there is none to learn.
///
/// # Errors
/// A split that can't be; a vocabulary without a text.
pub fn learned(series: &[Series], plan: &Plan) -> Result<Option<Plan>> {
    if plan.embeddings.is_empty() || plan.start.is_some() {
        return Ok(None);
    }
    let parts = series.iter().map(|s| plan.split.rows(s)).collect::<Result<Vec<_>>>()?;
    let mut plan = plan.clone();
    let mut at = 0;
    for embedded in &mut plan.embeddings {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (s, parts) in series.iter().zip(&parts) {
            match embedded.column {
                None => *counts.entry(&s.key).or_default() += rows(parts).count(),
                Some(_) => rows(parts).filter_map(|row| s.texts[at].get(row)).for_each(|text| {
                    *counts.entry(text).or_default() += 1;
                }),
            }
        }
        at += usize::from(embedded.column.is_some());
        embedded.tokens = most_frequent(counts, embedded.max_tokens, embedded.min_count);
        if embedded.tokens.is_empty() {
            let name = embedded.column.as_deref().unwrap_or("the key");
            return Err(Error::refused(format!(
                "train.embeddings: no text of {name} is in {} or more rows of the train part: lower min_count, or bring \
                 rows with such texts",
                embedded.min_count
            )));
        }
    }
    let embeddings = plan.embeddings.iter().map(Embedded::table).collect();
    plan.architecture = Architecture { embeddings, ..plan.architecture };
    Ok(Some(plan))
}

/// The rows of the train part.
fn rows(parts: &[Option<Subset>]) -> impl Iterator<Item = usize> + '_ {
    (0..parts.len()).filter(|row| parts[*row] == Some(Subset::Train))
}

/// Those that are in at least so many rows, the most frequent first, equally frequent ones by their text.
fn most_frequent(counts: HashMap<&str, usize>, most: usize, least: usize) -> Vec<String> {
    let mut found: Vec<(&str, usize)> = counts.into_iter().filter(|(_, count)| *count >= least.max(1)).collect();
    found.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    found.truncate(most);
    found.into_iter().map(|(text, _)| text.to_string()).collect()
}

/// The ids of each row of each series [rows, embeddings].
pub(super) fn ids(series: &[Series], embeddings: &[Embedded]) -> Result<Vec<Column<u32>>> {
    if embeddings.is_empty() {
        return Ok(Vec::new());
    }
    let places =
        |embedded: &'_ Embedded| -> HashMap<String, u32> { embedded.tokens.iter().cloned().zip(1..).collect() };
    let places: Vec<HashMap<String, u32>> = embeddings.iter().map(places).collect();
    let of = |s: &Series| {
        let mut ids = Column::of(s.space(), 0, s.times.len() * embeddings.len())?;
        let mut at = 0;
        for (i, (embedded, places)) in embeddings.iter().zip(&places).enumerate() {
            let id = |text: &str| places.get(text).copied().unwrap_or(0);
            let own = ids.iter_mut().skip(i).step_by(embeddings.len());
            match embedded.column {
                None => own.for_each(|to| *to = id(&s.key)),
                Some(_) => {
                    own.zip(s.texts[at].iter()).for_each(|(to, text)| *to = text.map_or(0, id));
                    at += 1;
                }
            }
        }
        Ok(ids)
    };
    series.iter().map(of).collect()
}

/// Shows some ids of a batch as unseen, so that id 0 has a vector: of columns single rows, of keys whole lanes. Which
/// ones depends on the seed and on the place of the batch alone.
pub(super) fn hide(batch: &mut Examples, plan: &Plan, (epoch, index): (usize, usize)) {
    let count = plan.embeddings.len();
    if plan.embeddings.iter().all(|embedded| embedded.unseen == 0.0) {
        return;
    }
    let mut random = Random::of(plan.seed, (1 << 62) | ((epoch as u64) << 32) | index as u64);
    for (i, embedded) in plan.embeddings.iter().enumerate().filter(|(_, embedded)| embedded.unseen > 0.0) {
        match embedded.column {
            Some(_) => {
                for id in batch.ids.iter_mut().skip(i).step_by(count) {
                    if random.uniform() < embedded.unseen {
                        *id = 0;
                    }
                }
            }
            None => {
                for lane in 0..batch.batch {
                    if random.uniform() < embedded.unseen {
                        let own = batch.ids.iter_mut().skip(lane * count + i).step_by(batch.batch * count);
                        own.for_each(|id| *id = 0);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{At, Split};
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};

    fn embedding(column: Option<&str>) -> config::Embedding {
        let column = column.map(|column| At::default_value(column.to_string()));
        config::Embedding { column, size: 2, max_tokens: 100, min_count: 1, unseen: 0.0 }
    }

    fn of(key: &str, words: &[&str]) -> Series {
        let texts = words.iter().map(|word| (*word != "-").then_some(*word)).collect();
        Series { texts: vec![texts], ..plain(key, &vec![1.0; words.len()]) }
    }

    #[test]
    fn the_train_part_says_which_texts_there_are_the_most_frequent_first() {
        let mut train = section(1, &["v"]);
        train.split.value = Split::Rows([5, 1, 1]);
        train.embeddings = vec![embedding(Some("word")), embedding(None)];
        let series = [of("k", &["b", "a", "-", "c", "b", "z", "z"]), of("a", &["c", "a", "-", "c", "-", "z", "d"])];
        let learned = |train: &config::Train| learned(&series, &plan_of(train, None));
        let plan = learned(&train).unwrap().unwrap();
        assert_eq!(plan.embeddings[0].tokens, ["c", "a", "b"]);
        assert_eq!(plan.embeddings[1].tokens, ["a", "k"]);
        assert_eq!(plan.architecture.embeddings, [Embedding { rows: 4, size: 2 }, Embedding { rows: 3, size: 2 }]);
        // By row: the word, then the key; 0 for null and for what only later rows have.
        let ids = ids(&series, &plan.embeddings).unwrap();
        assert_eq!(ids[0], [3, 2, 2, 2, 0, 2, 1, 2, 3, 2, 0, 2, 0, 2]);
        assert_eq!(ids[1][..4], [1, 1, 2, 1]);
        (train.embeddings[0].max_tokens, train.embeddings[1].min_count) = (1, 5);
        let plan = learned(&train).unwrap().unwrap();
        assert_eq!(plan.embeddings.iter().map(|own| own.tokens.len()).collect::<Vec<_>>(), [1, 2]);
        train.embeddings[0].min_count = 4;
        let message = learned(&train).unwrap_err().to_string();
        assert!(message.contains("no text of word is in 4 or more rows of the train part"), "{message}");
    }

    #[test]
    fn a_share_of_ids_is_shown_as_unseen_of_keys_in_whole_lanes() {
        let mut train = section(1, &["v"]);
        train.embeddings = vec![embedding(Some("word")), embedding(None)];
        (train.embeddings[0].unseen, train.embeddings[1].unseen) = (0.2, 0.4);
        let plan = plan_of(&train, None);
        let hidden = |place| {
            let mut batch = Examples { steps: 10, batch: 1000, ids: vec![1; 20_000], ..Examples::default() };
            hide(&mut batch, &plan, place);
            batch.ids
        };
        let ids = hidden((0, 3));
        let zeros = |of: usize| ids.iter().skip(of).step_by(2).filter(|id| **id == 0).count() as f64 / 10_000.0;
        assert!((zeros(0) - 0.2).abs() < 0.02 && (zeros(1) - 0.4).abs() < 0.05, "{} {}", zeros(0), zeros(1));
        let lane = |lane: usize| (0..10).map(move |at| (at * 1000 + lane) * 2 + 1);
        assert!((0..1000).all(|at| lane(at).all(|cell| ids[cell] == ids[at * 2 + 1])));
        assert_eq!(ids, hidden((0, 3)));
        assert!(ids != hidden((1, 3)) && ids != hidden((0, 4)));
    }
}
