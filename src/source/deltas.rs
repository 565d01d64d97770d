//! Texts that a page holds as differences of lengths (`DELTA_LENGTH_BYTE_ARRAY`, `DELTA_BYTE_ARRAY`): how many they are
//! and how long. The library makes room for as many as the page says, before it reads one.
//!
//! Lives here too: the longest text of a dictionary. Must not live here: headers of pages (`pages`).

use std::sync::Arc;

use ::parquet::basic::{Encoding, Type as Physical};
use ::parquet::column::page::{Page, PageReader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use ::parquet::file::serialized_reader::SerializedPageReader;

use super::pages::Pages;
use super::thrift::Thrift;

/// Values of such a page, at most.
const MOST_VALUES: u64 = 1 << 24;

/// Whether an encoding is one of these.
pub(super) fn is_delta(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY)
}

/// The same of its number in a header.
pub(super) fn is_number_of_delta(encoding: i64) -> bool {
    matches!(encoding, 6 | 7)
}

/// What [`longest`] is at most, found without unpacking anything.
///
/// # Errors
/// A column without a page.
pub(super) fn longest_at_most(pages: &Pages, column: &ColumnChunkMetaData) -> Result<u64> {
    let has_deltas = column.encodings().any(is_delta);
    match fixed(column) {
        Some(_) if has_deltas => Ok(u64::MAX),
        Some(0) => pages.dictionary(column),
        Some(fixed) => Ok(fixed),
        None => Ok(0),
    }
}

/// The length of a column's texts, 0 where each has its own; `None`: it has none.
fn fixed(column: &ColumnChunkMetaData) -> Option<u64> {
    match column.column_type() {
        Physical::FIXED_LEN_BYTE_ARRAY => Some(u64::try_from(column.column_descr().type_length()).unwrap_or(0)),
        Physical::BYTE_ARRAY => Some(0),
        _ => None,
    }
}

/// The most bytes that a value of a column can have in a row group, where a few bytes of the file can be a long value;
/// 0 where they can't.
///
/// # Errors
/// A page that says what can't be.
pub(super) fn longest(pages: &Pages, group: &RowGroupMetaData, column: &ColumnChunkMetaData) -> Result<u64> {
    let Some(fixed) = fixed(column) else { return Ok(0) };
    let has_deltas = column.encodings().any(is_delta);
    if fixed > 0 && !has_deltas {
        return Ok(fixed);
    }
    let rows = usize::try_from(group.num_rows()).unwrap_or(0);
    let mut reader = SerializedPageReader::new(Arc::new(pages.clone()), column, rows, None)?;
    let mut longest = fixed;
    while let Some(page) = reader.get_next_page()? {
        let wrong = |what: &str| {
            let name = column.column_path().string();
            ParquetError::General(format!("column \"{name}\": a page is corrupt: {what}"))
        };
        pages.begin();
        match &page {
            Page::DictionaryPage { buf, .. } if fixed == 0 => longest = longest.max(of_dictionary(buf)),
            Page::DictionaryPage { .. } => {}
            Page::DataPage { encoding, .. } | Page::DataPageV2 { encoding, .. } if is_delta(*encoding) => {
                let found = of_page(&page, column, *encoding).ok_or_else(|| wrong("its lengths"))?;
                longest = longest.max(found);
            }
            Page::DataPage { .. } | Page::DataPageV2 { .. } => {}
        }
        if !has_deltas {
            break;
        }
    }
    Ok(longest)
}

/// Of a dictionary of texts: lengths of 32 bits, each before its text.
fn of_dictionary(mut rest: &[u8]) -> u64 {
    let mut longest = 0;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(u64::from(length));
        rest = after.get(length as usize..).unwrap_or_default();
    }
    longest
}

fn of_page(page: &Page, column: &ColumnChunkMetaData, encoding: Encoding) -> Option<u64> {
    let values = match page {
        Page::DataPage { buf, num_values, .. } => {
            let mut rest = &buf[..];
            let descriptor = column.column_descr();
            for most in [descriptor.max_rep_level(), descriptor.max_def_level()] {
                if most > 0 {
                    let (length, after) = rest.split_first_chunk::<4>()?;
                    rest = after.get(u32::from_le_bytes(*length) as usize..)?;
                }
            }
            (rest, *num_values)
        }
        Page::DataPageV2 { buf, num_values, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            (buf.get(usize::try_from(levels).ok()?..)?, *num_values)
        }
        Page::DictionaryPage { .. } => return Some(0),
    };
    lengths(values.0, u64::from(values.1), encoding)
}

/// The longest of so many texts.
fn lengths(rest: &[u8], values: u64, encoding: Encoding) -> Option<u64> {
    let mut rest = Thrift(rest);
    if encoding == Encoding::DELTA_LENGTH_BYTE_ARRAY {
        return numbers(&mut rest, values)?.into_iter().max().or(Some(0));
    }
    let prefixes = numbers(&mut rest, values)?;
    let suffixes = numbers(&mut rest, values)?;
    let (mut last, mut longest) = (0, 0);
    for (prefix, suffix) in prefixes.into_iter().zip(suffixes) {
        if prefix > last {
            return None;
        }
        last = prefix + suffix;
        longest = longest.max(last);
    }
    Some(longest)
}

/// The numbers of DELTA_BINARY_PACKED, none of which is negative; what follows them is left.
fn numbers(rest: &mut Thrift<'_>, most: u64) -> Option<Vec<u64>> {
    let block = rest.varint()?;
    let parts = rest.varint()?;
    let count = rest.varint()?;
    let mut last = rest.integer()?;
    let each = block.checked_div(parts).filter(|each| *each > 0 && each % 32 == 0 && *each <= 1 << 20)?;
    if count > most.min(MOST_VALUES) {
        return None;
    }
    let mut all = Vec::new();
    if count > 0 {
        all.push(last);
    }
    while (all.len() as u64) < count {
        let least = rest.integer()?;
        for width in rest.take(parts)? {
            if all.len() as u64 >= count {
                break;
            }
            let width = u64::from(*width);
            if width > 64 {
                return None;
            }
            let packed = rest.take(each * width / 8)?;
            for n in 0..each.min(count - all.len() as u64) {
                last = last.wrapping_add(least).wrapping_add(bits(packed, n * width, width));
                all.push(last);
            }
        }
    }
    all.into_iter().map(|number| u32::try_from(number).ok().filter(|n| *n <= i32::MAX as u32).map(u64::from)).collect()
}

/// At most 64 bits, from one of them on.
fn bits(packed: &[u8], from: u64, width: u64) -> i64 {
    let rest = packed.get((from / 8) as usize..).unwrap_or_default();
    let mut word = [0; 16];
    let length = rest.len().min(word.len());
    word[..length].copy_from_slice(&rest[..length]);
    (u128::from_le_bytes(word) >> (from % 8) & ((1 << width) - 1)) as u64 as i64
}
