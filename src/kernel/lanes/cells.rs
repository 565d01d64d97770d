//! Which cells run in this form: those whose units don't mix.

use crate::kernel::CellKind;

/// Does something with the cell that a layer has, as its own type.
macro_rules! with_cell {
    ($kind:expr, $cell:ident => $does:expr) => {
        with_cell!(@ $kind, $cell => $does;
            [Lstm lstm::Lstm] [Gru gru::Gru] [RnnTanh simple_rnn::Tanh] [RnnRelu simple_rnn::Relu])
    };
    (@ $kind:expr, $cell:ident => $does:expr; $([$name:ident $($path:ident)::*])*) => {
        match $kind {
            $($crate::kernel::CellKind::$name => {
                let $cell = &$crate::kernel::$($path)::*;
                $does
            })*
            _ => {}
        }
    };
}

pub(super) use with_cell;

/// Whether layers of a cell run in this form.
pub fn serves(kind: CellKind) -> bool {
    let mut found = false;
    with_cell!(kind, _cell => found = true);
    found
}
