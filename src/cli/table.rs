//! Rows of texts enter, a table for people leaves.

use std::io::{self, Write};

/// Between two columns.
const GAP: &str = "  ";

/// On which side a column is flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table whose columns are as wide as their widest text.
#[derive(Debug)]
pub(super) struct Table {
    heads: Vec<(&'static str, Flush)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new(heads: &[(&'static str, Flush)]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with a text for each head. Control characters, which could steer a terminal, are spelled out.
    pub(super) fn push<const COLUMNS: usize>(&mut self, row: [String; COLUMNS]) {
        debug_assert_eq!(COLUMNS, self.heads.len(), "BUG: a text for each head");
        self.rows.push(row.iter().map(|text| visible(text)).collect());
    }

    /// Writes heads and rows; nothing at all without a row.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let heads: Vec<String> = self.heads.iter().map(|(head, _)| (*head).to_owned()).collect();
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let widths: Vec<usize> = (0..heads.len())
            .map(|at| lines().map(|line| line[at].chars().count()).max().unwrap_or(0))
            .collect();
        for line in lines() {
            let cells = line.iter().zip(&widths).zip(&self.heads);
            let cells = cells.map(|((text, width), (_, flush))| match flush {
                Flush::Left => format!("{text:<width$}"),
                Flush::Right => format!("{text:>width$}"),
            });
            let line = cells.collect::<Vec<String>>().join(GAP);
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The text with its control characters as escapes.
pub(super) fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            visible.extend(letter.escape_default());
        } else {
            visible.push(letter);
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_flush_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&[
            ("NAME", Flush::Left),
            ("BYTES", Flush::Right),
            ("NOTE", Flush::Left),
        ]);
        table.push(["é".into(), "7".into(), String::new()]);
        table.push(["longer".into(), "1234567".into(), "a\x1b[2J\nb".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let want = "\
NAME      BYTES  NOTE
é             7
longer  1234567  a\\u{1b}[2J\\nb
";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn without_a_row_there_is_no_table() {
        let mut out = Vec::new();
        Table::new(&[("NAME", Flush::Left)]).write(&mut out).unwrap();
        assert_eq!(out, b"");
    }
}
