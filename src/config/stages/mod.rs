//! The operators under `stages:`: one file per word, with its options and how they are read.
//!
//! Lives here: the list of all words ([`Stage`]). Must not live here: what a stage does, and anything that needs the
//! columns of a source (`crate::stage`).

mod calendar;
mod filter;
mod frame;
mod infer;
mod lags;
mod resample;
mod scale;
mod score;

use super::read::{Field, Reader};
use super::table::{Shape, word};
use super::words::{Words, exactly_one, unknown};
use super::{At, Pipeline};
use crate::error::Problems;
use crate::problem::Place;

/// Rows of a ring per key at most: windows, lags, windows of residuals.
const MAX_RING: usize = 1 << 20;

/// What every word of `stages:` has: its fields, how they are read, and how they are checked against other sections.
trait Options: Sized {
    /// What it does, in a sentence for editors.
    const ABOUT: &'static str;

    /// The fields of its section.
    const WORDS: Words;

    /// What is written after its word.
    const SHAPE: Shape = Shape::Section(&Self::WORDS);

    /// Reads its section; `None` where that makes no stage, after saying why.
    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self>;

    /// Notes what doesn't fit together with the rest of the file, without opening anything.
    fn check(&self, _around: &Around<'_>, _problems: &mut Problems) {}
}

/// The file around one stage.
struct Around<'a> {
    pipeline: &'a Pipeline,
    /// Which of its stages it is.
    index: usize,
    /// The place of its word.
    place: Place,
}

impl<'a> Around<'a> {
    /// The stages before it.
    fn before(&self) -> &'a [At<Stage>] {
        &self.pipeline.stages[..self.index]
    }

    /// The stages after it.
    fn after(&self) -> &'a [At<Stage>] {
        &self.pipeline.stages[self.index + 1..]
    }

    /// Notes a second stage of a word that a pipeline has once.
    fn once(&self, word: &str, problems: &mut Problems) {
        if let Some(last) = self.before().iter().rfind(|stage| stage.word() == word) {
            problems.add(self.place, format_args!("a second `{word}`, the first is in line {}", last.place.line));
        }
    }
}

/// The words of `stages:` in the order in which messages list them, and the options of each.
macro_rules! stages {
    ($($word:ident => $Options:ident,)*) => {
        $(pub use $word::*;)*

        /// One entry of `stages:`
        #[derive(Debug, Clone)]
        #[allow(missing_docs)] // its options say what it is
        pub enum Stage {
            $($Options($Options),)*
        }

        /// A stage.
        pub(super) const STAGES: Words =
            Words::new("`stages`", &[$(word(stringify!($word), $Options::SHAPE, $Options::ABOUT)),*])
                .choices(&[exactly_one(&[$(stringify!($word)),*])]);

        impl Stage {
            /// Its word in the pipeline file.
            pub fn word(&self) -> &'static str {
                match self {
                    $(Stage::$Options(_) => stringify!($word),)*
                }
            }

            fn read(reader: &mut Reader, field: Field<'_>) -> Option<Stage> {
                match field.name {
                    $(stringify!($word) => $Options::read(reader, field).map(Stage::$Options),)*
                    name => {
                        reader.problems.add(field.name_place, unknown("stage", name, &STAGES));
                        None
                    }
                }
            }

            fn check(&self, around: &Around<'_>, problems: &mut Problems) {
                match self {
                    $(Stage::$Options(options) => options.check(around, problems),)*
                }
            }
        }
    };
}

stages! {
    filter => Filter,
    resample => Resample,
    frame => Frame,
    calendar => Calendar,
    scale => Scale,
    lags => Lags,
    infer => Infer,
    score => Score,
}

/// Reads `stages`.
pub(super) fn stages(reader: &mut Reader, field: Field<'_>) -> Option<Vec<At<Stage>>> {
    if field.node.is_null() {
        return None;
    }
    let mut stages = Vec::new();
    for item in reader.list(field, "stages")? {
        let Some(names) = reader.names(item, "a stage such as `scale: { … }`") else { continue };
        let [stage] = names[..] else {
            reader.note(item, "expected one stage after each dash");
            continue;
        };
        let value = Stage::read(reader, stage);
        stages.extend(value.map(|value| At { value, place: stage.name_place }));
    }
    Some(stages)
}

/// Notes what doesn't fit together with the rest of the file.
pub(super) fn check(pipeline: &Pipeline, problems: &mut Problems) {
    for (index, stage) in pipeline.stages.iter().enumerate() {
        stage.check(&Around { pipeline, index, place: stage.place }, problems);
    }
}
