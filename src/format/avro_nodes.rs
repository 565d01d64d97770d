//! The types of an Avro schema as what their bytes are, and what is kept of them.
//!
//! A schema may name types within types, and itself: everything here has a bound of depth and number. Must not live
//! here: bytes of messages (`avro_cut`).

use std::collections::HashMap;

use serde_json::{Value, json};

use super::avro_schema::{Record, is_record, namespace_of};

/// Maximum depth of values within values, and of types within types.
pub(super) const DEEPEST: usize = 400;
/// Types that a field may be made of, each counted as often as it is used: a schema of a few lines can say a billion.
const MOST_TYPES: usize = 100_000;

/// What the bytes of a type are.
#[derive(Debug)]
pub(super) enum Node {
    /// So many.
    Fixed(usize),
    /// An integer; an enum is one too.
    Integer,
    /// A length before them.
    Sized,
    /// Blocks of values of another type.
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<usize>),
    /// Not known, and why.
    Broken(String),
}

/// What happens to a value.
#[derive(Debug)]
pub(super) enum Walk {
    Skip(usize),
    Keep(usize),
    /// Only some of its fields are kept.
    Record(Vec<Walk>),
    Union(Vec<Walk>),
}

/// What of the paths lies within a field; an empty one is all of it.
pub(super) fn rests<'p>(paths: &[&'p str], field: &str) -> Vec<&'p str> {
    let rest = |path: &&'p str| {
        let rest = path.strip_prefix(field)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
    };
    paths.iter().filter_map(rest).collect()
}

/// Whether the end of one of these isn't known.
pub(super) fn has_broken(nodes: &[Node], of: Vec<usize>) -> bool {
    within(nodes, of).into_iter().any(|node| matches!(nodes[node], Node::Broken(_)))
}

/// Nodes and all that they are made of. Not by recursion: types may be a chain of any length.
fn within(nodes: &[Node], of: Vec<usize>) -> Vec<usize> {
    let (mut seen, mut all) = (vec![false; nodes.len()], of);
    all.iter().for_each(|node| seen[*node] = true);
    let mut at = 0;
    while let Some(node) = all.get(at) {
        let inner = match &nodes[*node] {
            Node::Array(inner) | Node::Map(inner) => std::slice::from_ref(inner),
            Node::Union(inner) | Node::Record(inner) => inner,
            Node::Fixed(_) | Node::Integer | Node::Sized | Node::Broken(_) => &[],
        };
        for inner in inner {
            if !std::mem::replace(&mut seen[*inner], true) {
                all.push(*inner);
            }
        }
        at += 1;
    }
    all
}

/// Makes the nodes of types, and types without names that are defined elsewhere.
pub(super) struct Maker<'r> {
    record: &'r Record,
    nodes: Vec<Node>,
    /// Nodes of types with a name.
    known: HashMap<String, usize>,
    /// Names that were given.
    names: usize,
    /// Types that the one at hand is in.
    depth: usize,
    /// Types that were written out.
    types: usize,
}

impl<'r> Maker<'r> {
    /// Of a schema.
    pub fn new(record: &'r Record) -> Maker<'r> {
        Maker { record, nodes: Vec::new(), known: HashMap::new(), names: 0, depth: 0, types: 0 }
    }

    /// The nodes that were made.
    pub fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Whether something that is kept has an array whose values may have no bytes: of those there may be any number.
    pub fn has_endless(&self, walk: &Walk) -> bool {
        let nodes = &self.nodes;
        match walk {
            Walk::Skip(_) => false,
            Walk::Record(all) | Walk::Union(all) => all.iter().any(|walk| self.has_endless(walk)),
            Walk::Keep(node) => within(nodes, vec![*node]).into_iter().any(|node| match &nodes[node] {
                Node::Array(item) => {
                    let parts = within(nodes, vec![*item]);
                    !parts.into_iter().any(|part| match &nodes[part] {
                        Node::Fixed(size) => *size > 0,
                        Node::Record(_) => false,
                        _ => true,
                    })
                }
                _ => false,
            }),
        }
    }

    /// One type deeper.
    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> Result<T, String> {
        if self.depth >= DEEPEST {
            return Err(format!("types within types, more than {DEEPEST} deep"));
        }
        self.depth += 1;
        let made = run(self);
        self.depth -= 1;
        Ok(made)
    }

    /// The node of a type.
    pub fn node(&mut self, value: &Value, namespace: &str) -> usize {
        let made = self.deeper(|maker| maker.node_of(value, namespace));
        made.unwrap_or_else(|what| self.push(Node::Broken(what)))
    }

    fn node_of(&mut self, value: &Value, namespace: &str) -> usize {
        let broken = |what: &Value| Node::Broken(format!("the schema has no type {what}"));
        match value {
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.node(branch, namespace)).collect();
                self.push(Node::Union(branches))
            }
            Value::String(word) => match (primitive(word), self.record.definition(word, namespace)) {
                (Some(node), _) => self.push(node),
                (None, Some((name, definition))) => match self.known.get(&name) {
                    Some(known) => *known,
                    None => self.node(definition, ""),
                },
                (None, None) => self.push(broken(value)),
            },
            Value::Object(object) => {
                let word = object.get("type").and_then(Value::as_str).unwrap_or_default();
                let inner = |name: &str| object.get(name).unwrap_or(&Value::Null);
                match word {
                    "array" | "map" => {
                        let is_array = word == "array";
                        let inner = self.node(inner(if is_array { "items" } else { "values" }), namespace);
                        self.push(if is_array { Node::Array(inner) } else { Node::Map(inner) })
                    }
                    "enum" => self.push(Node::Integer),
                    "fixed" => {
                        let size = inner("size").as_u64().and_then(|size| usize::try_from(size).ok());
                        let broken = || Node::Broken("a fixed type of the schema has no size".into());
                        self.push(size.map_or_else(broken, Node::Fixed))
                    }
                    _ if is_record(value) => {
                        let namespace = namespace_of(value, namespace);
                        let at = self.push(Node::Broken(String::new()));
                        self.known.insert(full_name(value, &namespace), at);
                        let fields = inner("fields").as_array().cloned().unwrap_or_default();
                        let fields = fields.iter().map(|field| self.node(&field["type"], &namespace)).collect();
                        self.nodes[at] = Node::Record(fields);
                        at
                    }
                    _ => self.node(inner("type"), namespace),
                }
            }
            _ => self.push(broken(value)),
        }
    }

    /// A type of which only some parts are kept.
    pub fn kept(
        &mut self,
        value: &Value,
        namespace: &str,
        rests: &[&str],
        within: &mut Vec<String>,
    ) -> Result<(Value, Walk), String> {
        self.deeper(|maker| maker.kept_of(value, namespace, rests, within))?
    }

    fn kept_of(
        &mut self,
        value: &Value,
        namespace: &str,
        rests: &[&str],
        within: &mut Vec<String>,
    ) -> Result<(Value, Walk), String> {
        if rests.contains(&"") {
            return Ok((self.spelled(value, namespace, within)?, Walk::Keep(self.node(value, namespace))));
        }
        match value {
            Value::String(word) => match self.record.definition(word, namespace) {
                Some((_, definition)) => self.kept(definition, "", rests, within),
                None => self.kept(value, namespace, &[""], within),
            },
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.kept(branch, namespace, rests, within));
                let (types, walks) = branches.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
                Ok((Value::Array(types), Walk::Union(walks)))
            }
            Value::Object(object) if is_record(value) => {
                let namespace = namespace_of(value, namespace);
                let (mut fields, mut walks) = (Vec::new(), Vec::new());
                for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                    let name = field["name"].as_str().unwrap_or_default();
                    let rests = self::rests(rests, name);
                    if rests.is_empty() {
                        walks.push(Walk::Skip(self.node(&field["type"], &namespace)));
                    } else {
                        let (data_type, walk) = self.kept(&field["type"], &namespace, &rests, within)?;
                        fields.push(json!({ "name": name, "type": data_type }));
                        walks.push(walk);
                    }
                }
                let name = self.name(value);
                Ok((json!({ "type": "record", "name": name, "fields": fields }), Walk::Record(walks)))
            }
            _ => self.kept(value, namespace, &[""], within),
        }
    }

    /// A type with everything that it names written out, each under a name of its own.
    fn spelled(&mut self, value: &Value, namespace: &str, within: &mut Vec<String>) -> Result<Value, String> {
        self.types += 1;
        if self.types > MOST_TYPES {
            return Err(format!("is made of more than {MOST_TYPES} types"));
        }
        self.deeper(|maker| maker.spelled_of(value, namespace, within))?
    }

    fn spelled_of(&mut self, value: &Value, namespace: &str, within: &mut Vec<String>) -> Result<Value, String> {
        Ok(match value {
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.spelled(branch, namespace, within));
                Value::Array(branches.collect::<Result<_, _>>()?)
            }
            Value::String(word) => match (primitive(word), self.record.definition(word, namespace)) {
                (Some(_), _) => value.clone(),
                (None, Some((name, _))) if within.contains(&name) => {
                    return Err(format!("is a type that holds itself (\"{word}\")"));
                }
                (None, Some((_, definition))) => self.spelled(definition, "", within)?,
                (None, None) => return Err(format!("the schema has no type \"{word}\"")),
            },
            Value::Object(object) => {
                let mut object = object.clone();
                let is_named = object.contains_key("name");
                let namespace = if is_named { namespace_of(value, namespace) } else { namespace.to_string() };
                if is_named {
                    within.push(full_name(value, &namespace));
                    object.insert("name".into(), self.name(value).into());
                    object.remove("namespace");
                }
                for word in ["items", "values"] {
                    if let Some(inner) = object.get(word) {
                        let inner = self.spelled(&inner.clone(), &namespace, within)?;
                        object.insert(word.into(), inner);
                    }
                }
                if let Some(Value::Array(fields)) = object.get_mut("fields") {
                    for field in fields {
                        field["type"] = self.spelled(&field["type"].clone(), &namespace, within)?;
                    }
                }
                if is_named {
                    within.pop();
                }
                match object.get("type").and_then(Value::as_str) {
                    // A name in the place of a type.
                    Some(word) if !is_named && object.len() == 1 => {
                        self.spelled(&Value::from(word), &namespace, within)?
                    }
                    _ => Value::Object(object),
                }
            }
            _ => return Err(format!("the schema has no type {value}")),
        })
    }

    /// A name for a type that no other one has.
    fn name(&mut self, value: &Value) -> String {
        self.names += 1;
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
        format!("{}_{}", name.rsplit('.').next().unwrap_or_default(), self.names)
    }
}

/// A name with its namespace, as [`Record::definition`] gives it.
fn full_name(value: &Value, namespace: &str) -> String {
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
    format!("{namespace}.{}", name.rsplit('.').next().unwrap_or_default())
}

fn primitive(word: &str) -> Option<Node> {
    Some(match word {
        "null" => Node::Fixed(0),
        "boolean" => Node::Fixed(1),
        "int" | "long" => Node::Integer,
        "float" => Node::Fixed(4),
        "double" => Node::Fixed(8),
        "bytes" | "string" => Node::Sized,
        _ => return None,
    })
}
