//! `calendar: { features, timezone }`

use super::Options;
use crate::config::At;
use crate::config::read::{Field, Reader};
use crate::config::table::{Shape, names, word};
use crate::config::words::{Words, word_of};
use crate::zone::Zone;

/// `calendar: { features, timezone }`
#[derive(Debug, Clone)]
pub struct Calendar {
    /// Which features; each becomes a pair `<name>_sin`, `<name>_cos`.
    pub features: Vec<At<CalendarFeature>>,
    /// Whose wall clock is read.
    pub timezone: At<Zone>,
}

/// One calendar feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CalendarFeature {
    Minute,
    Hour,
    Weekday,
    Day,
    Month,
    Yearday,
}

const FEATURES: [(&str, CalendarFeature); 6] = [
    ("minute", CalendarFeature::Minute),
    ("hour", CalendarFeature::Hour),
    ("weekday", CalendarFeature::Weekday),
    ("day", CalendarFeature::Day),
    ("month", CalendarFeature::Month),
    ("yearday", CalendarFeature::Yearday),
];

impl CalendarFeature {
    /// Its word in the pipeline file, which its columns begin with.
    pub fn word(self) -> &'static str {
        word_of(&FEATURES, self)
    }
}

impl Options for Calendar {
    const ABOUT: &'static str = "Turns each feature into a pair of columns, sine and cosine";
    const WORDS: Words = Words::new(
        "`calendar`",
        &[
            word("features", Shape::Some(&Shape::Word(&names(&FEATURES))), "The features").needed(),
            word("timezone", Shape::Zone, "Time zone of the wall clock").or("UTC"),
        ],
    );

    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let fields = reader.section(field, &Self::WORDS)?;
        let mut features: Vec<At<CalendarFeature>> = Vec::new();
        if let Some(field) = reader.need(&fields, "features") {
            for item in reader.list(field, "features").unwrap_or_default() {
                let Some(feature) = reader.word(item, &FEATURES, &[]) else { continue };
                if features.iter().any(|other| other.value == feature) {
                    reader.note(item, "is listed twice");
                } else {
                    features.push(item.at(feature));
                }
            }
            reader.not_empty(field);
        }
        let timezone = match fields.get("timezone") {
            Some(field) => reader.timezone(field)?,
            None => At::default_value(Zone::utc()),
        };
        Some(Calendar { features, timezone })
    }
}
