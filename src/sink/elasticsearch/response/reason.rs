//! A reason as a server gives it enters, what it says of the fault leaves: without the document's id, values
//! and text, which stand in the dead letter anyhow. So the reasons of alike faults are alike.
//!
//! The shapes are those of Elasticsearch 7.17 to 9.2 and OpenSearch 2 and 3, as recorded.

/// Of a reason so much is looked at: what is taken out of it, and what is kept.
pub(super) const READ_BYTES: usize = 1024;
/// So much is kept.
pub const REASON_BYTES: usize = 300;

/// Behind these words a server quotes the document.
const QUOTES: [&str; 4] = [
    " Preview of field's value: ",
    "\n at [Source: ",
    " The prefix of the first immense term ",
    ", request: [",
];
/// Between these stands the document's id, which the server may have made up.
const ID: (&str, &str) = (" in document with id '", "'");

/// What a reason says of the fault, at most [`REASON_BYTES`] of it.
pub(super) fn of_fault(reason: &str) -> String {
    let end = QUOTES.iter().filter_map(|quote| reason.find(quote)).min();
    let reason = &reason[..end.unwrap_or(reason.len())];
    let reason = without_position(reason);
    let (before, after) = match reason.split_once(ID.0) {
        Some((before, rest)) => (before, rest.split_once(ID.1).map_or("", |(_, after)| after)),
        None => (reason, ""),
    };
    let mut kept = String::with_capacity((before.len() + after.len()).min(REASON_BYTES));
    for part in [before, after] {
        kept.push_str(&part[..part.floor_char_boundary(REASON_BYTES - kept.len())]);
    }
    kept
}

/// Elasticsearch 8 and 9 begin with line and column: `[1:12] `.
fn without_position(reason: &str) -> &str {
    let rest = reason.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    match rest {
        Some((position, rest)) if position.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') => rest,
        _ => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_ids_and_sources_are_left_out() {
        let cases = [
            (
                "[1:6] failed to parse field [n] of type [long] in document with id 'a'. Preview of field's value: 'secret'",
                "failed to parse field [n] of type [long].",
            ),
            (
                "failed to parse field [n] in document with id 'a",
                "failed to parse field [n]",
            ),
            (
                "[1:6] failed to parse: [1:11] Duplicate field 'a'\n at [Source: (byte[])\"{\"a\":1}\"; line: 1]",
                "failed to parse: [1:11] Duplicate field 'a'",
            ),
            (
                "immense term in field=\"k\", all of which were skipped. The prefix of the first immense term is: '[120]'",
                "immense term in field=\"k\", all of which were skipped.",
            ),
            (
                "[a][0] primary shard is not active Timeout: [1s], request: [BulkShardRequest [[a][0]] containing [x]",
                "[a][0] primary shard is not active Timeout: [1s]",
            ),
            ("closed", "closed"),
        ];
        for (reason, kept) in cases {
            assert_eq!(of_fault(reason), kept);
        }
        let long = "é".repeat(REASON_BYTES) + " in document with id 'x'.";
        assert_eq!(of_fault(&long), "é".repeat(REASON_BYTES / 2));
    }
}
