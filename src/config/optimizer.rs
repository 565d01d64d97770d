//! `optimizer`, `schedule` and `warm_up` of the section `train`: typed, the table of their words, how they are read.
//!
//! Lives here: what a user can choose of how numbers change. Must not live here: the formulas (`train::optimizer`,
//! `train::rate`).

use super::places;
use super::read::{Field, Fields, Reader};
use super::table::{Bound, Shape, Word, names, word};
use super::words::{Words, exactly_one, not_yet};

/// `optimizer:`
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Adam.
    Adam(Adam),
    /// Adam with decay of the weights.
    AdamW(AdamW),
    /// RMSprop.
    RmsProp(RmsProp),
    /// Gradient descent.
    Sgd(Sgd),
}

/// `adam:`, Kingma and Ba 2015.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Against division by zero.
    pub epsilon: f64,
    /// Where epsilon is added.
    pub epsilon_form: EpsilonForm,
}

/// `adamw:`, Loshchilov and Hutter 2019.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// As Adam.
    pub adam: Adam,
    /// The share of a kernel, times the step size, that each update takes from it.
    pub weight_decay: f64,
}

/// `rmsprop:`, Tieleman and Hinton 2012.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the mean of squares.
    pub rho: f64,
    /// Share of the last step that the next one keeps.
    pub momentum: f64,
    /// Against division by zero.
    pub epsilon: f64,
    /// Where epsilon is added.
    pub epsilon_form: EpsilonForm,
}

/// `sgd:`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the last step that the next one keeps.
    pub momentum: f64,
    /// Momentum by Nesterov.
    pub nesterov: bool,
}

/// Whose form of epsilon an optimizer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpsilonForm {
    /// Keras': of Adam before bias correction, of RMSprop under the root.
    Keras,
    /// PyTorch's: of Adam after bias correction, of RMSprop beside the root.
    Torch,
}

/// `schedule:`, what becomes of the step size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RateSchedule {
    /// It stays.
    Constant,
    /// Down to zero along half a cosine.
    Cosine,
    /// Times `factor` after every so many updates.
    Step {
        /// Updates.
        every: usize,
        /// Factor.
        factor: f64,
    },
    /// Times `factor` whenever validation has not improved for so long.
    Plateau {
        /// Epochs, or updates where the length isn't in epochs.
        patience: usize,
        /// Factor.
        factor: f64,
    },
}

impl Adam {
    /// Keras' defaults.
    pub const DEFAULT: Adam =
        Adam { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, epsilon_form: EpsilonForm::Keras };
}

impl AdamW {
    const DEFAULT: AdamW = AdamW { adam: Adam::DEFAULT, weight_decay: 0.004 };
}

impl RmsProp {
    const DEFAULT: RmsProp =
        RmsProp { learning_rate: 1e-3, rho: 0.9, momentum: 0.0, epsilon: 1e-7, epsilon_form: EpsilonForm::Keras };
}

impl Sgd {
    const DEFAULT: Sgd = Sgd { learning_rate: 1e-2, momentum: 0.0, nesterov: false };
}

impl Optimizer {
    /// Its step size.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Optimizer::Adam(adam) => adam.learning_rate,
            Optimizer::AdamW(adamw) => adamw.adam.learning_rate,
            Optimizer::RmsProp(rmsprop) => rmsprop.learning_rate,
            Optimizer::Sgd(sgd) => sgd.learning_rate,
        }
    }

    /// For a report, `Adam, learning rate 0.001`.
    pub fn in_words(&self) -> String {
        let name = match self {
            Optimizer::Adam(_) => "Adam".into(),
            Optimizer::AdamW(adamw) => format!("AdamW with weight decay {}", adamw.weight_decay),
            Optimizer::RmsProp(RmsProp { momentum: 0.0, .. }) => "RMSprop".into(),
            Optimizer::RmsProp(rmsprop) => format!("RMSprop with momentum {}", rmsprop.momentum),
            Optimizer::Sgd(Sgd { momentum: 0.0, .. }) => "SGD".into(),
            Optimizer::Sgd(Sgd { momentum, nesterov: true, .. }) => format!("SGD with Nesterov momentum {momentum}"),
            Optimizer::Sgd(sgd) => format!("SGD with momentum {}", sgd.momentum),
        };
        format!("{name}, learning rate {}", self.learning_rate())
    }
}

impl RateSchedule {
    /// What becomes of the step size, for a report; nothing where it stays.
    pub fn in_words(&self, warm_up: usize) -> String {
        let schedule = match self {
            RateSchedule::Constant => String::new(),
            RateSchedule::Cosine => ", falls along a cosine".into(),
            RateSchedule::Step { every, factor } => format!(", times {factor} every {every} updates"),
            RateSchedule::Plateau { factor, .. } => format!(", times {factor} at plateaus"),
        };
        let warm_up = if warm_up > 0 { format!(", warm-up of {warm_up} updates") } else { String::new() };
        format!("{schedule}{warm_up}")
    }
}

pub(super) const FLAGS: [(&str, bool); 2] = [("true", true), ("false", false)];
const WORDS: [&str; 4] = ["adam", "adamw", "rmsprop", "sgd"];
pub(super) const SCHEDULES: [(&str, RateSchedule); 2] =
    [("constant", RateSchedule::Constant), ("cosine", RateSchedule::Cosine)];
pub(super) const EPSILON_FORMS: [(&str, EpsilonForm); 2] =
    [("keras", EpsilonForm::Keras), ("torch", EpsilonForm::Torch)];

const FACTOR: Shape = Shape::Number(Bound::Open(0.0), Bound::Open(1.0));
const EPSILON: Word = word("epsilon", Shape::ABOVE_ZERO, "Against division by zero").or("1e-7");
const RATE: Word = word("learning_rate", Shape::ABOVE_ZERO, "Step size").or("0.001");
const BETA_1: Word = word("beta_1", Shape::BELOW_ONE, "Decay of the first moment").or("0.9");
const BETA_2: Word = word("beta_2", Shape::BELOW_ONE, "Decay of the second moment").or("0.999");
const MOMENTUM: Word = word("momentum", Shape::BELOW_ONE, "Share of the last step that the next one keeps").or("0");
const ADAM_FORM: Word = word(
    "epsilon_form",
    Shape::Word(&names(&EPSILON_FORMS)),
    "Whether `epsilon` is added before (keras) or after (torch) the bias correction",
)
.or("keras");

pub(super) const OPTIMIZERS: Shape = Shape::Any(&[Shape::Word(&WORDS), Shape::Section(&OPTIMIZER)]);
const OPTIMIZER: Words = Words::new(
    "`optimizer`",
    &[
        word("adam", Shape::Section(&ADAM), "Adam (Kingma and Ba 2015)"),
        word("adamw", Shape::Section(&ADAMW), "Adam with decay of the kernels (Loshchilov and Hutter 2019)"),
        word("rmsprop", Shape::Section(&RMSPROP), "RMSprop (Tieleman and Hinton 2012)"),
        word("sgd", Shape::Section(&SGD), "Gradient descent, with momentum where it is written"),
    ],
)
.choices(&[exactly_one(&WORDS)]);
const ADAM: Words = Words::new("`adam`", &[RATE, BETA_1, BETA_2, EPSILON, ADAM_FORM]);
const ADAMW: Words = Words::new(
    "`adamw`",
    &[
        RATE,
        BETA_1,
        BETA_2,
        EPSILON,
        ADAM_FORM,
        word(
            "weight_decay",
            Shape::FROM_ZERO,
            "Times the step size, the share of each kernel that an update takes from it",
        )
        .or("0.004"),
    ],
);
const RMSPROP: Words = Words::new(
    "`rmsprop`",
    &[
        RATE,
        word("rho", Shape::BELOW_ONE, "Decay of the mean of squares").or("0.9"),
        MOMENTUM,
        EPSILON,
        word(
            "epsilon_form",
            Shape::Word(&names(&EPSILON_FORMS)),
            "Whether `epsilon` is added under the root (keras) or to it (torch)",
        )
        .or("keras"),
    ],
);
const SGD: Words = Words::new(
    "`sgd`",
    &[
        word("learning_rate", Shape::ABOVE_ZERO, "Step size").or("0.01"),
        MOMENTUM,
        word("nesterov", Shape::Word(&names(&FLAGS)), "Momentum by Nesterov").or("false"),
    ],
);
pub(super) const RATE_SCHEDULE: Shape = Shape::Any(&[Shape::Word(&names(&SCHEDULES)), Shape::Section(&SCHEDULE)]);
const SCHEDULE: Words = Words::new(
    "`schedule`",
    &[
        word("step", Shape::Section(&STEP), "Falls by a factor after every so many updates"),
        word("plateau", Shape::Section(&PLATEAU), "Falls by a factor when validation no longer improves"),
    ],
)
.choices(&[exactly_one(&["step", "plateau"])]);
const STEP: Words = Words::new(
    "`step`",
    &[
        word("every", Shape::POSITIVE, "Updates").needed(),
        word("factor", FACTOR, "What the step size is multiplied by").or("0.1"),
    ],
);
const PLATEAU: Words = Words::new(
    "`plateau`",
    &[
        word("patience", Shape::POSITIVE, "Epochs (or updates) without improvement before it falls").needed(),
        word("factor", FACTOR, "What the step size is multiplied by").or("0.1"),
    ],
);

/// Reads `optimizer`.
pub(super) fn optimizer(reader: &mut Reader, fields: &Fields) -> Optimizer {
    let chosen = fields.get("optimizer").and_then(|field| match field.node.text() {
        Some("adam") => Some(Optimizer::Adam(Adam::DEFAULT)),
        Some("adamw") => Some(Optimizer::AdamW(AdamW::DEFAULT)),
        Some("rmsprop") => Some(Optimizer::RmsProp(RmsProp::DEFAULT)),
        Some("sgd") => Some(Optimizer::Sgd(Sgd::DEFAULT)),
        Some(name) if places::LATER.contains(&name) => reader.wrong(field, not_yet(name)),
        _ => chosen(reader, field),
    });
    chosen.unwrap_or(Optimizer::Adam(Adam::DEFAULT))
}

fn chosen(reader: &mut Reader, field: Field<'_>) -> Option<Optimizer> {
    let fields = reader.section(field, &OPTIMIZER)?;
    let field = reader.one_of(&fields, &WORDS)?;
    let words = match field.name {
        "adam" => &ADAM,
        "adamw" => &ADAMW,
        "rmsprop" => &RMSPROP,
        _ => &SGD,
    };
    let fields = reader.section(field, words)?;
    Some(match field.name {
        "adam" => Optimizer::Adam(adam(reader, &fields)),
        "adamw" => Optimizer::AdamW(adamw(reader, &fields)),
        "rmsprop" => Optimizer::RmsProp(rmsprop(reader, &fields)),
        _ => Optimizer::Sgd(sgd(reader, &fields)),
    })
}

fn number(reader: &mut Reader, from: &Fields, name: &'static str, to: &mut f64, what: &str, fits: fn(f64) -> bool) {
    if let Some(number) = from.get(name).and_then(|field| reader.number(field, what, fits)) {
        *to = number;
    }
}

/// A number above 0.
fn above(reader: &mut Reader, fields: &Fields, name: &'static str, to: &mut f64) {
    number(reader, fields, name, to, "a number above 0", |n| n > 0.0);
}

/// A share of what was before.
fn decay(reader: &mut Reader, fields: &Fields, name: &'static str, to: &mut f64) {
    number(reader, fields, name, to, "a number from 0 to below 1", |n| (0.0..1.0).contains(&n));
}

fn epsilon_form(reader: &mut Reader, fields: &Fields) -> EpsilonForm {
    let form = fields.get("epsilon_form").and_then(|field| reader.word(field, &EPSILON_FORMS, &[]));
    form.unwrap_or(EpsilonForm::Keras)
}

fn adam(reader: &mut Reader, fields: &Fields) -> Adam {
    let mut adam = Adam::DEFAULT;
    above(reader, fields, "learning_rate", &mut adam.learning_rate);
    decay(reader, fields, "beta_1", &mut adam.beta_1);
    decay(reader, fields, "beta_2", &mut adam.beta_2);
    above(reader, fields, "epsilon", &mut adam.epsilon);
    adam.epsilon_form = epsilon_form(reader, fields);
    adam
}

fn adamw(reader: &mut Reader, fields: &Fields) -> AdamW {
    let mut adamw = AdamW { adam: adam(reader, fields), ..AdamW::DEFAULT };
    number(reader, fields, "weight_decay", &mut adamw.weight_decay, "a number from 0", |n| n >= 0.0);
    adamw
}

fn rmsprop(reader: &mut Reader, fields: &Fields) -> RmsProp {
    let mut rmsprop = RmsProp::DEFAULT;
    above(reader, fields, "learning_rate", &mut rmsprop.learning_rate);
    decay(reader, fields, "rho", &mut rmsprop.rho);
    decay(reader, fields, "momentum", &mut rmsprop.momentum);
    above(reader, fields, "epsilon", &mut rmsprop.epsilon);
    rmsprop.epsilon_form = epsilon_form(reader, fields);
    rmsprop
}

fn sgd(reader: &mut Reader, fields: &Fields) -> Sgd {
    let mut sgd = Sgd::DEFAULT;
    above(reader, fields, "learning_rate", &mut sgd.learning_rate);
    decay(reader, fields, "momentum", &mut sgd.momentum);
    if let Some(field) = fields.get("nesterov") {
        sgd.nesterov = reader.word(field, &FLAGS, &[]).unwrap_or_default();
        if sgd.nesterov && sgd.momentum == 0.0 {
            reader.note(field, "Nesterov momentum needs `momentum` above 0, such as 0.9");
        }
    }
    sgd
}

/// Reads `schedule`. `has_length`: how many updates there will be is written.
pub(super) fn schedule(reader: &mut Reader, fields: &Fields, has_length: bool) -> RateSchedule {
    let Some(field) = fields.get("schedule") else { return RateSchedule::Constant };
    if field.node.text().is_some() {
        let schedule = match field.node.text() {
            Some(name @ ("step" | "plateau")) => {
                let needs = if name == "step" { "every: 1000" } else { "patience: 5" };
                reader.wrong(field, format_args!("write what it needs, as in `schedule: {{ {name}: {{ {needs} }} }}`"))
            }
            _ => reader.word(field, &SCHEDULES, &[]),
        };
        if schedule == Some(RateSchedule::Cosine) && !has_length {
            reader.note(
                field,
                "a cosine falls to zero at the end of the training, which has to be known: write `epochs` or \
                 `updates`, or another schedule",
            );
        }
        return schedule.unwrap_or(RateSchedule::Constant);
    }
    falling(reader, field).unwrap_or(RateSchedule::Constant)
}

/// A schedule with numbers.
fn falling(reader: &mut Reader, field: Field<'_>) -> Option<RateSchedule> {
    let fields = reader.section(field, &SCHEDULE)?;
    let kind = reader.one_of(&fields, &["step", "plateau"])?;
    let (words, name) = if kind.name == "step" { (&STEP, "every") } else { (&PLATEAU, "patience") };
    let fields = reader.section(kind, words)?;
    let mut factor = 0.1;
    number(reader, &fields, "factor", &mut factor, "a number above 0 and below 1", |n| n > 0.0 && n < 1.0);
    let count = reader.need(&fields, name).and_then(|field| reader.count(field, 1, usize::MAX))?;
    Some(match kind.name {
        "step" => RateSchedule::Step { every: count, factor },
        _ => RateSchedule::Plateau { patience: count, factor },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimizers_in_words() {
        let adam = Adam::DEFAULT;
        for (optimizer, words) in [
            (Optimizer::Adam(adam), "Adam, learning rate 0.001"),
            (Optimizer::AdamW(AdamW { adam, weight_decay: 0.1 }), "AdamW with weight decay 0.1, learning rate 0.001"),
            (
                Optimizer::Sgd(Sgd { learning_rate: 0.5, momentum: 0.9, nesterov: true }),
                "SGD with Nesterov momentum 0.9, learning rate 0.5",
            ),
        ] {
            assert_eq!(optimizer.in_words(), words);
        }
    }
}
