//! Config files, with an environment: every mistake has its line, and a text means the same with a comment, with other ends
//! of lines, and when it is read again. Patterns of names against a matcher that tries everything.

use crate::input::Input;
use crate::memory::peak;
use longshore::config::{Config, Glob, IndexPattern, Mistakes};

/// What a config of 16 KiB may take: the default file's tree is the greater part of it.
const MEMORY: usize = 8 << 20;

/// The first byte chooses between configs (with a value for every variable, or none) and patterns.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 4 {
        0 => pattern(&input.text(), &input.text()),
        1 => index(&input.text()),
        kind => {
            let value = (kind == 2).then(|| input.text());
            if let Ok(text) = std::str::from_utf8(input.rest()) {
                config(text, value.as_deref());
            }
        }
    }
}

fn config(text: &str, value: Option<&str>) {
    let (parsed, memory) = peak(|| read(text, value));
    assert!(memory < MEMORY, "{memory} bytes for a text of {}", text.len());
    // For YAML a carriage return ends a line, too, even alone.
    let lines = text.split(['\n', '\r']).count();
    match &parsed {
        Ok(config) => {
            assert_eq!(read(&format!("{text}\n# a comment\n"), value), parsed);
            for host in &config.sink.elasticsearch.hosts {
                assert_eq!(host.to_string(), host.as_str());
                assert_eq!(host.as_str().starts_with("https://"), host.is_https());
                assert!(!host.as_str().contains(['@', '?', '#']), "{host}");
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty());
            assert!(mistakes.0.is_sorted_by_key(|mistake| mistake.line));
            for mistake in &mistakes.0 {
                assert!(mistake.line <= lines + 1, "line {} of {lines}", mistake.line);
                assert!(!mistake.to_string().is_empty());
            }
        }
    }
    assert_eq!(read(text, value), parsed);
}

fn read(text: &str, value: Option<&str>) -> Result<Config, Mistakes> {
    Config::parse(text, &|name| {
        value
            .map(str::to_owned)
            .or_else(|| (name == "NODE_NAME").then(|| "n".into()))
    })
}

fn pattern(pattern: &str, name: &str) {
    let letters: Vec<char> = name.chars().collect();
    let wanted: Vec<char> = pattern.chars().collect();
    assert_eq!(Glob::new(pattern).as_str(), pattern);
    assert_eq!(Glob::new(pattern).to_string(), pattern);
    assert_eq!(
        Glob::new(pattern).matches(name),
        fits(&wanted, &letters),
        "{pattern:?} {name:?}"
    );
}

/// Whether the pattern fits, by a table over all of its beginnings and all beginnings of the name.
pub(crate) fn fits(pattern: &[char], name: &[char]) -> bool {
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for wanted in pattern {
        let mut next = vec![false; name.len() + 1];
        next[0] = row[0] && *wanted == '*';
        for at in 0..name.len() {
            next[at + 1] = match wanted {
                '*' => row[at + 1] || next[at],
                '?' => row[at],
                letter => row[at] && *letter == name[at],
            };
        }
        row = next;
    }
    row[name.len()]
}

/// A pattern for index names that is taken gives names that a server takes.
fn index(text: &str) {
    let Ok(pattern) = IndexPattern::parse(text) else {
        return;
    };
    let stamp = longshore::record::Stamp {
        secs: 1_790_000_600,
        nanos: 0,
    };
    let name = longshore::sink::elasticsearch::encode::index_name(&pattern, stamp);
    assert!(!name.is_empty() && name.len() <= 255, "{name:?}");
    assert!(
        !name.starts_with(['-', '_', '+']) && name != "." && name != "..",
        "{name:?}"
    );
    assert!(
        !name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':']),
        "{name:?}"
    );
    assert_eq!(name.to_lowercase(), name);
}
