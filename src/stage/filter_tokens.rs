//! The words of the language of `filter`: numbers, text, dates, names and symbols. Its grammar is in
//! [`super::filter_parse`].

/// Tokens of an expression at most, and so the depth of its tree.
const MOST_TOKENS: usize = 500;

/// Whole numbers below it are f64 without rounding.
const EXACT: i128 = 1 << 53;

/// What is wrong with an expression, at a character of it, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The character, from 1.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A keyword or a column.
    Word(String),
    /// A column in double quotes.
    Quoted(String),
    Text(String),
    Moment(String),
    Number(f64),
    /// A whole number that f64 may not have.
    Whole(i128),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 15] = ["==", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", "+", "-", "*", "/", ","];
pub(super) const KEYWORDS: [&str; 7] = ["and", "or", "not", "is", "null", "true", "false"];

/// A token for messages.
pub(super) fn show(token: &Token) -> String {
    match token {
        Token::Word(word) | Token::Quoted(word) => format!("\"{word}\""),
        Token::Text(text) => format!("'{text}'"),
        Token::Moment(text) => text.clone(),
        Token::Number(number) => number.to_string(),
        Token::Whole(number) => number.to_string(),
        Token::Symbol(symbol) => format!("\"{symbol}\""),
    }
}

/// The tokens of an expression, each with the character that it begins at.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Failure> {
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
        } else if let Some(end) = moment(&chars, at) {
            at = end;
            Token::Moment(chars[start..end].iter().collect())
        } else if first.is_ascii_digit() || (first == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit)) {
            while at < chars.len() && is_number(&chars, start, at) {
                at += 1;
            }
            let digits: String = chars[start..at].iter().collect();
            let number: f64 = digits.parse().map_err(|_| failure(format!("{digits} is not a number")))?;
            if !number.is_finite() {
                return Err(failure(format!("{digits} is beyond the range of numbers")));
            }
            match digits.parse::<i128>() {
                Ok(whole) if whole >= EXACT => Token::Whole(whole),
                _ => Token::Number(number),
            }
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

/// The end of a date or a time that begins here and isn't in quotes: `2014-01-31`, `2014-01-31T12:00:00+02:00`. What is
/// wrong with it is found where it is compared.
fn moment(chars: &[char], start: usize) -> Option<usize> {
    let date = chars.get(start..start + 10)?;
    let is_date =
        date.iter().enumerate().all(|(at, c)| if at == 4 || at == 7 { *c == '-' } else { c.is_ascii_digit() });
    let follows = |at: usize, wanted: fn(char) -> bool| chars.get(at).copied().is_some_and(wanted);
    let mut end = start + 10;
    // A space may replace the T.
    let is_time = chars
        .get(end..end + 4)
        .is_some_and(|time| time[0] == ' ' && time[1].is_ascii_digit() && time[2].is_ascii_digit() && time[3] == ':');
    if is_time || follows(end, |c| matches!(c, 'T' | 't')) {
        end += 1;
        while follows(end, |c| c.is_ascii_digit() || matches!(c, ':' | '.')) {
            end += 1;
        }
        if follows(end, |c| matches!(c, 'Z' | 'z')) {
            end += 1;
        } else if follows(end, |c| matches!(c, '+' | '-')) && follows(end + 1, |c| c.is_ascii_digit()) {
            end += 1;
            while follows(end, |c| c.is_ascii_digit() || c == ':') {
                end += 1;
            }
        }
    }
    (is_date && !follows(end, |c| c.is_alphanumeric() || matches!(c, '_' | '.'))).then_some(end)
}

fn is_number(chars: &[char], start: usize, at: usize) -> bool {
    let exponent = |at: usize| at > start && matches!(chars[at], 'e' | 'E');
    chars[at].is_ascii_digit()
        || chars[at] == '.'
        || exponent(at)
        || (matches!(chars[at], '+' | '-') && exponent(at - 1))
}
