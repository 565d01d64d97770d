//! Quantiles of a forecast: the outputs of a graph that has them, and the order that they are brought into.
//!
//! Lives here: their names, and the order as arithmetic of one row, which training's evaluation and the graph share.
//! Must not live here: how they are taught (`train`) and the operators of the graph (`model::onnx`).
//!
//! Quantiles are outputs of their own, so one may cross another. Going out from the median, each is kept on its side of
//! the one before it: `q = max(q, the one below)` above the median, `min` below it. So the median is never moved by the
//! others, and Max and Min choose one of two numbers, whatever the batch.

use std::cmp::Ordering;

/// The output of the median, and of everything else that isn't a further quantile.
pub const MAIN: &str = "y";

/// What a quantile is called: the decimals of its level, two at the least: `q10`, `q05`, `q975`.
pub fn name(level: f64) -> String {
    let text = level.to_string();
    format!("q{:0<2}", text.strip_prefix("0.").unwrap_or(&text))
}

/// The outputs of a graph for ascending levels with 0.5 among them: `y_q10`, `y`, `y_q90`.
pub fn outputs(levels: &[f64]) -> Vec<String> {
    let of = |level: &f64| if *level == 0.5 { MAIN.to_string() } else { format!("{MAIN}_{}", name(*level)) };
    levels.iter().map(of).collect()
}

/// The place of the median among a graph's outputs; 0 without quantiles.
pub fn median(outputs: &[String]) -> usize {
    outputs.iter().position(|name| name == MAIN).unwrap_or(0)
}

/// Quantiles in the order that they are kept in, each with the one that it must not cross and whether it lies above it.
pub fn kept_apart(quantiles: usize, median: usize) -> impl Iterator<Item = (usize, usize, bool)> {
    let above = (median + 1..quantiles).map(|at| (at, at - 1, true));
    above.chain((0..median.min(quantiles)).rev().map(|at| (at, at + 1, false)))
}

/// Brings a row of outputs [quantiles, the same for each] into order.
pub fn keep_apart<F: Copy + PartialOrd>(row: &mut [F], quantiles: usize, median: usize) {
    let width = row.len() / quantiles.max(1);
    for (at, other, above) in kept_apart(quantiles, median) {
        let crosses = if above { Ordering::Less } else { Ordering::Greater };
        for i in 0..width {
            let bound = row[other * width + i];
            if row[at * width + i].partial_cmp(&bound) == Some(crosses) {
                row[at * width + i] = bound;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_decimals() {
        assert_eq!(
            [0.1, 0.05, 0.9, 0.025, 0.975, 0.999, 0.25].map(name),
            ["q10", "q05", "q90", "q025", "q975", "q999", "q25"]
        );
        let outputs = outputs(&[0.1, 0.5, 0.9]);
        assert_eq!((outputs.join(" "), median(&outputs), median(&[])), ("y_q10 y y_q90".to_string(), 1, 0));
    }

    #[test]
    fn what_crosses_is_set_to_what_it_crosses_going_out_from_the_median() {
        // Two outputs of the quantiles 0.05, 0.1, 0.5, 0.9, 0.95.
        let mut row = [3.0, 0.0, 2.5, 9.0, 2.0, 8.0, 1.0, 9.0, 1.5, 8.5];
        keep_apart(&mut row, 5, 2);
        assert_eq!(row, [2.0, 0.0, 2.0, 8.0, 2.0, 8.0, 2.0, 9.0, 2.0, 9.0]);
        let mut row = [5.0, 4.0];
        keep_apart(&mut row, 2, 0);
        assert_eq!(row, [5.0, 5.0]);
        let mut row = [5.0, 4.0];
        keep_apart(&mut row, 0, 0);
        assert_eq!(row, [5.0, 4.0]);
    }
}
