//! `filter: { where: "value > 0 and kind = 'a'" }`: keeps the rows for which the expression is true.
//!
//! Logic has three values, as in SQL: comparing with null is neither true nor false, and only true keeps a row. A
//! number that isn't finite is null, also a computed one (`1 / 0`). Columns may be numbers, flags, and passthrough
//! columns of the source carries along as numbers, booleans or text; integers are compared as f64. The key is text, or
//! a number where its column holds integers; the time is compared with a date or a time in quotes, or with a number
//! where it only counts. Names that aren't plain words are in double quotes, text in single ones. Without state. The
//! grammar is in [`super::filter_parse`].

use arrow::datatypes::DataType;
use serde_json::{Value, json};

use super::filter_eval::{From, Number, Operand, Test, Text, Time, Type, load};
use super::filter_parse::{self, Comparison, Expr, ExprKind, Failure};
use super::{Build, Operator, Stage};
use crate::config::{self, At, Moment};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, KeyType, Kind, Layout};
use crate::state::State;

impl Operator for config::Filter {
    fn word(&self) -> &'static str {
        "filter"
    }

    fn reads(&self) -> Vec<At<String>> {
        let place = self.predicate.place;
        filter_parse::columns(&self.predicate).into_iter().map(|value| At { value, place }).collect()
    }

    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        Some(json!({ "filter": { "where": self.predicate.trim() } }))
    }

    /// Plans the expression on the columns there are.
    fn plan(&self, _place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let mut compiler = Compiler { layout, sources: Vec::new() };
        let compiled = filter_parse::parse(&self.predicate).and_then(|expr| compiler.test(&expr));
        match compiled {
            Ok(test) => Some(Box::new(Filter { test, sources: compiler.sources, keep: Vec::new() })),
            Err(Failure { at, message }) => {
                problems.add(self.predicate.place, format!("where, character {at}: {message}"));
                None
            }
        }
    }
}

enum Typed {
    Number(Number),
    Text(Text),
    Time(Time),
    Test(Test),
}

impl Typed {
    fn kind(&self) -> Type {
        match self {
            Typed::Number(_) => Type::Number,
            Typed::Text(_) => Type::Text,
            Typed::Time(_) => Type::Time,
            Typed::Test(_) => Type::Flag,
        }
    }
}

struct Compiler<'a> {
    layout: &'a Layout,
    sources: Vec<Operand>,
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
                Typed::Time(a) => Test::TimeIsNull(a, *wanted),
                Typed::Test(a) => Test::FlagIsNull(Box::new(a), *wanted),
            }),
            ExprKind::Compare(comparison, a, b) => Typed::Test(match (self.typed(a)?, self.typed(b)?) {
                (Typed::Number(a), Typed::Number(b)) => Test::Numbers(*comparison, a, b),
                (Typed::Text(a), Typed::Text(b)) => Test::Texts(*comparison, a, b),
                (Typed::Time(a), Typed::Time(b)) => Test::Times(*comparison, a, b),
                (Typed::Time(time), Typed::Text(Text::Constant(text))) => {
                    self.moment(*comparison, time, &text).map_err(|message| Failure { at: b.at, message })?
                }
                (Typed::Text(Text::Constant(text)), Typed::Time(time)) => {
                    self.moment(comparison.turned(), time, &text).map_err(|message| Failure { at: a.at, message })?
                }
                (Typed::Test(a), Typed::Test(b)) => Test::Flags(*comparison, Box::new(a), Box::new(b)),
                (left, right) => {
                    let (left, right) = (left.kind(), right.kind());
                    let hint = if [left, right].contains(&Type::Time) {
                        ": write a date or a time in single quotes, such as '2014-01-31'"
                    } else {
                        ""
                    };
                    let message = format!("{} can't be compared with {}{hint}", left.word(), right.word());
                    return Err(Failure { at: b.at, message });
                }
            }),
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

    /// Compares a time with a moment in words, which may lie between two ticks.
    fn moment(&self, comparison: Comparison, time: Time, text: &str) -> Result<Test, String> {
        let moment = Moment::parse(text)?;
        // The first tick that is not before the moment.
        let ticks = self.layout.clock.moment(moment)?;
        let is_exact = match moment {
            Moment::Instant(at) => self.layout.clock.utc(ticks) == Some(at),
            Moment::Step(_) => true,
        };
        let than = |comparison| Test::Times(comparison, time.clone(), Time::Constant(ticks));
        let (before, after) = (Comparison::Less, Comparison::GreaterOrEqual);
        Ok(match comparison {
            exact if is_exact => than(exact),
            Comparison::Less | Comparison::LessOrEqual => than(before),
            Comparison::Greater | Comparison::GreaterOrEqual => than(after),
            Comparison::Equal => Test::And(Box::new(than(before)), Box::new(than(after))),
            Comparison::NotEqual => Test::Or(Box::new(than(before)), Box::new(than(after))),
        })
    }

    fn column(&mut self, name: &str, at: usize) -> Result<Typed, Failure> {
        let layout = self.layout;
        let time = if layout.clock.nanos_per_tick.is_some() { Type::Time } else { Type::Number };
        let Some(column) = layout.find(name) else {
            return match name {
                name if name == layout.time_name => Ok(self.source(From::Time, time)),
                name if name == layout.key_name && !layout.is_one_series => Ok(match layout.key_type {
                    KeyType::Utf8 => self.source(From::Key, Type::Text),
                    KeyType::Uuid | KeyType::Binary(_) => self.source(From::Key, Type::Text),
                    KeyType::Integer(_) | KeyType::Decimal(_) => self.source(From::Key, Type::Number),
                    KeyType::Boolean => self.source(From::Key, Type::Flag),
                    KeyType::Date => self.source(From::Key, Type::Time),
                }),
                name => Err(Failure { at, message: layout.unknown(name) }),
            };
        };
        let kind = match &layout.columns[column].kind {
            Kind::Time => time,
            Kind::Number | Kind::Vector(1) | Kind::Integer => Type::Number,
            Kind::Flag | Kind::Passthrough(DataType::Boolean) => Type::Flag,
            Kind::Passthrough(data_type) if data_type.is_numeric() => Type::Number,
            Kind::Passthrough(data_type) if is_text(data_type) => Type::Text,
            other => {
                let message = format!("column \"{name}\" is neither a number nor text nor true or false: {other:?}");
                return Err(Failure { at, message });
            }
        };
        Ok(self.source(From::Column(column), kind))
    }

    fn source(&mut self, from: From, kind: Type) -> Typed {
        let known = self.sources.iter().position(|source| source.from == from);
        let source = known.unwrap_or_else(|| {
            self.sources.push(Operand { from, kind });
            self.sources.len() - 1
        });
        match kind {
            Type::Number => Typed::Number(Number::Source(source)),
            Type::Text => Typed::Text(Text::Source(source)),
            Type::Time => Typed::Time(Time::Source(source)),
            Type::Flag => Typed::Test(Test::Source(source)),
        }
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

#[derive(Clone)]
struct Filter {
    test: Test,
    sources: Vec<Operand>,
    keep: Vec<bool>,
}

impl Stage for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> crate::Result<()> {
        let loaded: crate::Result<Vec<_>> = self.sources.iter().map(|source| load(source, batch, state.keys)).collect();
        let loaded = loaded?;
        self.keep.clear();
        self.keep.extend((0..batch.rows()).map(|row| self.test.at(&loaded, row) == Some(true)));
        drop(loaded);
        batch.keep(&self.keep);
        Ok(())
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
