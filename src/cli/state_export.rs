//! The state of keys as columns: for `kolk state export`. Must not live here: which keys, and where they are stored
//! (`state`).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float16Array, Float32Array, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use crate::record::PartitionId;
use crate::state::{FieldSpec, FieldValue, KeyList, RowSpan, Type};

/// Rows of a partition's keys: what each stage remembers as words, then each field of it under `stage.field`.
pub(super) fn exported(
    partition: PartitionId,
    keys: &KeyList,
    spans: &[(String, RowSpan)],
    slots: &[u32],
    rows: &[Cow<'_, [u64]>],
) -> Result<RecordBatch, ArrowError> {
    let mut fields = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("partition", DataType::UInt32, false),
        Field::new("slot", DataType::UInt32, false),
    ];
    let keys = slots.iter().map(|slot| Some(String::from_utf8_lossy(keys.get(*slot))));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(keys.collect::<StringArray>()),
        Arc::new(UInt32Array::from(vec![partition.number; slots.len()])),
        Arc::new(UInt32Array::from(slots.to_vec())),
    ];
    let item = Arc::new(Field::new_list_field(DataType::UInt64, false));
    for (name, span) in spans {
        let words: Vec<u64> = rows.iter().flat_map(|row| &row[span.start..span.start + span.width]).copied().collect();
        let list =
            FixedSizeListArray::try_new(item.clone(), span.width as i32, Arc::new(UInt64Array::from(words)), None)?;
        // A stage's name may be that of one of the columns above.
        fields.push(Field::new(format!("stage_{name}"), list.data_type().clone(), false));
        columns.push(Arc::new(list));
    }
    for (name, span) in spans {
        for field in span.fields.iter().filter(|field| field.length != Some(0)) {
            let parts = rows.iter().map(|row| &row[span.start..span.start + span.width]);
            let column = typed(field, parts)?;
            fields.push(Field::new(format!("{name}.{}", field.name), column.data_type().clone(), true));
            columns.push(column);
        }
    }
    if let Some(topic) = partition.topic.name() {
        fields.insert(1, Field::new("topic", DataType::Utf8, false));
        columns.insert(1, Arc::new(StringArray::from(vec![topic; slots.len()])));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// A field of each key; no time or bucket is null.
fn typed<'a>(field: &FieldSpec, parts: impl Iterator<Item = &'a [u64]>) -> Result<ArrayRef, ArrowError> {
    let short = || ArrowError::ComputeError(format!("the state has no room for its field \"{}\"", field.name));
    let mut values = Vec::new();
    for part in parts {
        values.extend(field.values(part).ok_or_else(short)?);
    }
    let double = |value: &FieldValue| if let FieldValue::F64(value) = value { Some(*value) } else { None };
    let float = |value: &FieldValue| if let FieldValue::F32(value) = value { Some(*value) } else { None };
    let signed = |value: &FieldValue| match value {
        FieldValue::I64(i64::MIN) => None,
        FieldValue::I64(value) => Some(*value),
        _ => None,
    };
    let count = |value: &FieldValue| if let FieldValue::U64(value) = value { Some(*value) } else { None };
    let flag = |value: &FieldValue| if let FieldValue::Flag(value) = value { Some(*value) } else { None };
    let values = values.iter();
    let array: ArrayRef = match field.of {
        Type::F64 => Arc::new(values.map(double).collect::<Float64Array>()),
        Type::F32 => Arc::new(values.map(float).collect::<Float32Array>()),
        Type::F16 => Arc::new(values.map(|value| float(value).map(half::f16::from_f32)).collect::<Float16Array>()),
        Type::I64 => Arc::new(values.map(signed).collect::<Int64Array>()),
        Type::I32 => Arc::new(values.map(|value| signed(value).map(|value| value as i32)).collect::<Int32Array>()),
        Type::U64 => Arc::new(values.map(count).collect::<UInt64Array>()),
        Type::Flag | Type::Bool => Arc::new(values.map(flag).collect::<BooleanArray>()),
    };
    let Some(length) = field.length else { return Ok(array) };
    let item = Arc::new(Field::new_list_field(array.data_type().clone(), true));
    Ok(Arc::new(FixedSizeListArray::try_new(item, length as i32, array, None)?))
}
