//! The fields that a section has, and how messages name what was found instead.

use super::table::Word;
use super::yaml::{Kind, Node};
use super::{one_line, places};
use crate::error::did_you_mean;

/// A section of the file: its name and the fields that it may have.
pub(super) struct Words {
    /// Its name in messages.
    pub section: &'static str,
    /// Its fields.
    pub fields: &'static [Word],
    /// Fields of which one excludes the others.
    pub choices: &'static [Choice],
    /// Fields that the documentation names and this version lacks.
    pub later: &'static [&'static str],
    /// Fields that belong into another section, with what to do.
    pub elsewhere: &'static [(&'static str, &'static str)],
}

/// Fields of which one excludes the others.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub of: &'static [&'static str],
    /// One of them has to be there.
    pub needed: bool,
}

/// Exactly one of these fields.
pub(super) const fn exactly_one(of: &'static [&'static str]) -> Choice {
    Choice { of, needed: true }
}

/// One of these fields, or none.
pub(super) const fn at_most_one(of: &'static [&'static str]) -> Choice {
    Choice { of, needed: false }
}

impl Words {
    /// The fields of a section.
    pub const fn new(section: &'static str, fields: &'static [Word]) -> Self {
        Words { section, fields, choices: &[], later: &[], elsewhere: &[] }
    }

    /// With fields that exclude each other.
    pub const fn choices(self, choices: &'static [Choice]) -> Self {
        Words { choices, ..self }
    }

    /// With fields that a later version will know.
    pub const fn later(self, later: &'static [&'static str]) -> Self {
        Words { later, ..self }
    }

    /// With fields that belong elsewhere, and where.
    pub const fn elsewhere(self, elsewhere: &'static [(&'static str, &'static str)]) -> Self {
        Words { elsewhere, ..self }
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.name)
    }

    /// Whether it has a field.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|field| field == name)
    }

    /// The names of its fields for a message.
    pub fn listed(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }
}

/// The word of a value, by the list that it is read with.
pub(super) fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, other)| *other == value).map_or("", |(word, _)| word)
}

/// The meaning of the text of a plain scalar.
pub(super) enum Plain {
    Nothing,
    Truth,
    Integer(i64),
    Float(f64),
    Text,
}

/// Reads a plain scalar as YAML 1.2's core schema does.
pub(super) fn plain(text: &str) -> Plain {
    let integer = match text.get(..2) {
        Some("0x") => i64::from_str_radix(&text[2..], 16).ok(),
        Some("0o") => i64::from_str_radix(&text[2..], 8).ok(),
        _ => text.parse().ok(),
    };
    if let Some(integer) = integer {
        return Plain::Integer(integer);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Nothing,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Plain::Truth,
        ".inf" | "-.inf" | "+.inf" => Plain::Float(f64::INFINITY),
        ".nan" => Plain::Float(f64::NAN),
        _ if text.bytes().any(|b| b.is_ascii_digit()) => text.parse().map_or(Plain::Text, Plain::Float),
        _ => Plain::Text,
    }
}

/// What a value is, for a message.
pub(super) fn found(node: &Node) -> String {
    match &node.kind {
        Kind::List(_) => "a list".into(),
        Kind::Map(_) => "a mapping".into(),
        Kind::Scalar(scalar) => match (&scalar.written, scalar.plain, plain(&scalar.text)) {
            (Some(written), ..) => format!("the value of \"{}\"", one_line(written)),
            (None, true, Plain::Nothing) => "nothing".into(),
            (None, true, Plain::Truth) => scalar.text.clone(),
            (None, true, Plain::Integer(_) | Plain::Float(_)) => format!("the number {}", one_line(&scalar.text)),
            _ => format!("the text \"{}\"", one_line(&scalar.text)),
        },
    }
}

/// The message for a name that is none of the words.
pub(super) fn unknown(what: &str, name: &str, words: &Words) -> String {
    if words.later.contains(&name) {
        return not_yet(name);
    }
    if let Some((_, instead)) = words.elsewhere.iter().find(|(word, _)| *word == name) {
        return format!("`{name}` does not belong in {}: {instead}", words.section);
    }
    if places::LATER.contains(&name) {
        return not_yet(name);
    }
    if let Some(instead) = places::of(name) {
        return format!("`{name}` does not belong in {}: write {instead}", words.section);
    }
    format!(
        "unknown {what} `{}` in {}{} (there are: {})",
        one_line(name),
        words.section,
        did_you_mean(name, words.names()),
        words.listed()
    )
}

/// The message for a word that the documentation names and this version lacks.
pub(super) fn not_yet(word: &str) -> String {
    format!("`{word}` is not in this version of kolk")
}

/// What is wrong with the name of a pipeline or model, which becomes the name of a folder.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    const LONGEST: usize = 100;
    if name.len() > LONGEST {
        return Some("a name has at most 100 characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        return Some("a name begins with a letter, a digit or _");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Some("a name consists of letters, digits, - _ and .");
    }
    None
}
