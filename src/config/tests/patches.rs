//! Windows in patches: what goes with them, and what each of their words needs.

use super::*;
use crate::config::{Decoder, Train};

fn of(mode: &str, fields: &str) -> std::result::Result<Train, String> {
    let text = format!("{SMALLEST}stages: [ infer: {{ model: m, {mode} }} ]\ntrain:\n  target: x\n{fields}\n");
    parse(&text).map(|pipeline| pipeline.train.unwrap().value).map_err(|problems| problems.to_string())
}

const WINDOW: &str = "mode: window, window: 48";

#[test]
fn a_window_in_patches_is_decoded_at_once_or_by_position() {
    let train = of(WINDOW, "  patch: 24").unwrap();
    assert_eq!((train.patch.value, train.decoder.value, train.subtract_last), (24, Decoder::Dense, false));
    let plain = of(WINDOW, "  patch: 24\n  decoder: dense\n  subtract: none").unwrap();
    assert_eq!((plain.decoder.value, plain.subtract_last), (Decoder::Dense, false));
    let fields = "  horizon: 48\n  patch: 24\n  decoder: position\n  subtract: last\n  quantiles: [0.1]\n  seeds: 2\n\
                  \x20 layers: [ { gru: 8, bidirectional: true }, { lstm: 8 }, dense: 4 ]\n\
                  \x20 embeddings: [ { key: true, size: 4 } ]";
    let train = of(WINDOW, fields).unwrap();
    assert_eq!((train.decoder.value, train.subtract_last), (Decoder::Position, true));
    let train = of(WINDOW, "  horizon: 24\n  patch: 24\n  decoder: position\n  layers: auto").unwrap();
    assert_eq!((train.decoder.value, train.auto_layers), (Decoder::Position, true));
}

#[test]
fn what_makes_no_sense_is_refused() {
    const KEYS: &str = "  horizon: 24\n  patch: 24\n  embeddings: [ { key: true, size: 4 } ]";
    for (mode, fields, expected) in [
        (WINDOW, "  patch: 24\n  decoder: positions", "`decoder`: expected one of: dense, position"),
        (WINDOW, "  patch: 24\n  decoder: position", "a horizon of 1 rows doesn't divide into segments of 24"),
        (WINDOW, "  horizon: 24\n  decoder: position", "`decoder`: position: decodes the horizon in segments"),
        (WINDOW, "  horizon: 24\n  patch: 1\n  decoder: position", "write `patch` too"),
        ("mode: carry", "  horizon: 24\n  decoder: position", "with `infer: { mode: window }`"),
        ("mode: carry", "  patch: 24\n  decoder: position", "`patch`: folds the rows of a window"),
        (WINDOW, "  task: label\n  patch: 24\n  decoder: position", "which only `task: forecast` has"),
        (
            WINDOW,
            "  horizon: 24\n  patch: 24\n  decoder: position\n  layers: [ { gru: 4, bidirectional: true } ]",
            "the last recurrent layer goes on from its state",
        ),
        (WINDOW, KEYS, "write `decoder: position` and embeddings of the key"),
        (WINDOW, &format!("{}\n  decoder: position", KEYS.replace("key: true", "column: c")), "only the key"),
        (WINDOW, "  subtract: last", "`subtract`: last: is of the last row of a window in patches"),
        (WINDOW, "  patch: 24\n  subtract: mean", "`subtract`: expected one of: none, last"),
        ("mode: carry", "  subtract: last", "write `patch` too"),
    ] {
        let found = of(mode, fields).unwrap_err();
        assert!(found.contains(expected), "{mode} {fields}: {found}");
        assert!(found.matches("p.yaml:").count() < 2, "{mode} {fields}: {found}");
    }
}
