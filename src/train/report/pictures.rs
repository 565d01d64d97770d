//! The charts of a report.

use super::Trained;
use super::chart::{Chart, Line, MODEL, NARROW, SEASONAL, number};
use crate::Result;
use crate::config::Length;
use crate::error::counted;
use crate::train::Look;

/// Loss by epoch, or by updates where the length is not written.
pub fn losses(trained: &Trained) -> Result<String> {
    let by_epoch = trained.plan.length != Length::Open;
    let place = |look: &Look| if by_epoch { look.epoch as f64 } else { look.updates as f64 };
    let at = |f: &dyn Fn(&Look) -> f64| trained.looks.iter().map(|look| (place(look), f(look))).collect();
    let title = match by_epoch {
        true => format!("Loss by epoch; the weights of epoch {} were kept", trained.best.epoch),
        false => {
            format!("Loss by updates; the weights after {} were kept", counted(trained.best.updates, "update"))
        }
    };
    let mut lines = vec![Line { name: "train".into(), color: MODEL, points: at(&|look| look.train), width: 2 }];
    if trained.looks.iter().any(|look| look.validation.is_some()) {
        lines.push(Line {
            name: "validation".into(),
            color: SEASONAL,
            points: at(&|look| look.validation.unwrap_or(f64::NAN)),
            width: 2,
        });
    }
    Chart {
        title,
        x_label: if by_epoch { "epoch" } else { "updates" }.into(),
        y_label: "loss, standardised".into(),
        lines,
        from_zero: false,
        x_text: &number,
        size: NARROW,
    }
    .svg()
}
