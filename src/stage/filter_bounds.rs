//! What the filters at the start of a pipeline can be over a stretch of rows of which only bounds are known, such as a
//! row group by its statistics: where they are true of none, the stretch need not be read.
//!
//! Lives here: expressions on bounds, and which pipelines may leave rows unread at all. Must not live here: where
//! bounds come from (`source`).

use arrow::datatypes::DataType;

use super::filter_eval::{From, Number, Operand, Test, Text, Time};
use super::filter_parse::{self, Comparison};
use crate::config::{self, OnLate, OnNull, Pipeline, Watermark};
use crate::error::Problems;
use crate::record::{Kind, Layout, Role};

/// What is known of a column over a stretch of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Extent {
    /// Bounds of the values that aren't null; `None`: there is none.
    pub bounds: Option<Bounds>,
    /// Whether a value may be null.
    pub nulls: bool,
}

/// Bounds of values, both included.
#[derive(Debug, Clone, PartialEq)]
pub enum Bounds {
    /// Numbers that are finite.
    Numbers(f64, f64),
    /// UTF-8, compared byte by byte.
    Texts(Vec<u8>, Vec<u8>),
    /// Nanoseconds since 1970.
    Times(i128, i128),
}

/// A column that a condition reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The key.
    Key,
    /// The time.
    Time,
    /// A column of the source's layout.
    Column(usize),
}

/// The conditions of the filters that a pipeline begins with, where rows that they drop can't matter to others.
pub struct Conditions {
    filters: Vec<(Test, Vec<Operand>)>,
    /// Nanoseconds of a tick of the source's clock; `None`: times are numbers.
    tick: Option<i64>,
    /// Ticks of the other times that conditions read, by column; dates as keys have days.
    ticks: Vec<Option<i64>>,
    /// Columns that `on.null` has changed before: nothing is known of them.
    changed: Vec<bool>,
    /// Whether only conditions on the key count: `on.null: carry` takes values from the rows that a filter drops.
    pub is_by_key: bool,
}

const DAY: i64 = 86_400_000_000_000;

/// The columns that the filters at the start of a pipeline name.
pub fn filtered_columns(pipeline: &Pipeline) -> Vec<String> {
    leading(pipeline).flat_map(|filter| filter_parse::columns(&filter.predicate)).collect()
}

fn leading(pipeline: &Pipeline) -> impl Iterator<Item = &config::Filter> {
    pipeline.stages.iter().map_while(|stage| match &stage.value {
        config::Stage::Filter(filter) => Some(filter),
        _ => None,
    })
}

impl Conditions {
    /// Of a pipeline whose source has this layout; `None` where there is none, or where every row must be read:
    /// - `on.late: dead_letter`, `on.reorder` and `on.watermark: partition` compare with the times of all rows;
    /// - `on.null: refuse` looks at all rows.
    pub fn of(pipeline: &Pipeline, layout: &Layout) -> Option<Conditions> {
        let on = &pipeline.on;
        if on.late == OnLate::DeadLetter
            || on.reorder.is_some()
            || on.watermark == Watermark::Partition
            || on.null == OnNull::Refuse
        {
            return None;
        }
        let mut filters = Vec::new();
        for filter in leading(pipeline) {
            // What is wrong with it is reported where the stages are planned.
            let compiled = super::filter::compiled(filter, layout, &mut Problems::new(&pipeline.file));
            filters.push(compiled?);
        }
        if filters.is_empty() {
            return None;
        }
        // `on.null` comes after a `resample`, where it changes nothing of what filters read, or first of all.
        let is_first = !pipeline.stages.iter().any(|stage| matches!(stage.value, config::Stage::Resample(_)));
        let carries = is_first && on.null == OnNull::Carry;
        let changed = layout.columns.iter().map(|column| carries && column.role == Role::Value);
        let tick = |kind: &Kind| match kind {
            Kind::Passthrough(data_type) => super::filter::clock_of(data_type)?.nanos_per_tick,
            _ => None,
        };
        Some(Conditions {
            filters,
            tick: layout.clock.nanos_per_tick,
            ticks: layout.columns.iter().map(|column| tick(&column.kind)).collect(),
            changed: changed.collect(),
            is_by_key: carries,
        })
    }

    /// Whether the filters drop every row of a stretch of which this is known.
    pub fn drop_all(&self, known: &dyn Fn(Reads) -> Option<Extent>) -> bool {
        let all = |(test, operands): &(Test, Vec<Operand>)| {
            let stretch = Stretch { of: self, operands, known };
            !stretch.test(test).is_true
        };
        self.filters.iter().any(all)
    }
}

/// What an expression can be.
#[derive(Debug, Clone, Copy)]
struct Can {
    is_true: bool,
    is_false: bool,
    is_null: bool,
}

const ANYTHING: Can = Can { is_true: true, is_false: true, is_null: true };

/// Values from the first to the second; `None`: none. And whether there may be null.
struct Range<T> {
    values: Option<(T, T)>,
    nulls: bool,
}

struct Stretch<'a> {
    of: &'a Conditions,
    operands: &'a [Operand],
    known: &'a dyn Fn(Reads) -> Option<Extent>,
}

impl Stretch<'_> {
    fn extent(&self, source: usize) -> Option<Extent> {
        match self.operands[source].from {
            From::Key => (self.known)(Reads::Key),
            From::Time => (self.known)(Reads::Time),
            From::Column(column) if self.of.changed[column] => None,
            From::Column(column) => (self.known)(Reads::Column(column)),
        }
    }

    fn test(&self, test: &Test) -> Can {
        match test {
            Test::Constant(flag) => Can { is_true: *flag, is_false: !*flag, is_null: false },
            Test::Source(_) => ANYTHING,
            Test::Not(a) => {
                let a = self.test(a);
                Can { is_true: a.is_false, is_false: a.is_true, ..a }
            }
            Test::And(a, b) => {
                let (a, b) = (self.test(a), self.test(b));
                let is_null = a.is_null && (b.is_null || b.is_true) || b.is_null && (a.is_null || a.is_true);
                Can { is_true: a.is_true && b.is_true, is_false: a.is_false || b.is_false, is_null }
            }
            Test::Or(a, b) => {
                let (a, b) = (self.test(a), self.test(b));
                let is_null = a.is_null && (b.is_null || b.is_false) || b.is_null && (a.is_null || a.is_false);
                Can { is_true: a.is_true || b.is_true, is_false: a.is_false && b.is_false, is_null }
            }
            Test::Numbers(comparison, a, b) => compare(*comparison, &self.number(a), &self.number(b)),
            Test::Texts(comparison, a, b) => match (self.text(a), self.text(b)) {
                (Some(a), Some(b)) => compare(*comparison, &a, &b),
                _ => ANYTHING,
            },
            Test::Times(comparison, a, b) => self.times(*comparison, (a, None), (b, None)),
            Test::Instants(comparison, (a, tick), (b, other)) => {
                self.times(*comparison, (a, Some(*tick)), (b, Some(*other)))
            }
            Test::Flags(..) | Test::Wholes(..) => ANYTHING,
            Test::NumberIsNull(a, wanted) => self.null(&self.number(a), *wanted),
            Test::TextIsNull(a, wanted) => self.text(a).map_or(ANYTHING, |a| self.null(&a, *wanted)),
            Test::TimeIsNull(a, wanted) => self.time(a, None).map_or(ANYTHING, |a| self.null(&a, *wanted)),
            Test::FlagIsNull(a, wanted) => {
                let a = self.test(a);
                let (null, there) = (a.is_null, a.is_true || a.is_false);
                let (is_true, is_false) = if *wanted { (null, there) } else { (there, null) };
                Can { is_true, is_false, is_null: false }
            }
        }
    }

    fn null<T>(&self, range: &Range<T>, wanted: bool) -> Can {
        let (null, there) = (range.nulls, range.values.is_some());
        let (is_true, is_false) = if wanted { (null, there) } else { (there, null) };
        Can { is_true, is_false, is_null: false }
    }

    fn number(&self, number: &Number) -> Range<f64> {
        let anything = Range { values: Some((f64::NEG_INFINITY, f64::INFINITY)), nulls: true };
        match number {
            Number::Constant(value) if value.is_finite() => Range { values: Some((*value, *value)), nulls: false },
            Number::Source(source) => match self.extent(*source) {
                Some(Extent { bounds: Some(Bounds::Numbers(low, high)), nulls }) => {
                    Range { values: Some((low, high)), nulls }
                }
                Some(Extent { bounds: None, nulls }) => Range { values: None, nulls },
                _ => anything,
            },
            Number::Negate(a) => {
                let Range { values, nulls } = self.number(a);
                Range { values: values.map(|(low, high)| (-high, -low)), nulls }
            }
            Number::Constant(_) | Number::Arithmetic(..) => anything,
        }
    }

    fn text(&self, text: &Text) -> Option<Range<Vec<u8>>> {
        Some(match text {
            Text::Constant(text) => {
                let bytes = text.as_bytes().to_vec();
                Range { values: Some((bytes.clone(), bytes)), nulls: false }
            }
            Text::Source(source) => match self.extent(*source)? {
                Extent { bounds: Some(Bounds::Texts(low, high)), nulls } => Range { values: Some((low, high)), nulls },
                Extent { bounds: None, nulls } => Range { values: None, nulls },
                _ => return None,
            },
        })
    }

    fn times(&self, comparison: Comparison, (a, tick): (&Time, Option<i64>), (b, other): (&Time, Option<i64>)) -> Can {
        // A constant has the ticks of what it is compared with.
        let tick = tick.or_else(|| self.tick(a)).or_else(|| self.tick(b));
        let other = other.or_else(|| self.tick(b)).or(tick);
        match (self.time(a, tick), self.time(b, other)) {
            (Some(a), Some(b)) => compare(comparison, &a, &b),
            _ => ANYTHING,
        }
    }

    /// Nanoseconds of a tick.
    fn tick(&self, time: &Time) -> Option<i64> {
        match time {
            Time::Constant(_) => None,
            Time::Source(source) => match self.operands[*source].from {
                From::Time => self.of.tick,
                From::Column(column) => self.of.ticks[column],
                From::Key => Some(DAY),
            },
        }
    }

    fn time(&self, time: &Time, tick: Option<i64>) -> Option<Range<i128>> {
        Some(match time {
            Time::Constant(ticks) => {
                let nanos = i128::from(*ticks) * i128::from(tick?);
                Range { values: Some((nanos, nanos)), nulls: false }
            }
            Time::Source(source) => match self.extent(*source)? {
                Extent { bounds: Some(Bounds::Times(low, high)), nulls } => Range { values: Some((low, high)), nulls },
                Extent { bounds: None, nulls } => Range { values: None, nulls },
                _ => return None,
            },
        })
    }
}

fn compare<T: PartialOrd>(comparison: Comparison, a: &Range<T>, b: &Range<T>) -> Can {
    let is_null = a.nulls || b.nulls;
    let (Some((a_low, a_high)), Some((b_low, b_high))) = (&a.values, &b.values) else {
        return Can { is_true: false, is_false: false, is_null };
    };
    let (less, equal, greater) = (a_low < b_high, a_low <= b_high && b_low <= a_high, a_high > b_low);
    let (is_true, is_false) = match comparison {
        Comparison::Equal => (equal, less || greater),
        Comparison::NotEqual => (less || greater, equal),
        Comparison::Less => (less, equal || greater),
        Comparison::LessOrEqual => (less || equal, greater),
        Comparison::Greater => (greater, equal || less),
        Comparison::GreaterOrEqual => (greater || equal, less),
    };
    Can { is_true, is_false, is_null }
}

/// The type whose bounds a column of the layout is compared by.
pub fn is_instant(data_type: &DataType) -> bool {
    super::filter::clock_of(data_type).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::testing::{self, Table};

    /// Bounds of the rows of a table: `value` and `other` are numbers where NaN is null, `time` is seconds.
    fn known(table: &[(i64, [f64; 2])], layout: &Layout) -> impl Fn(Reads) -> Option<Extent> {
        let extent = |column: usize| {
            let values = || table.iter().map(|row| row.1[column]).filter(|value| value.is_finite());
            let bounds = values().fold(None, |bounds: Option<(f64, f64)>, value| {
                Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
            });
            let nulls = values().count() < table.len();
            Extent { bounds: bounds.map(|(low, high)| Bounds::Numbers(low, high)), nulls }
        };
        let nanos = |second: Option<i64>| i128::from(second.unwrap_or_default()) * 1_000_000_000;
        let (first, last) = (table.iter().map(|row| row.0).min(), table.iter().map(|row| row.0).max());
        let times = Extent { bounds: Some(Bounds::Times(nanos(first), nanos(last))), nulls: false };
        let (value, other) = (layout.find("value"), layout.find("other"));
        let extents = [extent(0), extent(1)];
        move |reads| match reads {
            Reads::Time => Some(times.clone()),
            Reads::Column(column) if Some(column) == value => Some(extents[0].clone()),
            Reads::Column(column) if Some(column) == other => Some(extents[1].clone()),
            _ => None,
        }
    }

    #[test]
    fn what_is_left_out_holds_no_row_that_is_kept() {
        let conditions = [
            "value > 3",
            "value >= 3",
            "value < 3",
            "value <= 3",
            "value = 3",
            "value != 3",
            "not value > 3",
            "not (value > 3 or other > 3)",
            "value > 3 and other < 2",
            "value is null",
            "value is not null",
            "not value is null",
            "-value > -2",
            "value > other",
            "value = other or other is null",
            "value + 1 > 3",
            "time >= 1970-01-01T00:00:03",
            "time > 1970-01-01T00:00:02.5",
            "time != 1970-01-01T00:00:02",
            "not (time < 1970-01-01T00:00:04 and value > 1)",
            "time is null",
            "1 > 2",
            "true",
            "value in (1, 5)",
            "value between 2 and 4 and time not between 1970-01-01 and 1970-01-01T00:00:02",
            "value = 1 / 0",
            "(value > 3) is null",
            "(value > 3) is not null and other = 1",
        ];
        let number = |n: u64| [f64::NAN, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0][(n % 7) as usize];
        let (mut left_out, mut empty) = (0, 0);
        let mut seed = 7_u64;
        for round in 0..300 {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed >> 33
            };
            let rows: Vec<(i64, [f64; 2])> =
                (0..1 + round % 4).map(|_| ((next() % 6) as i64, [number(next()), number(next())])).collect();
            let mut table = Table::new(&["value", "other"]);
            rows.iter().for_each(|(time, values)| table.push(0, *time, values));
            for condition in conditions {
                let mut layout = table.layout();
                let filter = config::Filter { predicate: config::At::default_value(condition.to_owned()) };
                let mut problems = Problems::new("p.yaml");
                let compiled = super::super::filter::compiled(&filter, &layout, &mut problems).unwrap();
                let conditions = Conditions {
                    filters: vec![compiled],
                    tick: layout.clock.nanos_per_tick,
                    ticks: vec![None; layout.columns.len()],
                    changed: vec![false; layout.columns.len()],
                    is_by_key: false,
                };
                let drops = conditions.drop_all(&known(&rows, &layout));
                let stage = testing::plan(&filter, &mut layout, &mut problems).unwrap();
                let kept = testing::run(&mut [stage], &table.batch(), &[1]).times;
                assert!(!drops || kept.is_empty(), "{condition}: {rows:?}");
                left_out += usize::from(drops);
                empty += usize::from(kept.is_empty());
            }
        }
        // Bounds can't tell all of them, but most.
        assert!(left_out * 3 > empty * 2, "{left_out} of {empty}");
    }
}
