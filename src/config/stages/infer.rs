//! `infer: { model, mode, window, max_length, beam, max_tokens, ttl, gap }`

use super::{Around, MAX_RING, Options};
use crate::config::effective::value;
use crate::config::read::{Field, Fields, Reader};
use crate::config::table::{Shape, names, word};
use crate::config::words::{Words, name_fault, word_of};
use crate::config::{At, Span};
use crate::error::Problems;

/// `infer: { model, mode, window, max_length, beam, max_tokens, ttl, gap }`
#[derive(Debug, Clone)]
pub struct Infer {
    /// `name` (its champion) or `name/3` (that version).
    pub model: At<String>,
    /// How state is used.
    pub mode: Mode,
    /// Rows of a window, for mode window; at least 1.
    pub window: Option<At<usize>>,
    /// Rows of a sequence at most, for networks that must see a whole one at once.
    pub max_length: At<usize>,
    /// Beginnings of a transcript that are kept while it is made; 1: the most likely token of each step counts.
    pub beam: Option<At<usize>>,
    /// Tokens of a transcript at most, for mode carry.
    pub max_tokens: Option<At<usize>>,
    /// State is reset when a key was silent for longer, and its memory may be freed.
    pub ttl: Option<At<Span>>,
    /// State is reset when a key was silent for longer.
    pub gap: Option<At<Span>>,
}

/// `mode:` of `infer`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// State carried from record to record.
    #[default]
    Carry,
    /// Computed again from the last W records.
    Window,
    /// Over the records of a sequence, one answer at its end.
    Sequence,
}

pub(in crate::config) const MODES: [(&str, Mode); 3] =
    [("carry", Mode::Carry), ("window", Mode::Window), ("sequence", Mode::Sequence)];

impl Infer {
    /// Rows of a sequence at most, unless written otherwise.
    pub const MAX_LENGTH: usize = 1024;
    /// Tokens of a transcript at most, unless written otherwise.
    pub const MAX_TOKENS: usize = 256;
    /// Beginnings of a transcript at most.
    const WIDEST: usize = 256;
}

impl Infer {
    /// Beginnings of a transcript that are kept.
    pub fn beam(&self) -> usize {
        self.beam.as_ref().map_or(1, |beam| beam.value)
    }

    /// Tokens of a transcript at most.
    pub fn most_tokens(&self) -> usize {
        self.max_tokens.as_ref().map_or(Infer::MAX_TOKENS, |count| count.value)
    }
}

impl Mode {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&MODES, self)
    }
}

const MODEL: &str = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[1-9][0-9]*)?$";
const LENGTH: Shape = Shape::Integer(1, MAX_RING as i64);
const BEAM: Shape = Shape::Integer(1, Infer::WIDEST as i64);
const SILENCE: Shape = Shape::Span { zero: false };

impl Options for Infer {
    const ABOUT: &'static str = "Runs the network and adds its predictions";
    const WORDS: Words = Words::new(
        "`infer`",
        &[
            word("model", Shape::Pattern(MODEL), "A model of the registry: name for its champion, or name/3").needed(),
            word(
                "mode",
                Shape::Word(&names(&MODES)),
                "Whether state is carried from record to record, or the network runs over a window or a sequence",
            )
            .or("carry"),
            word("window", LENGTH, "Rows of a window; needed in mode window, refused in others"),
            word(
                "max_length",
                LENGTH,
                "Mode sequence: rows of a sequence at most, for networks that must see a whole one at once (bidirectional)",
            )
            .or_from(|file| {
                let is_sequence = file.near(0, "mode").and_then(|mode| mode.text()) == Some("sequence");
                is_sequence.then(|| value("1024")).flatten()
            }),
            word("beam", BEAM, "Beginnings of a transcript that are searched; 1, the default: the likeliest token of each step"),
            word("max_tokens", LENGTH, "Mode carry: tokens of a transcript at most, by default 256"),
            word("ttl", SILENCE, "State is reset if the key had no records for longer; its memory may be freed"),
            word("gap", SILENCE, "State is reset if the key had no records for longer"),
        ],
    )
    .elsewhere(&[
        ("inputs", "the card of a model says it, see `kolk models import`"),
        ("states", "the card of a model says it, see `kolk models import`"),
        ("layout", "the card of a model says it, see `kolk models import`"),
        ("output", "the card of a model says it, see `kolk models import`"),
    ]);

    /// Always returns a stage, so that later checks know that there is one, however wrong it is.
    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let fields = reader.section(field, &Self::WORDS).unwrap_or(Fields::unread(Self::WORDS.section));
        let model = reader.need(&fields, "model").and_then(|f| model(reader, f));
        let mode = fields.get("mode").map(|f| reader.word(f, &MODES, &[]));
        let window = fields.get("window").map(|f| reader.count(f, 1, MAX_RING).map(|n| f.at(n)));
        let max_length = fields.get("max_length").map(|f| (f, reader.count(f, 1, MAX_RING)));
        let beam = fields.get("beam").map(|f| (f, reader.count(f, 1, Infer::WIDEST)));
        let max_tokens = fields.get("max_tokens").map(|f| (f, reader.count(f, 1, MAX_RING)));
        let ttl = fields.get("ttl").and_then(|f| reader.span(f, false));
        let gap = fields.get("gap").and_then(|f| reader.span(f, false));
        // A mode that isn't one says nothing about the window.
        match (mode.unwrap_or(Some(Mode::Carry)), fields.get("window")) {
            (Some(Mode::Window), None) => {
                reader.problems.add(fields.place, "`infer` needs `window` in mode window: the rows of a window");
            }
            (Some(mode @ (Mode::Carry | Mode::Sequence)), Some(window)) => {
                let message = format!("`window` is only for mode window, this is mode {}", mode.word());
                reader.problems.add(window.name_place, message);
            }
            (Some(Mode::Sequence), None) => {
                for field in [fields.get("ttl"), fields.get("gap")].into_iter().flatten() {
                    let message = format!(
                        "`{}` is not for mode sequence: a sequence ends as `record: {{ sequence: … }}` says",
                        field.name
                    );
                    reader.problems.add(field.name_place, message);
                }
            }
            _ => {}
        }
        if let (Some(mode @ (Mode::Carry | Mode::Window)), Some((field, _))) = (mode.flatten(), &max_length) {
            let message = format!("`max_length` is only for mode sequence, this is mode {}", mode.word());
            reader.problems.add(field.name_place, message);
        }
        if let (Some(Mode::Window), Some((field, _))) = (mode.flatten(), &beam) {
            reader.problems.add(field.name_place, "`beam` is for transcripts, which mode window doesn't make");
        }
        if let (Some(mode @ (Mode::Sequence | Mode::Window)), Some((field, _))) = (mode.flatten(), &max_tokens) {
            let message = format!("`max_tokens` is only for mode carry, this is mode {}", mode.word());
            reader.problems.add(field.name_place, message);
        }
        let max_length = max_length.and_then(|(field, length)| Some(field.at(length?)));
        let mode = mode.flatten().unwrap_or_default();
        Some(Infer {
            model: model.unwrap_or_default(),
            mode,
            window: window.flatten(),
            max_length: max_length.unwrap_or(At::default_value(Infer::MAX_LENGTH)),
            beam: beam.and_then(|(field, width)| Some(field.at(width?))),
            max_tokens: max_tokens.and_then(|(field, count)| Some(field.at(count?))),
            ttl,
            gap,
        })
    }

    fn check(&self, around: &Around<'_>, problems: &mut Problems) {
        around.once("infer", problems);
    }
}

/// `name` or `name/3`.
fn model(reader: &mut Reader, field: Field<'_>) -> Option<At<String>> {
    let text = reader.text(field, "a model: `name`, or `name/3` for a version")?;
    let (name, version) = match text.split_once('/') {
        Some((name, version)) => (name, Some(version)),
        None => (text.as_str(), None),
    };
    if let Some(fault) = name_fault(name) {
        return reader.wrong(field, fault);
    }
    if version.is_some_and(|version| !version.parse::<u32>().is_ok_and(|n| n > 0 && n.to_string() == version)) {
        return reader.expected(field, "a version after /, a whole number from 1");
    }
    Some(text)
}
