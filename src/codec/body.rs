//! A finished body taken apart again: single documents of it, and a new body of some of them.
//!
//! Only what is retried, split off, held or refused comes here, so it may cost: the caller inflates the body once.

use super::gzip;
use crate::record::{Body, Encoding, Row};
use bytes::Bytes;

/// A new body with the documents of `body` at `picked` (ascending row numbers). `text` is what `body`
/// inflates to.
pub fn pick(body: &Body, text: &[u8], picked: &[usize], level: u8) -> Body {
    let mut compressor = gzip::compressor(level);
    let mut out = Vec::new();
    let mut rows = Vec::with_capacity(picked.len());
    let mut end = 0u32;
    for &at in picked {
        let document = document(body, text, at);
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
}
