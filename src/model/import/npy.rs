//! NumPy's files: one array in an `.npy`. Must not live here: what an array is for.

use std::path::Path;

use crate::model::executor::bytes_of;
use crate::network::{Axis, Element, TensorSpec};
use crate::storage::read_file;

/// The most that a file of initial states may have.
const MAX_BYTES: u64 = 1 << 30;

/// An array, its values as numbers of 64 bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its sizes.
    pub sizes: Vec<usize>,
    /// Its values, the last axis fastest.
    pub values: Vec<f64>,
}

/// The bytes of a state of one sequence, from a file with or without the batch axis.
pub(crate) fn state(path: &Path, tensor: &TensorSpec) -> Result<Vec<u8>, String> {
    let array = read(&read_file(path, MAX_BYTES).map_err(|error| error.to_string())?)?;
    let with: Vec<usize> = tensor.sizes(1, 1);
    let without: Vec<usize> =
        tensor.shape.iter().filter_map(|axis| if let Axis::Fixed(size) = axis { Some(*size) } else { None }).collect();
    if array.sizes != with && array.sizes != without {
        return Err(format!(
            "it has the sizes {:?}, a key's state has {without:?} ({})",
            array.sizes,
            tensor.describe()
        ));
    }
    if let Some(value) = array.values.iter().find(|value| !tensor.element.holds(**value)) {
        return Err(format!("it holds {value}, which {} can't be", tensor.element.word()));
    }
    Ok(array.values.iter().flat_map(|value| bytes_of(*value, tensor.element)).collect())
}

/// A state of one sequence as an `.npy`, without the batch axis.
pub fn array(bytes: &[u8], tensor: &TensorSpec) -> Vec<u8> {
    let descr = match tensor.element {
        Element::Float32 => "<f4",
        Element::Float16 => "<f2",
        Element::Float64 => "<f8",
        Element::Int64 => "<i8",
        Element::Int32 => "<i4",
        Element::Bool => "|b1",
    };
    let sizes = tensor.shape.iter().filter_map(|axis| if let Axis::Fixed(size) = axis { Some(*size) } else { None });
    let sizes: String = sizes.map(|size| format!("{size}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The numbers begin at a multiple of 64 bytes.
    let length = (11 + header.len()).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = length - 1);
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((length as u16).to_le_bytes());
    array.extend(header.as_bytes());
    array.extend(bytes);
    array
}

/// Reads an `.npy` of numbers.
pub fn read(bytes: &[u8]) -> Result<Array, String> {
    let not = || "this is no NumPy file (.npy)".to_owned();
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(not)?;
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err(not()),
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(not)?;
    let header = std::str::from_utf8(header).map_err(|_| not())?;
    let field = |name: &str| header.split_once(&format!("'{name}':")).map(|(_, rest)| rest.trim_start());
    let descr = field("descr").and_then(|rest| rest.strip_prefix('\'')?.split('\'').next()).ok_or_else(not)?;
    let shape = field("shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next()).ok_or_else(not)?;
    let sizes: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().map_err(|_| not()))
        .collect::<Result<_, _>>()?;
    let count = sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size)).ok_or_else(not)?;
    let width = match descr {
        "<f8" | "<i8" => 8,
        "<f4" | "<i4" => 4,
        "<f2" => 2,
        "|b1" | "|u1" => 1,
        other => {
            return Err(format!(
                "its numbers are {other:?}; write little-endian float16, float32, float64, int32 or int64"
            ));
        }
    };
    if count.checked_mul(width) != Some(data.len()) {
        return Err(format!("it is cut off: {} bytes of numbers where {sizes:?} needs {count}", data.len()));
    }
    let values: Vec<f64> = match descr {
        "<f8" => data.as_chunks::<8>().0.iter().map(|value| f64::from_le_bytes(*value)).collect(),
        "<i8" => data.as_chunks::<8>().0.iter().map(|value| i64::from_le_bytes(*value) as f64).collect(),
        "<f4" => data.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value).into()).collect(),
        "<f2" => data.as_chunks::<2>().0.iter().map(|value| half::f16::from_le_bytes(*value).into()).collect(),
        "<i4" => data.as_chunks::<4>().0.iter().map(|value| i32::from_le_bytes(*value).into()).collect(),
        _ => data.iter().map(|value| (*value).into()).collect(),
    };
    let fortran = field("fortran_order").is_some_and(|rest| rest.starts_with("True"));
    let values = if fortran { turned(&values, &sizes) } else { values };
    Ok(Array { sizes, values })
}

/// From the first axis fastest to the last one fastest.
fn turned(values: &[f64], sizes: &[usize]) -> Vec<f64> {
    let mut strides = Vec::new();
    sizes.iter().fold(1, |stride, size| {
        strides.push(stride);
        stride * size
    });
    let at = |mut n: usize| {
        let mut from = 0;
        for (size, stride) in sizes.iter().zip(&strides).rev() {
            from += n % size * stride;
            n /= size;
        }
        values[from]
    };
    (0..values.len()).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn a_state_that_is_written_is_read_again() {
        for (element, value) in [
            (Element::Float32, 0.1_f32.into()),
            (Element::Float16, 0.5),
            (Element::Float64, 0.1),
            (Element::Int64, -7.0),
            (Element::Int32, 7.0),
            (Element::Bool, 1.0),
        ] {
            let shape = vec![Axis::Fixed(1), Axis::Batch, Axis::Fixed(3)];
            let tensor = TensorSpec { name: "h".into(), element, shape };
            let bytes = array(&bytes_of(value, element).repeat(3), &tensor);
            assert_eq!(bytes.len() % 64, 3 * element.bytes(), "{element:?}");
            assert_eq!(read(&bytes).unwrap(), Array { sizes: vec![1, 3], values: vec![value; 3] }, "{element:?}");
        }
    }

    #[test]
    fn arrays_are_read_in_both_orders() {
        let values: Vec<u8> = (0..6).flat_map(|value| (value as f32).to_le_bytes()).collect();
        let c = read(&npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", &values)).unwrap();
        assert_eq!((c.sizes, c.values), (vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        let f = read(&npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", &values)).unwrap();
        assert_eq!(f.values, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(read(&npy("{'descr': '|b1', 'fortran_order': False, 'shape': (), }", &[1])).unwrap().values, [1.0]);
        for (header, data, message) in [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }", &values[..], "cut off"),
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (6,), }", &values[..], "little-endian"),
            ("{'descr': '<f4'}", &values[..], "no NumPy file"),
        ] {
            assert!(read(&npy(header, data)).unwrap_err().contains(message), "{header}");
        }
        assert!(read(b"PK").unwrap_err().contains("no NumPy file"));
    }
}
