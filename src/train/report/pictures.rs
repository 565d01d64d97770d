//! The charts of a report.

use super::Trained;
use super::chart::{Chart, Line, MODEL, NARROW, SEASONAL, number};
use crate::Result;

/// Loss by epoch.
pub fn losses(trained: &Trained) -> Result<String> {
    let at = |f: &dyn Fn(usize) -> f64| (0..trained.curve.len()).map(|i| ((i + 1) as f64, f(i))).collect();
    let mut lines =
        vec![Line { name: "train".into(), color: MODEL, points: at(&|i| trained.curve[i].train), width: 2 }];
    if trained.curve.iter().any(|epoch| epoch.validation.is_some()) {
        lines.push(Line {
            name: "validation".into(),
            color: SEASONAL,
            points: at(&|i| trained.curve[i].validation.unwrap_or(f64::NAN)),
            width: 2,
        });
    }
    Chart {
        title: format!("Loss by epoch; the weights of epoch {} were kept", trained.best_epoch),
        x_label: "epoch".into(),
        y_label: "loss, standardised".into(),
        lines,
        from_zero: false,
        x_text: &number,
        size: NARROW,
    }
    .svg()
}
