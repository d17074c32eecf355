//! What `longshore setup` sends, against the specifications of the vendors: the builds of the servers that tests use have no
//! lifecycle policies, so nothing real answers there.
//!
//! The bodies on record (`tests/golden/setup`) enter; the compiler of TypeScript compares them with the types of requests in the
//! clients of Elastic and OpenSearch, which their vendors make of the specifications of their APIs (`tests/contracts`). Types
//! know the members and the kinds of their values. They do not know which values a server takes, and OpenSearch's leave the
//! conditions of a policy free.

use longshore_kit::stack::run_stack;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn check(folder: &Path) -> Output {
    let modules = run_stack(&["install", "contracts"]).unwrap_or_else(|error| panic!("{error}"));
    let mut node = Command::new("node");
    node.arg(path("tests/contracts/check.js"))
        .arg(modules)
        .arg(folder);
    node.output().expect("node runs")
}

/// The requests on record, each with its file.
fn recorded() -> Vec<(String, Value)> {
    let files = fs::read_dir(path("tests/golden/setup")).unwrap();
    let named = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    named
        .filter(|name| name.ends_with(".json"))
        .map(|name| {
            let text = fs::read_to_string(path("tests/golden/setup").join(&name)).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

/// Red when `setup::lifecycle` makes a member of another name or kind than the vendors have.
#[test]
fn e2e_contracts_of_the_vendors_have_all_that_setup_sends() {
    let output = check(&path("tests/golden/setup"));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: Value = serde_json::from_str(&told).unwrap();
    let left_out = told["left_out"].as_array().unwrap();
    let requests: usize = recorded()
        .iter()
        .map(|(_, file)| file.as_object().unwrap().len())
        .sum();
    assert_eq!(told["checked"].as_u64(), Some((requests - left_out.len()) as u64));
    // What real servers take in other tests.
    let is_real = |place: &str| {
        let server = place.starts_with("elasticsearch-7.17-") || place.starts_with("opensearch-");
        server && (place.contains(" _component_template/") || place.contains(" _index_template/"))
    };
    assert!(
        left_out.iter().all(|place| is_real(place.as_str().unwrap())),
        "{left_out:?}"
    );
}

/// What is wrong in a policy is told with its place, for each client: otherwise the test above could not fail.
#[test]
fn e2e_contracts_refuse_a_member_that_the_vendors_do_not_have() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in recorded() {
        let text = file.to_string();
        let text = text.replace("\"min_age\"", "\"least_age\"");
        let text = text.replace("\"ism_template\"", "\"ism_templates\"");
        let text = text.replace("\"data_retention\"", "\"retention\"");
        fs::write(folder.path().join(name), text).unwrap();
    }
    let output = check(folder.path());
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    for server in [
        "elasticsearch-7.17",
        "elasticsearch-8.19",
        "elasticsearch-9.2",
        "opensearch-2.19",
        "opensearch-3.8",
    ] {
        for schema in ["fluentd", "ecs", "otel"] {
            let file = format!("{server}-{schema}.json _");
            assert!(told.lines().any(|line| line.starts_with(&file)), "{file}: {told}");
        }
    }
    assert!(told.contains("serverless-ecs.json _index_template/"), "{told}");
}
