//! What running a graph one by one costs, beside running many rows at once, on the machine at hand. Must not live here:
//! whether it has to run so (`proofs`).

use std::fmt;
use std::time::Instant;

use super::lab::{Data, Lab, Moved};
use super::passes::Ready;
use super::{Prepared, prepare};
use crate::Result;
use crate::config::Card;
use crate::model::onnx::operators::Finding;
use crate::network::{Run, Signature};

/// Rows that are compared.
const ROWS: usize = 64;
/// About how long each of the two is measured, in seconds.
const BUDGET: f64 = 0.2;

/// Time of a row, in seconds: of a record, or of a window of records.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// One by one.
    pub alone: f64,
    /// So many in one run; or why that can't be.
    pub beside: std::result::Result<(usize, f64), String>,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |seconds: f64| match seconds * 1e6 {
            us if us < 10.0 => format!("{us:.1} us"),
            us => format!("{us:.0} us"),
        };
        write!(f, "one by one {} a row, ", us(self.alone))?;
        match &self.beside {
            Ok((rows, seconds)) => {
                let times = self.alone / seconds.max(1e-9);
                write!(f, "{rows} in one run {} a row: {times:.1} times as long, on this machine", us(*seconds))
            }
            Err(why) => write!(f, "on this machine; there is no run of several: {why}"),
        }
    }
}

/// What the graph of a card costs; and what is known of its operators, once its constants are.
///
/// # Errors
/// As [`super::import`], as far as that goes before the proofs.
pub fn cost(card: &Card) -> Result<(Cost, Vec<Finding>)> {
    let Prepared { resolved, ready, findings, .. } = prepare(card, &|_| None)?;
    let Ready { graph, seen, window, .. } = ready;
    let file = |name: &str| resolved.files.get(name).map(Vec::as_slice);
    Ok((measure(&graph, &seen.signature, &seen.one_by_one, window, &file)?, findings))
}

/// `one_by_one`: why there is no run of several rows.
pub(super) fn measure<'f>(
    graph: &'f [u8],
    signature: &Signature,
    one_by_one: &Option<String>,
    window: Option<usize>,
    file: &'f dyn Fn(&str) -> Option<&'f [u8]>,
) -> Result<Cost> {
    let signature = Signature { batch: Run::One, ..signature.clone() };
    let steps = window.unwrap_or(1);
    let data = Data::made(&signature, ROWS, steps);
    let mut lab = Lab::new(graph, signature, window.is_some(), file)?;
    let first = least(&mut lab, &data, 1, steps)?;
    let alone = least(&mut lab, &data, rows_of(first), steps)?;
    let beside = match one_by_one {
        Some(why) => Err(why.clone()),
        // A run of several takes at most as long as they take one by one.
        None => {
            let rows = rows_of(alone).max(2);
            Ok((rows, least(&mut lab.batch(Run::Many)?, &data, rows, steps)?))
        }
    };
    Ok(Cost { alone, beside })
}

/// How many rows can be measured, where one takes so long: a size of the ladder.
fn rows_of(seconds: f64) -> usize {
    let rows = (BUDGET / seconds.max(1e-9)) as usize;
    if rows >= ROWS { ROWS } else { (rows + 1).next_power_of_two() / 2 }.max(1)
}

/// The least time of a row, of several runs.
fn least(lab: &mut Lab<'_>, data: &Data, rows: usize, steps: usize) -> Result<f64> {
    let picks: Vec<usize> = (0..rows).collect();
    let (mut least, begun) = (f64::INFINITY, Instant::now());
    // The first run of a size prepares memory for it.
    for run in 0..20 {
        let start = Instant::now();
        lab.run(data, &picks, &[steps], Moved::No)?;
        least = least.min(start.elapsed().as_secs_f64());
        if run > 0 && begun.elapsed().as_secs_f64() > BUDGET {
            break;
        }
    }
    Ok(least / rows as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_in_words() {
        let cost = Cost { alone: 160e-6, beside: Ok((64, 43e-6)) };
        assert_eq!(
            cost.to_string(),
            "one by one 160 us a row, 64 in one run 43 us a row: 3.7 times as long, on this machine"
        );
        let cost = Cost { alone: 4.21e-6, beside: Err("an input has no batch axis".into()) };
        assert_eq!(
            cost.to_string(),
            "one by one 4.2 us a row, on this machine; there is no run of several: an input has no batch axis"
        );
        assert_eq!([1e-6, 0.004, 0.05, 1.0].map(rows_of), [64, 32, 4, 1]);
    }
}
