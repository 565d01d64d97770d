//! Where the columns are within an object, by names with dots: `payload.after.v` is the field `v` of the object `after`
//! of the object `payload`. A field whose own name is `payload.after.v`, or `after.v` within `payload`, wins: the
//! longest name that is there counts.
//!
//! Lives here: names. Must not live here: values, and what reads them.

use std::collections::HashMap;

use super::columns::Target;

/// Fields of an object, by name.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub fields: HashMap<String, Node>,
}

/// A field that is read, or of which something is.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What becomes of its value.
    pub leaf: Option<Leaf>,
    /// What is read of its fields.
    pub inner: Option<Box<Inner>>,
}

/// What is read of an object within another one.
#[derive(Debug)]
pub(super) struct Inner {
    pub tree: Tree,
    /// Its path, for messages.
    pub name: String,
    /// Which part of an envelope it is.
    pub part: Option<Part>,
    /// Its number among all nodes.
    pub bit: usize,
}

/// Where a value goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    pub target: Option<Target>,
    pub mark: Option<Mark>,
    /// Its number among all nodes. Those of the same column are numbered one after the other, from `first` on: a lower
    /// one is a longer name.
    pub bit: usize,
    pub first: usize,
}

/// Objects of an envelope of which it counts whether they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Payload,
    After,
}

/// Fields of an envelope that are read for what they say about the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// What happened to the row.
    Op,
    /// The key of a row that is no more.
    KeyBefore,
    /// The types of the payload.
    Schema,
}

/// Builds a [`Tree`], numbering its nodes.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub tree: Tree,
    bits: usize,
}

impl Builder {
    /// Reads `name` within the object at `base`. Returns false if another column is read there.
    pub fn add(&mut self, base: &[&str], name: &str, target: Option<Target>, mark: Option<Mark>) -> bool {
        let first = self.bits;
        self.bits += 1 + name.matches('.').count();
        let mut tree = descend(&mut self.tree, base, &mut self.bits);
        let (mut rest, mut bit, mut at) = (name, first, base.join("."));
        let mut is_new = true;
        loop {
            let leaf = &mut tree.fields.entry(rest.to_string()).or_default().leaf;
            match leaf {
                Some(leaf) if leaf.target.is_some() && target.is_some() => is_new = false,
                Some(leaf) => (leaf.target, leaf.mark) = (leaf.target.or(target), leaf.mark.or(mark)),
                None => *leaf = Some(Leaf { target, mark, bit, first }),
            }
            let Some((segment, inner)) = rest.split_once('.') else { return is_new };
            at = if at.is_empty() { segment.to_string() } else { format!("{at}.{segment}") };
            // The numbers of objects follow those of all leaves of this name.
            tree = step(tree, segment, &at, &mut self.bits);
            (rest, bit) = (inner, bit + 1);
        }
    }

    /// Notes that the object at `path` is a part of an envelope.
    pub fn mark(&mut self, path: &[&str], part: Part) {
        descend(&mut self.tree, path, &mut self.bits);
        let Some((last, above)) = path.split_last() else { return };
        let node = descend(&mut self.tree, above, &mut self.bits).fields.get_mut(*last);
        if let Some(inner) = node.and_then(|node| node.inner.as_mut()) {
            inner.part = Some(part);
        }
    }
}

fn descend<'t>(mut tree: &'t mut Tree, path: &[&str], bits: &mut usize) -> &'t mut Tree {
    let mut at = String::new();
    for segment in path {
        at = if at.is_empty() { (*segment).to_string() } else { format!("{at}.{segment}") };
        tree = step(tree, segment, &at, bits);
    }
    tree
}

fn step<'t>(tree: &'t mut Tree, segment: &str, at: &str, bits: &mut usize) -> &'t mut Tree {
    let node = tree.fields.entry(segment.to_string()).or_default();
    let inner = node.inner.get_or_insert_with(|| {
        *bits += 1;
        Box::new(Inner { tree: Tree::default(), name: at.to_string(), part: None, bit: *bits - 1 })
    });
    &mut inner.tree
}

/// The ways to split a name: what is left of it after none, one, two … of its dots, with what comes before.
pub(super) fn splits(name: &str) -> impl Iterator<Item = (&str, &str)> {
    name.match_indices('.').map(|(at, _)| (&name[..at], &name[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_every_place_it_may_mean() {
        let mut builder = Builder::default();
        assert!(builder.add(&[], "a.b.c", Some(Target::Value(0)), None));
        assert!(builder.add(&["a"], "v", Some(Target::Value(1)), None));
        assert!(!builder.add(&[], "a.v", Some(Target::Value(2)), None), "the same field");
        let leaf = |tree: &Tree, name: &str| tree.fields[name].leaf.map(|leaf| (leaf.target, leaf.bit - leaf.first));
        let root = &builder.tree;
        assert_eq!(leaf(root, "a.b.c"), Some((Some(Target::Value(0)), 0)));
        let a = &root.fields["a"].inner.as_ref().unwrap().tree;
        assert_eq!(leaf(a, "b.c"), Some((Some(Target::Value(0)), 1)));
        assert_eq!(leaf(&a.fields["b"].inner.as_ref().unwrap().tree, "c"), Some((Some(Target::Value(0)), 2)));
        assert_eq!(leaf(a, "v"), Some((Some(Target::Value(1)), 0)));
        assert_eq!(splits("a.b.c").collect::<Vec<_>>(), [("a", "b.c"), ("a.b", "c")]);
    }
}
