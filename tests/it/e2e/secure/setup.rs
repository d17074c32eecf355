//! `longshore setup --apply` with the rights that its recipe names, and with others.

use super::*;
use crate::agent::binary;
use std::process::{Command, Output};

/// `longshore setup` with these arguments, and this config.
pub(super) fn setup(lodging: &Lodging, args: &[&str]) -> Output {
    let config = lodging.root().join("setup.yaml");
    fs::write(&config, lodging.config.to_string()).unwrap();
    let mut command = Command::new(binary());
    command
        .arg("setup")
        .args(args)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap()
}

/// A recipe that `longshore setup --print` writes for this server.
pub(super) fn recipe(lodging: &Lodging, server: &str, file: &str) -> Value {
    let folder = lodging.root().join("printed");
    let output = setup(
        lodging,
        &["--server", server, "--print", folder.to_str().unwrap()],
    );
    assert!(output.status.success(), "{output:?}");
    serde_json::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

/// Panics unless it ends like this, with `told` in what it said.
#[track_caller]
pub(super) fn assert_setup(lodging: &Lodging, args: &[&str], code: i32, told: &str) {
    let output = setup(lodging, args);
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let text = text.concat();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(told), "{told} is not in: {text}");
}

/// Red when `privileges::setup_role` lacks a right, or when a refusal of one object is not told with the server's reason.
#[test]
fn e2e_secure_setup_needs_the_rights_of_its_recipe_and_says_what_is_missing() {
    let server = SecureServer::shared();
    let mut scene = Scene::new(&server, "setup");
    let key = |role: &Value| {
        let body = json!({"name": "longshore-setup", "role_descriptors": {"setup": role}});
        let made = server.order("POST", "/_security/api_key", &body);
        made["encoded"].as_str().unwrap().to_owned()
    };
    let role = recipe(&scene.lodging, "elasticsearch-8.19", "role-setup.json");
    let mut agents = recipe(&scene.lodging, "elasticsearch-8.19", "role-agent.json");
    let mut secret = Secret::new(scene.lodging.root(), &[("key", &key(&agents))]);
    scene.sink()["auth"] = json!({"api_key_file": secret.file("key")});
    assert_setup(&scene.lodging, &["--apply"], 1, "role-setup.json");
    // It may look, and not change.
    agents["cluster"] = json!(["monitor"]);
    secret.swap(&[("key", &key(&agents))]);
    assert_setup(&scene.lodging, &["--apply"], 1, "manage_index_templates");
    secret.swap(&[("key", &key(&role))]);
    assert_setup(&scene.lodging, &["--apply"], 0, " applied\n");
    assert_setup(&scene.lodging, &["--apply"], 0, "nothing to do\n");
    for path in [
        "_index_template/longshore-fluentd",
        "_component_template/longshore-fluentd*",
    ] {
        server.order("DELETE", &format!("/{path}"), &Value::Null);
    }
}
