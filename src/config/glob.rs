//! Names with `*` and `?`, as in `exclude: {namespaces: [kube-*]}`. Case counts, nothing else is special.

use std::fmt;

/// A pattern for names: `*` stands for any run of characters, `?` for exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob {
    text: String,
}

impl Glob {
    /// Takes a pattern as it is written; every text is one.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `name` fits the pattern, in time `pattern × name` at worst.
    pub fn matches(&self, name: &str) -> bool {
        let mut pattern = self.text.as_str();
        let mut rest = name;
        // After a `*`: the pattern behind it, and the name from which it is tried next.
        let mut retry: Option<(&str, &str)> = None;
        loop {
            let (head, tail) = split_first(pattern);
            let (letter, after) = split_first(rest);
            match (head, letter) {
                (Some('*'), _) => {
                    pattern = tail;
                    retry = Some((tail, rest));
                }
                (Some('?'), Some(_)) => (pattern, rest) = (tail, after),
                (Some(want), Some(got)) if want == got => (pattern, rest) = (tail, after),
                (None, None) => return true,
                _ => {
                    // The last `*` takes one character more, if there is one.
                    let Some((behind, from)) = retry else { return false };
                    let (Some(_), shorter) = split_first(from) else {
                        return false;
                    };
                    retry = Some((behind, shorter));
                    (pattern, rest) = (behind, shorter);
                }
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_first(text: &str) -> (Option<char>, &str) {
    let mut chars = text.chars();
    (chars.next(), chars.as_str())
}
