//! The papers say what is true: their tables, links, commands and config snippets are compared with the code.
//!
//! `UPDATE=1 cargo test -p longshore --test it readmes_tables` writes the tables of README.md anew.

mod markdown;

use longshore::cli::{self, Console, Exit};
use longshore::config::Config;
use longshore::sink::elasticsearch::schema::fields;
use longshore::telemetry::metrics;
use markdown::{anchors, code_blocks, code_spans, commands, links};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn readme() -> String {
    read(&root().join("README.md"))
}

/// All papers of the repository, build results aside.
fn papers() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of the repository") {
            let path = entry.expect("an entry of the folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                collect(&path, found);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(root(), &mut found);
    found.sort();
    assert!(found.len() >= 4, "README and its sisters are found: {found:?}");
    found
}

/// One key of the default file, or one section (which has no value).
struct Key {
    path: String,
    value: String,
    meaning: String,
}

/// The keys of the default file in its order, each with the comment above it.
fn default_keys() -> Vec<Key> {
    let (mut keys, mut sections, mut comment) = (Vec::new(), Vec::<&str>::new(), Vec::new());
    for line in Config::default_yaml().lines() {
        let text = line.trim_start();
        if let Some(rest) = text.strip_prefix('#') {
            comment.push(rest.trim());
        } else if let Some((name, value)) = text.split_once(':') {
            sections.truncate((line.len() - text.len()) / 2);
            sections.push(name);
            keys.push(Key {
                path: sections.join("."),
                value: value.trim().to_owned(),
                meaning: comment.join(" "),
            });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    keys
}

/// The keys as a Markdown table.
fn config_table() -> String {
    let mut table = String::from("| Key | Default | Meaning |\n|---|---|---|\n");
    for Key { path, value, meaning } in default_keys() {
        let meaning = meaning.replace('|', "\\|").replace('*', "\\*");
        table += &if value.is_empty() {
            format!("| **`{path}`** | | {meaning} |\n")
        } else {
            format!("| `{path}` | `{value}` | {meaning} |\n")
        };
    }
    table
}

/// What a fact is called in each schema.
fn fields_table() -> String {
    let mut table = String::from("| `fluentd` | `ecs` | `otel` |\n|---|---|---|\n");
    for names in fields::names() {
        let cells = names.map(|name| {
            if name.is_empty() {
                String::new()
            } else {
                format!("`{name}`")
            }
        });
        table += &format!("| {} |\n", cells.join(" | "));
    }
    table
}

/// Compares the part of README.md between two markers with what it should be; `UPDATE=1` writes it.
fn assert_part(name: &str, want: &str) {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let readme = readme();
    let (before, rest) = readme
        .split_once(&begin)
        .unwrap_or_else(|| panic!("README.md has no {begin}"));
    let (have, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("README.md has no {end}"));
    if std::env::var_os("UPDATE").is_some() {
        let text = [before, &begin, want, &end, after].concat();
        fs::write(root().join("README.md"), text).expect("README.md can be written");
    } else {
        assert!(
            have == want,
            "README.md differs between its {name} markers; run\n  UPDATE=1 cargo test -p longshore --test it readmes_tables"
        );
    }
}

#[test]
fn the_readmes_tables_are_those_of_the_code() {
    assert!(config_table().contains("| `batch.max_age` | `1s` | "));
    assert_part("config", &config_table());
    assert_part("metrics", &metrics::table());
    assert!(fields_table().contains("| `kubernetes.pod_name` | `kubernetes.pod.name` | "));
    assert_part("fields", &fields_table());
}

#[test]
fn names_of_keys_and_metrics_in_the_readme_exist() {
    let keys: BTreeSet<String> = default_keys().into_iter().map(|key| key.path).collect();
    let roots = [
        "source.",
        "parse.",
        "enrich.",
        "batch.",
        "memory.",
        "admin.",
        "sink.elasticsearch.",
    ];
    let metrics = metrics::table();
    let readme = readme();
    let mut seen = 0;
    for span in code_spans(&readme) {
        let words = span.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_.".contains(letter)));
        for word in words {
            if roots.iter().any(|root| word.starts_with(root)) {
                seen += 1;
                assert!(
                    keys.contains(word),
                    "README.md names the key {word}, which is none"
                );
            }
            if word.starts_with("longshore_") {
                seen += 1;
                assert!(
                    metrics.contains(&format!("`{word}`")),
                    "README.md names the metric {word}, which is none"
                );
            }
        }
    }
    assert!(seen > 100, "only {seen} names were found");
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for paper in papers() {
        let text = read(&paper);
        for link in links(&text).filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => paper.clone(),
                file => paper.with_file_name(file),
            };
            let broken = |why: &str| panic!("{}: the link {link} leads nowhere: {why}", paper.display());
            if !target.exists() {
                broken("there is no such file");
            }
            if !anchor.is_empty() && !anchors(&read(&target)).any(|known| known == anchor) {
                broken("there is no such heading");
            }
        }
    }
    assert!(seen > 10, "only {seen} links were found");
}

/// Whether the command line takes these arguments: with `--help` at their end nothing is run.
fn is_taken(arguments: &[String]) -> bool {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = ["longshore".to_owned()];
    let words = words
        .iter()
        .chain(arguments)
        .cloned()
        .chain(["--help".to_owned()]);
    let exit = cli::main(
        words.map(OsString::from),
        &mut Console {
            out: &mut out,
            err: &mut err,
            env: &|_| None,
        },
    );
    exit == Exit::Clean
}

#[test]
fn commands_that_the_papers_show_are_taken() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(is_taken(&words("inspect spool --frames")));
    for wrong in [
        "inspect spol",
        "inspect spool --frame",
        "inspect spool --format yaml",
        "ship",
    ] {
        assert!(!is_taken(&words(wrong)), "{wrong} would pass unseen");
    }
    let mut seen = 0;
    for paper in papers() {
        for arguments in commands(&read(&paper)) {
            seen += 1;
            assert!(
                is_taken(&arguments),
                "{}: longshore {} is not taken",
                paper.display(),
                arguments.join(" ")
            );
        }
    }
    assert!(seen > 5, "only {seen} commands were found");
}

#[test]
fn config_snippets_and_the_config_of_the_manifests_have_no_mistakes() {
    let env = |name: &str| (name == "NODE_NAME").then(|| "node".to_owned());
    let assert_good = |what: &str, text: &str| {
        if let Err(mistakes) = Config::parse(text, &env) {
            panic!("{what}:\n{text}\n{mistakes}");
        }
    };
    assert_good(
        "deploy/kubernetes/longshore.yaml",
        &read(&root().join("deploy/kubernetes/longshore.yaml")),
    );
    for paper in papers() {
        let text = read(&paper);
        // Objects of Kubernetes are yaml, too.
        for (_, snippet) in
            code_blocks(&text).filter(|(language, text)| *language == "yaml" && !text.contains("apiVersion:"))
        {
            assert_good(&paper.display().to_string(), snippet);
        }
    }
}
