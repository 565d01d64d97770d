//! What a stage remembers of each key, described: named, typed fields and tensors of the network, and where each lies.
//!
//! Lives here: the description ([`StateSpec`]), how the parts of all stages form a row ([`RowLayout`]), and reading a
//! field out of a row ([`FieldSpec`]). Must not live here: the values of any key (`arena`, `bank`), and what a field
//! means to its stage.

use serde::{Deserialize, Serialize};

use super::RowSpan;
use crate::network::Element;

/// Bytes of a word of a row.
const WORD: usize = size_of::<u64>();

/// Words of 32 bits that so many bytes of a tensor take in the bank.
pub fn bank_words(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<u32>())
}

/// Type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A number of 64 bits.
    F64,
    /// A number of 32 bits.
    F32,
    /// A signed integer, or a time in ticks; `i64::MIN` where there is none.
    I64,
    /// A count.
    U64,
    /// Yes or no, in a word: 1 or 0.
    Flag,
    /// A number of 16 bits; of tensors alone.
    F16,
    /// A signed integer of 32 bits.
    I32,
    /// Yes or no, in a byte: 1 or 0; of tensors alone.
    Bool,
}

impl Type {
    /// That of a tensor's numbers.
    pub fn of(element: Element) -> Type {
        match element {
            Element::Float32 => Type::F32,
            Element::Float16 => Type::F16,
            Element::Float64 => Type::F64,
            Element::Int64 => Type::I64,
            Element::Int32 => Type::I32,
            Element::Bool => Type::Bool,
        }
    }

    /// Bytes of a value.
    fn bytes(self) -> usize {
        match self {
            Type::F64 | Type::I64 | Type::U64 | Type::Flag => WORD,
            Type::F32 | Type::I32 => 4,
            Type::F16 => 2,
            Type::Bool => 1,
        }
    }
}

/// A value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue {
    /// Of [`Type::F64`].
    F64(f64),
    /// Of [`Type::F32`] and [`Type::F16`].
    F32(f32),
    /// Of [`Type::I64`] and [`Type::I32`].
    I64(i64),
    /// Of [`Type::U64`].
    U64(u64),
    /// Of [`Type::Flag`] and [`Type::Bool`].
    Flag(bool),
}

/// A field of a stage's part of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldSpec {
    /// Its name, different from those of the stage's other fields.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub of: Type,
    /// First byte, from the start of the stage's part.
    pub at: usize,
    /// How many values it has; `None`: it is a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Bytes from one value to the next; `None`: they lie side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
}

impl FieldSpec {
    /// Its values in a stage's part of a row; `None` if the part is too short for it.
    pub fn values(&self, part: &[u64]) -> Option<Vec<FieldValue>> {
        // Rows are little-endian.
        let part: &[u8] = bytemuck::cast_slice(part);
        let (size, stride) = (self.of.bytes(), self.stride.unwrap_or(self.of.bytes()));
        let value = |n: usize| {
            let at = self.at.checked_add(n.checked_mul(stride)?)?;
            let bytes = part.get(at..at.checked_add(size)?)?;
            let mut word = [0; WORD];
            word[..size].copy_from_slice(bytes);
            let word = u64::from_le_bytes(word);
            Some(match self.of {
                Type::F64 => FieldValue::F64(f64::from_bits(word)),
                Type::F32 => FieldValue::F32(f32::from_bits(word as u32)),
                Type::F16 => FieldValue::F32(half::f16::from_bits(word as u16).to_f32()),
                Type::I64 => FieldValue::I64(word as i64),
                Type::I32 => FieldValue::I64((word as i32).into()),
                Type::U64 => FieldValue::U64(word),
                Type::Flag | Type::Bool => FieldValue::Flag(word != 0),
            })
        };
        (0..self.length.unwrap_or(1)).map(value).collect()
    }
}

/// What a stage remembers of each key. Fields lie in the order in which they are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateSpec {
    initial: Vec<u64>,
    fields: Vec<FieldSpec>,
    tensors: Vec<FieldSpec>,
    /// What all tensors begin with.
    numbers: Vec<u32>,
}

impl StateSpec {
    /// Adds a number; a new key begins with `initial`. So do the other methods.
    pub fn f64(self, name: impl Into<String>, initial: f64) -> Self {
        self.word(name, Type::F64, initial.to_bits())
    }

    /// Adds an integer or a time.
    pub fn i64(self, name: impl Into<String>, initial: i64) -> Self {
        self.word(name, Type::I64, initial as u64)
    }

    /// Adds a count.
    pub fn u64(self, name: impl Into<String>, initial: u64) -> Self {
        self.word(name, Type::U64, initial)
    }

    /// Adds a flag.
    pub fn flag(self, name: impl Into<String>, initial: bool) -> Self {
        self.word(name, Type::Flag, initial.into())
    }

    /// Adds `length` numbers, all of which begin with `initial`.
    pub fn f64s(mut self, name: impl Into<String>, length: usize, initial: f64) -> Self {
        let words = length;
        self.field(name, Type::F64, Some(length), words);
        self.initial.resize(self.initial.len() + words, initial.to_bits());
        self
    }

    /// Adds `length` numbers of 32 bits, two to a word, all of which begin with 0.
    pub fn f32s(mut self, name: impl Into<String>, length: usize) -> Self {
        let words = length.div_ceil(WORD / size_of::<f32>());
        self.field(name, Type::F32, Some(length), words);
        self.initial.resize(self.initial.len() + words, 0);
        self
    }

    /// Adds `length` integers, all of which begin with 0.
    pub fn i64s(mut self, name: impl Into<String>, length: usize) -> Self {
        self.field(name, Type::I64, Some(length), length);
        self.initial.resize(self.initial.len() + length, 0);
        self
    }

    /// Adds `length` integers of 32 bits, two to a word, all of which begin with 0.
    pub fn i32s(mut self, name: impl Into<String>, length: usize) -> Self {
        let words = length.div_ceil(WORD / size_of::<i32>());
        self.field(name, Type::I32, Some(length), words);
        self.initial.resize(self.initial.len() + words, 0);
        self
    }

    /// Adds `length` numbers of 32 bits, two to a word, all of which begin with NaN.
    pub fn f32s_unknown(mut self, name: impl Into<String>, length: usize) -> Self {
        let start = self.initial.len();
        self = self.f32s(name, length);
        let nan = u64::from(f32::NAN.to_bits());
        self.initial[start..].fill(nan << 32 | nan);
        self
    }

    /// Adds `count` records one after the other. Each field of `item`, which may only have single values, becomes one
    /// of `count` values.
    pub fn repeated(mut self, count: usize, item: StateSpec) -> Self {
        debug_assert!(item.fields.iter().all(|field| field.length.is_none()), "records hold single values");
        let (start, stride) = (self.initial.len() * WORD, item.initial.len() * WORD);
        if count > 0 {
            let field = |field: FieldSpec| FieldSpec {
                at: start + field.at,
                length: Some(count),
                stride: Some(stride),
                ..field
            };
            self.fields.extend(item.fields.into_iter().map(field));
        }
        (0..count).for_each(|_| self.initial.extend_from_slice(&item.initial));
        self
    }

    /// Adds a tensor of the network; a new key begins with the values of which `initial` are the bytes. Tensors don't
    /// lie in the row but in the [`super::Bank`], one after the other, each from a new word of 32 bits on. At most one
    /// stage of a pipeline has tensors.
    pub fn tensor(mut self, name: impl Into<String>, of: Type, initial: &[u8]) -> Self {
        let (at, length) = (self.numbers.len() * size_of::<u32>(), initial.len() / of.bytes());
        self.tensors.push(FieldSpec { name: name.into(), of, at, length: Some(length), stride: None });
        self.numbers.resize(self.numbers.len() + bank_words(initial.len()), 0);
        bytemuck::cast_slice_mut(&mut self.numbers)[at..at + initial.len()].copy_from_slice(initial);
        self
    }

    /// Words of its part of a row.
    pub fn width(&self) -> usize {
        self.initial.len()
    }

    /// Its part of the row of a new key.
    pub fn initial(&self) -> &[u64] {
        &self.initial
    }

    /// Its fields; tensors are not among them.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    fn word(mut self, name: impl Into<String>, of: Type, initial: u64) -> Self {
        self.field(name, of, None, 1);
        self.initial.push(initial);
        self
    }

    /// Notes a field that begins where the words end so far; one without any words is left out.
    fn field(&mut self, name: impl Into<String>, of: Type, length: Option<usize>, words: usize) {
        if words > 0 {
            let at = self.initial.len() * WORD;
            self.fields.push(FieldSpec { name: name.into(), of, at, length, stride: None });
        }
    }
}

/// One stage's part of a row in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPart {
    /// First word.
    pub start: usize,
    /// Words.
    pub width: usize,
    /// Whether the stage has the bank.
    pub has_bank: bool,
}

/// Place of the network's numbers in a whole row, as checkpoints have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BankPlace {
    /// First word.
    pub start: usize,
    /// Words of 32 bits, two to a word.
    pub numbers: usize,
}

/// How the parts of all stages form a row: in memory without the network's numbers, in a checkpoint with them.
#[derive(Debug, Clone, Default)]
pub struct RowLayout {
    initial: Vec<u64>,
    parts: Vec<RowPart>,
    bank: Option<BankPlace>,
    bank_initial: Vec<u32>,
    spans: Vec<RowSpan>,
    width: usize,
}

impl RowLayout {
    /// The parts of these stages, one after the other.
    pub fn new<'a>(stages: impl IntoIterator<Item = (&'a str, StateSpec)>) -> Self {
        let mut layout = RowLayout::default();
        for (stage, spec) in stages {
            let has_bank = !spec.numbers.is_empty();
            layout.parts.push(RowPart { start: layout.initial.len(), width: spec.width(), has_bank });
            layout.initial.extend_from_slice(spec.initial());
            let (start, mut width, mut fields) = (layout.width, spec.width(), spec.fields);
            if has_bank {
                debug_assert!(layout.bank.is_none(), "a pipeline has one network");
                layout.bank = Some(BankPlace { start: start + width, numbers: spec.numbers.len() });
                let after = |tensor: FieldSpec| FieldSpec { at: width * WORD + tensor.at, ..tensor };
                fields.extend(spec.tensors.into_iter().map(after));
                width += spec.numbers.len().div_ceil(WORD / size_of::<u32>());
                layout.bank_initial = spec.numbers;
            }
            layout.spans.push(RowSpan { stage: stage.into(), start, width, fields });
            layout.width += width;
        }
        layout
    }

    /// The row of a new key in memory.
    pub fn initial(&self) -> &[u64] {
        &self.initial
    }

    /// Each stage's part of a row in memory.
    pub fn parts(&self) -> &[RowPart] {
        &self.parts
    }

    /// Place of the network's numbers in a whole row, if there are any.
    pub fn bank(&self) -> Option<BankPlace> {
        self.bank
    }

    /// The network's numbers of a new key.
    pub fn bank_initial(&self) -> &[u32] {
        &self.bank_initial
    }

    /// Words of a whole row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Each stage's part of a whole row, as manifests describe it.
    pub fn spans(&self) -> &[RowSpan] {
        &self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_the_spec_puts_them() {
        let bucket = StateSpec::default().i64("bucket", i64::MIN).f64("sum", 0.5);
        let spec = StateSpec::default()
            .u64("count", 7)
            .flag("seen", true)
            .f64s("none", 0, 1.0)
            .f64s("ring", 2, f64::INFINITY)
            .repeated(3, bucket)
            .f32s("h", 3);
        assert_eq!(spec.width(), 1 + 1 + 2 + 6 + 2);
        let mut row = spec.initial().to_vec();
        row[7] = 1.25_f64.to_bits();
        row[11] = 2.5_f32.to_bits().into();
        row[10] = u64::from(3.5_f32.to_bits()) << 32;
        let read = |name: &str| {
            let field = spec.fields().iter().find(|field| field.name == name).unwrap();
            field.values(&row).unwrap()
        };
        assert_eq!(read("count"), [FieldValue::U64(7)]);
        assert_eq!(read("seen"), [FieldValue::Flag(true)]);
        assert_eq!(read("ring"), [FieldValue::F64(f64::INFINITY); 2]);
        assert_eq!(read("bucket"), [FieldValue::I64(i64::MIN); 3]);
        assert_eq!(read("sum"), [FieldValue::F64(0.5), FieldValue::F64(1.25), FieldValue::F64(0.5)]);
        assert_eq!(read("h"), [FieldValue::F32(0.0), FieldValue::F32(3.5), FieldValue::F32(2.5)]);
        assert!(spec.fields().iter().all(|field| field.name != "none"), "it has no values");
        assert_eq!(spec.fields()[5].values(&row[..11]), None, "the part is too short");
    }

    #[test]
    fn the_networks_numbers_stand_in_the_part_of_their_stage() {
        let zero = [0; 12];
        let network = StateSpec::default().u64("steps", 0).tensor("h", Type::F32, &zero).tensor("c", Type::F32, &zero);
        let score = StateSpec::default().f64("sum", 0.5);
        let layout = RowLayout::new([("lags", score.clone()), ("infer", network), ("score", score)]);
        assert_eq!(layout.initial(), [0.5_f64.to_bits(), 0, 0.5_f64.to_bits()]);
        let parts: Vec<_> = layout.parts().iter().map(|part| (part.start, part.width, part.has_bank)).collect();
        assert_eq!(parts, [(0, 1, false), (1, 1, true), (2, 1, false)]);
        assert_eq!((layout.bank(), layout.width()), (Some(BankPlace { start: 2, numbers: 6 }), 6));
        let spans: Vec<_> = layout.spans().iter().map(|span| (span.start, span.width)).collect();
        assert_eq!(spans, [(0, 1), (1, 4), (5, 1)]);
        let c = &layout.spans()[1].fields[2];
        assert_eq!((c.name.as_str(), c.at, c.length), ("c", 8 + 12, Some(3)));
        let part = [7, 0, u64::from(1.0_f32.to_bits()) << 32, u64::from(2.0_f32.to_bits())];
        assert_eq!(c.values(&part).unwrap(), [1.0, 2.0, 0.0].map(FieldValue::F32));
    }

    #[test]
    fn tensors_are_of_any_type_and_begin_with_what_is_said() {
        let bytes = |values: &[f64]| bytemuck::cast_slice::<f64, u8>(values).to_vec();
        let halves = [half::f16::from_f32(0.5), half::f16::from_f32(-2.0), half::f16::ONE];
        let spec = StateSpec::default()
            .u64("steps", 0)
            .tensor("half", Type::F16, bytemuck::cast_slice(&halves))
            .tensor("double", Type::F64, &bytes(&[0.1, -3.0]))
            .tensor("seen", Type::Bool, &[1, 0, 1])
            .tensor("count", Type::I32, bytemuck::cast_slice(&[-7_i32]))
            .tensor("last", Type::I64, bytemuck::cast_slice(&[-9_i64]));
        let layout = RowLayout::new([("infer", spec)]);
        let numbers = layout.bank().unwrap().numbers;
        assert_eq!((numbers, layout.bank_initial().len(), layout.width()), (10, 10, 1 + 5));
        let mut row = vec![3];
        row.extend_from_slice(bytemuck::cast_slice(layout.bank_initial()));
        let read = |n: usize| layout.spans()[0].fields[n].values(&row).unwrap();
        assert_eq!(read(0), [FieldValue::U64(3)]);
        assert_eq!(read(1), [0.5, -2.0, 1.0].map(FieldValue::F32));
        assert_eq!(read(2), [0.1, -3.0].map(FieldValue::F64));
        assert_eq!(read(3), [true, false, true].map(FieldValue::Flag));
        assert_eq!((read(4), read(5)), (vec![FieldValue::I64(-7)], vec![FieldValue::I64(-9)]));
    }

    #[test]
    fn fields_survive_as_json() {
        let spec = StateSpec::default().u64("count", 7).repeated(3, StateSpec::default().i64("bucket", 1));
        let text = serde_json::to_string(spec.fields()).unwrap();
        assert!(text.starts_with(r#"[{"name":"count","type":"u64","at":0},"#), "{text}");
        assert_eq!(serde_json::from_str::<Vec<FieldSpec>>(&text).unwrap(), spec.fields());
    }
}
