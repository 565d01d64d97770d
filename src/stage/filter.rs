//! `filter: { where: "value > 0 and kind = 'a'" }`: keeps the rows for which the expression is true.
//!
//! Logic has three values, as in SQL: comparing with null is neither true nor false, and only true keeps a row. A number
//! that isn't finite is null, also one that was computed (`1 / 0`). Columns may be numbers, flags, and what the source
//! carries along as numbers, booleans or text; integers are compared as f64. Names that aren't plain words stand in
//! double quotes, text in single ones. Without state. The grammar is in [`super::filter_parse`].

use arrow::array::{Array, AsArray, BooleanArray, Float64Array, StringArray};
use arrow::datatypes::{DataType, Float64Type};

use super::Stage;
use super::filter_parse::{self, Arithmetic, Comparison, Expr, ExprKind, Failure};
use crate::config;
use crate::error::Context;
use crate::error::Problems;
use crate::record::{Batch, Kind, Layout, Values};
use crate::state::State;

/// Columns that an expression names.
pub(crate) fn columns(predicate: &str) -> Vec<String> {
    filter_parse::columns(predicate)
}

/// Plans the expression on the columns there are.
pub(super) fn plan(config: &config::Filter, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Stage>> {
    let mut compiler = Compiler { layout, sources: Vec::new() };
    let compiled = filter_parse::parse(&config.predicate).and_then(|expr| compiler.test(&expr));
    match compiled {
        Ok(test) => Some(Box::new(Filter { test, sources: compiler.sources, keep: Vec::new() })),
        Err(Failure { at, message }) => {
            problems.add(config.predicate.place, format!("where, character {at}: {message}"));
            None
        }
    }
}

/// What an expression reads, and as what.
struct Source {
    column: usize,
    kind: Type,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Number,
    Text,
    Flag,
}

impl Type {
    fn word(self) -> &'static str {
        match self {
            Type::Number => "a number",
            Type::Text => "text",
            Type::Flag => "true or false",
        }
    }
}

/// An expression that gives a number; NaN is null.
enum Number {
    Constant(f64),
    Source(usize),
    Negate(Box<Number>),
    Arithmetic(Arithmetic, Box<Number>, Box<Number>),
}

/// An expression that gives text.
enum Text {
    Constant(String),
    Source(usize),
}

/// An expression that is true, false or null.
enum Test {
    Constant(bool),
    Source(usize),
    Not(Box<Test>),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Numbers(Comparison, Number, Number),
    Texts(Comparison, Text, Text),
    Flags(Comparison, Box<Test>, Box<Test>),
    NumberIsNull(Number, bool),
    TextIsNull(Text, bool),
    FlagIsNull(Box<Test>, bool),
}

enum Typed {
    Number(Number),
    Text(Text),
    Test(Test),
}

impl Typed {
    fn kind(&self) -> Type {
        match self {
            Typed::Number(_) => Type::Number,
            Typed::Text(_) => Type::Text,
            Typed::Test(_) => Type::Flag,
        }
    }
}

struct Compiler<'a> {
    layout: &'a Layout,
    sources: Vec<Source>,
}

impl Compiler<'_> {
    fn typed(&mut self, expr: &Expr) -> Result<Typed, Failure> {
        Ok(match &expr.kind {
            ExprKind::Column(name) => self.column(name, expr.at)?,
            ExprKind::Number(number) => Typed::Number(Number::Constant(*number)),
            ExprKind::Text(text) => Typed::Text(Text::Constant(text.clone())),
            ExprKind::Flag(flag) => Typed::Test(Test::Constant(*flag)),
            ExprKind::Negate(a) => Typed::Number(Number::Negate(Box::new(self.number(a)?))),
            ExprKind::Arithmetic(operation, a, b) => {
                let (a, b) = (self.number(a)?, self.number(b)?);
                Typed::Number(Number::Arithmetic(*operation, Box::new(a), Box::new(b)))
            }
            ExprKind::Not(a) => Typed::Test(Test::Not(Box::new(self.test(a)?))),
            ExprKind::And(a, b) => Typed::Test(Test::And(Box::new(self.test(a)?), Box::new(self.test(b)?))),
            ExprKind::Or(a, b) => Typed::Test(Test::Or(Box::new(self.test(a)?), Box::new(self.test(b)?))),
            ExprKind::IsNull(a, wanted) => Typed::Test(match self.typed(a)? {
                Typed::Number(a) => Test::NumberIsNull(a, *wanted),
                Typed::Text(a) => Test::TextIsNull(a, *wanted),
                Typed::Test(a) => Test::FlagIsNull(Box::new(a), *wanted),
            }),
            ExprKind::Compare(comparison, a, b) => {
                let (left, right) = (self.typed(a)?, self.typed(b)?);
                Typed::Test(match (left, right) {
                    (Typed::Number(a), Typed::Number(b)) => Test::Numbers(*comparison, a, b),
                    (Typed::Text(a), Typed::Text(b)) => Test::Texts(*comparison, a, b),
                    (Typed::Test(a), Typed::Test(b)) => Test::Flags(*comparison, Box::new(a), Box::new(b)),
                    (left, right) => {
                        let (left, right) = (left.kind().word(), right.kind().word());
                        return Err(Failure { at: b.at, message: format!("{left} can't be compared with {right}") });
                    }
                })
            }
        })
    }

    fn number(&mut self, expr: &Expr) -> Result<Number, Failure> {
        match self.typed(expr)? {
            Typed::Number(number) => Ok(number),
            other => Err(expected(Type::Number, &other, expr)),
        }
    }

    fn test(&mut self, expr: &Expr) -> Result<Test, Failure> {
        match self.typed(expr)? {
            Typed::Test(test) => Ok(test),
            other => Err(expected(Type::Flag, &other, expr)),
        }
    }

    fn column(&mut self, name: &str, at: usize) -> Result<Typed, Failure> {
        let column = self.layout.find(name).ok_or_else(|| Failure { at, message: self.layout.unknown(name) })?;
        let kind = match &self.layout.columns[column].kind {
            Kind::Number | Kind::Vector(1) | Kind::Integer => Type::Number,
            Kind::Flag | Kind::Carried(DataType::Boolean) => Type::Flag,
            Kind::Carried(data_type) if data_type.is_numeric() => Type::Number,
            Kind::Carried(data_type) if is_text(data_type) => Type::Text,
            other => {
                let message = format!("column \"{name}\" is neither a number nor text nor true or false: {other:?}");
                return Err(Failure { at, message });
            }
        };
        let known = self.sources.iter().position(|source| source.column == column);
        let source = known.unwrap_or_else(|| {
            self.sources.push(Source { column, kind });
            self.sources.len() - 1
        });
        Ok(match kind {
            Type::Number => Typed::Number(Number::Source(source)),
            Type::Text => Typed::Text(Text::Source(source)),
            Type::Flag => Typed::Test(Test::Source(source)),
        })
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn expected(wanted: Type, found: &Typed, expr: &Expr) -> Failure {
    Failure { at: expr.at, message: format!("expected {}, found {}", wanted.word(), found.kind().word()) }
}

/// A column of the batch, ready to be read row by row.
enum Loaded<'a> {
    Numbers(&'a [f64]),
    Singles(&'a [f32]),
    Integers(&'a [i64]),
    Flags(&'a [bool]),
    CarriedNumbers(Float64Array),
    CarriedFlags(BooleanArray),
    CarriedTexts(StringArray),
}

fn load<'a>(source: &Source, values: &'a Values) -> crate::Result<Loaded<'a>> {
    Ok(match values {
        Values::Number(v) => Loaded::Numbers(v),
        Values::Vector(v, _) => Loaded::Singles(v),
        Values::Flag(v) => Loaded::Flags(v),
        Values::Time(v) | Values::Integer(v) => Loaded::Integers(v),
        Values::Carried(array) => {
            let cast = |to: DataType| {
                arrow::compute::cast(array, &to).or_failed(|| format!("filter reads a column of {}", array.data_type()))
            };
            match source.kind {
                Type::Number => Loaded::CarriedNumbers(cast(DataType::Float64)?.as_primitive::<Float64Type>().clone()),
                Type::Flag => Loaded::CarriedFlags(array.as_boolean().clone()),
                Type::Text => Loaded::CarriedTexts(cast(DataType::Utf8)?.as_string::<i32>().clone()),
            }
        }
    })
}

impl Number {
    fn at(&self, sources: &[Loaded<'_>], row: usize) -> f64 {
        let value = match self {
            Number::Constant(value) => *value,
            Number::Source(source) => match &sources[*source] {
                Loaded::Numbers(v) => v[row],
                Loaded::Singles(v) => f64::from(v[row]),
                Loaded::Integers(v) => v[row] as f64,
                Loaded::CarriedNumbers(v) if v.is_valid(row) => v.value(row),
                _ => f64::NAN,
            },
            Number::Negate(a) => -a.at(sources, row),
            Number::Arithmetic(operation, a, b) => {
                let (a, b) = (a.at(sources, row), b.at(sources, row));
                match operation {
                    Arithmetic::Add => a + b,
                    Arithmetic::Subtract => a - b,
                    Arithmetic::Multiply => a * b,
                    Arithmetic::Divide => a / b,
                }
            }
        };
        if value.is_finite() { value } else { f64::NAN }
    }
}

impl Text {
    fn at<'a>(&'a self, sources: &'a [Loaded<'_>], row: usize) -> Option<&'a str> {
        match self {
            Text::Constant(text) => Some(text),
            Text::Source(source) => match &sources[*source] {
                Loaded::CarriedTexts(texts) if texts.is_valid(row) => Some(texts.value(row)),
                _ => None,
            },
        }
    }
}

impl Test {
    fn at(&self, sources: &[Loaded<'_>], row: usize) -> Option<bool> {
        match self {
            Test::Constant(flag) => Some(*flag),
            Test::Source(source) => match &sources[*source] {
                Loaded::Flags(flags) => Some(flags[row]),
                Loaded::CarriedFlags(flags) => flags.is_valid(row).then(|| flags.value(row)),
                _ => None,
            },
            Test::Not(a) => a.at(sources, row).map(|a| !a),
            Test::And(a, b) => match (a.at(sources, row), b.at(sources, row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Test::Or(a, b) => match (a.at(sources, row), b.at(sources, row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Test::Numbers(comparison, a, b) => compare(*comparison, &a.at(sources, row), &b.at(sources, row)),
            Test::Texts(comparison, a, b) => compare(*comparison, a.at(sources, row)?, b.at(sources, row)?),
            Test::Flags(comparison, a, b) => compare(*comparison, &a.at(sources, row)?, &b.at(sources, row)?),
            Test::NumberIsNull(a, wanted) => Some(a.at(sources, row).is_nan() == *wanted),
            Test::TextIsNull(a, wanted) => Some(a.at(sources, row).is_none() == *wanted),
            Test::FlagIsNull(a, wanted) => Some(a.at(sources, row).is_none() == *wanted),
        }
    }
}

fn compare<T: PartialOrd + ?Sized>(comparison: Comparison, a: &T, b: &T) -> Option<bool> {
    let order = a.partial_cmp(b)?;
    Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

struct Filter {
    test: Test,
    sources: Vec<Source>,
    keep: Vec<bool>,
}

impl Stage for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn process(&mut self, batch: &mut Batch, _state: &mut State<'_>) -> crate::Result<()> {
        let loaded: crate::Result<Vec<_>> =
            self.sources.iter().map(|source| load(source, &batch.columns[source.column].values)).collect();
        let loaded = loaded?;
        self.keep.clear();
        self.keep.extend((0..batch.rows()).map(|row| self.test.at(&loaded, row) == Some(true)));
        drop(loaded);
        batch.keep(&self.keep);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::config::At;
    use crate::record::Role;
    use crate::stage::testing::{self, Table};

    fn config(predicate: &str) -> config::Filter {
        config::Filter { predicate: At::default_value(predicate.to_owned()) }
    }

    /// Columns: value 0..6 with a NaN at 3 and infinity at 4; kind a, b, null, a, b, c; flag; count 10.. with a null at 1.
    fn input() -> (Layout, Batch) {
        let mut table = Table::new(&["value"]);
        for (row, value) in [0.0, 1.0, 2.0, f64::NAN, f64::INFINITY, 5.0].into_iter().enumerate() {
            table.push(0, row as i64, &[value]);
        }
        let (mut layout, mut batch) = (table.layout(), table.batch());
        let kinds: DictionaryArray<Int32Type> =
            [Some("a"), Some("b"), None, Some("a"), Some("b"), Some("c")].into_iter().collect();
        let counts = Int64Array::from(vec![Some(10), None, Some(12), Some(13), Some(14), Some(15)]);
        let open = BooleanArray::from(vec![Some(true), None, Some(false), Some(true), Some(true), Some(true)]);
        for (name, array) in
            [("kind", Arc::new(kinds) as ArrayRef), ("count", Arc::new(counts)), ("open", Arc::new(open))]
        {
            layout.add(name, Kind::Carried(array.data_type().clone()), Role::Field);
            batch.columns.push(Values::Carried(array).into());
        }
        layout.add("flag", Kind::Flag, Role::Output);
        batch.columns.push(Values::Flag(vec![true, false, true, false, true, false]).into());
        (layout, batch)
    }

    fn kept(predicate: &str) -> Vec<i64> {
        let (mut layout, batch) = input();
        let mut problems = Problems::new("p.yaml");
        let stage = plan(&config(predicate), &mut layout, &mut problems);
        problems.finish(()).unwrap();
        testing::run(&mut [stage.unwrap()], &batch, &[1, 4]).times
    }

    #[test]
    fn keeps_the_rows_that_are_true() {
        for (predicate, expected) in [
            ("value >= 1", &[1, 2, 5][..]),
            ("not value >= 1", &[0]),
            ("value is null", &[3, 4]),
            ("value is not null and value * 2 - 1 < 3", &[0, 1]),
            ("value > 0 and (kind = 'b' or not flag)", &[1, 5]),
            ("kind <> 'a'", &[1, 4, 5]),
            ("kind is null or kind > 'b'", &[2, 5]),
            ("count > 12", &[3, 4, 5]),
            ("not count > 12", &[0, 2]),
            ("1 / value > 0", &[1, 2, 5]),
            ("1 / value is null", &[0, 3, 4]),
            ("open", &[0, 3, 4, 5]),
            ("open is null or open = false", &[1, 2]),
            ("open <> flag", &[2, 3, 5]),
            ("value > 100 or true", &[0, 1, 2, 3, 4, 5]),
            ("value > 100 or value is not null and value = -(-2)", &[2]),
            // null or true, null and false
            ("value > 0 or kind = 'a'", &[0, 1, 2, 3, 5]),
            ("not (value > 0 and kind = 'b')", &[0, 3, 5]),
        ] {
            assert_eq!(kept(predicate), expected, "{predicate}");
        }
    }

    #[test]
    fn types_and_names_are_checked_before_the_start() {
        for (predicate, part) in [
            ("value > 'a'", "character 9: a number can't be compared with text"),
            ("value + 1", "character 1: expected true or false, found a number"),
            ("-kind = 'a'", "character 2: expected a number, found text"),
            ("valeu > 1", "did you mean \"value\"?"),
            ("value > 1 and kind", "character 15: expected true or false, found text"),
        ] {
            let (mut layout, _) = input();
            let mut problems = Problems::new("p.yaml");
            assert!(plan(&config(predicate), &mut layout, &mut problems).is_none());
            let text = problems.finish(()).unwrap_err().to_string();
            assert!(text.contains(part), "{predicate}: {text}");
        }
    }

    #[test]
    fn bits_do_not_depend_on_batches_or_interleaving() {
        testing::laws(&["value", "other"], 64, |layout, problems| {
            plan(&config("value > other or value = 0"), layout, problems).into_iter().collect()
        });
    }
}
