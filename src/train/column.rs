//! A value for each row of a key: in memory, or beyond a bound in a file that is mapped into it.
//!
//! Lives here: where the values are. Must not live here: what they mean (`series`, `dataset`).
//!
//! All columns of a training share a [`Space`]. While their bytes are within its bound they are in memory. What would
//! go beyond it is put into files instead, which the kernel writes out and reads again as memory is needed. Values are
//! the same wherever they are.

#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::space::{PIECE, Piece, Space};
use super::split::Subset;
use crate::Result;

/// What a column can hold.
///
/// # Safety
/// A value is its bytes: it owns nothing, points to nothing, and is aligned to at most [`PIECE`].
pub unsafe trait Plain: Copy {}

// SAFETY: numbers, flags and fields of them.
unsafe impl Plain for bool {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for Subset {}
// SAFETY: as above.
unsafe impl<T: Plain> Plain for Option<T> {}
// SAFETY: as above.
unsafe impl<A: Plain, B: Plain> Plain for (A, B) {}

/// See the module. It reads as a slice.
#[derive(Debug)]
pub struct Column<T: Plain> {
    home: Home<T>,
    space: Option<Arc<Space>>,
}

#[derive(Debug)]
enum Home<T> {
    Memory(Vec<T>),
    /// A piece of a file, and how many values it has.
    File(Piece, usize),
}

impl<T: Plain> Column<T> {
    /// An empty one that shares a space; `None`: it is in memory whatever its size.
    pub fn new(space: Option<&Arc<Space>>) -> Column<T> {
        Column { home: Home::Memory(Vec::new()), space: space.cloned() }
    }

    /// With values, as many as the iterator says.
    ///
    /// # Errors
    /// No room on the disk.
    pub fn collect(space: Option<&Arc<Space>>, values: impl ExactSizeIterator<Item = T>) -> Result<Column<T>> {
        let mut column = Column::with_room(space, values.len())?;
        values.into_iter().try_for_each(|value| column.push(value))?;
        Ok(column)
    }

    /// The same value so many times.
    ///
    /// # Errors
    /// No room on the disk.
    pub fn of(space: Option<&Arc<Space>>, value: T, count: usize) -> Result<Column<T>> {
        Column::collect(space, std::iter::repeat_n(value, count))
    }

    /// An empty one with room for so many values.
    ///
    /// # Errors
    /// No room on the disk.
    pub fn with_room(space: Option<&Arc<Space>>, count: usize) -> Result<Column<T>> {
        let mut column = Column::new(space);
        column.make_room(count)?;
        Ok(column)
    }

    /// The space that it shares.
    pub fn space(&self) -> Option<&Arc<Space>> {
        self.space.as_ref()
    }

    /// Appends a value.
    ///
    /// # Errors
    /// No room on the disk.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<()> {
        if self.len() == self.room() {
            self.grow(1)?;
        }
        self.put(value);
        Ok(())
    }

    /// Appends values.
    ///
    /// # Errors
    /// No room on the disk.
    pub fn extend(&mut self, values: &[T]) -> Result<()> {
        if self.len() + values.len() > self.room() {
            self.grow(values.len())?;
        }
        match &mut self.home {
            Home::Memory(own) => own.extend_from_slice(values),
            Home::File(piece, len) => {
                // SAFETY: there is room for them behind the others, and the piece is nobody else's.
                unsafe {
                    let to = piece.at.cast::<T>().as_ptr().add(*len);
                    std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len());
                }
                *len += values.len();
            }
        }
        Ok(())
    }

    /// Appends a value for which there is room.
    #[inline]
    fn put(&mut self, value: T) {
        match &mut self.home {
            Home::Memory(own) => own.push(value),
            Home::File(piece, len) => {
                debug_assert!((*len + 1) * size_of::<T>() <= piece.bytes);
                // SAFETY: there is room, and the piece is aligned for every plain value and nobody else's.
                unsafe { piece.at.cast::<T>().as_ptr().add(*len).write(value) };
                *len += 1;
            }
        }
    }

    fn room(&self) -> usize {
        match &self.home {
            Home::Memory(own) => own.capacity(),
            Home::File(piece, _) => piece.bytes / size_of::<T>(),
        }
    }

    fn grow(&mut self, by: usize) -> Result<()> {
        self.make_room((self.len() + by).max(2 * self.room()).max(4))
    }

    /// Makes room for so many values in all: in memory while the space has some, else in a file.
    fn make_room(&mut self, count: usize) -> Result<()> {
        if count <= self.room() {
            return Ok(());
        }
        let (bytes, before) = (count * size_of::<T>(), self.room() * size_of::<T>());
        let Some(space) = self.space.clone() else {
            if let Home::Memory(own) = &mut self.home {
                own.reserve_exact(count - own.len());
            }
            return Ok(());
        };
        if let Home::Memory(own) = &mut self.home
            && space.take(bytes)
        {
            own.reserve_exact(count - own.len());
            // A little more may be given than was asked for.
            space.give_back(bytes + before);
            space.locked().memory += own.capacity() * size_of::<T>();
            return Ok(());
        }
        let piece = space.piece(bytes)?;
        debug_assert!(align_of::<T>() <= PIECE);
        let len = self.len();
        // SAFETY: the piece is new, so it doesn't overlap, and has room for all values.
        unsafe { std::ptr::copy_nonoverlapping(self.as_ptr(), piece.at.cast::<T>().as_ptr(), len) };
        if let Home::Memory(_) = self.home {
            space.give_back(before);
        }
        self.home = Home::File(piece, len);
        Ok(())
    }
}

impl<T: Plain> Drop for Column<T> {
    fn drop(&mut self) {
        if let (Home::Memory(own), Some(space)) = (&self.home, &self.space) {
            space.give_back(own.capacity() * size_of::<T>());
        }
    }
}

impl<T: Plain> Deref for Column<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.home {
            Home::Memory(own) => own,
            // SAFETY: so many values were written, and nobody else writes there.
            Home::File(piece, len) => unsafe { std::slice::from_raw_parts(piece.at.cast::<T>().as_ptr(), *len) },
        }
    }
}

impl<T: Plain> DerefMut for Column<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.home {
            Home::Memory(own) => own,
            // SAFETY: as in `deref`; this is the only way to them.
            Home::File(piece, len) => unsafe { std::slice::from_raw_parts_mut(piece.at.cast::<T>().as_ptr(), *len) },
        }
    }
}

impl<T: Plain> Default for Column<T> {
    fn default() -> Self {
        Column::new(None)
    }
}

/// In memory.
impl<T: Plain> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        Column { home: Home::Memory(values), space: None }
    }
}

/// In memory.
impl<T: Plain> Clone for Column<T> {
    fn clone(&self) -> Self {
        self.to_vec().into()
    }
}

/// In memory.
impl<T: Plain> FromIterator<T> for Column<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().collect::<Vec<T>>().into()
    }
}

impl<'a, T: Plain> IntoIterator for &'a Column<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Plain + PartialEq, const N: usize> PartialEq<[T; N]> for Column<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        self[..] == other[..]
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::FILE;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Columns grow side by side, in memory and in files, and hold what a vector holds.
        #[test]
        fn a_column_is_a_vector_wherever_it_is(
            most in 0_usize..5000, pushes in prop::collection::vec((0_usize..4, 1_usize..200), 1..60),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let space = Space::new(most, folder.path());
            let mut columns: [Column<(f64, f64)>; 4] = std::array::from_fn(|_| Column::new(Some(&space)));
            let mut expected: [Vec<(f64, f64)>; 4] = Default::default();
            let mut next = 0.0;
            for (at, count) in pushes {
                let values: Vec<_> = (0..count).map(|i| (next + i as f64, -next)).collect();
                next += 1000.0;
                if count % 2 == 0 {
                    columns[at].extend(&values).unwrap();
                } else {
                    values.iter().for_each(|value| columns[at].push(*value).unwrap());
                }
                expected[at].extend(&values);
                prop_assert!(space.used().0 <= most);
                if count == 7 {
                    columns[at] = Column::new(Some(&space));
                    expected[at].clear();
                }
            }
            for (column, expected) in columns.iter().zip(&expected) {
                prop_assert_eq!(&column[..], &expected[..]);
            }
            drop(columns);
            prop_assert_eq!(space.used(), (0, 0));
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_is_large_has_a_file_of_its_own_and_a_full_disk_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::new(1000, &folder.path().join("a/b"));
        let large = Column::collect(Some(&space), (0..(FILE / 4 + 5) as u32).collect::<Vec<_>>().into_iter()).unwrap();
        assert_eq!((large.len(), large[FILE / 4 + 4]), (FILE / 4 + 5, (FILE / 4 + 4) as u32));
        assert_eq!(space.used(), (0, 2 * FILE));
        drop(large);
        assert_eq!(space.used(), (0, 0));
        let error = Column::<u32>::with_room(Some(&space), 1 << 50).unwrap_err().to_string();
        assert!(error.contains("for data beyond `train.memory`"), "{error}");
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = Column::<u32>::with_room(Some(&Space::new(0, &folder.path().join("file"))), 5).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
