//! `train.patch`: which modes have it. Must not live here: how rows are folded (`train::network`).

use super::read::{Fields, Reader};
use super::train::MAX_HORIZON;
use super::{At, Mode};

/// Rows that are one input of the network; only of a window.
pub(super) fn patch(reader: &mut Reader, fields: &Fields, mode: Mode) -> At<usize> {
    let none = At::default_value(1);
    let Some(field) = fields.get("patch") else { return none };
    let Some(rows) = reader.count(field, 1, MAX_HORIZON) else { return none };
    let refuse = |reader: &mut Reader, why: &str| {
        reader.note(field, why);
        At::default_value(1)
    };
    match mode {
        _ if rows == 1 => none,
        Mode::Carry => refuse(
            reader,
            "folds the rows of a window, but in mode carry the network takes a step for each record: write `skip: ridge` \
             or a `lags` stage for the rows before, or `infer: { mode: window }`",
        ),
        Mode::Sequence => {
            refuse(reader, "folds the rows of a window, but sequences have any length: write `mode: window`")
        }
        Mode::Window if fields.get("pool").is_some() => {
            refuse(reader, "of a window in patches the last state counts: leave `pool` out")
        }
        Mode::Window if fields.get("embeddings").is_some() => {
            refuse(reader, "the ids of `embeddings` can't be folded into patches: leave `embeddings` or `patch` out")
        }
        Mode::Window => field.at(rows),
    }
}
