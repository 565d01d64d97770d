//! `embeddings` of `train`: columns of text or ids, and the key, as inputs of the network.
//!
//! Lives here: the table of an entry and how it is read. Must not live here: the other fields of `train`.

use super::At;
use super::read::{Field, Reader};
use super::table::{Shape, word};
use super::words::{Words, exactly_one};

/// Numbers of a vector at most.
const MAX_SIZE: usize = 1 << 12;
/// Texts with a vector at most.
const MAX_TOKENS: usize = 1 << 20;
const TOKENS: usize = 10_000;

/// An entry of `embeddings:`
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The column whose texts or whole numbers are looked up; `None`: the key.
    pub column: Option<At<String>>,
    /// Numbers of a vector.
    pub size: usize,
    /// Texts that have a vector at most, the most frequent ones of the train part.
    pub max_tokens: usize,
    /// Rows of the train part that a text needs for a vector of its own.
    pub min_count: usize,
    /// Share of rows that training shows as unseen.
    pub unseen: f64,
}

pub(super) const EMBEDDING: Words = Words::new(
    "`embeddings`",
    &[
        word("column", Shape::Text, "The column whose texts, whole numbers or booleans are looked up"),
        word("key", Shape::Word(&["true"]), "The key is looked up"),
        word("size", Shape::Integer(1, MAX_SIZE as i64), "Numbers of the vector that each text has").needed(),
        word(
            "max_tokens",
            Shape::Integer(1, MAX_TOKENS as i64),
            "Texts that have a vector of their own at most, the most frequent ones of the train part",
        )
        .or("10000"),
        word("min_count", Shape::POSITIVE, "Rows of the train part that a text needs for a vector of its own").or("1"),
        word(
            "unseen",
            Shape::BELOW_ONE,
            "Share of rows that training shows as unseen, so that new texts and keys have a vector that was learned",
        )
        .or("0.05"),
    ],
)
.choices(&[exactly_one(&["column", "key"])]);

/// Reads `embeddings`; each column, and the key, once.
pub(super) fn embeddings(reader: &mut Reader, field: Field<'_>) -> Vec<Embedding> {
    let mut found: Vec<Embedding> = Vec::new();
    for item in reader.list(field, "entries such as { column: region, size: 4 }").unwrap_or_default() {
        let Some(fields) = reader.section(item, &EMBEDDING) else { continue };
        let Some(of) = reader.one_of(&fields, &["column", "key"]) else { continue };
        let column = match of.name {
            "column" => match reader.text(of, "a column") {
                Some(column) => Some(column),
                None => continue,
            },
            _ => match reader.word(of, &[("true", ())], &[]) {
                Some(()) => None,
                None => continue,
            },
        };
        let size = reader.need(&fields, "size").and_then(|field| reader.count(field, 1, MAX_SIZE)).unwrap_or(1);
        let mut count =
            |name, most, default| fields.get(name).and_then(|field| reader.count(field, 1, most)).unwrap_or(default);
        let (max_tokens, min_count) = (count("max_tokens", MAX_TOKENS, TOKENS), count("min_count", usize::MAX, 1));
        let unseen = fields.get("unseen");
        let unseen = unseen.and_then(|f| reader.number(f, "a share from 0 to below 1", |n| (0.0..1.0).contains(&n)));
        let name = |column: &Option<At<String>>| column.as_ref().map(|column| column.value.clone());
        if found.iter().any(|other| name(&other.column) == name(&column)) {
            reader.note(of, "there is an embedding of it already");
            continue;
        }
        found.push(Embedding { column, size, max_tokens, min_count, unseen: unseen.unwrap_or(0.05) });
    }
    found
}
