//! Which part of time a row belongs to: train, validation or test.
//!
//! Lives here: the split of each key's rows and of its examples. An example belongs to the part that holds *all* its
//! targets; examples whose targets cross a boundary belong to none. Inputs may reach back over a boundary.

use sha2::{Digest, Sha256};

use crate::config;
use crate::record::Clock;
use crate::{Error, Result};

use super::{Column, Series, backtest};

/// A part of the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subset {
    /// Weights and statistics are learned from it.
    Train,
    /// Decides when to stop.
    Validation,
    /// Seen only by the evaluation.
    Test,
}

impl Subset {
    /// All parts in the order of time.
    pub const ALL: [Subset; 3] = [Subset::Train, Subset::Validation, Subset::Test];

    /// As written in a split column.
    pub fn name(self) -> &'static str {
        match self {
            Subset::Train => "train",
            Subset::Validation => "validation",
            Subset::Test => "test",
        }
    }
}

/// How time is split, in ticks.
#[derive(Debug, Clone, PartialEq)]
pub enum Cuts {
    /// Shares of each key's rows.
    PerKey([f64; 3]),
    /// Ticks where validation and where test start.
    At([i64; 2]),
    /// Rows of each key; later rows are not used.
    Rows([usize; 3]),
    /// The last n rows of each key are test, the n before them validation.
    Last(usize),
    /// A text per row; the column's name.
    Column(String),
    /// Shares of the keys, by a hash of the key's text.
    ByKey([f64; 3]),
    /// A fold of a backtest: a piece of the test part of other cuts, by the number of the fold.
    Fold {
        /// The cuts whose test part is in pieces.
        of: Box<Cuts>,
        /// The fold, from 0.
        at: usize,
        /// Of how many.
        folds: usize,
        /// The last tick of any key.
        end: i64,
        /// Whether all before the piece is learned from.
        retrain: bool,
    },
}

impl Cuts {
    /// The split of a pipeline file, or the error in it on this clock.
    pub fn new(split: &config::Split, clock: &Clock) -> std::result::Result<Cuts, String> {
        Ok(match split {
            config::Split::PerKey(shares) => Cuts::PerKey(*shares),
            config::Split::At([validation, test]) => {
                let cuts = [clock.moment(*validation)?, clock.moment(*test)?];
                if cuts[0] > cuts[1] {
                    return Err("validation starts after test: write the earlier instant first".into());
                }
                Cuts::At(cuts)
            }
            config::Split::Rows(rows) => Cuts::Rows(*rows),
            config::Split::Last(rows) => Cuts::Last(*rows),
            config::Split::ByKey(shares) => Cuts::ByKey(*shares),
            config::Split::Column(name) => Cuts::Column(name.clone()),
        })
    }

    /// In the words of the pipeline file, for the report.
    pub fn text(&self, clock: &Clock) -> String {
        match self {
            Cuts::PerKey([a, b, c]) => format!(
                "shares of each key's rows: {:.4} % train, {:.4} % validation, {:.4} % test",
                a * 100.0,
                b * 100.0,
                c * 100.0
            )
            .replace(".0000", ""),
            Cuts::At([a, b]) => format!("validation from {}, test from {}", clock.text(*a), clock.text(*b)),
            Cuts::Rows([a, b, c]) => format!("rows of each key: {a} train, {b} validation, {c} test"),
            Cuts::Last(1) => "of each key the last row is test, the one before it validation".into(),
            Cuts::Last(n) => format!("of each key the last {n} rows are test, the {n} before them validation"),
            Cuts::ByKey(shares) => {
                let [a, b, c] = shares.map(|share| share * 100.0);
                format!("shares of the keys, by a hash of the key: {a:.0} % train, {b:.0} % validation, {c:.0} % test")
            }
            Cuts::Column(name) => format!("by column {name}"),
            Cuts::Fold { of, at, folds, .. } => format!("fold {} of {folds} of {}", at + 1, of.text(clock)),
        }
    }

    /// The part of each row of a key; `None` for rows left out.
    pub fn rows(&self, series: &Series) -> Result<Column<Option<Subset>>> {
        let (n, space) = (series.times.len(), series.space());
        let ends = match self {
            Cuts::PerKey(shares) => {
                let mut sum = 0.0;
                shares.map(|share| {
                    sum += share;
                    // Sums of shares are a hair off in binary: 0.1 + 0.2 of ten rows are three rows.
                    ((sum * n as f64 + 1e-6).floor() as usize).min(n)
                })
            }
            Cuts::Rows([a, b, c]) => [*a, a.saturating_add(*b), a.saturating_add(*b).saturating_add(*c)],
            Cuts::Last(last) => [n.saturating_sub(last.saturating_mul(2)), n.saturating_sub(*last), n],
            Cuts::At([validation, test]) => {
                let part = |time: &i64| {
                    Some(match time {
                        t if t < validation => Subset::Train,
                        t if t < test => Subset::Validation,
                        _ => Subset::Test,
                    })
                };
                return Column::collect(space, series.times.iter().map(part));
            }
            Cuts::ByKey(shares) => return Column::of(space, of_key(&series.key, *shares), n),
            Cuts::Column(name) => return by_column(name, series),
            Cuts::Fold { of, at, folds, end, retrain } => {
                return backtest::rows(series, of, (*at, *folds), *end, *retrain);
            }
        };
        let part = |row| Subset::ALL.into_iter().zip(ends).find(|(_, end)| row < *end).map(|(part, _)| part);
        Column::collect(space, (0..n).map(part))
    }
}

/// The part of a key: by the first 53 bits of the sha256 of its text, as a number from 0 to 1.
fn of_key(key: &str, shares: [f64; 3]) -> Option<Subset> {
    let hash = Sha256::digest(key.as_bytes());
    let bits = hash.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let at = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    let mut sum = 0.0;
    Subset::ALL.into_iter().zip(shares).find_map(|(part, share)| {
        sum += share;
        // Sums of shares are a hair off in binary.
        (at < sum + 1e-9).then_some(part)
    })
}

fn by_column(name: &str, series: &Series) -> Result<Column<Option<Subset>>> {
    let Some(words) = &series.split else {
        return Err(Error::refused(format!(
            "the split column \"{name}\" is not among the rows of key \"{}\"",
            series.key
        )));
    };
    let mut parts = Column::with_room(series.space(), words.len())?;
    for word in words.iter().map(Option::unwrap_or_default) {
        parts.push(match Subset::ALL.into_iter().find(|part| part.name() == word) {
            Some(part) => Some(part),
            None if word.is_empty() => None,
            None => {
                return Err(Error::refused(format!(
                    "split column \"{name}\" of key \"{}\" holds \"{word}\": expected train, validation, test or \
                     nothing",
                    series.key
                )));
            }
        })?;
    }
    Ok(parts)
}

/// Per origin row t, the part that holds all of its target rows t+1..=t+horizon; `None` where they cross a boundary,
/// leave the series, or reach a row that is left out. With a horizon of 0, the row's own part.
pub fn examples(rows: &Column<Option<Subset>>, horizon: usize) -> Result<Column<Option<Subset>>> {
    if horizon == 0 {
        return Column::collect(rows.space(), rows.iter().copied());
    }
    let mut part_of = Column::of(rows.space(), None, rows.len())?;
    // Length of the run of equal parts that starts at a row.
    let mut run = 0;
    for row in (0..rows.len()).rev() {
        run = if row + 1 < rows.len() && rows[row] == rows[row + 1] { run + 1 } else { 1 };
        if row > 0 && run >= horizon {
            part_of[row - 1] = rows[row];
        }
    }
    Ok(part_of)
}

#[cfg(test)]
mod tests {
    use super::Subset::*;
    use super::*;
    use proptest::prelude::*;

    fn series(n: usize) -> Series {
        Series { key: "k".into(), times: (0..n as i64).map(|t| t * 10).collect(), ..Series::default() }
    }

    fn origins(split: &Cuts, n: usize, horizon: usize, part: Subset) -> Vec<usize> {
        let rows = split.rows(&series(n)).unwrap();
        let parts = examples(&rows, horizon).unwrap();
        (0..n).filter(|row| parts[*row] == Some(part)).collect()
    }

    #[test]
    fn examples_that_cross_a_cut_are_dropped() {
        // Rows 0..7 train, 7, 8 validation, 9..12 test; horizon 2.
        let split = Cuts::Rows([7, 2, 3]);
        assert_eq!(origins(&split, 14, 2, Train), [0, 1, 2, 3, 4]);
        assert_eq!(origins(&split, 14, 2, Validation), [6]);
        // Origins 8 (targets 9, 10) and 9 (10, 11); 10 would need row 12, which is left out.
        assert_eq!(origins(&split, 14, 2, Test), [8, 9]);
    }

    #[test]
    fn the_usual_split_of_etth1_has_2857_test_origins() {
        let split = Cuts::Rows([8640, 2880, 2880]);
        let test = origins(&split, 17420, 24, Test);
        assert_eq!((test[0], test.len()), (11519, 2857));
    }

    #[test]
    fn each_split_by_hand() {
        let ten = |split: Cuts| {
            let rows = split.rows(&series(10)).unwrap();
            rows.iter().map(|p| p.map_or('-', |p| p.name().chars().next().unwrap())).collect::<String>()
        };
        assert_eq!(ten(Cuts::PerKey([0.7, 0.15, 0.15])), "tttttttvtt");
        assert_eq!(ten(Cuts::PerKey([0.1, 0.2, 0.7])), "tvvttttttt");
        assert_eq!(ten(Cuts::At([30, 75])), "tttvvvvvtt");
        assert_eq!(ten(Cuts::Last(2)), "ttttttvvtt");
        assert_eq!(ten(Cuts::Last(7)), "vvvttttttt");
        assert_eq!(ten(Cuts::Rows([2, 3, 4])), "ttvvvtttt-");
    }

    #[test]
    fn by_column_takes_the_words_and_refuses_others() {
        let mut s = series(4);
        s.split = Some(["train", "train", "test", ""].map(Some).into_iter().collect());
        let split = Cuts::Column("part".into());
        assert_eq!(split.rows(&s).unwrap(), [Some(Train), Some(Train), Some(Test), None]);
        s.split = Some([Some("training"); 4].into_iter().collect());
        assert!(split.rows(&s).unwrap_err().to_string().contains("\"training\""));
    }

    proptest! {
        #[test]
        fn an_example_belongs_to_the_part_of_all_its_targets(
            words in prop::collection::vec(0_u8..4, 0..40), horizon in 1_usize..6,
        ) {
            let rows: Vec<Option<Subset>> = words.iter().map(|w| Subset::ALL.get(*w as usize).copied()).collect();
            let parts = examples(&rows.clone().into(), horizon).unwrap();
            #[allow(clippy::needless_range_loop)]
            for row in 0..rows.len() {
                let targets = rows.get(row + 1..=row + horizon);
                let expected = targets.and_then(|t| t[0].filter(|p| t.iter().all(|q| *q == Some(*p))));
                prop_assert_eq!(parts[row], expected);
            }
        }
    }
}
