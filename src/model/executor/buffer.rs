//! Memory of a tensor: bytes that lie where any type of number may. Must not live here: what is in them (`convert`).

use bytemuck::Pod;

/// Bytes of a tensor, which keep their place as long as there are no more of them than ever before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buffer {
    words: Vec<u64>,
    bytes: usize,
}

impl Buffer {
    /// A copy of these values.
    pub fn of<T: Pod>(values: &[T]) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.resize(size_of_val(values));
        buffer.bytes_mut().copy_from_slice(bytemuck::cast_slice(values));
        buffer
    }

    /// Sets how many bytes there are; which ones stays open.
    pub fn resize(&mut self, bytes: usize) {
        self.words.resize(bytes.div_ceil(size_of::<u64>()), 0);
        self.bytes = bytes;
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }

    /// All bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.bytes]
    }

    /// As numbers; those of a tensor are as many as fill it.
    pub fn values<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes())
    }

    /// As numbers, to write.
    pub fn values_mut<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.bytes_mut())
    }
}
