//! The language of `filter`, as text: tokens and the tree they make. What a name means is decided in
//! [`super::filter`].
//!
//! ```text
//! or         = and { "or" and }
//! and        = not { "and" not }
//! not        = "not" not | comparison
//! comparison = sum [ ( "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) sum | "is" [ "not" ] "null" ]
//! sum        = product { ( "+" | "-" ) product }
//! product    = sign { ( "*" | "/" ) sign }
//! sign       = "-" sign | number | 'text' | column | "column" | "true" | "false" | "(" or ")"
//! ```

/// Tokens of an expression at most, and so the depth of its tree.
const MOST_TOKENS: usize = 500;

/// What is wrong with an expression, at a character of it, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The character, from 1.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

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
    Text(String),
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

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A keyword or a column.
    Word(String),
    /// A column in double quotes.
    Quoted(String),
    Text(String),
    Number(f64),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 14] = ["==", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", "+", "-", "*", "/"];
const KEYWORDS: [&str; 7] = ["and", "or", "not", "is", "null", "true", "false"];

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
    let is_keyword = |word: &str| KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword));
    let named = tokens(text).unwrap_or_default().into_iter().filter_map(|(_, token)| match token {
        Token::Word(name) if !is_keyword(&name) => Some(name),
        Token::Quoted(name) => Some(name),
        _ => None,
    });
    named.collect()
}

fn show(token: &Token) -> String {
    match token {
        Token::Word(word) | Token::Quoted(word) => format!("\"{word}\""),
        Token::Text(text) => format!("'{text}'"),
        Token::Number(number) => number.to_string(),
        Token::Symbol(symbol) => format!("\"{symbol}\""),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Failure> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        let first = chars[at];
        if first.is_whitespace() {
            at += 1;
            continue;
        }
        let failure = |message: String| Failure { at: start + 1, message };
        let token = if first == '\'' || first == '"' {
            let inside = quoted(&chars, &mut at)
                .ok_or_else(|| failure(format!("the text that begins with {first} has no end")))?;
            if first == '"' { Token::Quoted(inside) } else { Token::Text(inside) }
        } else if first.is_ascii_digit() || (first == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit)) {
            while at < chars.len() && is_number(&chars, start, at) {
                at += 1;
            }
            let digits: String = chars[start..at].iter().collect();
            let number: f64 = digits.parse().map_err(|_| failure(format!("{digits} is not a number")))?;
            if !number.is_finite() {
                return Err(failure(format!("{digits} is beyond the range of numbers")));
            }
            Token::Number(number)
        } else if first.is_alphabetic() || first == '_' {
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_' || chars[at] == '.') {
                at += 1;
            }
            Token::Word(chars[start..at].iter().collect())
        } else {
            let two: String = chars[at..chars.len().min(at + 2)].iter().collect();
            let symbol = SYMBOLS.into_iter().find(|symbol| two.starts_with(symbol));
            let symbol = symbol.ok_or_else(|| failure(format!("unexpected character {first:?}")))?;
            at += symbol.len();
            Token::Symbol(symbol)
        };
        if tokens.len() == MOST_TOKENS {
            return Err(failure(format!("the expression is too long: more than {MOST_TOKENS} words")));
        }
        tokens.push((start + 1, token));
    }
    Ok(tokens)
}

/// The inside of a quoted text; a doubled quote means one quote.
fn quoted(chars: &[char], at: &mut usize) -> Option<String> {
    let quote = chars[*at];
    let mut inside = String::new();
    loop {
        *at += 1;
        let char = *chars.get(*at)?;
        if char != quote {
            inside.push(char);
            continue;
        }
        *at += 1;
        if chars.get(*at) != Some(&quote) {
            return Some(inside);
        }
        inside.push(quote);
    }
}

fn is_number(chars: &[char], start: usize, at: usize) -> bool {
    let exponent = |at: usize| at > start && matches!(chars[at], 'e' | 'E');
    chars[at].is_ascii_digit()
        || chars[at] == '.'
        || exponent(at)
        || (matches!(chars[at], '+' | '-') && exponent(at - 1))
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
            Token::Text(text) => ExprKind::Text(text.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Column(name) => name.clone(),
            ExprKind::Number(number) => number.to_string(),
            ExprKind::Text(text) => format!("'{text}'"),
            ExprKind::Flag(flag) => flag.to_string(),
            ExprKind::Negate(a) => format!("(-{})", shape(a)),
            ExprKind::Not(a) => format!("(not {})", shape(a)),
            ExprKind::And(a, b) => format!("({} and {})", shape(a), shape(b)),
            ExprKind::Or(a, b) => format!("({} or {})", shape(a), shape(b)),
            ExprKind::IsNull(a, wanted) => format!("({} null={wanted})", shape(a)),
            ExprKind::Compare(op, a, b) => format!("({op:?} {} {})", shape(a), shape(b)),
            ExprKind::Arithmetic(op, a, b) => format!("({op:?} {} {})", shape(a), shape(b)),
        }
    }

    #[test]
    fn precedence_is_that_of_sql() {
        for (text, expected) in [
            ("a or b and not c = 1", "(a or (b and (not (Equal c 1))))"),
            ("a - b - c * -2 > 1e-3", "(Greater (Subtract (Subtract a b) (Multiply c (-2))) 0.001)"),
            ("(a or b) AND x IS NOT NULL", "((a or b) and (x null=false))"),
            ("\"or\" <> 'it''s'", "(NotEqual or 'it's')"),
            ("1-2<.5", "(Less (Subtract 1 2) 0.5)"),
        ] {
            assert_eq!(shape(&parse(text).unwrap()), expected, "{text}");
        }
        assert_eq!(columns("a > 1 and \"b c\" = 'd' or not e.f"), ["a", "b c", "e.f"]);
    }

    #[test]
    fn a_failure_names_the_character() {
        for (text, at, part) in [
            ("value >", 8, "ends"),
            ("value > > 1", 9, "found \">\""),
            ("value ? 1", 7, "unexpected character"),
            ("1 < x < 3", 7, "join two of them by and"),
            ("x = null", 5, "is null"),
            ("(x > 1", 7, "the \"(\" at character 1"),
            ("x = 'abc", 5, "no end"),
            ("x y", 3, "expected and"),
            ("ä > 1.2.3", 5, "not a number"),
            ("x is 3", 6, "expected null"),
            ("", 1, "ends"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.at, at, "{text}: {failure:?}");
            assert!(failure.message.contains(part), "{text}: {failure:?}");
        }
        assert!(parse(&"(".repeat(100_000)).unwrap_err().message.contains("too long"));
        assert!(parse(&format!("{}x{}", "(".repeat(249), ")".repeat(249))).is_ok());
    }
}
