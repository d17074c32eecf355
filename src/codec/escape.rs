//! Text enters, the inside of a JSON string leaves (RFC 8259 §7): quotes, backslashes and control
//! characters escaped, everything else verbatim.
//!
//! The input is UTF-8; [`push_lossy`] takes any bytes and replaces what is not. Output is appended,
//! never cleared. Surrounding quotes are the caller's.

/// The kernel below reserves six output bytes per input byte; longer texts go through in pieces of
/// this size so that a 1 MiB line does not reserve 6 MiB.
const PIECE_BYTES: usize = 16 * 1024;

/// Appends `text` as a whole JSON string, quotes included.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    if text.len() <= PIECE_BYTES {
        json_escape_simd::escape_into(text, out);
    } else {
        push_long(out, text);
    }
}

/// Appends `bytes` as a whole JSON string; each invalid sequence becomes one U+FFFD.
///
/// Returns true when something was replaced.
pub fn push_lossy(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => {
            push_string(out, text);
            false
        }
        Err(_) => {
            push_string(out, &String::from_utf8_lossy(bytes));
            true
        }
    }
}

fn push_long(out: &mut Vec<u8>, text: &str) {
    let mut scratch = Vec::new();
    out.push(b'"');
    let mut rest = text;
    while !rest.is_empty() {
        let cut = rest.floor_char_boundary(PIECE_BYTES);
        let (piece, after) = rest.split_at(cut);
        scratch.clear();
        json_escape_simd::escape_into(piece, &mut scratch);
        out.extend_from_slice(&scratch[1..scratch.len() - 1]);
        rest = after;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn a_json_parser_reads_back_what_was_escaped(text in "(?s).{0,200}", copies in 1usize..400) {
            let long = text.repeat(copies);
            let back: String = serde_json::from_str(&escaped(&long)).unwrap();
            prop_assert_eq!(back, long);
        }

        #[test]
        fn any_bytes_become_valid_json(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            let replaced = push_lossy(&mut out, &bytes);
            let back: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&back, &String::from_utf8_lossy(&bytes));
            prop_assert_eq!(replaced, std::str::from_utf8(&bytes).is_err());
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "é".repeat(PIECE_BYTES);
        assert_eq!(escaped(&text).len(), text.len() + 2);
    }
}
