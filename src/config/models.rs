//! `models:`: the registry, and whose signatures its versions need. Must not live here: opening it (`model::registry`).

use std::path::PathBuf;

use super::At;
use super::read::{Field, Fields, Reader};
use super::table::{Shape, word};
use super::words::Words;
use super::yaml::Kind;

const MODELS: Words = Words::new(
    "`models`",
    &[
        word("path", Shape::Path, "Folder of the model registry, local").or("models/"),
        word(
            "public_key",
            Shape::Any(&[Shape::Path, Shape::Some(&Shape::Path)]),
            "A file with the public key (P-256, PEM) that versions have to be signed by, or a list of such files: one of \
             their keys",
        ),
    ],
);
/// A folder, or a section with one.
pub(super) const SHAPE: Shape = Shape::Any(&[Shape::Path, Shape::Section(&MODELS)]);

/// The folder, and the files of the keys that sign; none: unsigned versions are taken too.
pub(super) fn read(reader: &mut Reader, fields: &Fields) -> (At<PathBuf>, Vec<At<PathBuf>>) {
    let beside = At::default_value(reader.beside("models").0.into());
    let Some(field) = fields.get("models") else { return (beside, Vec::new()) };
    let Kind::Map(_) = field.node.kind else { return (folder(reader, field).unwrap_or_default(), Vec::new()) };
    let Some(fields) = reader.section(field, &MODELS) else { return (beside, Vec::new()) };
    let path = match fields.get("path") {
        Some(field) => folder(reader, field).unwrap_or_default(),
        None => beside,
    };
    (path, fields.get("public_key").map(|field| keys(reader, field)).unwrap_or_default())
}

fn folder(reader: &mut Reader, field: Field<'_>) -> Option<At<PathBuf>> {
    let text = reader.text(field, "a folder")?;
    if text.contains("://") {
        reader.note(field, "the registry is a local folder");
    }
    Some(field.at(reader.beside_file(field, &text).0.into()))
}

fn keys(reader: &mut Reader, field: Field<'_>) -> Vec<At<PathBuf>> {
    let files = if field.node.is_list() {
        reader.not_empty(field);
        reader.list(field, "files").unwrap_or_default()
    } else {
        vec![field]
    };
    let mut keys = Vec::new();
    for field in files {
        let Some(text) = reader.text(field, "a file") else { continue };
        if text.contains("://") {
            reader.note(field, "a public key is a local file");
        }
        keys.push(field.at(reader.beside_file(field, &text).0.into()));
    }
    keys
}
