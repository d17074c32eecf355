//! Index names with dates in them, such as `logstash-%Y.%m.%d`.
//!
//! What Elasticsearch would refuse is refused here, because there it would only show as documents on hold.

use std::fmt;

/// The longest index name that Elasticsearch takes, in bytes.
const MAX_NAME: usize = 255;

/// The characters that no index name may hold. `:` is legal nowhere since Elasticsearch 8.
const FORBIDDEN: &str = "\\/*?\"<>|, #:";

/// An index name in which date parts are filled in from the event time in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IndexPattern {
    /// What the name is made of, in order; never two texts in a row.
    pub parts: Vec<IndexPart>,
}

/// A piece of an index name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IndexPart {
    /// Text as it is.
    Text(String),
    /// `%Y`, four digits.
    Year,
    /// `%m`, 01 to 12.
    Month,
    /// `%d`, 01 to 31.
    Day,
    /// `%H`, 00 to 23.
    Hour,
    /// `%j`, 001 to 366.
    DayOfYear,
}

impl IndexPattern {
    /// Parses and checks a pattern; the error says what to change.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            let part = match letter {
                '%' => match date_part(letters.next())? {
                    Some(part) => part,
                    None => {
                        text.push('%');
                        continue;
                    }
                },
                _ => {
                    check_letter(letter)?;
                    text.push(letter);
                    continue;
                }
            };
            if !text.is_empty() {
                parts.push(IndexPart::Text(std::mem::take(&mut text)));
            }
            parts.push(part);
        }
        if !text.is_empty() {
            parts.push(IndexPart::Text(text));
        }
        let index = Self { parts };
        index.check_whole()?;
        Ok(index)
    }

    /// How long a name made from this pattern is, in bytes.
    pub fn name_len(&self) -> usize {
        self.parts.iter().map(IndexPart::len).sum()
    }

    fn check_whole(&self) -> Result<(), String> {
        match self.parts.first() {
            None => return Err("write a name".to_owned()),
            Some(IndexPart::Text(text)) if text.starts_with(['-', '_', '+', '.']) => {
                return Err("do not begin it with `-`, `_`, `+` or `.`".to_owned());
            }
            Some(_) => {}
        }
        if self.name_len() > MAX_NAME {
            return Err(format!(
                "shorten it: the name would have {} bytes",
                self.name_len()
            ));
        }
        Ok(())
    }
}

impl IndexPart {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Year => 4,
            Self::DayOfYear => 3,
            Self::Month | Self::Day | Self::Hour => 2,
        }
    }
}

impl Default for IndexPattern {
    fn default() -> Self {
        let dot = || IndexPart::Text(".".to_owned());
        let head = IndexPart::Text("logstash-".to_owned());
        Self {
            parts: vec![
                head,
                IndexPart::Year,
                dot(),
                IndexPart::Month,
                dot(),
                IndexPart::Day,
            ],
        }
    }
}

impl fmt::Display for IndexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            IndexPart::Text(text) => f.write_str(&text.replace('%', "%%")),
            IndexPart::Year => f.write_str("%Y"),
            IndexPart::Month => f.write_str("%m"),
            IndexPart::Day => f.write_str("%d"),
            IndexPart::Hour => f.write_str("%H"),
            IndexPart::DayOfYear => f.write_str("%j"),
        })
    }
}

/// The part that `%` and this letter stand for; none for `%%`.
fn date_part(letter: Option<char>) -> Result<Option<IndexPart>, String> {
    match letter {
        Some('Y') => Ok(Some(IndexPart::Year)),
        Some('m') => Ok(Some(IndexPart::Month)),
        Some('d') => Ok(Some(IndexPart::Day)),
        Some('H') => Ok(Some(IndexPart::Hour)),
        Some('j') => Ok(Some(IndexPart::DayOfYear)),
        Some('%') => Ok(None),
        Some(other) => Err(format!(
            "`%{}` is no date part; `%%` writes a percent sign",
            other.escape_debug()
        )),
        None => Err("a single `%` stands at the end; `%%` writes a percent sign".to_owned()),
    }
}

fn check_letter(letter: char) -> Result<(), String> {
    if letter.is_uppercase() {
        return Err("use lower-case letters".to_owned());
    }
    if letter.is_control() || letter.is_whitespace() || FORBIDDEN.contains(letter) {
        return Err(format!("leave out `{}`", letter.escape_debug()));
    }
    Ok(())
}
