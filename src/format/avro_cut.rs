//! Which bytes of an Avro body belong to the fields that are read.
//!
//! A body has no marks between its fields, so those that aren't read must be passed over, whatever they are. Here that
//! needs only what their bytes are: types may be recursive, and defaults and logical types may be wrong, without harm.
//! arrow-avro gets the rest, in a schema of its own. Must not live here: values, Arrow.

use std::cell::Cell;

use serde_json::{Value, json};

use super::avro_bytes::{sized, taken, zigzag};
use super::avro_nodes::{DEEPEST, Maker, Node, Walk, has_broken, rests};
use super::avro_schema::Record;
use crate::error::counted;

/// Values that may be passed over in a body, besides so many for each of its bytes: a value may have none.
const MOST_VALUES: usize = 100_000;
const VALUES_PER_BYTE: usize = 64;

/// The fields of a schema that are read.
#[derive(Debug)]
pub(super) struct Cut {
    nodes: Vec<Node>,
    walks: Vec<Walk>,
    /// Name and type of each field that is kept.
    fields: Vec<(String, Value)>,
    /// Whether what follows the last field that is kept has an unknown end.
    is_open: bool,
    /// Values that may still be passed over in the body at hand.
    left: Cell<usize>,
}

impl Cut {
    /// Of a schema: these fields, or parts of them (`a.b`). Fields that aren't there are left out.
    ///
    /// # Errors
    /// A field that is read and whose type is wrong or recursive.
    pub fn new(record: &Record, paths: &[&str]) -> Result<Cut, String> {
        let mut maker = Maker::new(record);
        let (mut walks, mut fields) = (Vec::new(), Vec::new());
        let namespace = record.full_namespace();
        for field in &record.fields {
            let rests = rests(paths, &field.name);
            if rests.is_empty() {
                walks.push(Walk::Skip(maker.node(&field.data_type, &namespace)));
                continue;
            }
            let kept = maker.kept(&field.data_type, &namespace, &rests, &mut Vec::new());
            let (data_type, walk) = kept.map_err(|what| format!("field \"{}\": {what}", field.name))?;
            if maker.has_endless(&walk) {
                return Err(format!("field \"{}\": is an array of values without bytes", field.name));
            }
            fields.push((field.name.clone(), data_type));
            walks.push(walk);
        }
        let last = walks.iter().rposition(|walk| !matches!(walk, Walk::Skip(_))).map_or(0, |last| last + 1);
        let nodes = maker.into_nodes();
        let skipped =
            walks[last..].iter().filter_map(|walk| if let Walk::Skip(node) = walk { Some(*node) } else { None });
        let is_open = has_broken(&nodes, skipped.collect());
        if is_open {
            walks.truncate(last);
        }
        Ok(Cut { nodes, walks, fields, is_open, left: Cell::new(0) })
    }

    /// The schema of what is kept, with further fields that have defaults.
    pub fn text(&self, more: &[Value]) -> String {
        let own = self.fields.iter().map(|(name, data_type)| json!({ "name": name, "type": data_type }));
        let fields: Vec<Value> = own.chain(more.iter().cloned()).collect();
        json!({ "type": "record", "name": "kolk_read", "fields": fields }).to_string()
    }

    /// Appends the bytes of a body that are kept.
    ///
    /// # Errors
    /// A body that the schema doesn't fit.
    pub fn copy(&self, body: &[u8], to: &mut Vec<u8>) -> Result<(), String> {
        let mut rest = body;
        self.left.set(body.len().saturating_mul(VALUES_PER_BYTE).saturating_add(MOST_VALUES));
        for walk in &self.walks {
            self.walk(walk, &mut rest, to)?;
        }
        if !rest.is_empty() && !self.is_open {
            return Err(format!(
                "the body has {}, the schema takes {}",
                counted(body.len(), "byte"),
                body.len() - rest.len()
            ));
        }
        Ok(())
    }

    fn walk(&self, walk: &Walk, from: &mut &[u8], to: &mut Vec<u8>) -> Result<(), String> {
        match walk {
            Walk::Skip(node) => self.skip(*node, from, 0)?,
            Walk::Keep(node) => {
                let before = *from;
                self.skip(*node, from, 0)?;
                to.extend_from_slice(&before[..before.len() - from.len()]);
            }
            Walk::Record(fields) => {
                for field in fields {
                    self.walk(field, from, to)?;
                }
            }
            Walk::Union(branches) => {
                let before = *from;
                let branch = branch(branches, from)?;
                to.extend_from_slice(&before[..before.len() - from.len()]);
                self.walk(branch, from, to)?;
            }
        }
        Ok(())
    }

    fn skip(&self, node: usize, from: &mut &[u8], depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("values within values, more than {DEEPEST} deep"));
        }
        let left = self.left.get().checked_sub(1).ok_or("far more values than bytes")?;
        self.left.set(left);
        let cut = |what: String| if what == "truncated" { "the body is truncated".to_string() } else { what };
        match &self.nodes[node] {
            Node::Fixed(size) => drop(taken(from, *size).map_err(cut)?),
            Node::Integer => drop(zigzag(from).map_err(cut)?),
            Node::Sized => drop(sized(from).map_err(cut)?),
            Node::Array(item) => self.blocks(from, |all, from| all.skip(*item, from, depth + 1)).map_err(cut)?,
            Node::Map(value) => self
                .blocks(from, |all, from| {
                    sized(from)?;
                    all.skip(*value, from, depth + 1)
                })
                .map_err(cut)?,
            Node::Union(branches) => self.skip(*branch(branches, from)?, from, depth + 1)?,
            Node::Record(fields) => {
                for field in fields {
                    self.skip(*field, from, depth + 1)?;
                }
            }
            Node::Broken(why) => return Err(why.clone()),
        }
        Ok(())
    }

    /// Passes over the blocks of an array or a map.
    fn blocks(&self, from: &mut &[u8], item: impl Fn(&Cut, &mut &[u8]) -> Result<(), String>) -> Result<(), String> {
        loop {
            match zigzag(from)? {
                0 => return Ok(()),
                // The size of the block in bytes follows.
                ..0 => drop(sized(from)?),
                count => {
                    for _ in 0..count {
                        let before = from.len();
                        item(self, from)?;
                        if from.len() == before {
                            // Values without bytes, of which there may be any number.
                            break;
                        }
                    }
                }
            }
        }
    }
}

fn branch<'a, T>(branches: &'a [T], from: &mut &[u8]) -> Result<&'a T, String> {
    let cut = |what: String| if what == "truncated" { "the body is truncated".to_string() } else { what };
    super::avro_bytes::chosen(branches, from).map_err(cut)
}
