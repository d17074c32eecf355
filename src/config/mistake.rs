//! What is wrong in a config text, said so that a person can mend it without the manual.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line it stands on, from 1.
    pub line: usize,
    /// The key, as a dotted path; empty when the text as a whole is meant.
    pub key: String,
    /// What was written there, before variables were filled in; empty when there is nothing to show, or it may be a secret.
    pub value: String,
    /// What may stand there; empty when the hint says it all.
    pub allowed: String,
    /// What to do.
    pub hint: String,
}

impl Mistake {
    /// A mistake about a key, with nothing said yet.
    pub(super) fn at(line: usize, key: &str) -> Self {
        Self {
            line,
            key: key.to_owned(),
            value: String::new(),
            allowed: String::new(),
            hint: String::new(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        if !self.value.is_empty() {
            write!(f, ": `{}`", self.value)?;
        }
        if !self.allowed.is_empty() {
            write!(f, "\n  allowed: {}", self.allowed)?;
        }
        if !self.hint.is_empty() {
            write!(f, "\n  fix: {}", self.hint)?;
        }
        Ok(())
    }
}

/// All things that are wrong, in the order of their lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
