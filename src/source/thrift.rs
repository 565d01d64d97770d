//! Parquet's headers, looked through before the library reads them: Thrift's compact protocol, with no memory of its
//! own.
//!
//! Lives here: where fields are, and what of a footer the library takes on trust. Must not live here: pages (`pages`).

/// The most that values may be nested.
const DEEPEST: usize = 64;

/// Types of fields.
const BOOLEANS: [u8; 2] = [1, 2];
const BYTE: u8 = 3;
pub(super) const INTEGERS: [u8; 3] = [4, 5, 6];
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LISTS: [u8; 2] = [9, 10];
const MAP: u8 = 11;
pub(super) const STRUCT: u8 = 12;

/// Bytes that are looked through. `None` of its functions: they end too early, or aren't as writers write them.
pub(super) struct Thrift<'a>(pub &'a [u8]);

impl<'a> Thrift<'a> {
    /// The next bytes.
    pub fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    /// A whole number of LEB128.
    pub fn varint(&mut self) -> Option<u64> {
        let mut found = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            found |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(found);
            }
        }
        None
    }

    /// An integer.
    pub fn integer(&mut self) -> Option<i64> {
        let found = self.varint()?;
        Some((found >> 1) as i64 ^ -((found & 1) as i64))
    }

    /// Calls `each` with number and type of each field of a struct, whose value it has to take. A number that comes
    /// twice, or after a larger one, is refused: of two values, each reader could mean another.
    pub fn fields(&mut self, mut each: impl FnMut(i64, u8, &mut Self) -> Option<()>) -> Option<()> {
        let mut last = 0;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == 0 {
                return Some(());
            }
            let id = match head >> 4 {
                0 => self.integer()?,
                more => last + i64::from(more),
            };
            if id <= last {
                return None;
            }
            last = id;
            each(id, kind, self)?;
        }
    }

    /// Type and number of a list's items.
    pub fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        // An item has at least one byte.
        (count <= self.0.len() as u64).then_some((head & 0x0f, count))
    }

    /// Passes over the value of a field.
    pub fn skip(&mut self, kind: u8) -> Option<()> {
        if BOOLEANS.contains(&kind) { Some(()) } else { self.skip_value(kind, 0) }
    }

    fn skip_value(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match kind {
            _ if BOOLEANS.contains(&kind) => drop(self.byte()?),
            BYTE => drop(self.byte()?),
            _ if INTEGERS.contains(&kind) => drop(self.varint()?),
            DOUBLE => drop(self.take(8)?),
            BINARY => {
                let count = self.varint()?;
                self.take(count)?;
            }
            _ if LISTS.contains(&kind) => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_value(kind, depth + 1))?;
            }
            MAP => {
                let count = self.varint()?;
                if count > 0 {
                    let kinds = self.byte()?;
                    for _ in 0..count {
                        self.skip_value(kinds >> 4, depth + 1)?;
                        self.skip_value(kinds & 0x0f, depth + 1)?;
                    }
                }
            }
            STRUCT => self.fields(|_, kind, inner| match BOOLEANS.contains(&kind) {
                true => Some(()),
                false => inner.skip_value(kind, depth + 1),
            })?,
            _ => return None,
        }
        Some(())
    }
}

/// Refuses a footer whose schema is nested so deep, or says that it has so many columns, that reading it would break
/// the process: the library reads it by recursion.
pub(super) fn check_footer(footer: &[u8]) -> Result<(), String> {
    let mut children = None;
    let mut walk = Thrift(footer);
    let schema = walk.fields(|id, kind, walk| match (id, kind) {
        (2, kind) if LISTS.contains(&kind) => {
            let (_, count) = walk.list().filter(|(item, _)| *item == STRUCT)?;
            let mut all = Vec::new();
            for _ in 0..count {
                let mut own = 0;
                walk.fields(|id, kind, walk| match (id, kind) {
                    (5, kind) if INTEGERS.contains(&kind) => {
                        own = walk.integer()?;
                        Some(())
                    }
                    _ => walk.skip(kind),
                })?;
                all.push(own);
            }
            children = Some(all);
            Some(())
        }
        _ => walk.skip(kind),
    });
    let corrupt = |what: &str| Err(format!("its footer is corrupt: {what}"));
    let (Some(()), Some(children)) = (schema, children) else { return corrupt("it isn't as Parquet's are") };
    // How many columns are still to come at each level.
    let mut open: Vec<i64> = Vec::new();
    for own in &children {
        if !(0..=children.len() as i64).contains(own) {
            return corrupt("a column says that it has more columns within it than there are");
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if *own > 0 {
            open.push(*own);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > DEEPEST {
            return Err(format!("its columns are nested more than {DEEPEST} deep"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer of a version and a schema: elements with so many columns within them.
    fn footer(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x15, 2, 0x19, 0xfc];
        let mut count = children.len();
        while count > 0x7f {
            bytes.push(count as u8 & 0x7f | 0x80);
            count >>= 7;
        }
        bytes.push(count as u8);
        for own in children {
            // A name, the number of columns, the end.
            bytes.extend([0x48, 1, b'a', 0x15, own * 2, 0]);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_schema_that_is_too_deep_or_too_wide_is_refused_before_it_is_read() {
        assert_eq!(check_footer(&footer(&[2, 0, 1, 0])), Ok(()));
        assert!(check_footer(&footer(&[1; 100_000])).unwrap_err().contains("nested more than 64 deep"));
        assert!(check_footer(&footer(&[60, 0])).unwrap_err().contains("more columns within it than there are"));
        assert!(check_footer(&footer(&[1, 0])[..9]).unwrap_err().contains("isn't as Parquet's are"));
        // Of two schemas, each reader could mean another.
        let twice = [footer(&[0]).split_last().unwrap().1, &[0x09, 4, 0x1c, 0, 0][..]].concat();
        assert!(check_footer(&twice).is_err());
    }

    #[test]
    fn lists_within_lists_end() {
        let deep = [&[0x19][..], &[0x19; 100_000], &[0]].concat();
        assert!(check_footer(&deep).is_err());
    }
}
