//! `frame: { column, size, hop, pad, rate, gap }`

use super::{Around, Options};
use crate::config::read::{Field, Reader};
use crate::config::table::{Shape, word};
use crate::config::words::Words;
use crate::config::{At, Span};
use crate::error::Problems;

/// `frame: { column, size, hop, pad, rate, gap }`
#[derive(Debug, Clone)]
pub struct Frame {
    /// The samples; the frames have its name.
    pub column: At<String>,
    /// Samples of a frame.
    pub size: usize,
    /// Samples from the start of a frame to that of the next.
    pub hop: usize,
    /// Zeros before the first sample of a sequence; fewer than a frame has.
    pub pad: usize,
    /// Samples per second.
    pub rate: Option<At<f64>>,
    /// A new sequence begins when a key was silent for longer.
    pub gap: Option<At<Span>>,
}

/// Samples of a frame, at most: a key keeps that many.
const MOST: usize = 65_536;

impl Options for Frame {
    const ABOUT: &'static str = "Cuts the samples of each key into overlapping frames, a row for each";
    const WORDS: Words = Words::new(
        "`frame`",
        &[
            word("column", Shape::Text, "The samples: a vector column, or a number per record").needed(),
            word("size", Shape::Integer(1, MOST as i64), "Samples of a frame").needed(),
            word("hop", Shape::Integer(1, MOST as i64), "Samples from the start of a frame to that of the next")
                .or_from(|file| file.near(0, "size").cloned()),
            word("pad", Shape::Integer(0, MOST as i64 - 1), "Zeros before the first sample of a sequence").or("0"),
            word("rate", Shape::ABOVE_ZERO, "Samples per second: a row then has the time of its last sample"),
            word("gap", Shape::Span { zero: false }, "A new sequence begins if the key had no records for longer"),
        ],
    );

    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let fields = reader.section(field, &Self::WORDS)?;
        let column = reader.need(&fields, "column").and_then(|field| reader.text(field, "a column"));
        let size = reader.need(&fields, "size").and_then(|field| reader.count(field, 1, MOST));
        let hop = fields.get("hop").map(|field| reader.count(field, 1, MOST));
        let pad = fields.get("pad").map(|field| (field, reader.count(field, 0, MOST - 1)));
        if let (Some(size), Some((field, Some(pad)))) = (size, &pad)
            && *pad >= size
        {
            reader.note(*field, format_args!("{pad} zeros fill a frame of {size}: fewer come before the first sample"));
        }
        let rate = fields
            .get("rate")
            .map(|field| reader.number(field, "a number above 0", |rate| rate > 0.0).map(|rate| field.at(rate)));
        let gap = fields.get("gap").and_then(|field| reader.span(field, false));
        let (column, size) = (column?, size?);
        Some(Frame {
            column,
            size,
            hop: hop.map_or(Some(size), |hop| hop)?,
            pad: pad.map_or(Some(0), |(_, pad)| pad)?,
            rate: rate.map_or(Some(None), |rate| rate.map(Some))?,
            gap,
        })
    }

    fn check(&self, around: &Around<'_>, problems: &mut Problems) {
        if around.before().iter().any(|stage| stage.word() == "infer") {
            problems.add(around.place, "frame must come before infer: what is predicted has no samples");
        }
    }
}
