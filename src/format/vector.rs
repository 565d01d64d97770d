//! The vector of a column while its message is read.

use super::columns::Fault;
use crate::config::VectorColumn;
use crate::record::BAD_VECTOR;

/// The numbers of a vector column.
#[derive(Debug, Clone, Default)]
pub(super) struct Vector {
    /// As the column has them; NaN is null.
    pub numbers: Vec<f32>,
    /// Whether there is a vector.
    pub is_there: bool,
    /// What is wrong with it.
    pub fault: Option<String>,
}

impl Vector {
    /// Without a vector, for the next message.
    pub fn clear(&mut self) {
        self.numbers.clear();
        (self.is_there, self.fault) = (false, None);
    }

    /// The numbers that bytes are.
    pub fn set_bytes(&mut self, column: &VectorColumn, bytes: &[u8]) {
        self.clear();
        self.is_there = true;
        self.fault = column.of_bytes(bytes, &mut self.numbers).err();
    }

    /// Why the message is refused for it, if it is.
    pub fn refused(&self, column: &VectorColumn) -> Option<Fault> {
        let what = self.fault.as_ref().map(|what| format!("column \"{}\": {what}", column.name.value));
        let fault = what.or_else(|| column.fault(self.numbers.len())).filter(|_| self.is_there)?;
        Some((BAD_VECTOR, fault))
    }
}
