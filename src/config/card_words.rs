//! The fields of a card.

use super::card::{LAYOUTS, RUNS, STEPS};
use super::stages::MODES;
use super::table::{Bound, Shape, names, word};
use super::words::{Words, exactly_one};

const SHAPE: Shape = Shape::List(&Shape::Any(&[Shape::Word(&["batch", "time"]), Shape::POSITIVE]));
const ABOUT_SHAPE: &str =
    "Its axes in order: batch, time, or a size; where it isn't written, `layout` and the file say";

/// Why there is no layout for sequences.
pub(super) const NO_SEQUENCES: &str = "a graph that gives one output for a sequence of any length isn't served as it \
    is: import its weights (`kolk models import FILE.onnx --pipeline PIPELINE`), or take `window` for sequences of one \
    length";

/// A whole card; the table of its fields begins here.
pub(super) const CARD: Words = Words::new(
    "the card",
    &[
        word("onnx", Shape::Text, "The ONNX file, relative to the card").needed(),
        word("name", Shape::Name, "Name of the model in the registry").needed(),
        word(
            "layout",
            Shape::Word(&names(&LAYOUTS)),
            "Axes of the inputs: step [batch, ..], time_first [time, batch, ..], batch_first [batch, time, ..], \
             time_only [time, ..]; window: [batch, time, ..], the last rows of a key and no state",
        )
        .needed(),
        word("window", Shape::POSITIVE, "Rows of a window; needed with layout window"),
        word(
            "mode",
            Shape::Word(&names(&MODES)),
            "With layout window: window, or carry: the states of its recurrent operators are carried from row to row, and \
             `kolk models import --data` shows both errors; with the other layouts it is carry",
        ),
        word("inputs", Shape::Names(&Shape::Section(&INPUT)), "What feeds each input of the graph that is no state")
            .needed(),
        word("states", Shape::Names(&Shape::Section(&STATE)), "Inputs that are carried, each with the output that follows")
            .or("{}"),
        word("outputs", Shape::Names(&Shape::Section(&OUTPUT)), "The column that each output becomes").needed(),
        word(
            "batch",
            Shape::Word(&names(&RUNS)),
            "Sequences of a run: many, or one by one; where it isn't written, many if that is proved to give the same bits",
        ),
        word("steps", Shape::Word(&names(&RUNS)), "Steps of a run, as `batch`"),
        word("warm_up", Shape::COUNT, "Rows of a new key whose outputs are marked").or("0"),
    ],
)
.elsewhere(&[
    ("source", "a pipeline file has it; see `kolk models import CARD --data PIPELINE`"),
    ("record", "a pipeline file has it; see `kolk models import CARD --data PIPELINE`"),
    ("stages", "a pipeline file has them; see `kolk models import CARD --data PIPELINE`"),
]);

/// `inputs: { NAME: … }`
pub(super) const INPUT: Words = Words::new(
    "an input",
    &[
        word("columns", Shape::SomeTexts, "Numbers and vectors, side by side"),
        word("ids", Shape::Text, "Column of whole numbers, looked up in a table of the graph"),
        word("below", Shape::POSITIVE, "With `ids`: rows of that table; ids are from 0 up to below this"),
        word("per_key", Shape::Text, "Vector column that is set once per key and kept"),
        word(
            "constant",
            Shape::Any(&[Shape::NUMBER, Shape::Word(&["true", "false"]), Shape::Some(&Shape::NUMBER)]),
            "Always this number, or these in the order of the axes",
        ),
        word("shape", SHAPE, ABOUT_SHAPE),
    ],
)
.choices(&[exactly_one(&["columns", "ids", "per_key", "constant"])]);

/// `states: { NAME: … }`
pub(super) const STATE: Words = Words::new(
    "a state",
    &[
        word("out", Shape::Text, "The output that gives the next state").needed(),
        word(
            "shape",
            SHAPE,
            "Its axes in order: batch or a size; where it isn't written, the file's open axis is the batch",
        ),
        word(
            "init",
            Shape::Any(&[Shape::Word(&["zero"]), Shape::NUMBER, Shape::Section(&FILE)]),
            "What it is before a key's first step: zero, a number, or { file: h0.npy }",
        )
        .or("zero"),
    ],
);

/// `init: { file: … }`
pub(super) const FILE: Words =
    Words::new("`init`", &[word("file", Shape::Text, "A NumPy file (.npy), relative to the card").needed()]);

/// `outputs: { NAME: … }`
pub(super) const OUTPUT: Words = Words::new(
    "an output",
    &[
        word("column", Shape::Text, "Name of the column").needed(),
        word("shape", SHAPE, ABOUT_SHAPE),
        word(
            "step",
            Shape::Word(&names(&STEPS)),
            "With a time axis: each row has the output of its own step, or only the last step counts",
        ),
        word("targets", Shape::SomeTexts, "Of a forecast: the columns that are forecast"),
        word(
            "horizon",
            Shape::POSITIVE,
            "Of a forecast: steps ahead; numbers are in the order [horizon, targets, quantiles]",
        ),
        word(
            "quantiles",
            Shape::Some(&Shape::Number(Bound::Open(0.0), Bound::Open(1.0))),
            "Of a forecast: its quantiles",
        ),
    ],
);
