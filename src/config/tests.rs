//! The config as a person meets it: files that load, mistakes that are named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::names::Names;
use super::*;

const EXAMPLES: [(&str, &str); 4] = [
    ("minimal", include_str!("../../config/examples/minimal.yaml")),
    (
        "tls-apikey",
        include_str!("../../config/examples/tls-apikey.yaml"),
    ),
    (
        "edge-small",
        include_str!("../../config/examples/edge-small.yaml"),
    ),
    ("json-apps", include_str!("../../config/examples/json-apps.yaml")),
];

fn no_env(_: &str) -> Option<String> {
    None
}

#[track_caller]
fn good(text: &str) -> Config {
    Config::parse(text, &no_env).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[track_caller]
fn bad(text: &str) -> Vec<Mistake> {
    let mistakes = Config::parse(text, &no_env).expect_err("these have mistakes").0;
    assert!(!mistakes.is_empty());
    mistakes
}

/// The one mistake of a text.
#[track_caller]
fn mistake(text: &str) -> Mistake {
    let mut mistakes = bad(text);
    assert_eq!(mistakes.len(), 1, "{}", Mistakes(mistakes.clone()));
    mistakes.remove(0)
}

/// A text with only this key, in block style.
fn with(key: &str, value: &str) -> String {
    let names: Vec<&str> = key.split('.').collect();
    let mut text = String::new();
    for (depth, name) in names.iter().enumerate() {
        text += &format!("{}{name}:", "  ".repeat(depth));
        text += if depth + 1 == names.len() { " " } else { "\n" };
    }
    text + value + "\n"
}

fn default_leaves() -> Vec<(String, usize)> {
    let mut mistakes = Vec::new();
    let root = file::read_tree(Config::default_yaml(), &mut mistakes).expect("the default file has keys");
    let leaves = Names::new().flatten(&root, &mut mistakes);
    assert_eq!(mistakes, [], "the default file has no mistakes");
    leaves.into_iter().map(|(key, node)| (key, node.line)).collect()
}

#[test]
fn default_file_equals_built_in_defaults() {
    assert_eq!(good(Config::default_yaml()), Config::default());
}

#[test]
fn default_file_has_every_key_with_a_comment() {
    let leaves: BTreeMap<String, usize> = default_leaves().into_iter().collect();
    let known: BTreeSet<String> = Names::new().keys.iter().map(|&key| key.to_owned()).collect();
    assert_eq!(leaves.keys().cloned().collect::<BTreeSet<_>>(), known);
    for (key, line) in leaves {
        let comment = schema::comment_above(Config::default_yaml(), line);
        assert!(
            comment.len() > 15 && comment.ends_with(['.', ')']),
            "{key} on line {line}: `{comment}`"
        );
    }
}

#[test]
fn empty_text_and_empty_sections_give_the_defaults() {
    for text in [
        "",
        "# nothing but a comment\n",
        "---\n",
        "parse:\nenrich:\n  kubernetes: # later\n",
        "~",
    ] {
        assert_eq!(good(text), Config::default(), "{text:?}");
    }
}

#[test]
fn examples_load() {
    for (name, text) in EXAMPLES {
        let config = Config::parse(text, &no_env).unwrap_or_else(|mistakes| panic!("{name}: {mistakes}"));
        assert_ne!(config.sink, Config::default().sink, "{name} says where to ship");
    }
    let edge = good(EXAMPLES[2].1);
    assert_eq!(
        edge.sink.elasticsearch.hosts[0].as_str(),
        "https://logs.example.com"
    );
    assert_eq!(edge.spool.min_free, MinFree::Percent(20));
    assert!(edge.source.exclude.namespaces[0].matches("kube-system"));
    assert_eq!(good(EXAMPLES[3].1).parse.json, JsonMode::Merge);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test that writes its own golden file when it is asked to"
)]
fn schema_file_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/longshore.schema.json");
    let want = serde_json::to_string_pretty(&schema()).expect("a schema is JSON") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &want).expect("the schema file can be written");
    }
    let have = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        have == want,
        "run `UPDATE=1 cargo test -p longshore --lib schema_file` and commit {path}"
    );
}

#[test]
fn schema_describes_every_key() {
    let schema = schema();
    for key in Names::new().keys {
        let pointer: String = key.split('.').map(|name| format!("/properties/{name}")).collect();
        let leaf = schema
            .pointer(&pointer)
            .unwrap_or_else(|| panic!("{key} is missing"));
        assert!(
            leaf["description"].is_string() && leaf.get("default").is_some(),
            "{key}"
        );
    }
}

/// Every key refuses a section in place of its value, under its own name and on its own line.
#[test]
fn every_key_refuses_a_value_of_another_kind() {
    for key in Names::new().keys {
        let found = mistake(&with(key, "{nonsense: 1}"));
        assert_eq!((found.key.as_str(), found.line), (key, key.split('.').count()));
        assert!(!found.allowed.is_empty() && !found.hint.is_empty(), "{found}");
    }
}

/// A key that is read into the wrong place, or not at all, shows here: each changes the config by itself.
#[test]
fn every_key_reaches_the_config() {
    for key in Names::new().keys {
        let candidates = [
            "/elsewhere",
            "[/elsewhere]",
            "[kube-*]",
            "end",
            "17KiB",
            "45s",
            "2",
            "false",
            "true",
            "30%",
            "merge",
            "none",
            "drop_oldest",
            "drop",
            "[http://other]",
            "other",
            "log",
            "keep",
            "auto",
            "127.0.0.1:1",
            "debug",
            "json",
            "333",
            "1500KiB",
            "2GiB",
            "20",
            "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
        ];
        let changes = |value: &&&str| {
            Config::parse(&with(key, value), &no_env).is_ok_and(|config| config != Config::default())
        };
        // A schema and the number of readers have no second choice yet; the auth keys only go together, those of AWS only
        // with a feature (see below).
        let alone = key.ends_with(".schema")
            || key.contains(".auth.aws.")
            || key.ends_with(".reader_threads")
            || key.ends_with(".username")
            || key.ends_with("_file") && !key.ends_with(".ca_file");
        assert!(alone || candidates.iter().any(|value| changes(&value)), "{key}");
    }
    let with = |rest: &str| {
        let text = format!("sink: {{elasticsearch: {{hosts: [https://es:9200], {rest}}}}}");
        good(&text).sink.elasticsearch
    };
    let auth = with("auth: {username: me, password_file: /pw}").auth;
    assert_eq!(auth.username.as_deref(), Some("me"));
    assert_eq!(auth.password_file.as_deref(), Some("/pw".as_ref()));
    let auth = with("auth: {api_key_file: /key}").auth;
    assert_eq!(auth.api_key_file.as_deref(), Some("/key".as_ref()));
    let auth = with("auth: {bearer_token_file: /token}").auth;
    assert_eq!(auth.bearer_token_file.as_deref(), Some("/token".as_ref()));
    let tls = with("tls: {client_certificate_file: /crt, client_key_file: /key}").tls;
    assert_eq!(tls.client_certificate_file.as_deref(), Some("/crt".as_ref()));
    assert_eq!(tls.client_key_file.as_deref(), Some("/key".as_ref()));
}

#[test]
fn what_others_can_read_or_change_on_the_way_is_named() {
    let of = |rest: &str| {
        good(&format!("sink: {{elasticsearch: {{{rest}}}}}"))
            .sink
            .elasticsearch
            .exposures()
    };
    assert!(of("hosts: [http://es:9200]").is_empty());
    assert!(of("hosts: [https://es:9200], auth: {api_key_file: /k, allow_over_http: true}").is_empty());
    assert_eq!(
        of("hosts: [https://es:9200, http://es:9200], auth: {api_key_file: /k, allow_over_http: true}"),
        ["secrets_over_http"]
    );
    assert_eq!(
        of("tls: {insecure_skip_verify: true}"),
        ["certificates_unchecked"]
    );
}

#[test]
fn all_mistakes_are_told_at_once_as_a_person_reads_them() {
    let text = "\
node_name: ${NODE}
soruce:
  max_line: 1MiB
source:
  max_line: 1 parsec
  reader_threads: 65
  start_at: beginnig
parse:
  json: false
  json: off
sink:
  elasticsearch:
    hosts: [http://es:9200, 'https://me:hunter2@es']
    compresion: 3
    password: hunter2
    auth: {username: me}
    index: Logs-%Y
batch: {max_bytes: 32MiB}
memory: {in_flight: 16MiB}
";
    let told = Config::parse(text, &no_env)
        .expect_err("many mistakes")
        .to_string();
    let want = "\
line 1: node_name: `${NODE}`
  allowed: a text; \"\" for none
  fix: set the variable NODE, or write a default: ${NODE:-…}
line 2: soruce
  allowed: node_name, state_dir, source, parse, enrich, batch, spool, memory, sink, admin, log
  fix: this key is not known; did you mean `source`?
line 5: source.max_line: `1 parsec`
  allowed: a size from 256 to 64MiB, such as 4MiB, 512KiB or 100
  fix: the units are KiB, MiB, GiB, TiB and KB, MB, GB, TB; without one it is bytes
line 6: source.reader_threads: `65`
  allowed: a whole number from 1 to 1
  fix: lower it to 1 at most
line 7: source.start_at: `beginnig`
  allowed: beginning | end
  fix: did you mean `beginning`?
line 9: parse.json: `false`
  allowed: off | merge | nest
  fix: write \"off\", in quotes if a tool writes this file
line 10: parse.json
  fix: it stands on line 9 already; keep one of them
line 13: sink.elasticsearch.hosts[1]
  allowed: an address such as https://elasticsearch:9200
  fix: credentials do not belong into the address; use auth.username and auth.password_file, or auth.api_key_file
line 14: sink.elasticsearch.compresion: `3`
  allowed: hosts, auth, tls, schema, index, message_key, include_tag, label_dots, document_id, compression, request_timeout, hedge_after, look_up_after, max_in_flight, backlog_share, dead_letter
  fix: this key is not known; did you mean `sink.elasticsearch.compression`?
line 15: sink.elasticsearch.password
  fix: secrets do not belong into this file: put it into a file of its own, and name that with sink.elasticsearch.auth.password_file
line 16: sink.elasticsearch.auth.username
  allowed: a user with a password
  fix: set auth.password_file, too
line 17: sink.elasticsearch.index: `Logs-%Y`
  allowed: an index name in lower case, with %Y %m %d %H %j for the date
  fix: use lower-case letters
line 18: batch.max_bytes: `32MiB`
  allowed: max_bytes at most memory.in_flight, which is 16MiB
  fix: lower batch.max_bytes or raise memory.in_flight: a batch must fit into the budget";
    assert_eq!(told, want, "\n{told}");
}

#[test]
fn a_key_in_the_wrong_section_is_shown_its_place() {
    assert!(mistake("max_line: 1MiB").hint.contains("`source.max_line`"));
    assert!(
        mistake("sink: {hosts: [http://es]}")
            .hint
            .contains("`sink.elasticsearch.hosts`")
    );
    assert!(mistake("source.max_line: 1MiB").hint.contains("write `source:`"));
    assert!(mistake("zzzzzzzz: 1").hint.contains("take it out"));
}

#[test]
fn secrets_are_never_repeated() {
    for key in [
        "password",
        "pasword",
        "api_key",
        "apiKey",
        "token",
        "client-secret",
        "password_file",
        "zzz",
    ] {
        let text = format!("sink: {{elasticsearch: {{auth: {{{key}: hunter2}}}}}}");
        let told = Mistakes(bad(&text)).to_string();
        assert!(!told.contains("hunter2") && told.contains(".auth."), "{told}");
    }
    assert!(
        bad("sink: {elasticsearch: {url: 'http://me:hunter2@es'}}")
            .remove(0)
            .value
            .is_empty()
    );
    let env = |name: &str| (name == "URL").then(|| "https://me:hunter2@es".to_owned());
    let told = Config::parse("sink: {elasticsearch: {hosts: [\"${URL}\"]}}", &env).expect_err("refused");
    assert!(
        !told.to_string().contains("hunter2") && told.to_string().contains("${URL}"),
        "{told}"
    );
}

#[test]
fn variables_are_filled_in_within_values() {
    let env = |name: &str| match name {
        "NODE_NAME" => Some("node-a".to_owned()),
        "POD_NAME" => Some("longshore-x".to_owned()),
        "EMPTY" => Some(String::new()),
        "TRICK" => Some("a\nstate_dir: /tmp #".to_owned()),
        _ => None,
    };
    let node = |value: &str| Config::parse(&with("node_name", value), &env).map(|config| config.node_name);
    assert_eq!(node("x${NODE_NAME}y").as_deref(), Ok("xnode-ay"));
    assert_eq!(node("${GONE:-other}").as_deref(), Ok("other"));
    assert_eq!(node("${EMPTY:-other}").as_deref(), Ok("other"));
    assert_eq!(node("${EMPTY}").as_deref(), Ok(""));
    assert_eq!(node("$${NODE_NAME} 5$$").as_deref(), Ok("${NODE_NAME} 5$"));
    assert_eq!(node("${TRICK}").as_deref(), Ok("a\nstate_dir: /tmp #"));
    for wrong in [
        "${GONE}",
        "$NODE_NAME",
        "${NODE_NAME",
        "${}",
        "${1A}",
        "${NODE_NAME:+x}",
        "costs 5$",
    ] {
        assert!(node(wrong).is_err(), "{wrong}");
    }
    // The default file's variables count, even when the key is not written.
    let config = Config::parse("", &env).expect("no mistakes");
    assert_eq!(
        (config.node_name.as_str(), config.source.own_pod.as_str()),
        ("node-a", "longshore-x")
    );
    let sized = Config::parse("batch: {max_documents: \"${EMPTY:-77}\"}", &env).expect("no mistakes");
    assert_eq!(sized.batch.max_documents, 77);
    let nobody = Config::parse(&with("sink.elasticsearch.auth.username", "${EMPTY}"), &env);
    assert_eq!(
        nobody.expect("no mistakes").sink.elasticsearch.auth,
        Auth::default()
    );
}

#[test]
fn keys_that_contradict_each_other_are_refused_where_they_are_written() {
    let auth =
        |inner: &str| format!("sink:\n  elasticsearch:\n    hosts: [https://es:9200]\n    auth: {inner}\n");
    let over_https = |rest: &str| format!("sink: {{elasticsearch: {{hosts: [https://es:9200], {rest}}}}}");
    let broken = [
        ("source: {max_line: 5MiB}".to_owned(), "source.max_line"),
        ("batch: {max_bytes: 512KiB}".to_owned(), "batch.max_bytes"),
        ("memory: {in_flight: 2MiB}".to_owned(), "memory.in_flight"),
        ("spool: {max_bytes: 31MiB}".to_owned(), "spool.max_bytes"),
        ("spool: {segment_bytes: 600MiB}".to_owned(), "spool.segment_bytes"),
        ("state_dir: /var/log/pods/x".to_owned(), "state_dir"),
        ("source: {docker_roots: [/]}".to_owned(), "source.docker_roots"),
        (
            "enrich: {kubernetes: {metadata_wait: 61s}}".to_owned(),
            "enrich.kubernetes.metadata_wait",
        ),
        (
            "sink: {elasticsearch: {hosts: []}}".to_owned(),
            "sink.elasticsearch.hosts",
        ),
        (auth("{username: me}"), "sink.elasticsearch.auth.username"),
        (
            auth("{password_file: /p}"),
            "sink.elasticsearch.auth.password_file",
        ),
        (
            auth("{username: me, password_file: /p, api_key_file: /k}"),
            "sink.elasticsearch.auth.api_key_file",
        ),
        (
            over_https("auth: {api_key_file: /k, bearer_token_file: /t}"),
            "sink.elasticsearch.auth.bearer_token_file",
        ),
        (
            "sink: {elasticsearch: {hosts: [http://es:9200], auth: {bearer_token_file: /t}}}".to_owned(),
            "sink.elasticsearch.hosts",
        ),
        (
            over_https("tls: {client_key_file: /k}"),
            "sink.elasticsearch.tls.client_key_file",
        ),
        (
            over_https("tls: {client_certificate_file: /c}"),
            "sink.elasticsearch.tls.client_certificate_file",
        ),
        (
            over_https("tls: {ca_fingerprint: 0a}"),
            "sink.elasticsearch.tls.ca_fingerprint",
        ),
        (
            over_https("tls: {insecure_skip_verify: true, ca_file: /c}"),
            "sink.elasticsearch.tls.insecure_skip_verify",
        ),
    ];
    for (text, key) in broken {
        assert_eq!(mistake(&text).key, key, "{text}");
    }
}

#[test]
fn what_a_config_needs_not_is_refused() {
    for (text, line, hint) in [
        ("node_name: a\n---\nnode_name: b\n", 2, "one document"),
        ("node_name: &n a\nstate_dir: *n\n", 2, "alias"),
        ("node_name: !!str 5\n", 1, "tag"),
        ("[1]: 2\n", 1, "one word"),
        ("- a\n", 1, "keys and values"),
        ("state_dir: ${X\n  :\n", 2, "mend this first"),
        ("parse: {json: ${X}}\n", 1, "quotes"),
        ("sink:\n  elasticsearch:\n    hosts: [${X}]\n", 3, "quotes"),
        ("parse:\n\tjson: off\n", 2, "tabs"),
        ("node_name: null\n", 1, "default"),
        ("source: {docker_roots: /a}\n", 1, "brackets"),
    ] {
        let found = bad(text).remove(0);
        assert!(found.hint.contains(hint), "{text}: {found}");
        assert_eq!(found.line, line, "{text}: {found}");
    }
    assert_eq!(bad(&"x".repeat(2 << 20)).len(), 1);
    assert_eq!(bad(&"[".repeat(100_000)).len(), 1);
}

#[test]
fn units_are_read_as_written() {
    let size = units::parse_size;
    assert_eq!(size("100"), Some(100));
    assert_eq!(size("512KiB"), Some(512 << 10));
    assert_eq!(size("4MB"), Some(4_000_000));
    assert_eq!(size("1 GiB"), Some(1 << 30));
    for wrong in [
        "",
        "MiB",
        "-1",
        "1.5MiB",
        "4Mi",
        "4mb",
        "1  MiB",
        "1MiB ",
        "18446744073709551615KiB",
        "٣",
    ] {
        assert_eq!(size(wrong), None, "{wrong}");
    }
    let time = units::parse_time;
    assert_eq!(time("250ms"), Some(Duration::from_millis(250)));
    assert_eq!(time("2h"), Some(Duration::from_secs(7200)));
    for wrong in ["5", "5S", "1y", "s", "-5s", "1.5s", "18446744073709551615d"] {
        assert_eq!(time(wrong), None, "{wrong}");
    }
    let free = units::parse_min_free;
    assert_eq!(free("10%"), Some(MinFree::Percent(10)));
    assert_eq!(free("2GiB"), Some(MinFree::Bytes(2 << 30)));
    for wrong in ["100%", "256%", "%", "1.5%", "-1%", "10 %%"] {
        assert_eq!(free(wrong), None, "{wrong}");
    }
    assert_eq!(units::size_hint("4Mi"), "write 4MiB");
    assert_eq!(units::size_hint("4mb"), "write 4MB");
    assert_eq!(units::time_hint("5"), "write a unit behind it, such as 5s");
}

#[test]
fn globs_match_whole_names() {
    let cases = [
        ("kube-*", "kube-system", true),
        ("kube-*", "my-kube-system", false),
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a?c", "aéc", true),
        ("*-canary-*", "web-canary-1", true),
        ("*ab", "aab", true),
        ("a*b*c", "axxbyybzzc", true),
        ("a*b*c", "axxbyybzz", false),
        ("example.com/*", "example.com/team", true),
    ];
    for (pattern, name, want) in cases {
        assert_eq!(Glob::new(pattern).matches(name), want, "{pattern} {name}");
    }
}

#[test]
fn host_addresses_are_checked() {
    for (text, want) in [
        ("http://elasticsearch:9200", "http://elasticsearch:9200"),
        ("HTTPS://Es.example.com/", "https://Es.example.com"),
        ("https://es/logs//", "https://es/logs"),
        ("http://[::1]:9200", "http://[::1]:9200"),
        ("http://10.0.0.1", "http://10.0.0.1"),
    ] {
        assert_eq!(HostUrl::parse(text).expect("an address").as_str(), want);
    }
    for wrong in [
        "",
        "es:9200",
        "ftp://es",
        "http://",
        "http:///x",
        "http://:9200",
        "http://es:",
        "http://es:0",
        "http://es:65536",
        "http://es:9x",
        "http://me@es",
        "http://es?x",
        "http://es#x",
        "http://e s",
        "http://[::1",
        "http://[x]",
        "http://é",
        "http://a..b",
        "http://[::1]x",
        "http://es/\u{7f}",
        "httpß://es",
    ] {
        assert!(HostUrl::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn index_names_that_elasticsearch_refuses_are_refused() {
    use IndexPart::*;
    let text = |text: &str| Text(text.to_owned());
    let parts = |pattern: &str| IndexPattern::parse(pattern).map(|index| index.parts);
    assert_eq!(
        IndexPattern::parse("logstash-%Y.%m.%d"),
        Ok(IndexPattern::default())
    );
    assert_eq!(parts("a%%-%H%j"), Ok(vec![text("a%-"), Hour, DayOfYear]));
    assert_eq!(parts("%Y"), Ok(vec![Year]));
    for wrong in [
        "", "-a", "_a", "+a", ".a", "A", "a b", "a/b", "a\\b", "a*", "a?", "a\"", "a<", "a>", "a|", "a,",
        "a#", "a:", "a%", "a%y", "a%S", "a\n", "É",
    ] {
        assert!(IndexPattern::parse(wrong).is_err(), "{wrong}");
    }
    assert!(IndexPattern::parse(&"a".repeat(255)).is_ok());
    assert!(IndexPattern::parse(&"a".repeat(256)).is_err());
    assert!(IndexPattern::parse(&format!("%Y{}", "a".repeat(252))).is_err());
}

#[test]
fn a_schema_has_its_own_index_and_refuses_that_of_another() {
    let sink = |text: &str| {
        good(&format!("sink: {{elasticsearch: {{{text}}}}}"))
            .sink
            .elasticsearch
    };
    let index = |text: &str| sink(text).index_pattern().to_string();
    assert_eq!(index(""), "logstash-%Y.%m.%d");
    assert_eq!(index("schema: ecs"), "logs-k8s.container-default");
    assert_eq!(index("schema: otel"), "logs-k8s.otel-default");
    assert_eq!(index("schema: ecs, index: logs-nginx-prod"), "logs-nginx-prod");
    let stream = sink("schema: otel, index: logs-nginx.otel-prod").data_stream();
    assert_eq!(
        (stream.dataset.as_str(), stream.namespace.as_str()),
        ("nginx.otel", "prod")
    );
    assert_eq!(sink("schema: otel").data_stream().dataset, "k8s.otel");
    for (text, key, hint) in [
        (
            "schema: ecs, index: logstash-%Y",
            "index",
            "logs-logstash-default",
        ),
        ("schema: otel, index: logs-a-b", "index", "logs-a.otel-b"),
        ("index: logs-a-b", "index", "logstash-%Y.%m.%d"),
        (
            "schema: ecs, message_key: log",
            "message_key",
            "ecs has the message in message",
        ),
    ] {
        let mistake = mistake(&format!("sink: {{elasticsearch: {{{text}}}}}"));
        assert_eq!(mistake.key, format!("sink.elasticsearch.{key}"), "{text}");
        assert!(mistake.hint.contains(hint), "{text}: {}", mistake.hint);
    }
}

/// Red when one of the keys of `auth.aws` is read into the wrong place, or when a half of credentials is taken for whole.
#[cfg(feature = "sigv4")]
#[test]
fn requests_are_signed_for_aws_with_a_region_and_whole_credentials() {
    let aws =
        |text: &str| format!("sink: {{elasticsearch: {{hosts: [https://es], auth: {{aws: {{{text}}}}}}}}}");
    let all = "region: eu-central-1, service: aoss, access_key_id_file: /i, secret_access_key_file: /s, session_token_file: /t";
    let auth = good(&aws(all)).sink.elasticsearch.auth;
    let path = |text: &str| Some(std::path::PathBuf::from(text));
    assert_eq!(
        auth.aws,
        Aws {
            region: Some("eu-central-1".to_owned()),
            service: AwsService::Aoss,
            access_key_id_file: path("/i"),
            secret_access_key_file: path("/s"),
            session_token_file: path("/t"),
        }
    );
    assert!(auth.is_some());
    assert!(good(&aws("region: us-east-1")).sink.elasticsearch.auth.is_some());
    for (text, key, hint) in [
        ("service: aoss", "service", "auth.aws.region"),
        ("access_key_id_file: /i", "access_key_id_file", "auth.aws.region"),
        ("region: a b", "region", "host name"),
        (
            "region: a, secret_access_key_file: /s",
            "secret_access_key_file",
            "access_key_id_file",
        ),
        (
            "region: a, session_token_file: /t",
            "session_token_file",
            "access_key_id_file",
        ),
    ] {
        let mistakes = bad(&aws(text));
        let found = mistakes
            .iter()
            .any(|mistake| mistake.key.ends_with(key) && mistake.hint.contains(hint));
        assert!(found, "{text}: {mistakes:?}");
    }
    let both = "sink: {elasticsearch: {hosts: [https://es], auth: {api_key_file: /k, aws: {region: a}}}}";
    assert!(mistake(both).allowed.contains("one way"));
}

/// Red when the keys of AWS are taken although nobody would sign.
#[cfg(not(feature = "sigv4"))]
#[test]
fn without_the_feature_signatures_of_aws_are_a_mistake_that_says_how_to_get_them() {
    let text = "sink: {elasticsearch: {hosts: [https://es], auth: {aws: {region: eu-central-1}}}}";
    let mistake = mistake(text);
    assert_eq!(mistake.key, "sink.elasticsearch.auth.aws.region");
    assert!(mistake.hint.contains("--features sigv4"), "{mistake}");
}

/// Texts that look like configs, so that the walk gets past the YAML parser.
fn almost_config() -> impl Strategy<Value = String> {
    let key = proptest::sample::select(Names::new().keys);
    let value = prop_oneof![
        "\\PC{0,12}",
        "[0-9]{0,25}[a-zA-Z%]{0,3}",
        "\\$\\{?[A-Z:-]{0,5}\\}?",
        "[\\[{][^\n]{0,9}[\\]}]",
        Just("[*a, &a b, !t c, ? d]".to_owned()),
    ];
    proptest::collection::vec((key, value), 1..4)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| with(key, &value)).collect())
}

proptest! {
    #[test]
    fn no_text_makes_a_panic(text in prop_oneof!["(?s).{0,200}", "[a-z:{}\\[\\]\"'|>&*!?#%@`,$ \t\r\n-]{0,80}", almost_config()]) {
        if let Err(mistakes) = Config::parse(&text, &no_env) {
            prop_assert!(!mistakes.0.is_empty());
            let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
            for mistake in &mistakes.0 {
                prop_assert!((1..=lines + 1).contains(&mistake.line), "{mistake}");
                prop_assert!(!mistake.hint.is_empty() || !mistake.allowed.is_empty(), "{mistake}");
            }
        }
    }

    #[test]
    fn index_and_host_read_back_what_they_write(text in "[a-z%YmdHj0-9.-]{1,20}", host in "https?://[a-z.]{1,9}(:[0-9]{1,5})?(/[a-z]{0,3}){0,3}") {
        if let Ok(index) = IndexPattern::parse(&text) {
            prop_assert_eq!(IndexPattern::parse(&index.to_string()), Ok(index));
        }
        if let Ok(url) = HostUrl::parse(&host) {
            prop_assert_eq!(HostUrl::parse(url.as_str()), Ok(url.clone()));
        }
    }

    #[test]
    fn shown_sizes_and_times_read_back(bytes: u64, millis in 0..u64::MAX / 2) {
        prop_assert_eq!(units::parse_size(&units::show_size(bytes)), Some(bytes));
        let time = Duration::from_millis(millis);
        prop_assert_eq!(units::parse_time(&units::show_time(time)), Some(time));
    }

    #[test]
    fn a_glob_agrees_with_its_naive_meaning(pattern in "[ab*?]{0,6}", name in "[ab]{0,8}") {
        fn naive(pattern: &[u8], name: &[u8]) -> bool {
            match pattern.split_first() {
                None => name.is_empty(),
                Some((b'*', rest)) => (0..=name.len()).any(|skip| naive(rest, &name[skip..])),
                Some((b'?', rest)) => !name.is_empty() && naive(rest, &name[1..]),
                Some((letter, rest)) => name.first() == Some(letter) && naive(rest, &name[1..]),
            }
        }
        prop_assert_eq!(Glob::new(&pattern).matches(&name), naive(pattern.as_bytes(), name.as_bytes()));
    }
}

/// Red when a body goes to two hosts where ids cannot tell that, or nobody may ask them in time (`Elasticsearch::hedges`).
#[test]
fn bodies_go_to_a_second_host_only_where_ids_tell() {
    let two = Elasticsearch {
        hosts: vec![
            HostUrl::parse("http://a:9200").unwrap(),
            HostUrl::parse("http://b:9200").unwrap(),
        ],
        ..Elasticsearch::default()
    };
    assert_eq!(two.hedges(), Some(Duration::from_secs(5)));
    let auto = Elasticsearch {
        document_id: DocumentId::Auto,
        ..two.clone()
    };
    let asks = Elasticsearch {
        look_up_after: Some(Duration::from_secs(10)),
        ..two.clone()
    };
    let one = Elasticsearch {
        hosts: two.hosts[..1].to_vec(),
        ..two
    };
    assert_eq!([auto, asks, one].map(|config| config.hedges()), [None; 3]);
}
