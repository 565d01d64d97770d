//! The table of fields: what the reader takes, what editors are told, and what a field is where it isn't written.
//!
//! Lives here: what a row of the table has ([`Word`], [`Shape`]), and the way through all of it. The rows themselves
//! are beside their readers, a [`Words`] for each section, which are linked by [`Shape::Section`]. Must not live here:
//! what a field means. The reader, the nearest name in its messages, `kolk schema` and `kolk check --effective` go by
//! this one table; a test build refuses a reader that asks for a field that isn't in it.

use super::document::PIPELINE;
use super::effective::Written;
use super::words::Words;
use super::yaml::Node;

/// A field of a section.
#[derive(Clone, Copy)]
pub(super) struct Word {
    pub name: &'static str,
    pub shape: Shape,
    /// What it is for, in a sentence or two; editors show it.
    pub about: &'static str,
    pub needed: bool,
    /// What it is where it isn't written, as YAML; `None`: nothing, or something that depends on other fields.
    pub default: Option<&'static str>,
    /// What it is where it isn't written, by what is around it.
    pub from: Option<fn(&Written<'_>) -> Option<Node>>,
}

/// A field that may be left out.
pub(super) const fn word(name: &'static str, shape: Shape, about: &'static str) -> Word {
    Word { name, shape, about, needed: false, default: None, from: None }
}

impl Word {
    /// A field without which the section isn't complete.
    pub const fn needed(self) -> Word {
        Word { needed: true, ..self }
    }

    /// With what it is where it isn't written.
    pub const fn or(self, default: &'static str) -> Word {
        Word { default: Some(default), ..self }
    }

    /// With what it is where it isn't written, if that depends on other fields.
    pub const fn or_from(self, from: fn(&Written<'_>) -> Option<Node>) -> Word {
        Word { from: Some(from), ..self }
    }
}

/// What a field takes.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A text that isn't empty.
    Text,
    /// A text that this regular expression finds itself in.
    Pattern(&'static str),
    /// A name that can be the name of a folder.
    Name,
    /// A path relative to the pipeline file, or the URL of an object store.
    Path,
    /// A whole number with its bounds.
    Integer(i64, i64),
    /// A number with its bounds.
    Number(Bound, Bound),
    /// A duration or a number of steps, from zero or above it.
    Span { zero: bool },
    /// A duration by the clock.
    Duration,
    /// A time or a step.
    Moment,
    /// The name of a time zone.
    Zone,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A scalar that may be a secret, or `{ file: PATH }`.
    Secret(&'static Words),
    /// A mapping with the fields of a section.
    Section(&'static Words),
    /// As `Section`, with words that are known at run time.
    Made(fn() -> &'static Words),
    /// A list; its items.
    List(&'static Shape),
    /// A list with at least one item.
    Some(&'static Shape),
    /// A list of texts, each once.
    Texts,
    /// As `Texts`, with at least one.
    SomeTexts,
    /// A list of so many.
    Exactly(usize, &'static Shape),
    /// A mapping whose names the user chooses; its values.
    Names(&'static Shape),
    /// Whatever another field takes.
    Anything,
    /// One of these.
    Any(&'static [Shape]),
}

/// A bound of a number.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    None,
    /// The bound itself is taken too.
    Closed(f64),
    Open(f64),
}

impl Shape {
    /// A whole number.
    pub const COUNT: Shape = Shape::Integer(0, i64::MAX);
    /// A whole number above zero.
    pub const POSITIVE: Shape = Shape::Integer(1, i64::MAX);
    /// A number.
    pub const NUMBER: Shape = Shape::Number(Bound::None, Bound::None);
    /// A number from zero.
    pub const FROM_ZERO: Shape = Shape::Number(Bound::Closed(0.0), Bound::None);
    /// A number from zero to below one.
    pub const BELOW_ONE: Shape = Shape::Number(Bound::Closed(0.0), Bound::Open(1.0));
    /// A number above zero.
    pub const ABOVE_ZERO: Shape = Shape::Number(Bound::Open(0.0), Bound::None);

    /// The section that it is, or may be.
    pub fn sections(self) -> Vec<&'static Words> {
        match self {
            Shape::Section(words) | Shape::Secret(words) => vec![words],
            Shape::Made(words) => vec![words()],
            Shape::List(item) | Shape::Some(item) | Shape::Exactly(_, item) | Shape::Names(item) => item.sections(),
            Shape::Any(shapes) => shapes.iter().flat_map(|shape| shape.sections()).collect(),
            _ => Vec::new(),
        }
    }

    /// What is around the section.
    fn around(self) -> Around {
        match self {
            Shape::List(_) | Shape::Some(_) | Shape::Exactly(..) => Around::List,
            Shape::Names(_) => Around::Names,
            Shape::Any(shapes) => {
                shapes.iter().map(|shape| shape.around()).find(|it| *it != Around::Field).unwrap_or(Around::Field)
            }
            _ => Around::Field,
        }
    }
}

/// What is between a field and the section that it leads to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Around {
    /// Nothing.
    Field,
    /// A list.
    List,
    /// A mapping with names of the user's.
    Names,
}

/// The words of a list of words and meanings.
pub(super) const fn names<T: Copy, const N: usize>(words: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut i = 0;
    while i < N {
        names[i] = words[i].0;
        i += 1;
    }
    names
}

/// A step on the way to a section.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub name: &'static str,
    pub around: Around,
}

/// Shows every section of a pipeline file with the way to it, the outer ones first.
pub(super) fn walk(visit: &mut dyn FnMut(&[Step], &'static Words)) {
    walk_from(&PIPELINE, visit);
}

/// As [`walk`], from the outermost section of any file.
pub(super) fn walk_from(root: &'static Words, visit: &mut dyn FnMut(&[Step], &'static Words)) {
    fn into(way: &mut Vec<Step>, words: &'static Words, visit: &mut dyn FnMut(&[Step], &'static Words)) {
        visit(way, words);
        for field in words.fields {
            for section in field.shape.sections() {
                way.push(Step { name: field.name, around: field.shape.around() });
                into(way, section, visit);
                way.pop();
            }
        }
    }
    into(&mut Vec::new(), root, visit);
}

/// Whether a section is part of the table.
#[cfg(test)]
pub(super) fn has(words: &Words) -> bool {
    known().iter().any(|(section, fields)| *section == words.section && words.names().eq(fields.iter().copied()))
}

/// Whether any section has a field of this name.
#[cfg(test)]
pub(super) fn knows(name: &str) -> bool {
    known().iter().any(|(_, fields)| fields.contains(&name))
}

/// All sections with the names of their fields.
#[cfg(test)]
fn known() -> &'static [(&'static str, Vec<&'static str>)] {
    static KNOWN: std::sync::LazyLock<Vec<(&'static str, Vec<&'static str>)>> = std::sync::LazyLock::new(|| {
        let mut known = Vec::new();
        for root in [&PIPELINE, &super::card_words::CARD] {
            walk_from(root, &mut |_, words| known.push((words.section, words.names().collect())));
        }
        known
    });
    &KNOWN
}
