//! A finished body taken apart again: single documents of it, and a new body of some of them.
//!
//! Only what is retried, split off, held or refused comes here, so it may cost: the caller inflates the body once.

use super::gzip;
use crate::record::{Body, Encoding, Row};
use bytes::Bytes;
use std::collections::HashMap;

/// A new body with the documents of `body` at `picked` (ascending row numbers). `text` is what `body`
/// inflates to.
pub fn pick(body: &Body, text: &[u8], picked: &[usize], level: u8) -> Body {
    assemble(
        body,
        picked.iter().map(|at| (*at, document(body, text, *at))),
        level,
    )
}

fn assemble<'a>(body: &Body, documents: impl ExactSizeIterator<Item = (usize, &'a [u8])>, level: u8) -> Body {
    let mut compressor = gzip::compressor(level);
    let mut out = Vec::new();
    let mut rows = Vec::with_capacity(documents.len());
    let mut end = 0u32;
    for (at, document) in documents {
        compressor.push(document, &mut out);
        end += document.len() as u32;
        rows.push(Row { end, ..body.rows[at] });
    }
    compressor.finish(&mut out);
    out.shrink_to_fit();
    let encoding: Encoding = compressor.encoding();
    Body {
        bytes: Bytes::from(out),
        encoding,
        inflated_len: end,
        rows,
        files: body.files.clone(),
    }
}

/// A new body with the documents of several, one body after the other, each with what it inflates to.
pub fn merge<'a>(bodies: impl Iterator<Item = (&'a Body, &'a [u8])>, level: u8) -> Body {
    let mut compressor = gzip::compressor(level);
    let (mut out, mut rows, mut files) = (Vec::new(), Vec::new(), Vec::new());
    let mut numbers = HashMap::new();
    let mut end = 0u32;
    for (body, text) in bodies {
        compressor.push(text, &mut out);
        // Only files that have rows, or bodies that are merged again and again would name ever more.
        let mut places: Vec<Option<u32>> = vec![None; body.files.len()];
        for row in &body.rows {
            let known = body.files[row.file as usize];
            let file = *places[row.file as usize].get_or_insert_with(|| {
                let next = files.len() as u32;
                *numbers.entry(known).or_insert_with(|| {
                    files.push(known);
                    next
                })
            });
            let end = end + row.end;
            rows.push(Row { end, file, ..*row });
        }
        end += text.len() as u32;
    }
    compressor.finish(&mut out);
    out.shrink_to_fit();
    Body {
        bytes: Bytes::from(out),
        encoding: compressor.encoding(),
        inflated_len: end,
        rows,
        files,
    }
}

/// Row numbers, ascending, and the texts of documents.
pub type Texts = Vec<(usize, Vec<u8>)>;

/// A new body with other texts for the documents of `body` at these rows.
pub fn replace(body: &Body, documents: &[(usize, Vec<u8>)], level: u8) -> Body {
    let rows = documents.iter().map(|(at, text)| (*at, text.as_slice()));
    assemble(body, rows, level)
}

/// Action line and source of the document at row `at`, in the inflated text of its body.
pub fn document<'a>(body: &Body, text: &'a [u8], at: usize) -> &'a [u8] {
    let from = if at == 0 {
        0
    } else {
        body.rows[at - 1].end as usize
    };
    text.get(from..body.rows[at].end as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FileId;

    fn body(documents: &[&str]) -> Body {
        let mut compressor = gzip::compressor(1);
        let (mut bytes, mut rows, mut end) = (Vec::new(), Vec::new(), 0);
        for (at, document) in documents.iter().enumerate() {
            compressor.push(document.as_bytes(), &mut bytes);
            end += document.len() as u32;
            rows.push(Row {
                end,
                file: 0,
                start: at as u64 * 10,
                source_bytes: 10,
            });
        }
        compressor.finish(&mut bytes);
        Body {
            bytes: Bytes::from(bytes),
            encoding: compressor.encoding(),
            inflated_len: end,
            rows,
            files: vec![FileId(1)],
        }
    }

    #[test]
    fn picked_documents_keep_text_row_and_order() {
        let body = body(&["doc 0\n", "doc 1\n", "doc 2\n", "doc 3\n", "doc 4\n"]);
        let few = pick(&body, &gzip::inflate(&body).unwrap(), &[1, 4], 1);
        assert_eq!(gzip::inflate(&few).unwrap(), b"doc 1\ndoc 4\n");
        assert_eq!(few.rows.iter().map(|row| row.start).collect::<Vec<_>>(), [10, 40]);
        assert_eq!(document(&few, &gzip::inflate(&few).unwrap(), 1), b"doc 4\n");
    }

    #[test]
    fn merged_documents_keep_text_file_and_order() {
        let mut first = body(&["doc 0\n", "doc 1\n"]);
        first.files = vec![FileId(8), FileId(3), FileId(5)];
        (first.rows[0].file, first.rows[1].file) = (2, 1);
        let mut second = body(&["doc 2\n", "doc 3\n", "doc 4\n"]);
        second.files = vec![FileId(5), FileId(4)];
        second.rows[1].file = 1;
        let texts = [gzip::inflate(&first).unwrap(), gzip::inflate(&second).unwrap()];
        let both = [&first, &second].into_iter().zip(texts.iter().map(Vec::as_slice));
        let merged = merge(both, 1);
        let text = gzip::inflate(&merged).unwrap();
        assert_eq!(text, b"doc 0\ndoc 1\ndoc 2\ndoc 3\ndoc 4\n");
        assert_eq!(document(&merged, &text, 3), b"doc 3\n");
        let files: Vec<FileId> = merged
            .rows
            .iter()
            .map(|row| merged.files[row.file as usize])
            .collect();
        assert_eq!(files, [FileId(5), FileId(3), FileId(5), FileId(4), FileId(5)]);
        assert_eq!(merged.files.len(), 3, "{:?}", merged.files);
    }
}
