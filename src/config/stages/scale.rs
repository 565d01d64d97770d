//! `scale: { values, half_life, min_count, log }`

use super::Options;
use crate::config::optimizer::FLAGS;
use crate::config::read::{Field, Reader};
use crate::config::table::{Shape, names, word};
use crate::config::words::Words;
use crate::config::{At, Span};

/// `scale: { values, half_life, min_count, log }`
#[derive(Debug, Clone)]
pub struct Scale {
    /// Columns to scale.
    pub values: Vec<At<String>>,
    /// Age at which a value counts half. A `Span::Steps` counts records.
    pub half_life: At<Span>,
    /// Rows of a key before its own statistics are used alone.
    pub min_count: u64,
    /// Whether values are scaled by their logarithms.
    pub log: bool,
}

impl Options for Scale {
    const ABOUT: &'static str = "Keeps a mean and a standard deviation per key and column, which forget old values";
    const WORDS: Words = Words::new(
        "`scale`",
        &[
            word("values", Shape::SomeTexts, "Columns to scale").needed(),
            word("half_life", Shape::Span { zero: false }, "Age at which a value counts half").needed(),
            word("min_count", Shape::POSITIVE, "Values of a key after which only its own statistics are used").or("24"),
            word("log", Shape::Word(&names(&FLAGS)), "Whether the network sees and makes logarithms of the values")
                .or("false"),
        ],
    );

    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let fields = reader.section(field, &Self::WORDS)?;
        let values = reader.need(&fields, "values").and_then(|f| reader.some_texts(f, "columns"));
        let half_life = reader.need(&fields, "half_life").and_then(|f| reader.span(f, false));
        let min_count = fields.get("min_count").and_then(|f| reader.count(f, 1, usize::MAX));
        let log = fields.get("log").and_then(|f| reader.word(f, &FLAGS, &[])).unwrap_or_default();
        Some(Scale { values: values?, half_life: half_life?, min_count: min_count.map_or(24, |n| n as u64), log })
    }
}
