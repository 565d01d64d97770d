//! `calendar: { features, timezone }`

use chrono_tz::Tz;

use super::Options;
use crate::config::read::{Field, Reader};
use crate::config::words::{Words, word_of};
use crate::config::{At, one_line};
use crate::error::did_you_mean;

/// `calendar: { features, timezone }`
#[derive(Debug, Clone)]
pub struct Calendar {
    /// Which features; each becomes a pair `<name>_sin`, `<name>_cos`.
    pub features: Vec<At<CalendarFeature>>,
    /// IANA name.
    pub timezone: At<Tz>,
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
    const WORDS: Words = Words::new("`calendar`", &["features", "timezone"]);

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
            Some(field) => timezone(reader, field)?,
            None => At::default_value(Tz::UTC),
        };
        Some(Calendar { features, timezone })
    }
}

fn timezone(reader: &mut Reader, field: Field<'_>) -> Option<At<Tz>> {
    let text = reader.text(field, "the IANA name of a time zone, such as America/New_York")?;
    match text.parse::<Tz>() {
        Ok(zone) => Some(field.at(zone)),
        Err(_) if !field.node.is_written() => reader.expected(field, "a time zone of the IANA list"),
        Err(_) => {
            let near = did_you_mean(&text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
            reader.wrong(field, format_args!("\"{}\" is not a time zone of the IANA list{near}", one_line(&text)))
        }
    }
}
