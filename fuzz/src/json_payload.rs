//! Messages that may be JSON, through the scanner and the encoder of every schema, against a tree of the same text.

use crate::input::Input;
use crate::tree::Tree;
use longshore::codec::json_scan;
use longshore::config::{Config, JsonMode, Schema};
use longshore::record::{FileId, Flags, Metadata, Record, Span, Stamp};
use longshore::sink::elasticsearch::encode::{EncodeConfig, Encoder, FileKey};
use longshore::sink::elasticsearch::schema::{fields, fragment};

/// More members than this stay text.
const MAX_MEMBERS: usize = 256;

/// So often a message is repeated that is to be a long one: beyond the piece that is escaped at once.
const TIMES: usize = 512;

/// The first byte chooses schema, how JSON is treated and whether the message is long, the rest is the message.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let shape = input.byte();
    let mode = [JsonMode::Off, JsonMode::Merge, JsonMode::Nest][usize::from(shape) % 3];
    let schema = [Schema::Fluentd, Schema::Ecs, Schema::Otel][usize::from(shape) / 3 % 3];
    let long = (shape >= 252).then(|| input.take(TIMES).repeat(TIMES));
    let message = long.as_deref().unwrap_or_else(|| input.rest());
    let found = json_scan::members(message);
    let tree = Tree::parse(message);
    if let Some(tree) = &tree {
        let found = found.as_ref().map(|members| {
            let member = |(key, value): &(_, std::borrow::Cow<'_, str>)| {
                let value = Tree::parse(value.as_bytes()).expect("a part of JSON is JSON");
                (std::borrow::Cow::<str>::clone(key).into_owned(), value)
            };
            members.iter().map(member).collect::<Vec<_>>()
        });
        assert_eq!(found, fields(tree));
    }
    for (_, value) in found.iter().flatten() {
        assert!(!value.contains(['\n', '\r']), "a newline would end the document");
    }
    // Where the tree has its limits, the text that came out has to be judged by itself.
    let document = encoded(schema, mode, message);
    match Tree::parse(&document) {
        Some(document) => check(&document, schema, mode, message, tree.as_ref()),
        None => assert!(found.is_some() && tree.is_none(), "a document that is no JSON"),
    }
}

/// What the members of a message are: each key once, at its first place, with its last value.
fn fields(tree: &Tree) -> Option<Vec<(String, Tree)>> {
    let mut fields: Vec<(String, Tree)> = Vec::new();
    for (key, value) in tree.members()? {
        match fields.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => known.clone_from(value),
            None => fields.push((key.clone(), value.clone())),
        }
    }
    let allowed = |key: &String| key.split('.').all(|part| !part.is_empty());
    (fields.len() <= MAX_MEMBERS && fields.iter().all(|(key, _)| allowed(key))).then_some(fields)
}

/// The second of the two lines that a record becomes.
fn encoded(schema: Schema, mode: JsonMode, message: &[u8]) -> Vec<u8> {
    let mut config = Config::default();
    config.sink.elasticsearch.schema = schema;
    config.parse.json = mode;
    let config = EncodeConfig::from(&config);
    let record = Record {
        stamp: Stamp { secs: 1, nanos: 2 },
        stream: None,
        message,
        valid_utf8: std::str::from_utf8(message).is_ok(),
        flags: Flags::default(),
        span: Span {
            file: FileId(7),
            start: 0,
            end: message.len() as u64,
        },
        second: None,
        source_bytes: message.len() as u64,
        skipped: 0,
        last_part: None,
    };
    let fragment = fragment(&Metadata::default(), &config.layout, "/0.log");
    let mut out = Vec::new();
    Encoder::new(config).push(&mut out, &record, b"", FileKey::new(FileId(7)), &fragment);
    let lines: Vec<&[u8]> = out.split(|byte| *byte == b'\n').collect();
    let [action, document, []] = lines[..] else {
        panic!("{} lines", lines.len())
    };
    assert!(Tree::parse(action).is_some_and(|action| action.get("create").is_some()));
    document.to_vec()
}

/// The document holds the message as text, and its fields exactly once each.
fn check(document: &Tree, schema: Schema, mode: JsonMode, message: &[u8], tree: Option<&Tree>) {
    let body = document.get("body");
    let (text, beside, apart) = match schema {
        Schema::Fluentd => (document.get("message"), Some(document), document.get("parsed")),
        Schema::Ecs => (document.get("message"), Some(document), document.get("app")),
        Schema::Otel => (
            body.and_then(|body| body.get("text")),
            document.get("attributes"),
            body.and_then(|body| body.get("structured")),
        ),
    };
    let text = text.and_then(Tree::text);
    assert_eq!(text, Some(&*String::from_utf8_lossy(message)));
    let parsed = tree.and_then(fields).filter(|_| mode != JsonMode::Off);
    let (mut nested, reserved) = (0, fields::reserved(schema));
    for (key, value) in parsed.iter().flatten() {
        let head = key.split('.').next().unwrap_or(key);
        let top = mode == JsonMode::Merge && !reserved.contains(&head);
        let place = if top { beside } else { apart };
        nested += usize::from(!top);
        assert_eq!(place.and_then(|place| place.get(key)), Some(value), "{key}");
    }
    let found = apart.and_then(Tree::members).map_or(0, <[_]>::len);
    if tree.is_some() {
        assert_eq!(found, nested);
    }
}
