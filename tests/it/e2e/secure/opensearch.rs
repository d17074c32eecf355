//! OpenSearch with its security plugin, which answers in plain text where Elasticsearch answers in JSON.

use super::setup::{assert_setup, recipe};
use super::*;
use longshore_kit::stack::run_stack;

const SERVER: &str = "opensearch-2.19";
const PASSWORD: &str = "Sextant-Compass-42";
const UNINITIALISED: &str = "plugins.security.allow_default_init_securityindex=false";

/// Makes a user with this role.
fn make_user(server: &SecureServer, name: &str, role: &Value) {
    server.order("PUT", &format!("/_plugins/_security/api/roles/{name}"), role);
    let body = json!({"password": PASSWORD, "opendistro_security_roles": [name]});
    server.order(
        "PUT",
        &format!("/_plugins/_security/api/internalusers/{name}"),
        &body,
    );
}

/// Gives the agent's config a user of this scene, and its password.
fn with_password(scene: &mut Scene<'_>) -> (String, Secret) {
    let user = scene.prefix.clone();
    let secret = Secret::new(scene.lodging.root(), &[("password", PASSWORD)]);
    scene.sink()["auth"] = json!({"username": user, "password_file": secret.file("password")});
    (user, secret)
}

/// Red when an answer in plain text with 401 or 503 is anything but a reason to wait, or when the recipe of `agent_role` for
/// OpenSearch lacks a right.
#[test]
fn e2e_secure_opensearch_plain_text_refusals_hold_everything_and_the_printed_rights_are_enough() {
    let server = SecureServer::own("opensearch-secured", &[UNINITIALISED]);
    let mut scene = Scene::new(&server, "opensearch");
    let (user, secret) = with_password(&mut scene);
    let mut agent = scene.lodging.start();
    let asked = server.ask(
        Who::User(&user, PASSWORD),
        "GET",
        "/_cluster/health",
        &Value::Null,
    );
    assert_eq!(asked, (503, "OpenSearch Security not initialized.".to_owned()));
    scene.hold(&mut agent, &["is not available (503"]);

    run_stack(&["initialise", server.name()]).unwrap();
    // The user is not there yet.
    let asked = server.ask(Who::User(&user, PASSWORD), "GET", "/", &Value::Null);
    assert_eq!(asked, (401, "Unauthorized".to_owned()));
    let file = secret.file("password");
    scene.hold(
        &mut agent,
        &[REFUSED, "auth.password_file", file.to_str().unwrap()],
    );
    make_user(&server, &user, &recipe(&scene.lodging, SERVER, "role-agent.json"));
    agent.wait_until_delivered(scene.talker.bytes);
    scene.deliver(&mut agent);

    let index = format!("{}-2026.03.04", scene.prefix);
    let forged = json!({"message": "forged"});
    let ask =
        |method: &str, path: &str, body: &Value| server.ask(Who::User(&user, PASSWORD), method, path, body).0;
    for (method, path, body) in [
        ("DELETE", "", &Value::Null),
        ("POST", "/_update/1", &json!({"doc": forged})),
        ("DELETE", "/_doc/1", &Value::Null),
        ("GET", "/_search", &Value::Null),
    ] {
        assert_eq!(
            ask(method, &format!("/{index}{path}"), body),
            403,
            "{method} {path}"
        );
    }
    // Its security plugin knows one right for adding and for replacing: whoever may do the one may do the other.
    let own = format!("/{index}/_doc/forged");
    assert_eq!((ask("PUT", &own, &forged), ask("PUT", &own, &forged)), (201, 200));
    server.order("DELETE", &own, &Value::Null);
    scene.end(agent, Some(REFUSED));
}

/// As in `setup.rs`, by OpenSearch's names of the rights.
#[test]
fn e2e_secure_opensearch_setup_needs_the_rights_of_its_recipe() {
    let server = SecureServer::own("opensearch-secured", &[]);
    let mut scene = Scene::new(&server, "setup");
    let (user, _secret) = with_password(&mut scene);
    make_user(&server, &user, &recipe(&scene.lodging, SERVER, "role-agent.json"));
    assert_setup(&scene.lodging, &["--apply"], 1, "role-setup.json");
    make_user(&server, &user, &recipe(&scene.lodging, SERVER, "role-setup.json"));
    assert_setup(&scene.lodging, &["--apply"], 0, " applied\n");
    assert_setup(&scene.lodging, &["--apply"], 0, "nothing to do\n");
}
