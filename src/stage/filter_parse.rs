//! The language of `filter`, as text: tokens and the tree they make. What a name means is decided in
//! [`super::filter`].
//!
//! ```text
//! or         = and { "or" and }
//! and        = not { "and" not }
//! not        = "not" not | comparison
//! comparison = sum [ ( "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) sum | "is" [ "not" ] "null"
//!                   | [ "not" ] "in" "(" sum { "," sum } ")" | [ "not" ] "between" sum "and" sum ]
//! sum        = product { ( "+" | "-" ) product }
//! product    = sign { ( "*" | "/" ) sign }
//! sign       = "-" sign | number | 2014-01-31 | 'text' | column | "column" | "true" | "false" | "(" or ")"
//! ```

use super::filter_tokens::{Failure, KEYWORDS, Token, show, tokens};

/// A node of the tree and the character it begins at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expr {
    /// The character, from 1.
    pub at: usize,
    /// What it is.
    pub kind: ExprKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ExprKind {
    Column(String),
    Number(f64),
    /// A whole number that f64 may not have.
    Whole(i128),
    Text(String),
    /// A date or a time that is written without quotes.
    Moment(String),
    Flag(bool),
    Negate(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// The value, and whether it is asked to be null or not to be.
    IsNull(Box<Expr>, bool),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The same with its sides changed.
    pub fn turned(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// The tree of an expression.
pub(super) fn parse(text: &str) -> Result<Expr, Failure> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.chars().count() + 1 };
    let expr = parser.or()?;
    match parser.tokens.get(parser.next) {
        None => Ok(expr),
        Some((at, token)) => {
            let hint = match token {
                Token::Symbol("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") => {
                    ": a comparison has two sides, join two of them by and"
                }
                _ => ": expected and, or, or the end",
            };
            Err(Failure { at: *at, message: format!("unexpected {}{hint}", show(token)) })
        }
    }
}

/// The columns that an expression names; what can't be read is passed over.
pub(super) fn columns(text: &str) -> Vec<String> {
    if let Ok(expr) = parse(text) {
        let mut names = Vec::new();
        expr.names(&mut names);
        return names;
    }
    let is_keyword = |word: &str| KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword));
    let named = tokens(text).unwrap_or_default().into_iter().filter_map(|(_, token)| match token {
        Token::Word(name) if !is_keyword(&name) => Some(name),
        Token::Quoted(name) => Some(name),
        _ => None,
    });
    named.collect()
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    /// The position after the last character.
    end: usize,
}

impl Parser {
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn symbol(&mut self, symbols: &[&'static str]) -> Option<&'static str> {
        match self.tokens.get(self.next) {
            Some((_, Token::Symbol(symbol))) if symbols.contains(symbol) => {
                self.next += 1;
                Some(symbol)
            }
            _ => None,
        }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found =
            matches!(self.tokens.get(self.next), Some((_, Token::Word(word))) if word.eq_ignore_ascii_case(keyword));
        self.next += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<Expr, Failure> {
        let mut left = self.and()?;
        while self.keyword("or") {
            let right = self.and()?;
            left = Expr { at: left.at, kind: ExprKind::Or(Box::new(left), Box::new(right)) };
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Failure> {
        let mut left = self.not()?;
        while self.keyword("and") {
            let right = self.not()?;
            left = Expr { at: left.at, kind: ExprKind::And(Box::new(left), Box::new(right)) };
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Failure> {
        let at = self.at();
        if self.keyword("not") {
            return Ok(Expr { at, kind: ExprKind::Not(Box::new(self.not()?)) });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Failure> {
        let left = self.sum()?;
        let at = left.at;
        if self.keyword("is") {
            let wanted = !self.keyword("not");
            if !self.keyword("null") {
                return Err(Failure { at: self.at(), message: "expected null after is".into() });
            }
            return Ok(Expr { at, kind: ExprKind::IsNull(Box::new(left), wanted) });
        }
        let rest = self.next;
        let negated = self.keyword("not");
        if self.keyword("in") {
            return Ok(not_if(negated, self.one_of(left)?));
        }
        if self.keyword("between") {
            return Ok(not_if(negated, self.between(left)?));
        }
        self.next = rest;
        let comparison = match self.symbol(&["=", "==", "!=", "<>", "<", "<=", ">", ">="]) {
            Some("=" | "==") => Comparison::Equal,
            Some("!=" | "<>") => Comparison::NotEqual,
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some(">") => Comparison::Greater,
            Some(_) => Comparison::GreaterOrEqual,
            None => return Ok(left),
        };
        let right = self.sum()?;
        Ok(Expr { at, kind: ExprKind::Compare(comparison, Box::new(left), Box::new(right)) })
    }

    /// `in ('a', 'b')`: equal to one of them.
    fn one_of(&mut self, left: Expr) -> Result<Expr, Failure> {
        let expected = |parser: &Parser, what: &str| Failure { at: parser.at(), message: format!("expected {what}") };
        if self.symbol(&["("]).is_none() {
            return Err(expected(self, "\"(\" after in, as in: in ('a', 'b')"));
        }
        let mut any: Option<Expr> = None;
        loop {
            let right = self.sum()?;
            let equal = compare(Comparison::Equal, left.clone(), right);
            any = Some(match any {
                None => equal,
                Some(any) => Expr { at: left.at, kind: ExprKind::Or(Box::new(any), Box::new(equal)) },
            });
            match (self.symbol(&[",", ")"]), any) {
                (Some(","), so_far) => any = so_far,
                (Some(_), Some(any)) => return Ok(any),
                _ => return Err(expected(self, "\",\" or \")\"")),
            }
        }
    }

    /// `between 1 and 2`, both included.
    fn between(&mut self, left: Expr) -> Result<Expr, Failure> {
        let low = self.sum()?;
        if !self.keyword("and") {
            return Err(Failure { at: self.at(), message: "expected and, as in: between 1 and 2".into() });
        }
        let high = self.sum()?;
        let at = left.at;
        let (from, until) = (Comparison::GreaterOrEqual, Comparison::LessOrEqual);
        let (low, high) = (compare(from, left.clone(), low), compare(until, left, high));
        Ok(Expr { at, kind: ExprKind::And(Box::new(low), Box::new(high)) })
    }

    fn sum(&mut self) -> Result<Expr, Failure> {
        let mut left = self.product()?;
        while let Some(symbol) = self.symbol(&["+", "-"]) {
            let operation = if symbol == "+" { Arithmetic::Add } else { Arithmetic::Subtract };
            let right = self.product()?;
            left = Expr { at: left.at, kind: ExprKind::Arithmetic(operation, Box::new(left), Box::new(right)) };
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expr, Failure> {
        let mut left = self.sign()?;
        while let Some(symbol) = self.symbol(&["*", "/"]) {
            let operation = if symbol == "*" { Arithmetic::Multiply } else { Arithmetic::Divide };
            let right = self.sign()?;
            left = Expr { at: left.at, kind: ExprKind::Arithmetic(operation, Box::new(left), Box::new(right)) };
        }
        Ok(left)
    }

    fn sign(&mut self) -> Result<Expr, Failure> {
        let at = self.at();
        if self.symbol(&["-"]).is_some() {
            return Ok(Expr { at, kind: ExprKind::Negate(Box::new(self.sign()?)) });
        }
        if self.symbol(&["("]).is_some() {
            let inside = self.or()?;
            if self.symbol(&[")"]).is_none() {
                return Err(Failure {
                    at: self.at(),
                    message: format!("expected \")\" for the \"(\" at character {at}"),
                });
            }
            return Ok(inside);
        }
        let Some((_, token)) = self.tokens.get(self.next) else {
            return Err(Failure { at, message: "the expression ends where a value was expected".into() });
        };
        let kind = match token {
            Token::Number(number) => ExprKind::Number(*number),
            Token::Whole(number) => ExprKind::Whole(*number),
            Token::Text(text) => ExprKind::Text(text.clone()),
            Token::Moment(text) => ExprKind::Moment(text.clone()),
            Token::Quoted(name) => ExprKind::Column(name.clone()),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" => ExprKind::Flag(true),
                "false" => ExprKind::Flag(false),
                "null" => {
                    let message = "nothing equals null: write \"is null\" or \"is not null\"".into();
                    return Err(Failure { at, message });
                }
                "and" | "or" | "is" | "not" => {
                    return Err(Failure { at, message: format!("expected a value, found {}", show(token)) });
                }
                _ => ExprKind::Column(word.clone()),
            },
            Token::Symbol(_) => {
                return Err(Failure { at, message: format!("expected a value, found {}", show(token)) });
            }
        };
        self.next += 1;
        Ok(Expr { at, kind })
    }
}

impl Expr {
    /// The columns that it names, in order.
    fn names(&self, names: &mut Vec<String>) {
        match &self.kind {
            ExprKind::Column(name) => names.push(name.clone()),
            ExprKind::Number(_) | ExprKind::Whole(_) | ExprKind::Text(_) | ExprKind::Moment(_) | ExprKind::Flag(_) => {}
            ExprKind::Negate(a) | ExprKind::Not(a) | ExprKind::IsNull(a, _) => a.names(names),
            ExprKind::And(a, b) | ExprKind::Or(a, b) | ExprKind::Compare(_, a, b) | ExprKind::Arithmetic(_, a, b) => {
                a.names(names);
                b.names(names);
            }
        }
    }
}

fn compare(comparison: Comparison, a: Expr, b: Expr) -> Expr {
    Expr { at: a.at, kind: ExprKind::Compare(comparison, Box::new(a), Box::new(b)) }
}

fn not_if(negated: bool, expr: Expr) -> Expr {
    if negated { Expr { at: expr.at, kind: ExprKind::Not(Box::new(expr)) } } else { expr }
}

#[cfg(test)]
#[path = "filter_parse_tests.rs"]
mod tests;
