//! YAML text enters; a tree leaves in which each key and value knows its line.
//!
//! The only file that names the YAML parser. Serde is passed by on purpose: it stops at the first mistake, and we want all.
//! A config file needs no aliases, tags or second documents, so they are refused: what one reads is what counts.

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::mistake::Mistake;

/// Far more than any config needs; a bound on the work that a wrong file can cause.
const MAX_TEXT: usize = 1 << 20;

/// Our deepest key has four levels; the rest is room for values of the wrong kind. Bounds the recursion below.
const MAX_DEPTH: usize = 16;

/// A value and the line on which it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) shape: Shape,
}

/// What a value looks like, before anybody asks what it means.
#[derive(Debug)]
pub(super) enum Shape {
    /// One text; only a plain one, without quotes, may mean null.
    Scalar { text: String, plain: bool },
    /// `[…]`, or lines that begin with a dash.
    List(Vec<Node>),
    /// Keys with values; no key stands twice.
    Section(Vec<Entry>),
    /// Something that is refused as such; its mistake is already noted.
    Refused,
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    /// Whether nothing stands there: `null`, `~` or blank, without quotes.
    pub(super) fn is_null(&self) -> bool {
        match &self.shape {
            Shape::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}

/// Reads the tree of a text; none when it is empty or no YAML. Mistakes are appended.
pub(super) fn read_tree(text: &str, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    if text.len() > MAX_TEXT {
        mistakes.push(Mistake {
            allowed: format!("at most {MAX_TEXT} bytes"),
            hint: "this is no config file".to_owned(),
            ..Mistake::at(1, "")
        });
        return None;
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder {
        parser,
        path: Vec::new(),
        mistakes,
    };
    match builder.stream() {
        Ok(root) => root,
        Err(error) => {
            let mistake = not_yaml(text, &error);
            mistakes.push(mistake);
            None
        }
    }
}

/// Turns parser events into nodes.
struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The keys that lead to the value being read.
    path: Vec<String>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ScanError> {
        // The stream end is never asked past, so the fallback is never seen.
        self.parser
            .next_event()
            .unwrap_or(Ok((Event::StreamEnd, Span::default())))
    }

    fn stream(&mut self) -> Result<Option<Node>, ScanError> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    let hint = "only one document may stand here: take out this `---`";
                    self.refuse(line_of(&span), hint);
                    return Ok(root);
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                node => root = Some(self.node(node, &span)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span) -> Result<Node, ScanError> {
        let line = line_of(span);
        let tagged = match &event {
            Event::Scalar(.., tag) | Event::SequenceStart(.., tag) | Event::MappingStart(.., tag) => {
                tag.is_some()
            }
            _ => false,
        };
        let mut shape = match event {
            Event::Scalar(text, style, ..) => Shape::Scalar {
                text: text.into_owned(),
                plain: style == ScalarStyle::Plain,
            },
            Event::SequenceStart(..) => self.list()?,
            Event::MappingStart(..) => self.section()?,
            _ => {
                self.refuse(
                    line,
                    "write the value out; aliases (`*name`) are not followed here",
                );
                Shape::Refused
            }
        };
        if tagged {
            self.refuse(
                line,
                "take out the tag (`!…`); the key alone says what its value is",
            );
            shape = Shape::Refused;
        }
        Ok(Node { line, shape })
    }

    fn list(&mut self) -> Result<Shape, ScanError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, _) => return Ok(Shape::List(items)),
                (event, span) => items.push(self.node(event, &span)?),
            }
        }
    }

    fn section(&mut self) -> Result<Shape, ScanError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(Shape::Section(entries));
            }
            let key = self.node(event, &span)?;
            let line = key.line;
            let name = match key.shape {
                Shape::Scalar { text, .. } => Some(text),
                Shape::Refused => None,
                Shape::List(_) | Shape::Section(_) => {
                    self.refuse(
                        line,
                        "a key must be one word; put quotes around `${…}` within brackets",
                    );
                    None
                }
            };
            self.path.push(name.clone().unwrap_or_default());
            let (event, span) = self.next()?;
            let value = self.node(event, &span)?;
            if let Some(key) = name {
                match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => {
                        let hint = format!("it stands on line {} already; keep one of them", first.line);
                        self.refuse(line, &hint);
                    }
                    None => entries.push(Entry { key, line, value }),
                }
            }
            self.path.pop();
        }
    }

    fn refuse(&mut self, line: usize, hint: &str) {
        let key = self.path.join(".");
        self.mistakes.push(Mistake {
            hint: hint.to_owned(),
            ..Mistake::at(line, &key)
        });
    }
}

fn line_of(span: &Span) -> usize {
    span.start.line().max(1)
}

fn not_yaml(text: &str, error: &ScanError) -> Mistake {
    let line = error.marker().line().max(1);
    // The parser stops where it is lost, which may be a line after the one that is wrong.
    let near = text.lines().skip(line.saturating_sub(2)).take(2);
    let mut hint = "mend this first; what comes after it was not looked at".to_owned();
    if near
        .into_iter()
        .any(|near| near.contains("${") && near.contains(['[', '{']))
    {
        hint = format!("within brackets put quotes around it: \"${{VAR}}\"; {hint}");
    } else if near_tab(text, line) {
        hint = format!("indent with blanks, not with tabs; {hint}");
    }
    Mistake {
        value: String::new(),
        allowed: format!("YAML, but {}", error.info()),
        hint,
        ..Mistake::at(line, "")
    }
}

fn near_tab(text: &str, line: usize) -> bool {
    text.lines()
        .nth(line.saturating_sub(1))
        .is_some_and(|text| text.trim_start_matches(' ').starts_with('\t'))
}
