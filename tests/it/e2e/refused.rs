//! Documents that an index cannot take as they are: poorer ones arrive in their place, and what is refused even so goes to the
//! dead-letter file. Nothing else does.

use super::{MORNING_NS, Scene, sink};
use crate::agent::{Agent, Status};
use longshore_kit::lines::{CriDialect, Stream};
use longshore_kit::simkubelet::{ContainerLog, Node};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Lines that nobody refuses, around each one that somebody does.
const NEIGHBOURS: u64 = 5;

/// An application that logs JSON, and the index of its day.
struct App {
    scene: Scene,
    index: String,
    log: ContainerLog,
    bytes: u64,
    lines: usize,
}

impl App {
    /// The index is made with this body.
    fn new(name: &str, index_body: &Value) -> App {
        let mut scene = Scene::new(name);
        scene.lodging.config["parse"] = json!({"json": "merge"});
        let index = format!("{}-2026.03.04", scene.prefix);
        let (status, answer) = scene.es.put(&format!("/{index}"), &index_body.to_string());
        assert_eq!(status, 200, "{answer}");
        let node = Node::new(scene.lodging.root()).unwrap();
        let log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
        App {
            scene,
            index,
            log,
            bytes: 0,
            lines: 0,
        }
    }

    /// A line with a member `text`, and with others that are given as JSON.
    fn write(&mut self, text: &str, members: &str) {
        let line = format!(r#"{{"text":"{text}"{members}}}"#);
        let lines = CriDialect::Containerd.lines(MORNING_NS, Stream::Stdout, line.as_bytes());
        self.log.write(&lines).unwrap();
        self.bytes += lines.len() as u64;
        self.lines += 1;
    }

    fn write_neighbours(&mut self) {
        for _ in 0..NEIGHBOURS {
            self.write(&format!("neighbour {}", self.lines), "");
        }
    }

    fn settings(&self, settings: &Value) {
        let path = format!("/{}/_settings", self.index);
        let (status, answer) = self.scene.es.put(&path, &settings.to_string());
        assert_eq!(status, 200, "{answer}");
    }

    fn delivered(&self, agent: &mut Agent) -> Status {
        let status = agent.wait_until_delivered(self.bytes);
        status.assert_nothing_lost();
        status
    }

    /// Each line is in one document or one dead letter. Gives the documents that are not what the application wrote, and the
    /// dead letters, by their texts.
    fn end(&self, agent: Agent) -> (BTreeMap<String, Value>, BTreeMap<String, Value>) {
        agent.terminate().assert_clean();
        let (documents, letters) = (self.scene.documents(), self.scene.lodging.dead_letters());
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        for document in &documents {
            let twice = all.insert(text_of(&document["_source"]), document["_source"].clone());
            assert_eq!(twice, None);
        }
        all.retain(|_, source| {
            source["longshore"]["original"].is_string() || source["_conflict"].is_object()
        });
        let ids: Vec<&Value> = documents.iter().map(|document| &document["_id"]).collect();
        assert!(letters.iter().all(|letter| !ids.contains(&&letter["id"])));
        let texts = letters
            .iter()
            .map(|letter| (text_of(&letter["document"]), letter.clone()));
        let dead: BTreeMap<String, Value> = texts.collect();
        assert_eq!(documents.len() + dead.len(), self.lines);
        assert_eq!(letters.len(), dead.len());
        (all, dead)
    }
}

/// The member `text` of what the application wrote.
fn text_of(source: &Value) -> String {
    let original = source["longshore"]["original"].as_str();
    let original: Value = original.map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    let text = source["text"].as_str().or(original["text"].as_str());
    text.unwrap_or_else(|| panic!("no text in {source}")).to_owned()
}

fn nested(depth: usize) -> String {
    format!(r#","deep":{}1{}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

/// All kinds of conflicts with a mapping, a document of each among others. Red when 400 is another verdict than refused
/// (`table::ITEMS`), or without `send_poorer` in `Flight::refuse_originals`: then they are dead letters.
#[test]
fn e2e_refused_conflicts_with_a_mapping_arrive_poorer() {
    let mapping = json!({"mappings": {"properties": {
        "number": {"type": "long"}, "date": {"type": "date"}, "address": {"type": "ip"}, "yes": {"type": "boolean"},
        "object": {"properties": {"a": {"type": "keyword"}}}, "value": {"type": "keyword"}, "word": {"type": "keyword"},
    }}});
    let mut app = App::new("conflicts", &mapping);
    let word = format!(r#","word":"{}""#, "x".repeat(33_000));
    let deep = nested(25);
    let conflicts = [
        ("text in a number", r#","number":"text""#),
        ("beyond a long", r#","number":92233720368547758080"#),
        ("no date", r#","date":"never""#),
        ("no address", r#","address":"here""#),
        ("no boolean", r#","yes":"perhaps""#),
        ("value where objects are", r#","object":"text""#),
        ("object where values are", r#","value":{"a":1}"#),
        ("dots into a value", r#","value.part":1"#),
        ("value and object in a list", r#","mixed":[1,{"a":1}]"#),
        ("deeper than allowed", &deep),
        ("word too long", &word),
    ];
    for (text, members) in conflicts {
        app.write_neighbours();
        app.write(text, members);
    }
    let mut agent = app.scene.lodging.start();
    app.delivered(&mut agent);
    agent.wait_for("the refusals on the status page", |agent| {
        sink(agent, "verdicts", "refused") >= conflicts.len() as u64
    });
    let (poorer, dead) = app.end(agent);
    let expected: Vec<&str> = conflicts.iter().map(|(text, _)| *text).collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|text| !poorer.contains_key(**text))
        .collect();
    assert!(missing.is_empty(), "taken as they were: {missing:?}");
    assert_eq!(poorer.len(), expected.len(), "{poorer:?}");
    assert_eq!(dead, BTreeMap::new());
}

/// The index has as many fields as it may. Red as above.
#[test]
fn e2e_refused_one_field_too_many_arrives_poorer() {
    let mapping = json!({"mappings": {"properties": {"longshore": {"type": "object", "enabled": false}}}});
    let mut app = App::new("fields", &mapping);
    app.write_neighbours();
    let mut agent = app.scene.lodging.start();
    app.delivered(&mut agent);
    app.settings(&json!({"index.mapping.total_fields.limit": 5}));
    app.write_neighbours();
    app.write("one field more", r#","more":1"#);
    app.delivered(&mut agent);
    let (poorer, dead) = app.end(agent);
    assert_eq!(poorer.keys().collect::<Vec<_>>(), ["one field more"]);
    assert_eq!(dead, BTreeMap::new());
}

/// The index takes none but its own fields, also none of the poorer document's. Red without the rows in `Flight::bury`, when it
/// takes a neighbour with it, or when 400 is another verdict than refused.
#[test]
fn e2e_refused_even_poorer_is_a_dead_letter_and_neighbours_arrive() {
    let mut app = App::new("strict", &json!({}));
    app.write_neighbours();
    let mut agent = app.scene.lodging.start();
    app.delivered(&mut agent);
    let mapping = json!({"dynamic": "strict"}).to_string();
    let (status, answer) = app.scene.es.put(&format!("/{}/_mapping", app.index), &mapping);
    assert_eq!(status, 200, "{answer}");
    for text in ["first stranger", "second stranger"] {
        app.write_neighbours();
        app.write(text, r#","strange":1"#);
    }
    let status = app.delivered(&mut agent);
    assert_eq!(status.documents("dead_lettered"), 2);
    let (poorer, dead) = app.end(agent);
    assert_eq!(poorer, BTreeMap::new());
    assert_eq!(
        dead.keys().collect::<Vec<_>>(),
        ["first stranger", "second stranger"]
    );
    for letter in dead.values() {
        assert_eq!(
            (&letter["status"], &letter["type"], &letter["index"]),
            (
                &json!(400),
                &json!("strict_dynamic_mapping_exception"),
                &json!(app.index)
            )
        );
    }
}
