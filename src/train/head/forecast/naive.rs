//! Naive forecasts: what a model has to beat. They are made h steps ahead from values known at the origin alone.
//!
//! Lives here: last value, seasonal, and the scale of MASE. Must not live here: what is counted, and how (`evaluate`).

use crate::Result;
use crate::train::{Column, Series};

/// Naive forecasts of one target of one key.
#[derive(Debug)]
pub struct Naive<'a> {
    values: &'a [f64],
    /// Per row, the youngest row at or before it that holds a value, plus one; 0 where there is none.
    known: Column<u32>,
    /// The first row that holds a value.
    first: Option<usize>,
}

impl<'a> Naive<'a> {
    /// Of a target's values in the key's own units, NaN for null. A value that a stage filled or carried forward counts
    /// as known: it was in the record.
    ///
    /// # Errors
    /// No room on the disk.
    pub fn new(values: &'a Column<f64>) -> Result<Self> {
        let mut youngest = 0;
        let known = values.iter().enumerate().map(|(row, value)| {
            if value.is_finite() {
                youngest = row as u32 + 1;
            }
            youngest
        });
        let known = Column::collect(values.space(), known)?;
        Ok(Naive { values, known, first: values.iter().position(|value| value.is_finite()) })
    }

    /// The last value known at an origin row, whatever the step.
    pub fn last(&self, row: usize) -> Option<f64> {
        let known = *self.known.get(row)? as usize;
        (known > 0).then(|| self.values[known - 1])
    }

    /// The line through the first and the last value known at an origin row, `step` rows on (Hyndman and
    /// Athanasopoulos).
    pub fn drift(&self, row: usize, step: usize) -> Option<f64> {
        let (first, last) = (self.first?, self.last(row)?);
        let known = *self.known.get(row)? as usize - 1;
        let rows = known - first;
        let slope = if rows > 0 { (last - self.values[first]) / rows as f64 } else { 0.0 };
        Some(last + slope * (row + step - known) as f64)
    }

    /// The value a whole number of seasons before row + step: the youngest such that is known at the origin.
    /// Where the series isn't that old, the last value.
    pub fn seasonal(&self, row: usize, step: usize, season: usize) -> Option<f64> {
        let mut back = season * step.div_ceil(season);
        while let Some(at) = (row + step).checked_sub(back) {
            if self.values[at].is_finite() {
                return Some(self.values[at]);
            }
            back += season;
        }
        self.last(row)
    }
}

/// Scale of MASE (Hyndman and Koehler 2006): mean absolute difference of a value and the one `season` rows before, over
/// the rows of the train part where both were observed. `None` where there is no such pair or no difference.
pub fn mase_scale(series: &Series, target: usize, train: impl Fn(usize) -> bool, season: usize) -> Option<f64> {
    let (values, observed) = (&series.targets[target], &series.observed[target]);
    let counts = |row: usize| train(row) && observed[row] && values[row].is_finite();
    let (mut sum, mut n) = (0.0, 0_u32);
    for row in season.max(1)..values.len() {
        let before = row - season.max(1);
        if counts(row) && counts(before) {
            sum += (values[row] - values[before]).abs();
            n += 1;
        }
    }
    (sum > 0.0).then(|| sum / f64::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::tests::plain;

    const NULL: f64 = f64::NAN;

    #[test]
    fn last_value_is_the_youngest_known() {
        let values = [NULL, 1.0, 2.0, NULL, NULL, 5.0];
        let values = values.to_vec().into();
        let naive = Naive::new(&values).unwrap();
        let last: Vec<Option<f64>> = (0..6).map(|row| naive.last(row)).collect();
        assert_eq!(last, [None, Some(1.0), Some(2.0), Some(2.0), Some(2.0), Some(5.0)]);
    }

    #[test]
    fn drift_goes_on_along_the_line_from_the_first_value() {
        let values = vec![NULL, 1.0, 2.0, 5.0, NULL].into();
        let naive = Naive::new(&values).unwrap();
        assert_eq!((naive.drift(0, 1), naive.drift(1, 3)), (None, Some(1.0)));
        assert_eq!((naive.drift(3, 2), naive.drift(4, 1)), (Some(9.0), Some(9.0)));
    }

    #[test]
    fn seasonal_looks_back_whole_seasons_and_never_beyond_the_origin() {
        let values: Column<f64> = (0..12).map(f64::from).collect();
        let naive = Naive::new(&values).unwrap();
        // Season 4 at origin 7: steps 1..4 are rows 4..7, steps 5 and 8 again rows 4 and 7.
        let at = |step| naive.seasonal(7, step, 4);
        assert_eq!([at(1), at(4), at(5), at(8), at(9)], [4.0, 7.0, 4.0, 7.0, 4.0].map(Some));
        // Too young for a season: the last value.
        assert_eq!(naive.seasonal(1, 1, 4), Some(1.0));
        // A null a season ago: the season before.
        let mut holed = values.clone();
        holed[4] = NULL;
        assert_eq!(Naive::new(&holed).unwrap().seasonal(7, 1, 4), Some(0.0));
    }

    #[test]
    fn mase_scale_is_of_the_train_part() {
        let s = plain("a", &[1.0, 2.0, 4.0, 8.0, 1000.0]);
        let train = |row: usize| row < 4;
        assert_eq!(mase_scale(&s, 0, train, 1), Some((1.0 + 2.0 + 4.0) / 3.0));
        assert_eq!(mase_scale(&s, 0, train, 2), Some((3.0 + 6.0) / 2.0));
        assert_eq!(mase_scale(&s, 0, train, 4), None);
        assert_eq!(mase_scale(&plain("b", &[3.0; 5]), 0, train, 1), None);
    }
}
