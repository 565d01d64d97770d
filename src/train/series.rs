//! What training is fed with: the rows of a key.
//! Must not live here: how they are captured (`runtime`), where they are (`column`), what is an example (`dataset`).

use std::collections::HashMap;
use std::sync::Arc;

use super::column::Column;
use super::space::Space;
use crate::Result;
use crate::record::logarithm;

/// One key's rows as the stages before `infer` made them, in order: what a network is trained on.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The key as text.
    pub key: String,
    /// Per row, its time in ticks.
    pub times: Column<i64>,
    /// Inputs of the network [rows, features], row-major, exactly as `infer` would feed them.
    pub x: Column<f32>,
    /// Per row, whether all of `x` is finite. Where not, serving takes no step and writes a null prediction.
    pub usable: Column<bool>,
    /// Per row, whether serving would start from zero state here (first row, `gap`, `ttl`, `on.null: reset`).
    pub restart: Column<bool>,
    /// Per target, per row: its value in the key's own units, NaN for null.
    pub targets: Vec<Column<f64>>,
    /// Per target, per row: whether the value was observed. No loss and no metric where not.
    pub observed: Vec<Column<bool>>,
    /// Per target, per row: (mean, sd) of the `scale` stage known after the row; `None` if the target isn't scaled.
    /// The network's output for origin t is `(target - mean_t) / sd_t`.
    pub scale: Vec<Option<Column<(f64, f64)>>>,
    /// Per target, whether that is of the logarithms of both, [`crate::record::logarithm`]; empty: none is.
    pub log: Vec<bool>,
    /// Per row, the class or transcript in the target column, `None` for null; empty where targets are numbers.
    pub labels: Texts,
    /// Per embedding of a column, per row: its text, `None` for null.
    pub texts: Vec<Texts>,
    /// Per row, whether a sequence ends with it; empty but in mode sequence. The next row begins another one.
    pub ends: Column<bool>,
    /// Per row, what its example counts, NaN for null; empty: each counts 1.
    pub weights: Column<f64>,
    /// Per row, the text of the split column, for `split: { column }`.
    pub split: Option<Texts>,
}

impl Series {
    /// Without rows, of a key with so many targets; its columns share a space.
    pub fn new(key: String, targets: usize, space: &Arc<Space>) -> Series {
        let space = Some(space);
        Series {
            key,
            times: Column::new(space),
            x: Column::new(space),
            usable: Column::new(space),
            restart: Column::new(space),
            targets: (0..targets).map(|_| Column::new(space)).collect(),
            observed: (0..targets).map(|_| Column::new(space)).collect(),
            scale: vec![None; targets],
            log: vec![false; targets],
            labels: Texts::new(space),
            texts: Vec::new(),
            ends: Column::new(space),
            weights: Column::new(space),
            split: None,
        }
    }

    /// The space that its columns share.
    pub fn space(&self) -> Option<&Arc<Space>> {
        self.times.space()
    }

    /// Bytes of its rows.
    pub fn bytes(&self) -> usize {
        let of_target = |target: usize| {
            let scale = self.scale.get(target).and_then(Option::as_deref);
            size_of_val(&self.targets[target][..])
                + size_of_val(&self.observed[target][..])
                + scale.map_or(0, size_of_val)
        };
        let flags = self.usable.len() + self.restart.len() + self.ends.len();
        let texts = std::iter::once(&self.labels)
            .chain(&self.texts)
            .chain(&self.split)
            .map(|texts| size_of_val(&texts.ids[..]));
        size_of_val(&self.times[..])
            + size_of_val(&self.x[..])
            + size_of_val(&self.weights[..])
            + flags
            + texts.sum::<usize>()
            + (0..self.targets.len()).map(of_target).sum::<usize>()
    }
}

/// A text, or none, for each row; each different one is held once.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// Per row, which of the texts.
    ids: Column<u32>,
    texts: Vec<Arc<str>>,
    known: HashMap<Arc<str>, u32>,
}

impl Texts {
    /// No text.
    const NONE: u32 = u32::MAX;

    /// Of no row; its column shares a space.
    pub fn new(space: Option<&Arc<Space>>) -> Texts {
        Texts { ids: Column::new(space), ..Texts::default() }
    }

    /// The text of a further row.
    ///
    /// # Errors
    /// No room on the disk.
    pub fn push(&mut self, text: Option<&str>) -> Result<()> {
        let Some(text) = text else { return self.ids.push(Texts::NONE) };
        let id = match self.known.get(text) {
            Some(id) => *id,
            None => {
                let (id, text) = (u32::try_from(self.texts.len()).unwrap_or(Texts::NONE), Arc::<str>::from(text));
                self.texts.push(text.clone());
                self.known.insert(text, id);
                id
            }
        };
        self.ids.push(id)
    }

    /// Another text for a row.
    #[cfg(test)]
    pub fn set(&mut self, row: usize, text: Option<&str>) {
        self.texts.extend(text.map(Arc::from));
        self.ids[row] = if text.is_some() { self.texts.len() as u32 - 1 } else { Texts::NONE };
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The text of a row.
    pub fn get(&self, row: usize) -> Option<&str> {
        let id = self.ids[row];
        (id != Texts::NONE).then(|| &*self.texts[id as usize])
    }

    /// That of each row.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Option<&str>> + ExactSizeIterator {
        (0..self.len()).map(|row| self.get(row))
    }
}

/// In memory.
impl<'a> FromIterator<Option<&'a str>> for Texts {
    fn from_iter<I: IntoIterator<Item = Option<&'a str>>>(texts: I) -> Self {
        let mut all = Texts::default();
        // Without a space nothing can fail.
        texts.into_iter().for_each(|text| drop(all.push(text)));
        all
    }
}

/// How values become numbers of the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// Whether by their logarithms.
    pub log: bool,
    /// Mean and standard deviation; `None`: as they are.
    pub pair: Option<(f64, f64)>,
}

impl Unit {
    /// A value in the network's units.
    #[inline]
    pub fn to_network(self, value: f64) -> f64 {
        let value = if self.log { logarithm::of(value) } else { value };
        match self.pair {
            None => value,
            Some((mean, sd)) => (value - mean) / sd,
        }
    }
}

impl Series {
    /// Whether a target is scaled by its logarithm.
    #[inline]
    pub fn is_log(&self, target: usize) -> bool {
        self.log.get(target) == Some(&true)
    }

    /// How a target's values become numbers of the network, by the pair of a row.
    #[inline]
    pub fn unit(&self, target: usize, row: usize) -> Unit {
        Unit { log: self.is_log(target), pair: self.scale[target].as_ref().map(|pairs| pairs[row]) }
    }

    /// A target's value in the network's units, by the pair of a row.
    #[inline]
    pub fn to_network(&self, target: usize, row: usize, value: f64) -> f64 {
        self.unit(target, row).to_network(value)
    }

    /// A number in the network's units as a target's value.
    pub fn to_own(&self, target: usize, row: usize, value: f64) -> f64 {
        let value = match &self.scale[target] {
            None => value,
            Some(pairs) => value * pairs[row].1 + pairs[row].0,
        };
        if self.is_log(target) { logarithm::back(value) } else { value }
    }
}
