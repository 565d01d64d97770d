//! The numbers of an ONNX tensor, whichever of the format's fields they are stored in, and tensors made of numbers.
//! Must not live here: what a tensor means.

use half::f16;

use super::proto::{TensorProto, tensor_proto::DataType};

/// A tensor of float32 values.
pub fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    tensor(name, DataType::Float, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// A tensor of int64 values.
pub fn integers(name: &str, shape: &[usize], values: &[i64]) -> TensorProto {
    tensor(name, DataType::Int64, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// A tensor of that type from its little-endian bytes.
pub fn tensor(name: &str, kind: DataType, shape: &[usize], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: shape.iter().map(|size| *size as i64).collect(),
        data_type: Some(kind as i32),
        name: Some(name.to_owned()),
        raw_data: Some(raw),
        ..Default::default()
    }
}

/// The sizes of a tensor's axes.
pub fn shape(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|size| (*size).max(0) as usize).collect()
}

/// Bytes of a value of a type whose values have whole bytes; `None` for text and for packed types.
pub fn width(kind: DataType) -> Option<usize> {
    Some(match kind {
        DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64 => 8,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 2,
        DataType::Int8 | DataType::Uint8 | DataType::Bool => 1,
        DataType::Complex128 => 16,
        _ => return None,
    })
}

/// A tensor's type.
pub fn kind(tensor: &TensorProto) -> Option<DataType> {
    DataType::try_from(tensor.data_type()).ok()
}

/// A tensor's values as little-endian bytes; `None` where they are text, packed, in another file, or too few.
pub fn bytes(tensor: &TensorProto) -> Option<Vec<u8>> {
    let kind = kind(tensor)?;
    let width = width(kind)?;
    let count = shape(tensor).iter().try_fold(1_usize, |all, size| all.checked_mul(*size))?;
    if !tensor.external_data.is_empty() {
        return None;
    }
    let raw = match &tensor.raw_data {
        Some(raw) => raw.clone(),
        None => match kind {
            DataType::Float => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
            DataType::Double => tensor.double_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
            DataType::Int64 => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
            DataType::Uint64 | DataType::Uint32 => {
                tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes()[..width].to_vec()).collect()
            }
            DataType::Complex64 | DataType::Complex128 => return None,
            // The smaller types are widened to int32 each.
            _ => tensor.int32_data.iter().flat_map(|value| value.to_le_bytes()[..width].to_vec()).collect(),
        },
    };
    (raw.len() == count.checked_mul(width)?).then_some(raw)
}

/// The values of a float32 tensor.
pub fn to_floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if kind(tensor)? != DataType::Float {
        return None;
    }
    Some(bytes(tensor)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// The values of an int64 or int32 tensor.
pub fn to_integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    let bytes = bytes(tensor)?;
    match kind(tensor)? {
        DataType::Int64 => Some(bytes.chunks_exact(8).map(|b| i64::from_le_bytes(eight(b))).collect()),
        DataType::Int32 => {
            Some(bytes.chunks_exact(4).map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect())
        }
        _ => None,
    }
}

/// The values of a tensor of numbers as float64, to compare tensors; `None` for types that aren't compared so.
pub fn to_numbers(tensor: &TensorProto) -> Option<Vec<f64>> {
    let bytes = bytes(tensor)?;
    let four = |b: &[u8]| [b[0], b[1], b[2], b[3]];
    Some(match kind(tensor)? {
        DataType::Float => bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(four(b)))).collect(),
        DataType::Double => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(eight(b))).collect(),
        DataType::Int64 => bytes.chunks_exact(8).map(|b| i64::from_le_bytes(eight(b)) as f64).collect(),
        DataType::Int32 => bytes.chunks_exact(4).map(|b| f64::from(i32::from_le_bytes(four(b)))).collect(),
        DataType::Bool | DataType::Uint8 => bytes.iter().map(|b| f64::from(*b)).collect(),
        DataType::Int8 => bytes.iter().map(|b| f64::from(*b as i8)).collect(),
        DataType::Float16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        _ => return None,
    })
}

fn eight(b: &[u8]) -> [u8; 8] {
    [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]
}

/// The bits of the float16 nearest to a value, the even one of two that are as near; `None` if it is too large.
pub fn half_from(value: f64) -> Option<u16> {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    if value.is_nan() {
        return Some(0x7e00);
    }
    if size.is_infinite() {
        return Some(sign | 0x7c00);
    }
    // Below 2^-14 the steps are those of the smallest numbers.
    let exponent = if size < 2f64.powi(-14) { -14 } else { size.log2().floor() as i32 };
    let steps = (size * 2f64.powi(10 - exponent)).round_ties_even() as i32;
    // One step too many is the first number of the next exponent; the bits carry over by themselves.
    let bits = ((exponent + 14) << 10) + steps;
    (bits < 0x7c00).then_some(sign | bits as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_from_raw_bytes_and_from_the_typed_fields() {
        let raw = floats("x", &[2], &[1.5, -2.0]);
        let typed = TensorProto { float_data: vec![1.5, -2.0], raw_data: None, ..floats("x", &[2], &[]) };
        assert_eq!(to_floats(&raw), to_floats(&typed));
        assert_eq!(to_floats(&raw).unwrap(), [1.5, -2.0]);
        let small =
            TensorProto { int32_data: vec![1, 0, 1], raw_data: None, ..tensor("b", DataType::Bool, &[3], vec![]) };
        assert_eq!(bytes(&small).unwrap(), [1, 0, 1]);
        assert_eq!(to_integers(&integers("i", &[2], &[-3, 4])).unwrap(), [-3, 4]);
        assert_eq!(bytes(&floats("short", &[3], &[1.0])), None);
    }

    #[test]
    fn float16_is_exact() {
        let half = |bits: u16| f16::from_bits(bits).to_f64();
        for (bits, value) in [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_953_125), (0x0001, 2f64.powi(-24))] {
            assert_eq!(half(bits), value, "{bits:x}");
        }
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00) {
            assert_eq!(half_from(half(bits)), Some(bits), "{bits:x}");
        }
        assert_eq!((half_from(2049.0), half_from(2051.0)), (half_from(2048.0), half_from(2052.0)));
        assert_eq!((half_from(65520.0), half_from(65519.0)), (None, Some(0x7bff)));
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f64::NEG_INFINITY);
    }
}
