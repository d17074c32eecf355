//! JSON in one line enters, the same JSON with line breaks leaves.
//!
//! Works on the text, not on a tree of values: the order of members, members that stand twice and the way numbers are
//! written stay as they were, so that what is shown is what is shipped.

const INDENT: &str = "  ";

/// `json`, which must be valid, with one member or element a line.
pub(super) fn pretty(json: &str) -> String {
    let mut pretty = String::with_capacity(json.len() * 2);
    let out = &mut pretty;
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        if in_string {
            out.push(letter);
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            '{' | '[' => {
                out.push(letter);
                if let Some(end) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    break_line(out, depth);
                }
            }
            '}' | ']' => {
                depth = usize::saturating_sub(depth, 1);
                break_line(out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                break_line(out, depth);
            }
            ':' => out.push_str(": "),
            ' ' | '\n' | '\r' | '\t' => {}
            _ => {
                in_string = letter == '"';
                out.push(letter);
            }
        }
    }
    pretty
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(INDENT, depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\]:, é\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[a-c\":\\\\]{0,3}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn looks_like_any_pretty_printer(value in json()) {
            prop_assert_eq!(pretty(&value.to_string()), format!("{value:#}"));
        }
    }

    #[test]
    fn order_doubles_and_numbers_stay() {
        let shown = pretty(r#"{"b":1.50,"a":1e3,"b":[]}"#);
        assert_eq!(shown, "{\n  \"b\": 1.50,\n  \"a\": 1e3,\n  \"b\": []\n}");
    }
}
