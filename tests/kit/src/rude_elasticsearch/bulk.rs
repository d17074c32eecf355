//! A `_bulk` body: NDJSON bytes enter, actions leave, borrowed from the body. Or the error that refuses the whole request.
//!
//! The shape that agents write, `{"create":{"_index":"…","_id":"…"}}` without escapes, is cut by position; everything else
//! goes through a JSON parser.

use super::answers::Refusal;
use flate2::bufread::MultiGzDecoder;
use memchr::{memchr, memmem};
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, Read};

/// What an action wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Store, unless the id exists.
    Create,
    /// Store, in place of what has the id.
    Index,
}

impl Op {
    /// The word in the action line and in the answer's item.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Index => "index",
        }
    }
}

/// An action line and its document.
#[derive(Debug)]
pub(super) struct Action<'a> {
    pub(super) op: Op,
    pub(super) index: Cow<'a, str>,
    /// Empty: the server is to make one.
    pub(super) id: Cow<'a, str>,
    pub(super) source: &'a [u8],
}

/// Inflates a gzip body of any number of members into `out`; stops with [`io::ErrorKind::FileTooLarge`] above `limit`.
pub(super) fn inflate(wire: &[u8], out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    out.clear();
    let mut gzip = MultiGzDecoder::new(wire);
    loop {
        let start = out.len();
        if start > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // Growing in big steps and keeping the buffer between requests: no page is touched twice for nothing.
        out.resize((start + (256 << 10)).max(out.capacity().min(limit + 1)), 0);
        let read = fill(&mut gzip, &mut out[start..]);
        let end = start + *read.as_ref().unwrap_or(&0);
        let full = end == out.len();
        out.truncate(end);
        read?;
        if !full {
            return if end > limit {
                Err(io::ErrorKind::FileTooLarge.into())
            } else {
                Ok(())
            };
        }
    }
}

fn fill(from: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match from.read(&mut out[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// All actions of a body, in order. `index` is the one in the URL, for actions that name none.
pub(super) fn parse<'a>(body: &'a [u8], index: Option<&'a str>) -> Result<Vec<Action<'a>>, Refusal> {
    if body.is_empty() {
        return Err(Refusal::parse("request body is required"));
    }
    if body.last() != Some(&b'\n') {
        return Err(Refusal::argument(
            "The bulk request must be terminated by a newline [\\n]",
        ));
    }
    let mut actions = Vec::with_capacity(body.len() / 1024 + 1);
    let mut problems = Vec::new();
    let (mut rest, mut line) = (body, 0);
    while !rest.is_empty() {
        let head = next_line(&mut rest);
        line += 1;
        if head.trim_ascii().is_empty() {
            continue;
        }
        let (op, own_index, id) = match fast_action(head) {
            Some((op, own_index, id)) => (op, Some(Cow::Borrowed(own_index)), Cow::Borrowed(id)),
            None => slow_action(head, line)?,
        };
        let source = next_line(&mut rest);
        line += 1;
        let Some(index) = own_index.or(index.map(Cow::Borrowed)) else {
            problems.push("index is missing".to_owned());
            continue;
        };
        if id.len() > 512 {
            problems.push(format!(
                "id [{id}] is too long, must be no longer than 512 bytes but was: {}",
                id.len()
            ));
        }
        actions.push(Action {
            op,
            index,
            id,
            source,
        });
    }
    if actions.is_empty() && problems.is_empty() {
        problems.push("no requests added".to_owned());
    }
    if problems.is_empty() {
        Ok(actions)
    } else {
        Err(Refusal::validation(&problems))
    }
}

/// Cuts the next line off, without its newline.
pub(super) fn next_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr(b'\n', rest).unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or_default();
    line
}

/// `{"create":{"_index":"…","_id":"…"}}`, both names there, no backslash anywhere.
fn fast_action(line: &[u8]) -> Option<(Op, &str, &str)> {
    let (op, rest) = match line.strip_prefix(b"{\"create\":{\"_index\":\"") {
        Some(rest) => (Op::Create, rest),
        None => (Op::Index, line.strip_prefix(b"{\"index\":{\"_index\":\"")?),
    };
    let (index, rest) = rest.split_at(memchr(b'"', rest)?);
    let rest = rest.strip_prefix(b"\",\"_id\":\"")?;
    let (id, rest) = rest.split_at(memchr(b'"', rest)?);
    if rest != b"\"}}" || memchr(b'\\', index).is_some() || memchr(b'\\', id).is_some() {
        return None;
    }
    Some((
        op,
        std::str::from_utf8(index).ok()?,
        std::str::from_utf8(id).ok()?,
    ))
}

type Parts<'a> = (Op, Option<Cow<'a, str>>, Cow<'a, str>);

fn slow_action<'a>(line: &[u8], number: usize) -> Result<Parts<'a>, Refusal> {
    let action: Value = serde_json::from_slice(line).map_err(|error| Refusal::unreadable(&error))?;
    let (name, fields) = action
        .as_object()
        .and_then(|action| action.iter().next())
        .ok_or_else(|| {
            Refusal::argument(&format!(
                "Malformed action/metadata line [{number}], expected START_OBJECT"
            ))
        })?;
    let op = match name.as_str() {
        "create" => Op::Create,
        "index" => Op::Index,
        _ => {
            return Err(Refusal::argument(&format!(
                "Malformed action/metadata line [{number}], expected field [create], [delete], [index] or [update] \
                 but found [{name}]"
            )));
        }
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    if let Some(unknown) = fields
        .as_object()
        .and_then(|fields| fields.keys().find(|key| !is_known(key)))
    {
        return Err(Refusal::argument(&format!(
            "Action/metadata line [{number}] contains an unknown parameter [{unknown}]"
        )));
    }
    Ok((
        op,
        text("_index").map(Cow::Owned),
        Cow::Owned(text("_id").unwrap_or_default()),
    ))
}

fn is_known(key: &str) -> bool {
    const KNOWN: [&str; 9] = [
        "_index",
        "_id",
        "routing",
        "pipeline",
        "require_alias",
        "require_data_stream",
        "dynamic_templates",
        "if_seq_no",
        "if_primary_term",
    ];
    KNOWN.contains(&key)
}

/// How many documents a body holds, and each of them, without looking at the action lines: the bench's light scan.
pub(super) fn scan(body: &[u8], mut document: impl FnMut(&[u8])) -> u64 {
    let (mut rest, mut count) = (body, 0);
    while !rest.is_empty() {
        next_line(&mut rest);
        document(next_line(&mut rest));
        count += 1;
    }
    count
}

/// The operation of the first action line of a body (the light scan answers as if all were the same).
pub(super) fn first_op(body: &[u8]) -> Op {
    let head = &body[..body.len().min(16)];
    if memmem::find(head, b"\"index\"").is_some() {
        Op::Index
    } else {
        Op::Create
    }
}
