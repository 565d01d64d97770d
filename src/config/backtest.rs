//! `train.backtest`: how often the network is judged at successive times.

use super::optimizer::FLAGS;
use super::read::{Field, Reader};
use super::table::{Shape, names, word};
use super::words::Words;
use super::{At, Backtest, Split};

/// Folds at most.
const MOST: usize = 100;

/// The section's table.
pub(super) const BACKTEST: Words = Words::new(
    "`backtest`",
    &[
        word("folds", Shape::Integer(2, MOST as i64), "Pieces of the test part, one after the other in time").needed(),
        word(
            "retrain",
            Shape::Word(&names(&FLAGS)),
            "true: each fold trains on everything before its piece; false: the one network is judged on each",
        )
        .or("true"),
    ],
);

/// Reads it.
pub(super) fn backtest(reader: &mut Reader, field: Field<'_>, split: &At<Split>) -> Option<Backtest> {
    let fields = reader.section(field, &BACKTEST)?;
    let folds = reader.need(&fields, "folds").and_then(|field| reader.count(field, 2, MOST));
    let retrain = fields.get("retrain").and_then(|field| reader.word(field, &FLAGS, &[])).unwrap_or(true);
    if matches!(split.value, Split::ByKey(_) | Split::Column(_)) {
        return reader.wrong(
            field,
            "needs a split by time, whose test part comes after the others: write `split` with `per_key`, `at`, `rows` \
             or `last`",
        );
    }
    Some(Backtest { folds: folds?, retrain })
}
