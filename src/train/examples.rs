//! Why a part has no example: how many rows are left after each thing that an example needs.
//!
//! Lives here: the counts and the words of the refusal. Must not live here: what an example is (`dataset`, `split`).

use std::collections::BTreeMap;

use super::dataset::Dataset;
use super::split::Subset;
use crate::error::counted;
use crate::model::ModelKind;

/// Inputs that the reasons name.
const NAMED: usize = 4;

/// The refusal of data without an example in a part.
pub fn none_in(data: &Dataset, part: Subset) -> String {
    let plan = data.plan;
    let (after, lower) = plan.head.needs();
    let needs = match plan.kind {
        ModelKind::Window => format!("{} without a restart", counted(plan.window, "usable row")),
        ModelKind::Carry => "one usable row".into(),
        ModelKind::Sequence => "a finished sequence".into(),
    };
    let found = Found::new(data, part);
    let (reason, advice) = found.first_lack(data, part, lower);
    format!(
        "no key has an example in the {} part: one needs {needs} and after it {after}; {}, the longest has {}, split \
         {}. {reason}: {advice}",
        part.name(),
        counted(data.series.len(), "key"),
        counted(data.steps.iter().map(|steps| steps.rows.len()).max().unwrap_or(0), "usable row"),
        plan.split.text(&plan.clock),
    )
}

/// Rows, counted over all keys.
#[derive(Default)]
struct Found {
    rows: usize,
    /// In the part.
    in_part: usize,
    /// That have the rows of the part after them.
    origins: usize,
    /// And are usable.
    usable: usize,
    /// And long enough after a restart.
    long: usize,
    /// The most usable rows since a restart at such an origin.
    longest: usize,
    /// Per feature, origins where it is the first without a value, and where it is beyond float32.
    lacks: BTreeMap<usize, (usize, usize)>,
}

impl Found {
    fn new(data: &Dataset, part: Subset) -> Found {
        let mut found = Found::default();
        for (index, series) in data.series.iter().enumerate() {
            found.rows += series.times.len();
            found.in_part += data.rows[index].iter().filter(|of| **of == Some(part)).count();
            for (row, of) in data.examples[index].iter().enumerate() {
                if *of != Some(part) {
                    continue;
                }
                found.origins += 1;
                let x = data.captured(index, row);
                match x.iter().position(|value| !value.is_finite()) {
                    Some(feature) => {
                        let (missing, beyond) = found.lacks.entry(feature).or_default();
                        *(if x[feature].is_nan() { missing } else { beyond }) += 1;
                    }
                    None => found.usable += usize::from(series.usable[row]),
                }
            }
            for (row, since) in data.steps[index].rows.iter().zip(&data.steps[index].since) {
                if data.examples[index][*row as usize] == Some(part) {
                    found.longest = found.longest.max(*since as usize);
                    found.long += usize::from(*since as usize >= data.plan.window);
                }
            }
        }
        found
    }

    /// The first thing that is lacking, and what to do.
    fn first_lack(&self, data: &Dataset, part: Subset, lower: &str) -> (String, String) {
        let plan = data.plan;
        let (rows, name) = (self.rows, part.name());
        if rows == 0 {
            return ("No row is left after the stages".into(), "bring more rows, or look at the filters".into());
        }
        if self.origins == 0 {
            let reach = plan.head.reach();
            return (
                format!("{} of {rows} rows are of this part, and none has {reach} of them after it", self.in_part),
                format!("bring more rows, or lower {lower} or change split"),
            );
        }
        let origins =
            format!("{} of {rows} rows have {} rows of the {name} part after them", self.origins, plan.head.reach());
        if self.usable == 0 {
            return (format!("{origins}, but none is usable: {}", self.reasons(data)), self.remedy());
        }
        if self.long == 0 {
            return (
                format!("{origins}, but the longest stretch up to one has {} usable rows", self.longest),
                format!("bring longer series, or lower window or {lower}, or `gap` restarts too often"),
            );
        }
        let targets = plan.head.columns().join(", ");
        (
            format!("{origins}, but in none of these rows was {targets} observed: it is null, filled or after a hole"),
            "bring rows with a target, or change split".into(),
        )
    }

    fn reasons(&self, data: &Dataset) -> String {
        let mut found: Vec<(usize, String)> = Vec::new();
        for (feature, (missing, beyond)) in &self.lacks {
            let column = &data.plan.inputs[*feature].column;
            if *missing > 0 {
                found.push((*missing, format!("\"{column}\" has no value in {missing} (null, or not known yet)")));
            }
            if *beyond > 0 {
                found.push((*beyond, format!("\"{column}\" is beyond float32 in {beyond}")));
            }
        }
        found.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let more = found.len().saturating_sub(NAMED);
        let mut texts: Vec<String> = found.into_iter().take(NAMED).map(|(_, text)| text).collect();
        texts.extend((more > 0).then(|| format!("{more} more inputs")));
        texts.join(", ")
    }

    fn remedy(&self) -> String {
        let mut ways = Vec::new();
        if self.lacks.values().any(|(missing, _)| *missing > 0) {
            ways.push("fill nulls (`on: { null: carry }`, `resample` with `fill`), or leave the input or its lags out");
        }
        if self.lacks.values().any(|(_, beyond)| *beyond > 0) {
            ways.push("bring such numbers nearer to zero (stage `scale`)");
        }
        ways.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Split;
    use crate::train::Series;
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};

    fn refusal(change: impl Fn(&mut Series), window: Option<usize>, horizon: usize) -> String {
        let mut train = section(horizon, &["v"]);
        train.split.value = Split::Rows([20, 5, 5]);
        let plan = plan_of(&train, window);
        let mut s = plain("a", &(0..30).map(f64::from).collect::<Vec<_>>());
        change(&mut s);
        let series = [s];
        none_in(&Dataset::new(&series, &plan).unwrap(), Subset::Train)
    }

    fn unusable(value: f32) -> impl Fn(&mut Series) {
        move |s| {
            s.x = vec![value; 30].into();
            s.usable = vec![false; 30].into();
        }
    }

    #[test]
    fn each_reason_is_told_with_its_count_and_a_remedy() {
        for (text, words) in [
            (
                refusal(unusable(f32::NAN), None, 2),
                ["18 of 30 rows", "\"v\" has no value in 18", "`on: { null: carry }`"],
            ),
            (refusal(unusable(f32::INFINITY), None, 2), ["0 usable rows", "\"v\" is beyond float32 in 18", "`scale`"]),
            (refusal(|_| (), Some(25), 2), ["25 usable rows", "has 18 usable rows", "lower window"]),
            (refusal(|_| (), None, 40), ["20 of 30 rows are of this part", "none has 40", "lower horizon"]),
            (
                refusal(|s| s.observed = vec![vec![false; 30].into()], None, 2),
                ["18 of 30 rows", "was v observed", "bring rows"],
            ),
        ] {
            assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        }
    }
}
