//! Which bytes of an Avro body belong to the fields that are read.
//!
//! A body has no marks between its fields, so those that aren't read must be passed over, whatever they are. Here that
//! needs only what their bytes are: types may be recursive, and defaults and logical types may be wrong, without harm.
//! arrow-avro gets the rest, in a schema of its own. Must not live here: values, Arrow.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::avro_bytes::{sized, taken, zigzag};
use super::avro_schema::{Record, is_record, namespace_of};
use crate::error::counted;

/// Maximum depth of values within values.
const DEEPEST: usize = 400;

/// What the bytes of a type are.
#[derive(Debug)]
enum Node {
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
enum Walk {
    Skip(usize),
    Keep(usize),
    /// Only some of its fields are kept.
    Record(Vec<Walk>),
    Union(Vec<Walk>),
}

/// The fields of a schema that are read.
#[derive(Debug)]
pub(super) struct Cut {
    nodes: Vec<Node>,
    walks: Vec<Walk>,
    /// Name and type of each field that is kept.
    fields: Vec<(String, Value)>,
    /// Whether what follows the last field that is kept has an unknown end.
    is_open: bool,
}

impl Cut {
    /// Of a schema: these fields, or parts of them (`a.b`). Fields that aren't there are left out.
    ///
    /// # Errors
    /// A field that is read and whose type is wrong or recursive.
    pub fn new(record: &Record, paths: &[&str]) -> Result<Cut, String> {
        let mut maker = Maker { record, nodes: Vec::new(), known: HashMap::new(), names: 0 };
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
            fields.push((field.name.clone(), data_type));
            walks.push(walk);
        }
        let last = walks.iter().rposition(|walk| !matches!(walk, Walk::Skip(_))).map_or(0, |last| last + 1);
        let nodes = maker.nodes;
        let is_broken = |walk: &Walk| matches!(walk, Walk::Skip(node) if has_broken(&nodes, *node, &mut Vec::new()));
        let is_open = walks[last..].iter().any(is_broken);
        if is_open {
            walks.truncate(last);
        }
        Ok(Cut { nodes, walks, fields, is_open })
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

/// What of the paths lies within a field; an empty one is all of it.
fn rests<'p>(paths: &[&'p str], field: &str) -> Vec<&'p str> {
    let rest = |path: &&'p str| {
        let rest = path.strip_prefix(field)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
    };
    paths.iter().filter_map(rest).collect()
}

fn has_broken(nodes: &[Node], node: usize, seen: &mut Vec<usize>) -> bool {
    if seen.contains(&node) {
        return false;
    }
    seen.push(node);
    match &nodes[node] {
        Node::Broken(_) => true,
        Node::Array(inner) | Node::Map(inner) => has_broken(nodes, *inner, seen),
        Node::Union(all) | Node::Record(all) => all.iter().any(|inner| has_broken(nodes, *inner, seen)),
        Node::Fixed(_) | Node::Integer | Node::Sized => false,
    }
}

/// Makes the nodes of types, and types without names that are defined elsewhere.
struct Maker<'r> {
    record: &'r Record,
    nodes: Vec<Node>,
    /// Nodes of types with a name.
    known: HashMap<String, usize>,
    /// Names that were given.
    names: usize,
}

impl Maker<'_> {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The node of a type.
    fn node(&mut self, value: &Value, namespace: &str) -> usize {
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
    fn kept(
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
