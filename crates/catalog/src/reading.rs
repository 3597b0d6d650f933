//! Reading a TOML file so that whoever wrote it is helped.
//!
//! serde stops at the first mistake and knows no line for most of them. This reader walks the parsed
//! document with its spans, takes the keys that it knows, and collects every finding: an unknown key with
//! the one that was probably meant, a wrong type, a missing key, a value outside its set. A file with a
//! finding is refused whole.

use crate::suggest;
use std::{cell::RefCell, collections::BTreeMap, fmt, ops::Range};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The longest file that is read: a manifest of ten thousand operations, at half a kibibyte each, fits.
pub const FILE_LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// The most findings that are kept; a file with more is no manifest at all.
const FINDINGS_LIMIT: usize = 100;

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong and what to write.
    pub message: String,
}

/// A file that is refused, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The file, as it was named to us.
    pub file: String,
    /// What is wrong, by line.
    pub findings: Vec<Finding>,
}

impl fmt::Display for FileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let lead = if index == 0 { "" } else { "\n" };
            write!(out, "{lead}{}:{}: {}", self.file, finding.line, finding.message)?;
        }
        Ok(())
    }
}

/// Reads `text` with `read`, which takes what it knows from the root.
pub(crate) fn document<T>(
    file: &str,
    text: &str,
    read: impl FnOnce(&Document<'_>, &mut Fields<'_, '_>) -> Option<T>,
) -> Result<T, FileError> {
    let source = Document { text, findings: RefCell::default() };
    let value = source.root().and_then(|table| {
        let mut fields = Fields::new(&source, "the file", 0..0, &table);
        let value = read(&source, &mut fields);
        fields.finish();
        value
    });
    let mut findings = source.findings.into_inner();
    findings.sort();
    findings.dedup();
    let error = |findings| FileError { file: file.to_owned(), findings };
    match value {
        Some(value) if findings.is_empty() => Ok(value),
        None if findings.is_empty() => {
            Err(error(vec![Finding { line: 1, message: "the file could not be read".to_owned() }]))
        }
        _ => Err(error(findings)),
    }
}

/// The text that is read, and what was found wrong with it so far.
pub(crate) struct Document<'t> {
    text: &'t str,
    findings: RefCell<Vec<Finding>>,
}

impl<'t> Document<'t> {
    /// Notes what is wrong at a place in the text.
    pub(crate) fn fault(&self, span: &Range<usize>, message: impl Into<String>) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() < FINDINGS_LIMIT {
            findings.push(Finding { line: self.line(span), message: message.into() });
        }
    }

    /// The line of a place, counted from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn root(&self) -> Option<DeTable<'t>> {
        if self.text.len() > FILE_LIMIT_BYTES {
            self.fault(&(0..0), format!("the file is longer than {FILE_LIMIT_BYTES} bytes"));
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.fault(&error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()));
        }
        errors.is_empty().then(|| table.into_inner())
    }
}

/// A table that is being read: what is left over in the end is unknown.
pub(crate) struct Fields<'d, 'v> {
    source: &'d Document<'d>,
    what: &'d str,
    span: Range<usize>,
    left: BTreeMap<&'v str, (Range<usize>, &'v Spanned<DeValue<'v>>)>,
    known: Vec<&'static str>,
}

impl<'d, 'v> Fields<'d, 'v> {
    fn new(source: &'d Document<'d>, what: &'d str, span: Range<usize>, table: &'v DeTable<'v>) -> Self {
        let entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), (key.span(), value)));
        Self { source, what, span, left: entries.collect(), known: Vec::new() }
    }

    /// Where the table begins.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Notes what is wrong with the table as a whole.
    pub(crate) fn fault(&self, message: impl Into<String>) {
        self.source.fault(&self.span, message);
    }

    /// A value that may be absent.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<Value<'d, 'v>> {
        self.known.push(key);
        let (_, value) = self.left.remove(key)?;
        Some(Value { source: self.source, key, span: value.span(), value: value.get_ref() })
    }

    /// A value that must be there.
    pub(crate) fn required(&mut self, key: &'static str) -> Option<Value<'d, 'v>> {
        let value = self.optional(key);
        if value.is_none() {
            self.source.fault(&self.span, format!("{} has no `{key}`: write `{key} = …`", self.what));
        }
        value
    }

    /// Every value that is left, for tables whose keys are data.
    pub(crate) fn rest(&mut self) -> Vec<(String, Value<'d, 'v>)> {
        let left = std::mem::take(&mut self.left);
        let value = |(key, (_, value)): (&str, (_, &'v Spanned<DeValue<'v>>))| {
            (
                key.to_owned(),
                Value { source: self.source, key: "", span: value.span(), value: value.get_ref() },
            )
        };
        left.into_iter().map(value).collect()
    }

    /// Says what is unknown. Must be the last call.
    pub(crate) fn finish(&mut self) {
        for (key, (span, _)) in std::mem::take(&mut self.left) {
            let hint = match suggest::nearest(key, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("it may hold {}", suggest::list(self.known.iter().copied())),
            };
            self.source.fault(&span, format!("{} has no key `{key}`: {hint}", self.what));
        }
    }
}

/// A value that is being read.
#[derive(Clone)]
pub(crate) struct Value<'d, 'v> {
    source: &'d Document<'d>,
    key: &'static str,
    span: Range<usize>,
    value: &'v DeValue<'v>,
}

impl<'d, 'v> Value<'d, 'v> {
    /// Where the value stands.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Notes what is wrong with this value.
    pub(crate) fn fault(&self, message: impl Into<String>) {
        self.source.fault(&self.span, message);
    }

    /// A text.
    pub(crate) fn text(&self) -> Option<&'v str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.not_a("a text in quotes"),
        }
    }

    /// A text that is read further.
    pub(crate) fn parsed<T, E: fmt::Display>(&self, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        read(self.text()?).map_err(|error| self.fault(error.to_string())).ok()
    }

    /// One of a closed set of words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known = || words.iter().map(|(word, _)| *word);
            let hint = match suggest::nearest(text, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write one of {}", suggest::list(known())),
            };
            self.fault(format!("`{text}` is no value of `{}`: {hint}", self.key));
        }
        found
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.not_a("`true` or `false`"),
        }
    }

    /// A whole number from 0 to `most`.
    pub(crate) fn number(&self, most: u64) -> Option<u64> {
        let DeValue::Integer(digits) = self.value else { return self.not_a("a whole number") };
        let number =
            u64::from_str_radix(digits.as_str(), digits.radix()).ok().filter(|number| *number <= most);
        if number.is_none() {
            self.fault(format!("`{}` must be from 0 to {most}", self.key));
        }
        number
    }

    /// The entries of an array.
    pub(crate) fn entries(&self) -> Option<Vec<Self>> {
        let DeValue::Array(array) = self.value else { return self.not_a("an array in `[` and `]`") };
        let entry = |entry: &'v Spanned<DeValue<'v>>| Self {
            source: self.source,
            key: self.key,
            span: entry.span(),
            value: entry.get_ref(),
        };
        Some(array.iter().map(entry).collect())
    }

    /// One value, or an array of them.
    pub(crate) fn one_or_more(&self) -> Vec<Self> {
        if matches!(self.value, DeValue::Array(_)) {
            return self.entries().unwrap_or_default();
        }
        vec![self.clone()]
    }

    /// A table; `what` names it in findings.
    pub(crate) fn table(&self, what: &'d str) -> Option<Fields<'d, 'v>> {
        match self.value {
            DeValue::Table(table) => Some(Fields::new(self.source, what, self.span(), table)),
            _ => self.not_a("a table"),
        }
    }

    fn not_a<T>(&self, wanted: &str) -> Option<T> {
        let found = self.value.type_str();
        self.fault(format!("`{}` must be {wanted}, and this is a TOML {found}", self.key));
        None
    }
}

#[cfg(test)]
mod tests;
