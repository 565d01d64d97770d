//! The pipeline file as it is understood: included files and aliases resolved, variables expanded, paths absolute,
//! every default written out, secrets hidden. What is printed can be read again and means the same.
//!
//! Lives here: filling in what the table of fields says. Must not live here: any field, how YAML is written (`write`).

use std::path::Path;
use std::rc::Rc;

use super::document::PIPELINE;
use super::include::folder_of;
use super::table::Shape;
use super::words::{Plain, Words, plain};
use super::yaml::{self, Kind, Node, Scalar};
use super::{NOWHERE, hide, is_secret, read};

/// What is shown in place of a secret that was written in the file itself.
const HIDDEN: &str = "***";

/// What a default that depends on other fields may look at: the file as it is written.
pub(super) struct Written<'a> {
    /// The mappings around the field, the whole file first.
    mappings: Vec<&'a Node>,
}

impl<'a> Written<'a> {
    /// A field of the file, by the names on the way to it.
    pub fn whole(&self, way: &[&str]) -> Option<&'a Node> {
        way.iter().try_fold(*self.mappings.first()?, |node, name| node.get(name))
    }

    /// A field of the mapping that is so many levels out; 0 is the one that lacks the field.
    pub fn near(&self, levels: usize, name: &str) -> Option<&'a Node> {
        self.mappings.iter().rev().nth(levels)?.get(name)
    }
}

/// A value of the table.
pub(super) fn value(text: &str) -> Option<Node> {
    yaml::read(text, None).ok()?.0
}

/// The tree with everything filled in; relative paths of the pipeline file are relative to `folder`.
pub(super) fn tree(root: &Node, folder: &Path) -> Node {
    Filler { folder }.section(root, &PIPELINE, &mut Vec::new())
}

struct Filler<'a> {
    folder: &'a Path,
}

impl Filler<'_> {
    fn section<'n>(&self, node: &'n Node, words: &Words, around: &mut Vec<&'n Node>) -> Node {
        around.push(node);
        let mut pairs = Vec::new();
        for field in words.fields {
            if let Some(written) = node.get(field.name) {
                pairs.push((name(field.name), self.value(written, field.shape, around)));
                continue;
            }
            let excluded = words.choices.iter().any(|choice| {
                choice.of.contains(&field.name) && choice.of.iter().any(|other| node.get(other).is_some())
            });
            let filled = match (field.default, field.from) {
                _ if excluded => None,
                (Some(text), _) => value(text),
                (None, Some(from)) => from(&Written { mappings: around.clone() }),
                (None, None) => None,
            };
            if let Some(filled) = filled {
                // What is derived from other fields has none of them around it.
                let filled = self.value(&filled, field.shape, &mut Vec::new());
                pairs.push((name(field.name), filled));
            }
        }
        around.pop();
        Node { place: node.place, kind: Kind::Map(Rc::new(pairs)) }
    }

    fn value<'n>(&self, node: &'n Node, shape: Shape, around: &mut Vec<&'n Node>) -> Node {
        let each = |items: &'n [Node], item: Shape, around: &mut Vec<&'n Node>| {
            let items = items.iter().map(|node| self.value(node, item, around)).collect();
            Node { place: node.place, kind: Kind::List(Rc::new(items)) }
        };
        match (shape, &node.kind) {
            (Shape::Any(shapes), _) => match shapes.iter().find(|shape| fits(**shape, node)) {
                Some(shape) if !matches!(node.kind, Kind::Scalar(_)) => self.value(node, *shape, around),
                _ if shapes.iter().any(|shape| matches!(shape, Shape::Path)) => self.path(node),
                _ => scalar(node, shapes.iter().any(|shape| is_numeric(*shape))),
            },
            (Shape::Secret(file), Kind::Map(_)) => self.section(node, file, around),
            (Shape::Secret(_), _) => secret(node),
            (Shape::Section(words), Kind::Map(_) | Kind::Scalar(_)) => self.section(node, words, around),
            (Shape::Made(words), Kind::Map(_)) => self.section(node, words(), around),
            (Shape::List(item) | Shape::Some(item) | Shape::Exactly(_, item), Kind::List(items)) => {
                each(items, *item, around)
            }
            (Shape::Texts | Shape::SomeTexts, Kind::List(items)) => each(items, Shape::Text, around),
            (Shape::Names(item), Kind::Map(pairs)) => {
                let pair = |(key, node): &'n (Node, Node)| {
                    let name = key.text().unwrap_or_default();
                    let value = match item {
                        // Most properties are no secrets.
                        Shape::Secret(_) if !is_secret(name) && node.text().is_some() => scalar(node, true),
                        item => self.value(node, *item, &mut around.clone()),
                    };
                    (key.clone(), value)
                };
                Node { place: node.place, kind: Kind::Map(Rc::new(pairs.iter().map(pair).collect())) }
            }
            (Shape::Path, _) => self.path(node),
            (Shape::Anything, _) => node.clone(),
            (shape, _) => scalar(node, is_numeric(shape)),
        }
    }

    /// A path in its absolute form, so that it means the same in another folder.
    fn path(&self, node: &Node) -> Node {
        let mut node = scalar(node, false);
        let folder = folder_of(node.place);
        if let Kind::Scalar(scalar) = &mut node.kind
            && scalar.written.is_none()
            && !scalar.text.contains("://")
        {
            scalar.text = read::absolute(folder.as_deref().unwrap_or(self.folder), &scalar.text).0;
        }
        node
    }
}

fn name(name: &str) -> Node {
    text(name.into())
}

/// A text, whatever it looks like.
pub(super) fn text(text: String) -> Node {
    let scalar = Scalar { text, plain: false, written: None, secret: false, broken: false };
    Node { place: NOWHERE, kind: Kind::Scalar(scalar) }
}

/// Whether a value may be what the shape says, by what it consists of.
fn fits(shape: Shape, node: &Node) -> bool {
    match (shape, &node.kind) {
        (Shape::Section(words) | Shape::Secret(words), Kind::Map(pairs)) => {
            pairs.iter().all(|(key, _)| key.text().is_some_and(|name| words.has(name)))
        }
        (Shape::Made(_) | Shape::Names(_), Kind::Map(_)) => true,
        (Shape::List(_) | Shape::Some(_) | Shape::Exactly(..) | Shape::Texts | Shape::SomeTexts, Kind::List(_)) => true,
        (Shape::Anything, _) => true,
        (Shape::Any(shapes), _) => shapes.iter().any(|shape| fits(*shape, node)),
        (shape, Kind::Scalar(_)) => shape.sections().is_empty(),
        _ => false,
    }
}

/// Whether a number without quotes may be meant.
fn is_numeric(shape: Shape) -> bool {
    match shape {
        Shape::Integer(..) | Shape::Number(..) | Shape::Span { .. } | Shape::Moment | Shape::Word(_) => true,
        Shape::Any(shapes) => shapes.iter().any(|shape| is_numeric(*shape)),
        _ => false,
    }
}

/// A value, expanded; one with a secret in it stays as it is written.
fn scalar(node: &Node, numeric: bool) -> Node {
    let Kind::Scalar(value) = &node.kind else { return node.clone() };
    let mut value = value.clone();
    let shown = hide(&value.text).into_owned();
    if value.written.is_none() {
        value.text = shown;
    } else if !value.secret && shown == value.text {
        value.plain = numeric && !matches!(plain(value.text.trim()), Plain::Text);
        value.written = None;
    }
    Node { place: node.place, kind: Kind::Scalar(value) }
}

/// A value that is a secret.
fn secret(node: &Node) -> Node {
    match &node.kind {
        Kind::Scalar(value) if value.written.is_some() => node.clone(),
        _ => text(HIDDEN.into()),
    }
}
