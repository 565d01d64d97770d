//! `filter: { where: "value > 0 and kind = 'a'" }`: keeps the rows for which the expression is true.
//!
//! Logic has three values, as in SQL: comparing with null is neither true nor false, and only true keeps a row. A
//! number that isn't finite is null, also a computed one (`1 / 0`). Columns may be numbers, flags, and passthrough
//! columns of the source carries along as numbers, booleans, text, times or dates; whole numbers that f64 may not have
//! are compared as they are, all others as f64. The key is text, or what its column holds. Times are compared with one
//! another, and with a date or a time in words; a time that only counts is a number. Names that aren't plain words are
//! in double quotes, text in single ones. Without state. The grammar is in [`super::filter_parse`].

use arrow::datatypes::DataType;
use serde_json::{Value, json};

use super::filter_eval::{From, Number, Operand, Test, Text, Time, Type, Whole, load};
use super::filter_parse::{self, Comparison, Expr, ExprKind};
use super::filter_tokens::Failure;
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
        let (test, sources) = compiled(self, layout, problems)?;
        Some(Box::new(Filter { test, sources, keep: Vec::new() }))
    }
}

/// The expression on the columns of a layout, and what it reads.
pub(super) fn compiled(
    filter: &config::Filter,
    layout: &Layout,
    problems: &mut Problems,
) -> Option<(Test, Vec<Operand>)> {
    let mut compiler = Compiler { layout, sources: Vec::new() };
    match filter_parse::parse(&filter.predicate).and_then(|expr| compiler.test(&expr)) {
        Ok(test) => Some((test, compiler.sources)),
        Err(Failure { at, message }) => {
            problems.add(filter.predicate.place, format!("where, character {at}: {message}"));
            None
        }
    }
}

enum Typed {
    Number(Number),
    Text(Text),
    /// With the clock whose ticks it has.
    Time(Time, Clock),
    /// A date or a time in words, without quotes.
    Moment(String),
    Test(Test),
}

impl Typed {
    fn kind(&self) -> Type {
        match self {
            Typed::Number(_) => Type::Number,
            Typed::Text(_) => Type::Text,
            Typed::Time(..) => Type::Time,
            Typed::Moment(_) => Type::Moment,
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
            ExprKind::Whole(number) => Typed::Number(Number::Constant(*number as f64)),
            ExprKind::Text(text) => Typed::Text(Text::Constant(text.clone())),
            ExprKind::Moment(text) => Typed::Moment(text.clone()),
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
                Typed::Time(a, _) => Test::TimeIsNull(a, *wanted),
                Typed::Moment(_) => Test::Constant(!*wanted),
                Typed::Test(a) => Test::FlagIsNull(Box::new(a), *wanted),
            }),
            ExprKind::Compare(comparison, a, b) if let Some((a, b)) = self.wholes(a, b) => {
                Typed::Test(Test::Wholes(*comparison, a, b))
            }
            ExprKind::Compare(comparison, a, b) => Typed::Test(match (self.typed(a)?, self.typed(b)?) {
                (Typed::Number(a), Typed::Number(b)) => Test::Numbers(*comparison, a, b),
                (Typed::Text(a), Typed::Text(b)) => {
                    let a = self.as_key(a, &b);
                    let b = self.as_key(b, &a);
                    Test::Texts(*comparison, a, b)
                }
                (Typed::Time(a, clock), Typed::Time(b, other)) => match (clock.nanos_per_tick, other.nanos_per_tick) {
                    (Some(tick), Some(other)) if tick != other => Test::Instants(*comparison, (a, tick), (b, other)),
                    _ => Test::Times(*comparison, a, b),
                },
                (Typed::Time(time, clock), Typed::Text(Text::Constant(text)) | Typed::Moment(text)) => {
                    moment(*comparison, time, &clock, &text).map_err(|message| Failure { at: b.at, message })?
                }
                (Typed::Text(Text::Constant(text)) | Typed::Moment(text), Typed::Time(time, clock)) => {
                    moment(comparison.turned(), time, &clock, &text).map_err(|message| Failure { at: a.at, message })?
                }
                (Typed::Test(a), Typed::Test(b)) => Test::Flags(*comparison, Box::new(a), Box::new(b)),
                (left, right) => {
                    let (left, right) = (left.kind(), right.kind());
                    let hint = match (left, right) {
                        (Type::Moment, Type::Text) | (Type::Text, Type::Moment) => ": as text it is in single quotes",
                        (Type::Moment, Type::Number) | (Type::Number, Type::Moment) => {
                            ": differences are written with spaces, such as 2014 - 1"
                        }
                        (Type::Time, _) | (_, Type::Time) => ": write a date or a time, such as 2014-01-31",
                        _ => "",
                    };
                    let message = format!("{} can't be compared with {}{hint}", left.word(), right.word());
                    return Err(Failure { at: b.at, message });
                }
            }),
        })
    }

    /// Two sides that are compared as the whole numbers they are, since f64 may not have them.
    fn wholes(&mut self, a: &Expr, b: &Expr) -> Option<(Whole, Whole)> {
        fn constant(expr: &Expr) -> Option<i128> {
            match &expr.kind {
                ExprKind::Whole(number) => Some(*number),
                ExprKind::Negate(inner) => constant(inner).map(|number| -number),
                _ => None,
            }
        }
        let of = |expr: &Expr| match &expr.kind {
            ExprKind::Column(name) => self.whole(name).map(Err),
            _ => constant(expr).map(Ok),
        };
        let (a, b) = (of(a)?, of(b)?);
        let mut side = |side| match side {
            Ok(number) => Whole::Constant(number),
            Err(from) => Whole::Source(self.operand(from, Type::Whole)),
        };
        Some((side(a), side(b)))
    }

    /// Where a column of whole numbers is.
    fn whole(&self, name: &str) -> Option<From> {
        let layout = self.layout;
        match layout.find(name) {
            Some(column) => match &layout.columns[column].kind {
                Kind::Integer => Some(From::Column(column)),
                Kind::Passthrough(data_type) if data_type.is_integer() => Some(From::Column(column)),
                _ => None,
            },
            None if name == layout.time_name => None,
            None if name == layout.key_name && !layout.is_one_series => {
                matches!(layout.key_type, KeyType::Integer(_)).then_some(From::Key)
            }
            None => None,
        }
    }

    /// Text that is compared with a key in hexadecimal digits has no upper case.
    fn as_key(&self, text: Text, with: &Text) -> Text {
        let is_key = |text: &Text| matches!(text, Text::Source(at) if self.sources[*at].from == From::Key);
        let is_hex = matches!(self.layout.key_type, KeyType::Uuid | KeyType::Binary(_));
        match text {
            Text::Constant(text) if is_hex && is_key(with) => Text::Constant(text.to_lowercase()),
            text => text,
        }
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
        let layout = self.layout;
        let time = match layout.clock.nanos_per_tick {
            Some(_) => Of::Time(layout.clock.clone()),
            None => Of::Plain(Type::Number),
        };
        let Some(column) = layout.find(name) else {
            return match name {
                name if name == layout.time_name => Ok(self.source(From::Time, time)),
                name if name == layout.key_name && !layout.is_one_series => {
                    let of = match layout.key_type {
                        KeyType::Utf8 | KeyType::Uuid | KeyType::Binary(_) => Of::Plain(Type::Text),
                        KeyType::Integer(_) | KeyType::Decimal(_) => Of::Plain(Type::Number),
                        KeyType::Boolean => Of::Plain(Type::Flag),
                        KeyType::Date => Of::Time(date_clock().map_err(|message| Failure { at, message })?),
                    };
                    Ok(self.source(From::Key, of))
                }
                name => Err(Failure { at, message: layout.unknown(name) }),
            };
        };
        let kind = match &layout.columns[column].kind {
            Kind::Time => time,
            Kind::Number | Kind::Vector(1) | Kind::Integer => Of::Plain(Type::Number),
            Kind::Flag | Kind::Passthrough(DataType::Boolean) => Of::Plain(Type::Flag),
            Kind::Passthrough(data_type) if data_type.is_numeric() => Of::Plain(Type::Number),
            Kind::Passthrough(data_type) if is_text(data_type) => Of::Plain(Type::Text),
            Kind::Passthrough(data_type) if let Some(clock) = clock_of(data_type) => Of::Time(clock),
            other => {
                let message =
                    format!("column \"{name}\" is neither a number nor text nor a time nor true or false: {other:?}");
                return Err(Failure { at, message });
            }
        };
        Ok(self.source(From::Column(column), kind))
    }

    fn operand(&mut self, from: From, kind: Type) -> usize {
        let known = self.sources.iter().position(|source| source.from == from && source.kind == kind);
        known.unwrap_or_else(|| {
            self.sources.push(Operand { from, kind });
            self.sources.len() - 1
        })
    }

    fn source(&mut self, from: From, of: Of) -> Typed {
        let kind = match &of {
            Of::Plain(kind) => *kind,
            Of::Time(_) => Type::Time,
        };
        let source = self.operand(from, kind);
        match (of, kind) {
            (Of::Time(clock), _) => Typed::Time(Time::Source(source), clock),
            (Of::Plain(_), Type::Text) => Typed::Text(Text::Source(source)),
            (Of::Plain(_), Type::Flag) => Typed::Test(Test::Source(source)),
            (Of::Plain(_), _) => Typed::Number(Number::Source(source)),
        }
    }
}

/// What a source is; a time has a clock.
enum Of {
    Plain(Type),
    Time(Clock),
}

/// The clock of a timestamp or a date; its zone doesn't matter where instants are compared.
pub(super) fn clock_of(data_type: &DataType) -> Option<Clock> {
    match data_type {
        DataType::Dictionary(_, values) => clock_of(values),
        DataType::Timestamp(unit, _) => Clock::of(&DataType::Timestamp(*unit, None), None).ok(),
        DataType::Date32 | DataType::Date64 => Clock::of(data_type, None).ok(),
        _ => None,
    }
}

/// The clock of keys that are dates.
fn date_clock() -> Result<Clock, String> {
    Clock::of(&DataType::Date32, None)
}

/// Compares a time with a moment in words, which may lie between two ticks.
fn moment(comparison: Comparison, time: Time, clock: &Clock, text: &str) -> Result<Test, String> {
    let moment = Moment::parse(text)?;
    // The first tick that is not before the moment.
    let ticks = clock.moment(moment)?;
    let is_exact = match moment {
        Moment::Instant(at) => clock.utc(ticks) == Some(at),
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
