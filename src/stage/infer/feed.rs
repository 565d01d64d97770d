//! What feeds an input of the network, resolved against the columns before it, and reading its rows. Must not live
//! here: state that it needs (`inputs` keeps it), and the network (`model::executor`).

use std::collections::HashMap;

use super::numbers::{Float, put};
use super::rows::{Made, View};
use super::tokens::Tokens;
use crate::network::{Element, Feed, Input, InputTensor};
use crate::record::{Batch, Kind, Layout, LayoutColumn, Role, logarithm};
use crate::stage::Judge;

/// An input of the network with where its numbers come from.
#[derive(Clone)]
pub(super) struct Fed {
    of: Of,
    /// Numbers of a row.
    pub(super) width: usize,
    /// Type of a row's numbers; `Integer` for ids.
    pub(super) kind: Kind,
    /// Least and greatest number, of inputs that take whole ones.
    whole: Option<(f64, f64)>,
    /// Greatest magnitude that the input's type holds, where its rows could have more.
    most: Option<f32>,
}

/// Least and greatest numbers of 64 bits that an int64 holds: 2^63 itself is one too many.
pub(super) const INT64: (f64, f64) = (-9_223_372_036_854_775_808.0, 9_223_372_036_854_774_784.0);
/// From here on a float16 is infinite, since 65504 is its greatest number.
pub(super) const FLOAT16: f32 = 65_520.0;

#[derive(Clone)]
enum Of {
    Columns(Vec<Source>),
    Ids {
        column: usize,
        below: u64,
    },
    /// The place of the key's text, from 1.
    Key(HashMap<Vec<u8>, i64>),
    Tokens(Tokens),
    PerKey {
        column: usize,
        /// Where the key's vector begins in what `inputs` remembers.
        at: usize,
    },
}

#[derive(Clone)]
enum Source {
    Number {
        column: usize,
        lag: usize,
        /// Mean and standard deviation columns of a `scale` stage.
        scaled_by: Option<(usize, usize)>,
        /// Whether these are of its logarithms.
        log: bool,
        /// Which ring holds the column's past, for a lag.
        ring: usize,
        /// Whether a missing value is that of the next row that has one.
        filled: bool,
    },
    Vector {
        column: usize,
    },
    /// A number of a vector.
    Element {
        column: usize,
        at: usize,
    },
}

/// What `inputs` remembers of each key for all its inputs: a ring of each column with a past, then vectors.
#[derive(Clone, Default)]
pub(super) struct Kept {
    /// Columns with a past.
    pub(super) rings: Vec<usize>,
    /// Values a ring holds: the longest lag.
    pub(super) depth: usize,
    /// Columns and widths of vectors that are kept.
    pub(super) vectors: Vec<(usize, usize)>,
}

/// Columns of a model that can't be had, with the message of the first one.
#[derive(Default)]
pub(super) struct Missing<'a> {
    pub(super) columns: Vec<&'a str>,
    pub(super) first: Option<String>,
}

impl<'a> Missing<'a> {
    fn of<T>(&mut self, column: &'a str, found: Result<T, String>) -> Option<T> {
        found
            .map_err(|message| {
                self.columns.push(column);
                self.first.get_or_insert(message);
            })
            .ok()
    }
}

/// A column of numbers, or of vectors with their width.
fn wide(layout: &Layout, name: &str) -> Result<(usize, Option<usize>), String> {
    match layout.find(name).map(|column| (column, &layout.columns[column].kind)) {
        Some((column, Kind::Vector(width))) => Ok((column, Some(*width))),
        _ => layout.number(name).map(|column| (column, None)),
    }
}

impl Fed {
    /// Resolves what feeds an input; `None` after noting what is missing or adding to `wrong`.
    pub(super) fn plan<'a>(
        input: &'a InputTensor,
        layout: &Layout,
        kept: &mut Kept,
        missing: &mut Missing<'a>,
        wrong: &mut Vec<String>,
    ) -> Option<Fed> {
        let tensor = &input.tensor;
        let width = tensor.width();
        let whole = match tensor.element {
            Element::Int64 => Some(INT64),
            Element::Int32 => Some((i32::MIN.into(), i32::MAX.into())),
            Element::Bool => Some((0.0, 1.0)),
            _ => None,
        };
        let kind = match (tensor.element, &input.feed) {
            (_, Feed::Ids { .. } | Feed::Key(_) | Feed::Tokens { .. }) => Kind::Integer,
            (Element::Float32 | Element::Float16, _) => Kind::Vector(width),
            _ => Kind::Doubles(width),
        };
        let (of, found) = match &input.feed {
            Feed::Columns(columns) => {
                let (mut sources, mut found) = (Vec::new(), 0);
                for Input { column: name, lag, filled, ahead } in columns {
                    let Some((column, vector)) = missing.of(name, wide(layout, name)) else { continue };
                    if *ahead > 0 {
                        let at = *ahead as usize - 1;
                        if vector.is_none_or(|width| at >= width) {
                            wrong.push(format!("the model's input \"{name}\" is a vector of at least {ahead} numbers"));
                        }
                        sources.push(Source::Element { column, at });
                        found += 1;
                        continue;
                    }
                    found += vector.unwrap_or(1);
                    if vector.is_some() {
                        if *lag > 0 {
                            wrong.push(format!("the model's input \"{name}\": there are no lags of vectors"));
                        }
                        sources.push(Source::Vector { column });
                        continue;
                    }
                    let (lag, mut ring) = (*lag as usize, 0);
                    if lag > 0 {
                        kept.depth = kept.depth.max(lag);
                        ring = kept.rings.iter().position(|c| *c == column).unwrap_or_else(|| {
                            kept.rings.push(column);
                            kept.rings.len() - 1
                        });
                    }
                    let LayoutColumn { scaled_by, log, .. } = layout.columns[column];
                    sources.push(Source::Number { column, lag, scaled_by, log, ring, filled: *filled });
                }
                if sources.len() < columns.len() {
                    return None;
                }
                (Of::Columns(sources), found)
            }
            Feed::Ids { column: name, below } => {
                let column = missing.of(name, layout.number(name))?;
                let found = &layout.columns[column];
                let changed = match found.computed {
                    Some((stage, false)) => Some(stage),
                    _ => found.scaled_by.map(|_| "scale"),
                };
                if let Some(stage) = changed {
                    wrong.push(format!("the model's input \"{name}\" is an id, which `{stage}` would change"));
                }
                (Of::Ids { column, below: *below }, 1)
            }
            Feed::Key(keys) => {
                let places = keys.iter().zip(1..).map(|(key, place)| (key.clone().into_bytes(), place));
                (Of::Key(places.collect()), 1)
            }
            Feed::Tokens { column: name, tokens } => {
                let column = missing.of(name, layout.find(name).ok_or_else(|| layout.unknown(name)))?;
                if matches!(
                    layout.columns[column].kind,
                    Kind::Vector(_) | Kind::Doubles(_) | Kind::Samples | Kind::Time
                ) {
                    wrong.push(format!("the model's input \"{name}\" must be text, integers or booleans"));
                }
                (Of::Tokens(Tokens::new(column, name, tokens)), 1)
            }
            Feed::PerKey(name) => {
                let (column, vector) = missing.of(name, wide(layout, name))?;
                let found = vector.unwrap_or(1);
                kept.vectors.push((column, found));
                // Rings come first, and how long they are is known last.
                (Of::PerKey { column, at: kept.vectors[..kept.vectors.len() - 1].iter().map(|(_, n)| n).sum() }, found)
            }
        };
        if found != width {
            wrong.push(format!(
                "the model's input \"{}\" takes {width} numbers a row ({}), its columns have {found}",
                tensor.name,
                tensor.describe()
            ));
        }
        let most = (tensor.element == Element::Float16).then_some(FLOAT16);
        Some(Fed { of, width, kind, whole, most })
    }

    /// What must hold for columns of the source, by name; those of which a column has earlier values, too.
    pub(super) fn judges<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = Judge> + 'a {
        let columns: Vec<(usize, bool)> = match (&self.of, self.whole) {
            (Of::Ids { column, .. }, _) => vec![(*column, true)],
            (Of::Columns(sources), Some(_)) => sources
                .iter()
                .filter_map(|source| match source {
                    Source::Number { column, scaled_by: None, .. } => Some((*column, false)),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let of_source = |mut column: usize| {
            while let Some(base) = layout.columns[column].lag_of {
                column = base;
            }
            let found = &layout.columns[column];
            (found.role == Role::Value && found.computed.is_none()).then_some(column)
        };
        let columns = columns.into_iter().filter_map(move |(column, is_id)| Some((of_source(column)?, is_id)));
        columns.map(move |(column, is_id)| {
            let (least, most) = match (&self.of, self.whole) {
                (Of::Ids { below, .. }, _) => (0.0, last_id(*below)),
                (_, whole) => whole.unwrap_or_default(),
            };
            Judge { column: layout.columns[column].name.clone(), least, most, is_id }
        })
    }

    /// Room for rows.
    pub(super) fn room(&self, rows: usize) -> Made {
        match self.kind {
            Kind::Vector(width) => Made::F32(vec![0.0; rows * width]),
            Kind::Integer => Made::I64(vec![0; rows]),
            _ => Made::F64(vec![0.0; rows * self.width]),
        }
    }

    /// Reads all rows of an input that is looked up by text.
    ///
    /// # Errors
    /// A column without texts.
    pub(super) fn read_texts(&self, batch: &Batch, made: &mut Made) -> crate::Result<()> {
        if let Of::Tokens(tokens) = &self.of { tokens.read(batch, made) } else { Ok(()) }
    }

    /// Reads a row of the batch, of a key that had `before` rows. Returns whether all of it is there; `beyond` is set
    /// where a number is there that the model doesn't take.
    #[inline]
    pub(super) fn read<'a>(
        &self,
        columns: &[View<'_>],
        row: usize,
        kept: &Kept,
        (before, past): (u64, &mut [f64]),
        key: &dyn Fn() -> Option<&'a [u8]>,
        (made, beyond): (&mut Made, &mut bool),
    ) -> bool {
        match (&self.of, made) {
            (Of::Columns(sources), Made::F32(x)) => {
                let x = &mut x[row * self.width..(row + 1) * self.width];
                let all = side_by_side(sources, columns, row, kept, (before, past), x);
                let fits = self.holds(x);
                *beyond |= all && !fits;
                all && fits
            }
            (Of::Columns(sources), Made::F64(x)) => {
                let x = &mut x[row * self.width..(row + 1) * self.width];
                let all = side_by_side(sources, columns, row, kept, (before, past), x);
                let fits = self.are_whole(x);
                *beyond |= all && !fits;
                all && fits
            }
            (Of::Ids { column, below }, Made::I64(ids)) => {
                let id = match columns[*column] {
                    View::Numbers(values) => values[row],
                    View::Integers(values) => values[row] as f64,
                    _ => f64::NAN,
                };
                let fits = is_whole(id, 0.0, last_id(*below));
                if fits {
                    ids[row] = id as i64;
                }
                *beyond |= !fits && !id.is_nan();
                fits
            }
            (Of::Key(places), Made::I64(ids)) => {
                ids[row] = key().and_then(|key| places.get(key)).copied().unwrap_or(0);
                true
            }
            (Of::PerKey { column, at }, made) => {
                let at = kept.rings.len() * kept.depth + at;
                let vector = &mut past[at..at + self.width];
                match columns[*column] {
                    View::Numbers(values) if !values[row].is_nan() => vector[0] = values[row],
                    View::Vectors(values, width) => {
                        let new = &values[row * width..(row + 1) * width];
                        if new.iter().any(|value| !value.is_nan()) {
                            vector.iter_mut().zip(new).for_each(|(to, value)| *to = f64::from(*value));
                        }
                    }
                    _ => {}
                }
                match made {
                    Made::F32(x) => {
                        let x = &mut x[row * self.width..(row + 1) * self.width];
                        let (all, fits) = (put(x, vector), self.holds(x));
                        *beyond |= all && !fits;
                        all && fits
                    }
                    Made::F64(x) => {
                        let (all, fits) = (put(&mut x[row * self.width..], vector), self.are_whole(vector));
                        *beyond |= all && !fits;
                        all && fits
                    }
                    Made::I64(_) => false,
                }
            }
            // Any text has an id.
            (Of::Tokens(_), _) => true,
            _ => false,
        }
    }
}

impl Fed {
    /// Whether the input's type holds the numbers: only whole ones, if that is what it takes.
    fn are_whole(&self, numbers: &[f64]) -> bool {
        self.whole.is_none_or(|(least, most)| numbers.iter().all(|number| is_whole(*number, least, most)))
    }

    /// Whether no number becomes infinite in the input's type.
    fn holds(&self, numbers: &[f32]) -> bool {
        self.most.is_none_or(|most| numbers.iter().all(|number| number.abs() < most))
    }
}

/// The greatest id that 64 bits of a float hold exactly.
pub(super) fn last_id(below: u64) -> f64 {
    let last = below.saturating_sub(1);
    let near = last as f64;
    // Beyond 2^53 the nearest float can be the next one up.
    if near as u128 > u128::from(last) { near.next_down() } else { near }
}

/// Whether a number is whole and within bounds.
pub(crate) fn is_whole(value: f64, least: f64, most: f64) -> bool {
    value.fract() == 0.0 && (least..=most).contains(&value)
}

/// The numbers and vectors of a row, one after the other. Returns whether all are finite.
#[inline]
fn side_by_side<T: Float>(
    sources: &[Source],
    columns: &[View<'_>],
    row: usize,
    kept: &Kept,
    (before, past): (u64, &[f64]),
    mut to: &mut [T],
) -> bool {
    let mut all = true;
    let number = |column: usize| if let View::Numbers(values) = columns[column] { values[row] } else { f64::NAN };
    for source in sources {
        match *source {
            Source::Number { column, lag, scaled_by, log, ring, filled } => {
                let back = |lag: usize| {
                    if lag == 0 {
                        number(column)
                    } else if lag as u64 > before {
                        f64::NAN
                    } else {
                        let at = (before - lag as u64) % kept.depth as u64;
                        past[ring * kept.depth + at as usize]
                    }
                };
                let mut value = back(lag);
                if filled && value.is_nan() {
                    let oldest = lag.min(usize::try_from(before).unwrap_or(lag));
                    value = (0..=oldest).rev().map(back).find(|value| !value.is_nan()).unwrap_or(f64::NAN);
                }
                if log {
                    value = logarithm::of(value);
                }
                if let Some((mean, sd)) = scaled_by {
                    value = (value - number(mean)) / number(sd);
                }
                to[0] = T::of(value);
                all &= to[0].is_finite();
                to = &mut to[1..];
            }
            Source::Element { column, at } => {
                let View::Vectors(values, width) = columns[column] else { return false };
                to[0] = T::of_f32(values[row * width + at]);
                all &= to[0].is_finite();
                to = &mut to[1..];
            }
            Source::Vector { column } => {
                let View::Vectors(values, width) = columns[column] else { return false };
                for (to, value) in to.iter_mut().zip(&values[row * width..(row + 1) * width]) {
                    *to = T::of_f32(*value);
                    all &= value.is_finite();
                }
                to = &mut to[width..];
            }
        }
    }
    all
}

impl Kept {
    /// Takes the values of a row into the rings.
    #[inline]
    pub(super) fn keep(&self, columns: &[View<'_>], row: usize, before: u64, past: &mut [f64]) {
        for (ring, column) in self.rings.iter().enumerate() {
            if let View::Numbers(values) = columns[*column] {
                past[ring * self.depth + (before % self.depth as u64) as usize] = values[row];
            }
        }
    }
}
