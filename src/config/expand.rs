//! `${NAME}` and `${NAME:-default}` in values, from the environment.

use std::env::VarError;
use std::rc::Rc;

use super::yaml::{Fault, Kind, Node, Scalar};
use super::{is_secret, one_line, remember};
use crate::problem::Place;

/// Maximum number of characters of all expanded values.
const MAX_EXPANDED: usize = 1 << 20;

/// Looks up a variable, as [`std::env::var`] does.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// Expands values and collects their faults.
pub(super) struct Expander<'a> {
    lookup: Lookup<'a>,
    left: usize,
    pub faults: Vec<Fault>,
}

impl<'a> Expander<'a> {
    /// Nothing expanded so far; `lookup` gives the value of a variable.
    pub fn new(lookup: Lookup<'a>) -> Self {
        Expander { lookup, left: MAX_EXPANDED, faults: Vec::new() }
    }

    /// Expands one value. Where something is wrong, the value stays as written and is marked as broken.
    pub fn expand(&mut self, scalar: &mut Scalar, place: Place) {
        if !scalar.text.contains("${") {
            return;
        }
        let before = self.faults.len();
        self.expand_text(scalar, place);
        scalar.broken = self.faults.len() > before;
    }

    /// Expands every value of a tree; the names of fields stay as they are.
    pub fn expand_all(&mut self, node: &mut Node) {
        match &mut node.kind {
            Kind::Scalar(scalar) => self.expand(scalar, node.place),
            Kind::List(items) => Rc::make_mut(items).iter_mut().for_each(|item| self.expand_all(item)),
            Kind::Map(pairs) => Rc::make_mut(pairs).iter_mut().for_each(|(_, value)| self.expand_all(value)),
        }
    }

    fn expand_text(&mut self, scalar: &mut Scalar, place: Place) {
        let mut out = String::new();
        let (mut expanded, mut secret) = (false, false);
        let mut rest = scalar.text.as_str();
        while let Some(start) = rest.find('$') {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            if let Some(after) = rest.strip_prefix("$${") {
                out.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let Some((inside, after)) = after.split_once('}') else {
                    self.fault(place, "`${` is not closed: write ${NAME} or ${NAME:-default}, and $${ for the text ${");
                    return;
                };
                rest = after;
                match self.value(inside) {
                    Ok((value, is_secret)) => {
                        out.push_str(&value);
                        secret |= is_secret;
                    }
                    Err(message) => {
                        self.fault(place, message);
                        continue;
                    }
                }
                expanded = true;
                if out.len() > self.left {
                    self.fault(place, format!("expanded values are longer than {MAX_EXPANDED} characters together"));
                    return;
                }
            } else {
                out.push('$');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        self.left = self.left.saturating_sub(out.len());
        let written = std::mem::replace(&mut scalar.text, out);
        if expanded {
            scalar.written = Some(written);
            scalar.secret = secret;
        }
    }

    /// The value of a variable, and whether it is a secret.
    fn value(&self, inside: &str) -> Result<(String, bool), String> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid {
            let name = one_line(inside);
            return Err(format!("`${{{name}}}` names no variable: write ${{NAME}} or ${{NAME:-default}}"));
        }
        match ((self.lookup)(name), default) {
            // As in a shell, `:-` also replaces an empty variable.
            (Ok(value), Some(default)) if value.is_empty() => Ok((default.into(), false)),
            (Ok(value), _) => {
                if is_secret(name) {
                    remember(&value);
                }
                Ok((value, is_secret(name)))
            }
            (Err(VarError::NotPresent), Some(default)) => Ok((default.into(), false)),
            (Err(VarError::NotPresent), None) => {
                Err(format!("the variable {name} is not set; set it, or write ${{{name}:-default}}"))
            }
            (Err(VarError::NotUnicode(_)), _) => Err(format!("the variable {name} does not hold UTF-8")),
        }
    }

    fn fault(&mut self, place: Place, message: impl Into<String>) {
        self.faults.push((place, message.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, Vec<String>> {
        let lookup = |name: &str| match name {
            "A" => Ok("1".to_string()),
            "EMPTY" => Ok(String::new()),
            "LONG" => Ok("x".repeat(MAX_EXPANDED / 2)),
            "NESTED" => Ok("${A}".to_string()),
            _ => Err(VarError::NotPresent),
        };
        let mut expander = Expander::new(&lookup);
        let mut scalar = Scalar { text: text.into(), plain: true, written: None, secret: false, broken: false };
        expander.expand(&mut scalar, Place::new(1, 1));
        let faults: Vec<String> = expander.faults.into_iter().map(|(_, message)| message).collect();
        if faults.is_empty() { Ok(scalar.text) } else { Err(faults) }
    }

    #[test]
    fn values_defaults_and_escapes() {
        for (text, expected) in [
            ("a${A}b${A}", "a1b1"),
            ("${NO:-x}", "x"),
            ("${NO:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A 5$ $", "$A 5$ $"),
            ("${NESTED}", "${A}"),
            ("${A:-${x}", "1"),
            ("é${A}é", "é1é"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_for_every_variable() {
        assert_eq!(
            expand("${NO}/${NOR}"),
            Err(vec![
                "the variable NO is not set; set it, or write ${NO:-default}".into(),
                "the variable NOR is not set; set it, or write ${NOR:-default}".into()
            ])
        );
        assert_eq!(
            expand("${A"),
            Err(vec!["`${` is not closed: write ${NAME} or ${NAME:-default}, and $${ for the text ${".into()])
        );
        assert_eq!(expand("${a-b}"), Err(vec!["`${a-b}` names no variable: write ${NAME} or ${NAME:-default}".into()]));
        assert_eq!(
            expand("${LONG}${LONG}${LONG}"),
            Err(vec![format!("expanded values are longer than {MAX_EXPANDED} characters together")])
        );
    }
}
