//! The walker against a parser that builds a tree.

use super::*;
use proptest::prelude::*;
use serde_json::{Number, Value};

/// Builds the tree again from the calls.
#[derive(Default)]
struct Builder {
    open: Vec<(Value, Option<String>)>,
    done: Option<Value>,
    wanted: usize,
}

impl Builder {
    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some((Value::Array(list), _)) => list.push(value),
            Some((Value::Object(object), key)) => {
                object.insert(key.take().unwrap(), value);
            }
            Some(_) => unreachable!(),
        }
    }
}

impl Visit for Builder {
    fn open(&mut self, is_list: bool) {
        let empty = if is_list {
            Value::Array(Vec::new())
        } else {
            Value::Object(serde_json::Map::new())
        };
        self.open.push((empty, None));
    }

    fn close(&mut self) {
        let (value, _) = self.open.pop().unwrap();
        self.put(value);
    }

    fn key(&mut self, key: &[u8]) {
        self.open.last_mut().unwrap().1 = Some(String::from_utf8_lossy(key).into_owned());
    }

    fn wanted(&mut self) -> usize {
        self.wanted
    }

    fn text(&mut self, text: &[u8]) {
        self.put(Value::String(String::from_utf8_lossy(text).into_owned()));
    }

    fn number(&mut self, number: &[u8]) {
        let number = serde_json::from_slice::<Number>(number);
        self.put(number.map_or(Value::Null, Value::Number));
    }

    fn word(&mut self, word: &'static str) {
        self.put(serde_json::from_str(word).unwrap());
    }
}

/// The tree of a text that comes in pieces that end at `cuts`.
fn walk(text: &[u8], cuts: &[usize]) -> Result<Value, Broken> {
    let mut builder = Builder {
        wanted: usize::MAX,
        ..Builder::default()
    };
    let mut walker = Walker::new();
    let mut at = 0;
    for cut in cuts.iter().copied().chain([text.len()]) {
        let cut = cut.clamp(at, text.len());
        walker.push(&text[at..cut], &mut builder)?;
        at = cut;
    }
    walker.finish(&mut builder)?;
    Ok(builder.done.unwrap())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::String),
        "[\"\\\\\n\t\u{1}é😀]{0,6}".prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        value in json(), pretty: bool, cuts in prop::collection::vec(0usize..200, 0..8)
    ) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let mut cuts = cuts;
        cuts.sort_unstable();
        // Not every number comes back as it went.
        let value = serde_json::from_slice::<Value>(&text).unwrap();
        prop_assert_eq!(walk(&text, &cuts).unwrap(), value);
    }

    #[test]
    fn a_text_is_broken_when_the_other_parser_says_so(
        value in json(), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"\"\\{}[],:x0-.e u\x01d8".to_vec()),
        what in 0..3
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        match what {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            _ => text.truncate(at),
        }
        match serde_json::from_slice::<Value>(&text) {
            Ok(value) => prop_assert_eq!(walk(&text, &[]).unwrap(), value),
            Err(error) => {
                // The liberties: half a surrogate pair, bytes that are no UTF-8, numbers beyond what it can hold.
                let told = error.to_string();
                let liberty = ["surrogate", "unicode", "hex escape", "number out of range"];
                if !liberty.iter().any(|part| told.contains(part)) {
                    prop_assert_eq!(walk(&text, &[]), Err(Broken), "{}", told);
                }
            }
        }
    }
}

#[test]
fn surrogates_become_characters_and_halves_a_replacement() {
    let text = |text: &str| walk(text.as_bytes(), &[]).unwrap();
    assert_eq!(text(r#""\ud83d\ude00""#), "😀");
    for half in [r#""\ud83d""#, r#""\ude00""#] {
        assert_eq!(text(half), "\u{fffd}");
    }
    assert_eq!(text(r#""\ud83dx""#), "\u{fffd}x");
    assert_eq!(text(r#""\ud83d\n""#), "\u{fffd}\n");
    assert_eq!(text(r#""\ud83d\ud83d\ude00""#), "\u{fffd}😀");
    assert_eq!(walk(br#""\u12x4""#, &[]), Err(Broken));
}

#[test]
fn no_more_than_wanted_is_kept() {
    let mut builder = Builder {
        wanted: 3,
        ..Builder::default()
    };
    let mut walker = Walker::new();
    let text = format!(
        r#"["{}", "a\u0041\u0042\u0043", 7{}]"#,
        "x".repeat(1 << 20),
        "0".repeat(100)
    );
    for piece in text.as_bytes().chunks(1000) {
        walker.push(piece, &mut builder).unwrap();
        assert!(walker.buffer.capacity() <= 2 * NUMBER_BYTES);
    }
    walker.finish(&mut builder).unwrap();
    let Some(Value::Array(list)) = builder.done else {
        panic!("no list")
    };
    assert_eq!(list[..2], ["xxx", "aAB"]);
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(walk(nested(MAX_DEPTH as usize).as_bytes(), &[]).is_ok());
    assert_eq!(walk(nested(MAX_DEPTH as usize + 1).as_bytes(), &[]), Err(Broken));
}

/// Red when a known element is looked at all the same, or is asked for outside of lists.
#[test]
fn who_knows_an_element_is_told_nothing_of_it() {
    struct Counter(usize, usize);
    impl Visit for Counter {
        fn element(&mut self, bytes: &[u8]) -> usize {
            let known = bytes.starts_with(b"{\"a\":1}");
            self.0 += usize::from(known);
            if known { 7 } else { 0 }
        }
        fn open(&mut self, _: bool) {
            self.1 += 1;
        }
        fn close(&mut self) {}
        fn key(&mut self, _: &[u8]) {}
        fn wanted(&mut self) -> usize {
            0
        }
        fn text(&mut self, _: &[u8]) {}
        fn number(&mut self, _: &[u8]) {}
        fn word(&mut self, _: &'static str) {}
    }
    let mut counter = Counter(0, 0);
    let mut walker = Walker::new();
    walker
        .push(
            br#"[{"a":1}, {"a":1},{"a":2},[{"a":1}],{"b":{"a":1}}]"#,
            &mut counter,
        )
        .unwrap();
    walker.finish(&mut counter).unwrap();
    // The list, the one with 2, the list in the list, the one with b and what is in it.
    assert_eq!((counter.0, counter.1), (3, 5));
}
