//! `train.patch` and `train.decoder`: where they make sense. Must not live here: how rows are folded and segments
//! decoded (`train::network`).

use super::read::{Fields, Reader};
use super::train::MAX_HORIZON;
use super::{At, Decoder, Embedding, Mode, Task, TrainLayer};

pub(super) const SUBTRACTS: [(&str, bool); 2] = [("none", false), ("last", true)];
pub(super) const DECODERS: [(&str, Decoder); 2] = [("dense", Decoder::Dense), ("position", Decoder::Position)];

/// Rows that are one input of the network, only of a window; and how the horizon is made of its state.
pub(super) fn patch(
    reader: &mut Reader,
    fields: &Fields,
    (mode, task, horizon): (Mode, Task, usize),
    layers: &[At<TrainLayer>],
    embeddings: &[Embedding],
) -> (At<usize>, At<Decoder>) {
    let rows = rows(reader, fields, mode);
    let decoder = decoder(reader, fields, (rows.value, task, horizon), layers);
    if let Some(field) = fields.get("embeddings").filter(|_| rows.value > 1) {
        if decoder.value == Decoder::Dense {
            let message = "goes with patches only where a vector counts for the whole window: write \
                           `decoder: position` and embeddings of the key, or leave `embeddings` or `patch` out";
            reader.note(field, message);
        } else if let Some(column) = embeddings.iter().find_map(|embedding| embedding.column.as_ref()) {
            let message = "`embeddings`: the texts of a column can't be folded into patches, only the key, which is \
                           the same in all rows of a window: write `key: true`, or leave `patch` out";
            reader.problems.add(column.place, message);
        }
    }
    (rows, decoder)
}

/// Whether the window's last value is subtracted from the target among the inputs.
pub(super) fn subtract(reader: &mut Reader, fields: &Fields, patch: usize) -> bool {
    let Some(field) = fields.get("subtract") else { return false };
    let is_wanted = reader.word(field, &SUBTRACTS, &[]).unwrap_or_default();
    // What is wrong with `patch` has been said.
    if is_wanted && patch == 1 && is_unpatched(fields) {
        let message = "last: is of the last row of a window in patches: write `patch` too, such as `patch: 24`, with \
                       `infer: { mode: window }`";
        reader.note(field, message);
    }
    is_wanted && patch > 1
}

/// Whether nothing is written that makes patches.
fn is_unpatched(fields: &Fields) -> bool {
    fields.get("patch").is_none_or(|patch| patch.node.text() == Some("1"))
}

fn rows(reader: &mut Reader, fields: &Fields, mode: Mode) -> At<usize> {
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
        Mode::Window => field.at(rows),
    }
}

fn decoder(
    reader: &mut Reader,
    fields: &Fields,
    (patch, task, horizon): (usize, Task, usize),
    layers: &[At<TrainLayer>],
) -> At<Decoder> {
    let none = At::default_value(Decoder::Dense);
    let Some(field) = fields.get("decoder") else { return none };
    let Some(decoder) = reader.word(field, &DECODERS, &[]).filter(|decoder| *decoder == Decoder::Position) else {
        return none;
    };
    let last = layers.iter().rev().find_map(|layer| match &layer.value {
        TrainLayer::Recurrent(recurrent) => Some((recurrent, layer.place)),
        _ => None,
    });
    if task != Task::Forecast {
        reader.note(field, "position: decodes the rows of a horizon, which only `task: forecast` has: leave it out");
    } else if patch == 1 {
        if is_unpatched(fields) {
            let message = "position: decodes the horizon in segments as long as a patch: write `patch` too, such as \
                           `patch: 24`, with `infer: { mode: window }`";
            reader.note(field, message);
        }
    } else if !horizon.is_multiple_of(patch) {
        reader
            .note(field, format_args!("position: a horizon of {horizon} rows doesn't divide into segments of {patch}"));
    } else if let Some((_, place)) = last.filter(|(layer, _)| layer.bidirectional) {
        let message = "`bidirectional`: the last recurrent layer goes on from its state with `decoder: position`, which \
                       only one direction of time has: leave one of them out";
        reader.problems.add(place, message);
    } else {
        return field.at(decoder);
    }
    none
}
