//! The fields of a section: which there are, which are needed, which exclude each other.

use std::rc::Rc;

use super::read::Reader;
#[cfg(test)]
use super::table::{self, Word};
#[cfg(test)]
use super::words::Choice;
use super::words::{Words, unknown};
use super::yaml::{Kind, Node};
use super::{At, NOWHERE};
use crate::problem::Place;

/// The fields of one section of the file.
pub(super) struct Fields {
    pub section: &'static str,
    /// Place of the section's name.
    pub place: Place,
    pairs: Rc<Vec<(Node, Node)>>,
    /// The section doesn't exist, or isn't a mapping: no field is reported as missing.
    unread: bool,
    /// Some of its fields are unknown: one may be a misspelling of a missing field.
    refused: bool,
    /// What the table says of it; nothing where it wasn't read.
    #[cfg(test)]
    table: Option<(&'static [Word], &'static [Choice])>,
}

/// A value with the name of its field.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub name: &'a str,
    /// Place of the name; in a list, of the value.
    pub name_place: Place,
    pub node: &'a Node,
}

impl Fields {
    /// A field, if it exists.
    pub fn get(&self, name: &'static str) -> Option<Field<'_>> {
        #[cfg(test)]
        if let Some((fields, _)) = self.table {
            let has = fields.iter().any(|field| field.name == name) || table::knows(name);
            assert!(has, "the table of {} needs a row for `{name}`, see CONTRIBUTING.md", self.section);
        }
        let (key, node) = self.pairs.iter().find(|(key, _)| key.text() == Some(name))?;
        Some(Field { name, name_place: key.place, node })
    }

    /// A placeholder for a section that doesn't exist or was refused.
    pub fn unread(section: &'static str) -> Self {
        Fields {
            section,
            place: NOWHERE,
            pairs: Rc::default(),
            unread: true,
            refused: false,
            #[cfg(test)]
            table: None,
        }
    }
}

impl<'a> Field<'a> {
    /// A value in a list that this field holds.
    pub fn item(&self, node: &'a Node) -> Field<'a> {
        Field { name: self.name, name_place: node.place, node }
    }

    /// Place of the value.
    pub fn place(&self) -> Place {
        self.node.place
    }

    /// A value with this field's place.
    pub fn at<T>(&self, value: T) -> At<T> {
        At { value, place: self.node.place }
    }
}

impl Reader {
    /// A field that is needed.
    pub fn need<'a>(&mut self, fields: &'a Fields, name: &'static str) -> Option<Field<'a>> {
        let field = fields.get(name);
        if field.is_none() && !fields.unread {
            self.problems.add(fields.place, format!("{} needs `{name}`", fields.section));
        }
        field
    }

    /// The fields of a section; nothing written counts as no fields. `None` if it isn't a mapping.
    pub fn section(&mut self, field: Field<'_>, words: &Words) -> Option<Fields> {
        let pairs = match &field.node.kind {
            Kind::Map(pairs) => pairs.clone(),
            Kind::Scalar(_) if field.node.is_null() => Rc::default(),
            _ => return self.expected(field, &format!("a mapping with the fields {}", words.listed())),
        };
        #[cfg(test)]
        assert!(table::has(words), "no field of the table has the section {}, see CONTRIBUTING.md", words.section);
        let mut refused = false;
        for (key, _) in pairs.iter() {
            let Some(name) = key.text() else {
                refused = true;
                self.problems.add(key.place, "expected the name of a field, found a list or a mapping");
                continue;
            };
            if !words.has(name) {
                refused = true;
                let message = unknown("field", name, words);
                self.problems.add(key.place, message);
            }
        }
        Some(Fields {
            section: words.section,
            place: field.name_place,
            pairs,
            unread: false,
            refused,
            #[cfg(test)]
            table: Some((words.fields, words.choices)),
        })
    }

    /// Exactly one field of a section that offers several, such as `parquet` or `stdout`.
    pub fn one_of<'a>(&mut self, fields: &'a Fields, names: &[&'static str]) -> Option<Field<'a>> {
        #[cfg(test)]
        if let Some((_, choices)) = fields.table {
            let has = choices.iter().any(|choice| names.iter().all(|name| choice.of.contains(name)));
            assert!(has, "the table of {} needs a choice of {names:?}, see CONTRIBUTING.md", fields.section);
        }
        let there: Vec<Field<'a>> = names.iter().filter_map(|name| fields.get(name)).collect();
        match there[..] {
            [one] => Some(one),
            [] if fields.unread || fields.refused => None,
            [] => {
                self.problems.add(fields.place, format!("{} needs one of: {}", fields.section, names.join(", ")));
                None
            }
            [first, second, ..] => {
                let message = format!("`{}` and `{}` exclude each other, write one", first.name, second.name);
                self.problems.add(second.name_place.max(first.name_place), message);
                None
            }
        }
    }
}
