//! Fields of structs as columns: `payload.v` is the field `v` of the column `payload`. A column whose own name is
//! `payload.v` wins.
//!
//! Lives here: finding them in a file, reading only their leaves, and taking them out of what was read. Must not live
//! here: which columns are wanted, and what they are for.

use std::collections::HashSet;

use ::parquet::arrow::ProjectionMask;
use ::parquet::basic::Type;
use ::parquet::file::metadata::FileMetaData;
use ::parquet::schema::types::SchemaDescriptor;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;

use super::merge::plain;

/// Ways to take a name apart at one of its dots.
fn splits(name: &str) -> impl Iterator<Item = (&str, &str)> {
    name.match_indices('.').map(|(at, _)| (&name[..at], &name[at + 1..]))
}

/// The path of a name within fields that are structs; `None`: there is none.
fn path<'n>(fields: &Fields, name: &'n str) -> Option<(Vec<&'n str>, DataType)> {
    splits(name).find_map(|(first, rest)| {
        let (_, field) = fields.find(first)?;
        let DataType::Struct(inner) = field.data_type() else { return None };
        if let Some((_, leaf)) = inner.find(rest) {
            return Some((vec![first, rest], leaf.data_type().clone()));
        }
        let (mut path, leaf) = path(inner, rest)?;
        path.insert(0, first);
        Some((path, leaf))
    })
}

/// The path of a name that is no column itself.
fn within<'n>(schema: &Schema, name: &'n str) -> Option<(Vec<&'n str>, DataType)> {
    if schema.field_with_name(name).is_ok() { None } else { path(schema.fields(), name) }
}

/// A file's columns with the wanted fields of structs.
pub(super) fn extended<'n>(schema: &Schema, wanted: impl Iterator<Item = &'n str>) -> Schema {
    let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    for name in wanted {
        if let Some((_, data_type)) = within(schema, name) {
            fields.push(Field::new(name, data_type, true));
        }
    }
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// A wanted field of a struct that is INT96, which is read only as a column.
pub(super) fn int96<'n>(
    file: &FileMetaData,
    schema: &Schema,
    mut wanted: impl Iterator<Item = &'n str>,
) -> Option<&'n str> {
    let leaves = file.schema_descr().columns();
    wanted.find(|name| {
        let Some((path, _)) = within(schema, name) else { return false };
        leaves.iter().any(|leaf| leaf.path().parts() == path && leaf.physical_type() == Type::INT96)
    })
}

/// Which leaves are read: those of the columns `roots`, and those of wanted fields of structs.
pub(super) fn mask(
    schema: &Schema,
    descriptor: &SchemaDescriptor,
    roots: &[usize],
    names: &HashSet<&str>,
) -> (ProjectionMask, impl Fn(usize) -> bool) {
    let paths: Vec<Vec<&str>> = names.iter().filter_map(|name| within(schema, name)).map(|(path, _)| path).collect();
    let is_read = |leaf: usize| {
        let parts = descriptor.column(leaf).path().parts().to_vec();
        let is_in = |path: &Vec<&str>| parts.len() >= path.len() && parts.iter().zip(path).all(|(a, b)| a == b);
        roots.contains(&descriptor.get_column_root_idx(leaf)) || paths.iter().any(is_in)
    };
    let read: Vec<bool> = (0..descriptor.num_columns()).map(is_read).collect();
    let leaves: Vec<usize> = (0..read.len()).filter(|leaf| read[*leaf]).collect();
    (ProjectionMask::leaves(descriptor, leaves), move |leaf| read.get(leaf).copied().unwrap_or(false))
}

/// Whether text is in a wanted field of a struct.
pub(super) fn has_text(schema: &Schema, names: &HashSet<&str>) -> bool {
    names.iter().filter_map(|name| within(schema, name)).any(|(_, leaf)| super::text::has_text(&leaf))
}

/// What was read, with the wanted fields of structs as columns; null where anything on the way is null.
pub(super) fn flattened(batch: RecordBatch, names: &HashSet<&str>) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let found: Vec<(&str, Vec<&str>)> =
        names.iter().filter_map(|name| Some((*name, within(&schema, name)?.0))).collect();
    if found.is_empty() {
        return Ok(batch);
    }
    let mut columns: Vec<(String, ArrayRef, bool)> = Vec::with_capacity(batch.num_columns() + found.len());
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        if names.contains(field.name().as_str()) {
            columns.push((field.name().clone(), array.clone(), true));
        }
    }
    for (name, path) in found {
        let gone = || ArrowError::SchemaError(format!("there is no column \"{name}\""));
        let mut array = batch.column_by_name(path[0]).cloned().ok_or_else(gone)?;
        let mut nulls = array.nulls().cloned();
        for segment in &path[1..] {
            let inner = array.as_struct_opt().and_then(|all| all.column_by_name(segment)).cloned();
            array = inner.ok_or_else(gone)?;
            nulls = NullBuffer::union(nulls.as_ref(), array.nulls());
        }
        let array = make_array(array.to_data().into_builder().nulls(nulls).build()?);
        columns.push((name.to_string(), cast(&array, &plain(array.data_type()))?, true));
    }
    RecordBatch::try_from_iter_with_nullable(columns)
}

/// Whether a leaf of a file is the field of a struct that a name with dots says.
pub(super) fn is_leaf(parts: &[String], name: &str) -> bool {
    parts.len() > 1 && name.len() > parts.len() && parts.join(".") == name
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{Int64Array, StructArray};

    #[test]
    fn what_is_null_on_the_way_is_null() {
        let leaf: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
        let nulls = NullBuffer::from(vec![true, false, true]);
        let inner: ArrayRef = Arc::new(StructArray::new(vec![field("v", &leaf)].into(), vec![leaf], Some(nulls)));
        let nulls = NullBuffer::from(vec![true, true, false]);
        let outer: ArrayRef =
            Arc::new(StructArray::new(vec![field("b", &inner)].into(), vec![inner.clone()], Some(nulls)));
        let own: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9]));
        let batch = RecordBatch::try_from_iter([("a", outer.clone()), ("a.x", own)]).unwrap();
        let flat = flattened(batch.clone(), &HashSet::from(["a.b.v", "a.x", "a.y"])).unwrap();
        let v = flat.column_by_name("a.b.v").unwrap();
        assert_eq!((v.is_valid(0), v.is_null(1), v.is_null(2), flat.num_columns()), (true, true, true, 2));
        let schema = extended(&batch.schema(), ["a.b.v", "a.x", "a.y", "a"].into_iter());
        assert_eq!(
            schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
            ["a", "a.x", "a.b.v"]
        );
        assert!(is_leaf(&["a".into(), "b".into()], "a.b") && !is_leaf(&["a".into(), "b".into()], "a.bc"));
    }
}
