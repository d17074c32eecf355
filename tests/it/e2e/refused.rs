//! Documents that the index cannot take go to the dead-letter file, and nothing else does.

use super::{MORNING_NS, Scene};
use longshore_kit::lines::{CriDialect, Stream};
use longshore_kit::simkubelet::Node;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Lines, of which every tenth has text where the index has an object.
const LINES: u64 = 100;
const CONFLICT_EVERY: u64 = 10;

/// Red without the rows in `Flight::dead_letter`, when it takes a neighbour with it, or when 400 is another verdict than refused.
#[test]
fn e2e_refused_documents_are_dead_letters_and_neighbours_arrive() {
    let mut scene = Scene::new("refused");
    scene.lodging.config["parse"] = json!({"json": "merge"});
    let node = Node::new(scene.lodging.root()).unwrap();
    let mut log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
    let mut bytes = 0;
    let mut write = |user: Value, text: String| {
        let line = CriDialect::Containerd.lines(
            MORNING_NS,
            Stream::Stdout,
            json!({"user": user, "text": text}).to_string().as_bytes(),
        );
        log.write(&line).unwrap();
        bytes += line.len() as u64;
        (bytes, line.len() as u64)
    };

    // The first document decides that `user` is an object.
    let (first, _) = write(json!({"id": 7}), "first".to_owned());
    let mut agent = scene.lodging.start();
    agent.wait_until_delivered(first);
    let mut refused_bytes = 0;
    let mut total = first;
    for n in 0..LINES {
        let conflicts = n % CONFLICT_EVERY == 0;
        let user = if conflicts { json!("bob") } else { json!({"id": n}) };
        let written = write(user, format!("line {n}"));
        total = written.0;
        refused_bytes += if conflicts { written.1 } else { 0 };
    }
    let status = agent.wait_until_delivered(total);
    status.assert_nothing_lost();
    assert_eq!(
        (status.ledger("dead_lettered"), status.ledger("acked")),
        (refused_bytes, total - refused_bytes)
    );
    agent.terminate().assert_clean();

    let letters = scene.lodging.dead_letters();
    let expected: BTreeSet<String> = (0..LINES)
        .step_by(CONFLICT_EVERY as usize)
        .map(|n| format!("line {n}"))
        .collect();
    assert_eq!(
        texts(letters.iter().map(|letter| &letter["document"])),
        expected.iter().cloned().collect::<Vec<_>>()
    );
    let documents = scene.documents();
    let arrived: Vec<String> = texts(documents.iter().map(|document| &document["_source"]));
    assert_eq!(arrived.len() as u64, 1 + LINES - expected.len() as u64);
    let unique: BTreeSet<&String> = arrived.iter().collect();
    assert_eq!(unique.len(), arrived.len());
    assert!(arrived.iter().all(|text| !expected.contains(text)));
    for letter in &letters {
        assert_eq!(
            (&letter["status"], &letter["type"]),
            (&json!(400), &json!("document_parsing_exception"))
        );
        assert!(letter["reason"].as_str().unwrap().contains("user"), "{letter}");
        assert!(letter["index"].as_str().unwrap().starts_with(&scene.prefix));
        assert!(documents.iter().all(|document| document["_id"] != letter["id"]));
    }
    let ids: BTreeSet<&str> = letters
        .iter()
        .filter_map(|letter| letter["id"].as_str())
        .collect();
    assert_eq!(ids.len(), expected.len());
}

/// The member `text` of each document, sorted.
fn texts<'a>(documents: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut texts: Vec<String> = documents
        .map(|document| document["text"].as_str().expect("a text").to_owned())
        .collect();
    texts.sort();
    texts
}
