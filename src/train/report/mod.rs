//! How a training is shown: `report.html`, and what a head shows its results with.
//!
//! Lives here: words, tables and charts. Must not live here: any number that isn't already in [`Trained`].

mod backtest;
pub(in crate::train) mod chart;
mod gradients;
mod groups;
pub(in crate::train) mod html;
mod members;
mod pictures;
mod search;

pub use backtest::table as backtest_table;
pub use groups::table as groups_table;
pub use html::html;
pub use members::table as members_table;
pub use search::{html as search_html, table as search_table};

use super::Trained;
use crate::error::{counted, printable};

/// A key for people: that of a source that is one series is empty, and one may hold whatever a producer wrote.
pub(in crate::train) fn name(key: &str) -> String {
    if key.is_empty() { "(the series)".into() } else { printable(key) }
}

/// A number of a table: four significant digits.
pub(in crate::train) fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = if size == 0.0 { 3 } else { (3 - size.log10().floor() as i32).clamp(0, 6) };
    format!("{value:.*}", decimals as usize)
}

/// By how much the model's error is below another's, in percent: `-12.3 %`.
pub(in crate::train) fn against(model: f64, other: f64) -> String {
    if !(model.is_finite() && other.is_finite() && other > 0.0) {
        return "–".into();
    }
    format!("{:+.1} %", (model / other - 1.0) * 100.0)
}

/// What the model is, in a line: `carry LSTM(50), GRU(32) → Dense(16)`.
fn shape_text(trained: &Trained) -> String {
    let shape = &trained.architecture;
    let stack = shape.stack();
    let parts: Vec<String> =
        stack.iter().map(|placed| format!("{}({})", placed.layer.keras_name(), placed.layer.units())).collect();
    let mut parts = parts.join(" → ");
    if shape.segments > 0 {
        parts += &format!(" for each of {} by position", counted(shape.segments, "segment"));
    }
    if shape.members > 1 { format!("mean of {}: {parts}", shape.members) } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_significant_digits() {
        let of = [0.0, 1.0, 12.346, 1234.56, 0.012344, 1e7, f64::NAN].map(figure);
        assert_eq!(of, ["0.000", "1.000", "12.35", "1235", "0.01234", "1.000e7", "–"]);
        assert_eq!(against(0.9, 1.0), "-10.0 %");
        assert_eq!(against(0.9, 0.0), "–");
    }
}
