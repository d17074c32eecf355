//! API keys, passwords and tokens: too weak, expired, revoked, wrong, replaced.

use super::setup::recipe;
use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use longshore::config::Config;
use longshore::sink::elasticsearch::client::Client;
use longshore::sink::elasticsearch::flight::{NO_LOOK_UP, NOT_FOUND};
use longshore::sink::elasticsearch::response::{RequestVerdict, Verdict};
use std::time::{Duration, Instant};

/// So long a key stays revoked: `tests/run --long` says 60 s.
const REVOKED_ENV: &str = "LONGSHORE_REVOKED_SECONDS";
const REVOKED_FOR: u64 = 5;
/// A token of this account of Elasticsearch may add documents to `logs-*`.
const SERVICE: &str = "/_security/service/elastic/fleet-server/credential/token";

/// An API key.
struct ApiKey {
    id: String,
    encoded: String,
}

impl ApiKey {
    fn new(server: &SecureServer, body: &Value) -> ApiKey {
        let made = server.order("POST", "/_security/api_key", body);
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        ApiKey {
            id: text("id"),
            encoded: text("encoded"),
        }
    }

    /// One with these rights on these indices.
    fn with(server: &SecureServer, privileges: &[&str], indices: &str) -> ApiKey {
        let role = json!({"indices": [{"names": [indices], "privileges": privileges}]});
        let body = json!({"name": "longshore", "role_descriptors": {"longshore": role}});
        ApiKey::new(server, &body)
    }

    /// `id:key`, the other form.
    fn plain(&self) -> String {
        String::from_utf8(BASE64_STANDARD.decode(&self.encoded).unwrap()).unwrap()
    }

    fn revoke(&self, server: &SecureServer) {
        server.order("DELETE", "/_security/api_key", &json!({"ids": [self.id]}));
    }
}

/// Gives the agent's config a key in a Secret.
fn with_key(scene: &mut Scene<'_>, text: &str) -> Secret {
    let secret = Secret::new(scene.lodging.root(), &[("api-key", text)]);
    scene.sink()["auth"] = json!({"api_key_file": secret.file("api-key")});
    secret
}

/// Red when the recipe of `agent_role` has a right too few, or one too many, or when the agent needs another one (`index` in
/// place of `create`, a question at its start).
#[test]
fn e2e_secure_the_printed_rights_are_enough_and_allow_nothing_else() {
    let server = SecureServer::shared();
    let mut scene = Scene::new(&server, "rights");
    let recipe = recipe(&scene.lodging, "elasticsearch-8.19", "api-key-agent.json");
    let privileges = &recipe["role_descriptors"]["longshore"];
    assert_eq!(privileges["cluster"], json!([]));
    assert_eq!(
        privileges["indices"][0]["privileges"],
        json!(["auto_configure", "create_doc"])
    );
    let key = ApiKey::new(&server, &recipe);
    let _secret = with_key(&mut scene, &key.encoded);
    let mut agent = scene.lodging.start();
    scene.deliver(&mut agent);
    let index = format!("{}-2026.03.04", scene.prefix);
    let found = server.order("POST", &format!("/{index}/_refresh"), &Value::Null);
    assert_eq!(found["_shards"]["failed"], 0);
    let one = server.order("GET", &format!("/{index}/_search?size=1"), &Value::Null);
    let id = one["hits"]["hits"][0]["_id"].as_str().unwrap();
    let other = json!({"message": "forged"});
    for (method, path, body) in [
        ("DELETE", format!("/{index}"), &Value::Null),
        ("PUT", format!("/{index}/_doc/{id}"), &other),
        ("POST", format!("/{index}/_update/{id}"), &json!({"doc": other})),
        ("DELETE", format!("/{index}/_doc/{id}"), &Value::Null),
        ("GET", format!("/{index}/_search"), &Value::Null),
        (
            "PUT",
            format!("/{index}/_settings"),
            &json!({"index.blocks.write": true}),
        ),
        (
            "PUT",
            "/_index_template/forged".to_owned(),
            &json!({"index_patterns": ["forged"]}),
        ),
    ] {
        let (status, answer) = server.ask(Who::Key(&key.encoded), method, &path, body);
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
    // What one may is decided for each action of a bulk: this one overwrites.
    let bulk = format!("{}\n{other}\n", json!({"index": {"_index": index, "_id": id}}));
    let (status, answer) = server.ask(Who::Key(&key.encoded), "POST", "/_bulk", &Value::String(bulk));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, answer["items"][0]["index"]["status"].as_u64()),
        (200, Some(403)),
        "{answer}"
    );
    scene.end(agent, None);
}

/// Red when a whole 401 is anything but a hold (`table::REQUESTS`), when the secret is not read again (`Client::reopen`), or
/// when the `id:key` form is sent as it is.
#[test]
#[expect(clippy::print_stdout, reason = "how long it took is on record")]
fn e2e_secure_a_revoked_key_holds_everything_until_another_one_is_swapped_in() {
    let server = SecureServer::shared();
    let mut scene = Scene::new(&server, "revoked");
    let all = format!("{}*", scene.prefix);
    let rights = ["auto_configure", "create_doc"];
    let (first, second) = (
        ApiKey::with(&server, &rights, &all),
        ApiKey::with(&server, &rights, &all),
    );
    let mut secret = with_key(&mut scene, &format!("{}\n", first.encoded));
    let mut agent = scene.lodging.start();
    scene.deliver(&mut agent);

    first.revoke(&server);
    let begun = Instant::now();
    let file = secret.file("api-key");
    scene.hold(&mut agent, &[REFUSED, "api_key_file", file.to_str().unwrap()]);
    let seconds = std::env::var(REVOKED_ENV).ok().and_then(|text| text.parse().ok());
    let stored = agent.status().documents("accepted");
    let until = begun + Duration::from_secs(seconds.unwrap_or(REVOKED_FOR));
    agent.wait_for("the time to pass", |_| Instant::now() >= until);
    scene.say();
    assert_eq!(agent.status().documents("accepted"), stored);

    // In the other form.
    secret.swap(&[("api-key", &second.plain())]);
    let swapped = Instant::now();
    agent
        .wait_until_delivered(scene.talker.bytes)
        .assert_nothing_lost();
    println!(
        "revoked for {:.1} s, {} lines held, delivered {:.1} s after the swap",
        (swapped - begun).as_secs_f64(),
        scene.talker.lines - stored,
        swapped.elapsed().as_secs_f64()
    );
    scene.end(agent, Some(REFUSED));
}

/// As above: this key ends by itself.
#[test]
fn e2e_secure_an_expired_key_holds_everything_until_another_one_is_swapped_in() {
    let server = SecureServer::shared();
    let mut scene = Scene::new(&server, "expired");
    let role = json!({"indices": [{"names": [format!("{}*", scene.prefix)], "privileges": ["create_doc", "auto_configure"]}]});
    let body = |expiration: &str| json!({"name": "longshore", "expiration": expiration, "role_descriptors": {"longshore": role}});
    let short = ApiKey::new(&server, &body("1s"));
    let mut secret = with_key(&mut scene, &short.encoded);
    let begun = Instant::now();
    while server
        .ask(
            Who::Key(&short.encoded),
            "GET",
            "/_security/_authenticate",
            &Value::Null,
        )
        .0
        != 401
    {
        assert!(
            begun.elapsed() < crate::agent::PATIENCE,
            "the key does not expire"
        );
    }
    let mut agent = scene.lodging.start();
    scene.hold(&mut agent, &[REFUSED, "api_key_file"]);
    secret.swap(&[("api-key", &ApiKey::new(&server, &body("1d")).encoded)]);
    agent.wait_until_delivered(scene.talker.bytes);
    scene.end(agent, Some(REFUSED));
}

/// Red when an item's 403 is a refusal (`table::ITEMS`), or when a hold of one index stops the other.
#[test]
fn e2e_secure_a_key_that_is_too_weak_for_one_index_holds_that_one_alone() {
    let server = SecureServer::shared();
    let mut scene = Scene::new(&server, "weak");
    let [weak, strong] = ["04", "05"].map(|day| format!("{}-2026.03.{day}", scene.prefix));
    let rights = ["auto_configure", "create_doc"];
    let mut secret = with_key(&mut scene, &ApiKey::with(&server, &rights, &strong).encoded);
    let mut agent = scene.lodging.start();
    scene.say();
    scene
        .talker
        .say(&mut scene.log, MORNING_NS + super::super::DAY_NS, ROUND);
    agent.wait_for("the lines of the other index", |agent| {
        agent.status().documents("accepted") == ROUND
    });
    agent.wait_for("the hold", |agent| {
        let status = agent.status().0;
        status["sink"]["holds"][0]["index"] == weak.as_str() && status["sink"]["holds"][0]["status"] == 403
    });
    let told = format!("the index {weak} is on hold");
    agent.wait_for("the log to tell it", |agent| agent.log_line(&told).is_some());
    assert!(
        agent
            .log_line(&told)
            .unwrap()
            .contains("create_doc and auto_configure")
    );
    agent.status().assert_nothing_lost();
    let both = ApiKey::with(&server, &rights, &format!("{}*", scene.prefix));
    secret.swap(&[("api-key", &both.encoded)]);
    agent.wait_until_delivered(scene.talker.bytes);
    scene.end(agent, Some(&told));
}

/// Red when the password is not read again after a refusal.
#[test]
fn e2e_secure_a_wrong_password_and_one_that_is_changed_on_the_server_hold_everything() {
    let server = SecureServer::shared();
    let mut scene = Scene::new(&server, "password");
    let user = scene.prefix.clone();
    let role =
        json!({"indices": [{"names": [format!("{user}*")], "privileges": ["create_doc", "auto_configure"]}]});
    server.order("PUT", &format!("/_security/role/{user}"), &role);
    let body = json!({"password": "first-password", "roles": [user]});
    server.order("PUT", &format!("/_security/user/{user}"), &body);
    let mut secret = Secret::new(scene.lodging.root(), &[("password", "wrong-password")]);
    let file = secret.file("password");
    scene.sink()["auth"] = json!({"username": user, "password_file": file});
    let mut agent = scene.lodging.start();
    scene.hold(
        &mut agent,
        &[REFUSED, "auth.password_file", file.to_str().unwrap()],
    );
    secret.swap(&[("password", "first-password\n")]);
    agent.wait_until_delivered(scene.talker.bytes);

    // First on the server, and then the file: the order in which nothing can be stored meanwhile.
    let path = format!("/_security/user/{user}/_password");
    server.order("PUT", &path, &json!({"password": "second-password"}));
    scene.say();
    agent.wait_for("the second refusal", |agent| {
        agent.log().iter().filter(|line| line.contains(REFUSED)).count() == 2
    });
    secret.swap(&[("password", "second-password")]);
    agent.wait_until_delivered(scene.talker.bytes);
    scene.end(agent, None);
}

/// Red when a token goes into the header in another form, or is not read again.
#[test]
fn e2e_secure_a_bearer_token_that_is_taken_away_holds_everything_until_the_next_one() {
    let server = SecureServer::shared();
    let mut scene = Scene::new(&server, "token");
    scene.prefix = format!("logs-{}", scene.prefix.replace('-', "_"));
    let index = format!("{}-default", scene.prefix);
    scene.sink()["index"] = index.into();
    scene.sink()["schema"] = "ecs".into();
    let token = |name: &str| {
        let made = server.order("POST", &format!("{SERVICE}/{name}"), &Value::Null);
        made["token"]["value"].as_str().unwrap().to_owned()
    };
    let [first, second] = ["first", "second"].map(|name| unique(name).replace('-', "_"));
    let mut secret = Secret::new(scene.lodging.root(), &[("token", &token(&first))]);
    let file = secret.file("token");
    scene.sink()["auth"] = json!({"bearer_token_file": file});
    let mut agent = scene.lodging.start();
    scene.deliver(&mut agent);
    server.order("DELETE", &format!("{SERVICE}/{first}"), &Value::Null);
    scene.hold(
        &mut agent,
        &[REFUSED, "bearer_token_file", file.to_str().unwrap()],
    );
    secret.swap(&[("token", &token(&second))]);
    agent.wait_until_delivered(scene.talker.bytes);
    scene.end(agent, Some(REFUSED));
    server.order("DELETE", &format!("{SERVICE}/{second}"), &Value::Null);
}

/// Red when the recipe of an agent that looks documents up lacks a right, or when one that may not read is told that nothing is
/// there (`NO_LOOK_UP`): then what is there twice would not be counted.
#[test]
fn e2e_secure_documents_are_looked_up_with_the_right_to_read_and_without_it_nothing_is_known() {
    let server = SecureServer::shared();
    let mut scene = Scene::new(&server, "look-up");
    scene.sink()["look_up_after"] = json!("1s");
    let recipe = recipe(&scene.lodging, "elasticsearch-8.19", "api-key-agent.json");
    let reader = ApiKey::new(&server, &recipe);
    let pattern = format!("{}-*", scene.prefix);
    let writer = ApiKey::with(&server, &["auto_configure", "create_doc"], &pattern);
    let secret = with_key(&mut scene, &reader.encoded);
    let mut agent = scene.lodging.start();
    scene.deliver(&mut agent);
    agent.terminate().assert_clean();
    let index = format!("{}-2026.03.04", scene.prefix);
    server.order("POST", &format!("/{index}/_refresh"), &Value::Null);
    let one = server.order("GET", &format!("/{index}/_search?size=1"), &Value::Null);
    let id = one["hits"]["hits"][0]["_id"].as_str().unwrap();
    let names = [(index.clone(), id.to_owned()), (index, "unheard-of".to_owned())];

    let asked = |key: &str| {
        fs::write(secret.file("api-key"), key).unwrap();
        look_up(&scene.lodging, &names)
    };
    assert_eq!(asked(&reader.encoded), ["duplicate", NOT_FOUND]);
    assert_eq!(asked(&writer.encoded), [NO_LOOK_UP, NO_LOOK_UP]);
}

/// What the client of this config is told of documents.
fn look_up(lodging: &Lodging, names: &[(String, String)]) -> Vec<String> {
    let config = Config::parse(&lodging.config.to_string(), &|_| None).unwrap();
    let client = Client::new(&config.sink.elasticsearch).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime.block_on(client.look_up(0, names.to_vec()));
    let RequestVerdict::Items(verdicts) = answer.verdict else {
        panic!("{:?}", answer.verdict)
    };
    let told = verdicts.iter().map(|verdict| match verdict {
        Verdict::Duplicate => "duplicate".to_owned(),
        Verdict::Retry(problem) => problem.kind.clone(),
        other => panic!("{other:?}"),
    });
    told.collect()
}
