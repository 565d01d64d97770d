//! Typed access to the fields of a section. Whatever is wrong becomes a problem with its place, and reading continues.
//!
//! A method that returns `None` has added a problem, so its caller may continue with any default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use super::fields::{Field, Fields};
use super::include::folder_of;
use super::words::{Plain, Words, found, name_fault, not_yet, plain};
use super::yaml::{Kind, Scalar};
use super::{At, Location, Moment, Span, is_secret, is_signed, one_line, places};
use crate::Result;
use crate::error::Context;
use crate::error::Problems;
use crate::error::did_you_mean;
use crate::zone::{self, Zone};

/// Reads values and collects problems.
pub(super) struct Reader {
    pub problems: Problems,
    /// The user's words for values whose canonical text is another.
    pub written: BTreeMap<String, String>,
    /// That of the pipeline file.
    pub folder: PathBuf,
}

impl Reader {
    /// Reads a file; relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// The working directory cannot be asked for.
    pub fn new(problems: Problems, file: &Path) -> Result<Self> {
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let folder = std::path::absolute(folder).or_refused(|| format!("{}", file.display()))?;
        Ok(Reader { problems, written: BTreeMap::new(), folder })
    }

    /// Adds the problem that a value is not what was expected; nothing if a variable couldn't be expanded.
    pub fn expected<T>(&mut self, field: Field<'_>, what: &str) -> Option<T> {
        if !matches!(&field.node.kind, Kind::Scalar(scalar) if scalar.broken) {
            // What was written in the place of a password may be one.
            let found = match &field.node.kind {
                Kind::Scalar(_) if is_secret(field.name) || matches!(field.name, "auth" | "properties" | "user") => {
                    "a text".to_string()
                }
                _ => found(field.node),
            };
            self.note(field, format_args!("expected {what}, found {found}"));
        }
        None
    }

    /// Notes a problem of a field's value.
    pub fn wrong<T>(&mut self, field: Field<'_>, message: impl std::fmt::Display) -> Option<T> {
        self.note(field, message);
        None
    }

    /// As [`Reader::wrong`], for a caller that continues.
    pub fn note(&mut self, field: Field<'_>, message: impl std::fmt::Display) {
        self.problems.add(field.place(), format_args!("`{}`: {message}", one_line(field.name)));
    }

    /// A mapping whose fields are names that the user chose.
    pub fn names<'a>(&mut self, field: Field<'a>, what: &str) -> Option<Vec<Field<'a>>> {
        let Kind::Map(pairs) = &field.node.kind else { return self.expected(field, what) };
        let mut fields = Vec::new();
        for (key, node) in pairs.iter() {
            match key.text() {
                Some(name) => fields.push(Field { name, name_place: key.place, node }),
                None => self.problems.add(key.place, "expected a name, found a list or a mapping"),
            }
        }
        Some(fields)
    }

    /// A list's values.
    pub fn list<'a>(&mut self, field: Field<'a>, what: &str) -> Option<Vec<Field<'a>>> {
        match &field.node.kind {
            Kind::List(items) => Some(items.iter().map(|item| field.item(item)).collect()),
            Kind::Scalar(_) => self.expected(field, &format!("a list of {what} in brackets")),
            Kind::Map(_) => self.expected(field, &format!("a list of {what}")),
        }
    }

    /// Text that isn't empty.
    pub fn text(&mut self, field: Field<'_>, what: &str) -> Option<At<String>> {
        let Kind::Scalar(scalar) = &field.node.kind else { return self.expected(field, what) };
        if scalar.broken {
            return None;
        }
        let is_text = !scalar.plain || scalar.written.is_some() || matches!(plain(&scalar.text), Plain::Text);
        if !is_text && !field.node.is_null() {
            return self.expected(field, &format!("{what} (a text, in quotes if it is meant)"));
        }
        if scalar.text.is_empty() || !is_text {
            return self.expected(field, what);
        }
        Some(field.at(scalar.text.clone()))
    }

    /// A name that can be the name of a folder.
    pub fn name(&mut self, field: Field<'_>, what: &str) -> Option<At<String>> {
        let name = self.text(field, what)?;
        match name_fault(&name) {
            None => Some(name),
            Some(fault) => self.wrong(field, fault),
        }
    }

    /// Texts, each once.
    pub fn texts(&mut self, field: Field<'_>, what: &str) -> Option<Vec<At<String>>> {
        let mut texts: Vec<At<String>> = Vec::new();
        for item in self.list(field, what)? {
            let Some(text) = self.text(item, what) else { continue };
            if texts.iter().any(|other| other.value == text.value) {
                self.note(item, "this is listed twice");
            } else {
                texts.push(text);
            }
        }
        Some(texts)
    }

    /// As [`Reader::texts`], with at least one.
    pub fn some_texts(&mut self, field: Field<'_>, what: &str) -> Option<Vec<At<String>>> {
        let texts = self.texts(field, what)?;
        self.not_empty(field)?;
        Some(texts)
    }

    /// Notes that a list is empty.
    pub fn not_empty(&mut self, field: Field<'_>) -> Option<()> {
        match &field.node.kind {
            Kind::List(items) if items.is_empty() => self.wrong(field, "the list is empty"),
            _ => Some(()),
        }
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, field: Field<'_>, least: i64, most: i64) -> Option<i64> {
        let what = match (least, most) {
            (0, i64::MAX) => "a whole number".to_string(),
            (least, i64::MAX) => format!("a whole number, at least {least}"),
            (least, most) => format!("a whole number from {least} to {most}"),
        };
        let integer = match self.plain(field, &what)? {
            Plain::Integer(integer) => integer,
            // 1e6 is a whole number too. Beyond 2^53 a float no longer says which.
            #[allow(clippy::cast_possible_truncation)]
            Plain::Float(float) if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 => float as i64,
            _ => return self.expected(field, &what),
        };
        if (least..=most).contains(&integer) { Some(integer) } else { self.expected(field, &what) }
    }

    /// As [`Reader::integer`], for counts.
    pub fn count(&mut self, field: Field<'_>, least: usize, most: usize) -> Option<usize> {
        let bound = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.integer(field, bound(least), bound(most)).and_then(|n| usize::try_from(n).ok())
    }

    /// A finite number for which `fits` holds; `what` says so in words.
    pub fn number(&mut self, field: Field<'_>, what: &str, fits: impl Fn(f64) -> bool) -> Option<f64> {
        let number = match self.plain(field, what)? {
            #[allow(clippy::cast_precision_loss)]
            Plain::Integer(integer) => integer as f64,
            Plain::Float(float) => float,
            _ => return self.expected(field, what),
        };
        if number.is_finite() && fits(number) { Some(number) } else { self.expected(field, what) }
    }

    /// The meaning of an unquoted or expanded scalar.
    fn plain(&mut self, field: Field<'_>, what: &str) -> Option<Plain> {
        match &field.node.kind {
            Kind::Scalar(scalar) if !scalar.broken && (scalar.plain || scalar.written.is_some()) => {
                // What a variable holds may end with a line.
                Some(plain(if scalar.written.is_some() { scalar.text.trim() } else { &scalar.text }))
            }
            _ => self.expected(field, what),
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, field: Field<'_>, words: &[(&'static str, T)], later: &[&str]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let what = format!("one of: {}", names.join(", "));
        let Some(text) = field.node.text() else { return self.expected(field, &what) };
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        if later.contains(&text) || places::LATER.contains(&text) {
            return self.wrong(field, not_yet(text));
        }
        // No suggestion for an expanded value: it may be a secret.
        if !field.node.is_written() {
            return self.expected(field, &what);
        }
        let near = did_you_mean(text, names);
        self.wrong(field, format_args!("expected {what}, found {}{near}", found(field.node)))
    }

    /// A duration; bare integers are steps.
    pub fn span(&mut self, field: Field<'_>, may_be_zero: bool) -> Option<At<Span>> {
        const WHAT: &str = "a duration such as 30m, 6h or 3mo, or a number of steps";
        let Kind::Scalar(scalar) = &field.node.kind else { return self.expected(field, WHAT) };
        if scalar.broken || field.node.is_null() {
            return self.expected(field, WHAT);
        }
        match Span::parse(&scalar.text) {
            Ok(span) if span.is_zero() && !may_be_zero => self.wrong(field, "a duration of zero has no meaning here"),
            Ok(span) => {
                self.remember(scalar, span);
                Some(field.at(span))
            }
            Err(_) if scalar.written.is_some() => self.expected(field, WHAT),
            Err(message) => self.wrong(field, message),
        }
    }

    /// Keeps the words of a value that has another canonical text; those of a variable may be a secret.
    fn remember(&mut self, scalar: &Scalar, value: impl std::fmt::Display) {
        let (canonical, text) = (value.to_string(), scalar.text.trim());
        if scalar.written.is_none() && (canonical != text || text.ends_with('w')) {
            self.written.insert(canonical, text.to_string());
        }
    }

    /// A point in time.
    pub fn moment(&mut self, field: Field<'_>) -> Option<At<Moment>> {
        const WHAT: &str = "a date (2014-01-31), a time (2014-01-31T12:00:00Z) or an integer step";
        let Kind::Scalar(scalar) = &field.node.kind else { return self.expected(field, WHAT) };
        if scalar.broken || field.node.is_null() {
            return self.expected(field, WHAT);
        }
        match Moment::parse(&scalar.text) {
            Ok(moment) => {
                self.remember(scalar, moment);
                Some(field.at(moment))
            }
            Err(_) => self.expected(field, WHAT),
        }
    }

    /// A time zone by its name.
    pub fn timezone(&mut self, field: Field<'_>) -> Option<At<Zone>> {
        let text = self.text(field, "the IANA name of a time zone, such as America/New_York")?;
        match Zone::find(&text) {
            Ok(Some(zone)) => Some(field.at(zone)),
            Err(message) => self.wrong(field, message),
            Ok(None) if !field.node.is_written() => self.expected(field, "a time zone of the IANA list"),
            Ok(None) => {
                let near = did_you_mean(&text, zone::names());
                self.wrong(field, format_args!("\"{}\" is not a time zone of the IANA list{near}", one_line(&text)))
            }
        }
    }

    /// A length of time by the clock on the wall.
    pub fn duration(&mut self, field: Field<'_>) -> Option<Duration> {
        let span = self.span(field, false)?;
        span.value.by_clock().or_else(|| self.expected(field, "a duration such as 30s or 5m"))
    }

    /// The `path` of a section that has nothing else.
    pub fn path_of(&mut self, field: Field<'_>, words: &Words) -> Option<At<Location>> {
        let fields = self.section(field, words)?;
        let path = self.need(&fields, "path")?;
        self.location(path)
    }

    /// A path or a URL of an object store.
    pub fn location(&mut self, field: Field<'_>) -> Option<At<Location>> {
        let text = self.text(field, "a path or an s3://, gs:// or az:// URL")?;
        match text.split_once("://") {
            Some((scheme @ ("s3" | "gs" | "az"), rest)) if has_credentials(rest) => {
                let variables = match scheme {
                    "s3" => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                    "gs" => "GOOGLE_SERVICE_ACCOUNT",
                    _ => "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
                };
                self.wrong(
                    field,
                    format_args!("credentials are not written in a URL: set {variables} in the environment"),
                )
            }
            Some(("s3" | "gs" | "az", rest)) if !rest.trim_matches('/').is_empty() => {
                Some(field.at(Location(text.value)))
            }
            Some(("s3" | "gs" | "az", _)) => self.expected(field, "a bucket after ://"),
            Some(_) => self.expected(field, "a path or an s3://, gs:// or az:// URL"),
            None => Some(field.at(self.beside_file(field, &text))),
        }
    }

    /// A path, made absolute against the folder of the file in which it is written.
    pub fn beside_file(&self, field: Field<'_>, path: &str) -> Location {
        match folder_of(field.place()) {
            Some(folder) => absolute(&folder, path),
            None => self.beside(path),
        }
    }

    /// A path, made absolute against the folder of the pipeline file.
    pub fn beside(&self, path: &str) -> Location {
        absolute(&self.folder, path)
    }
}

/// A path that is relative to a folder.
pub(super) fn absolute(folder: &Path, path: &str) -> Location {
    let joined = folder.join(path);
    let absolute = std::path::absolute(&joined).unwrap_or(joined);
    let text = absolute.to_string_lossy();
    let trimmed = text.trim_end_matches('/');
    Location(if trimmed.is_empty() { "/".into() } else { trimmed.into() })
}

/// Whether what comes after the scheme of an object store's URL holds a user, or the signature of a query.
fn has_credentials(rest: &str) -> bool {
    let bucket = rest.split(['/', '?']).next().unwrap_or_default();
    let is_secret_user = bucket.split_once('@').is_some_and(|(user, _)| user.contains(':'));
    // A path may hold ? as a wildcard.
    is_secret_user || rest.split_once('?').is_some_and(|(_, query)| is_signed(query))
}
