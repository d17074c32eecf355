//! Rules between keys. Rules about one value alone stand with its form.

use std::path::Path;

use super::access::{Auth, AwsService, Tls};
use super::data_stream;
use super::reader::Reader;
use super::types::{Config, Elasticsearch, MessageKey, Schema};
use super::units::show_size;

/// Checks what no single value shows; every broken rule is noted.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    check_sizes(config, reader);
    check_paths(config, reader);
    check_elasticsearch(config, reader);
}

fn check_sizes(config: &Config, reader: &mut Reader<'_>) {
    let batch = config.batch.max_bytes;
    if config.source.max_line > batch {
        reader.blame(
            &["source.max_line", "batch.max_bytes"],
            &format!("max_line at most batch.max_bytes, which is {}", show_size(batch)),
            "lower source.max_line or raise batch.max_bytes: a line must fit into a batch",
        );
    }
    if let Some(in_flight) = config.memory.in_flight.filter(|in_flight| batch > *in_flight) {
        reader.blame(
            &["batch.max_bytes", "memory.in_flight"],
            &format!(
                "max_bytes at most memory.in_flight, which is {}",
                show_size(in_flight)
            ),
            "lower batch.max_bytes or raise memory.in_flight: a batch must fit into the budget",
        );
    }
    if config.spool.max_bytes < config.spool.segment_bytes.saturating_mul(2) {
        reader.blame(
            &["spool.max_bytes", "spool.segment_bytes"],
            &format!(
                "max_bytes at least twice spool.segment_bytes, which is {}",
                show_size(config.spool.segment_bytes)
            ),
            "raise spool.max_bytes or lower spool.segment_bytes: one segment is written while another is sent",
        );
    }
}

fn check_paths(config: &Config, reader: &mut Reader<'_>) {
    let logs = &config.source.pod_logs_dir;
    let state = &config.state_dir;
    if state.starts_with(logs) {
        reader.blame(
            &["state_dir", "source.pod_logs_dir"],
            "a directory outside source.pod_logs_dir",
            "choose another state_dir: kubelet deletes what it does not know among the pod logs",
        );
    }
    if config
        .source
        .docker_roots
        .iter()
        .any(|root| root == Path::new("/"))
    {
        reader.blame(
            &["source.docker_roots"],
            "directories, but not /",
            "name the directory of the container engine: links that pods can make may lead anywhere else",
        );
    }
}

fn check_elasticsearch(config: &Config, reader: &mut Reader<'_>) {
    const USERNAME: &str = "sink.elasticsearch.auth.username";
    const PASSWORD: &str = "sink.elasticsearch.auth.password_file";
    const API_KEY: &str = "sink.elasticsearch.auth.api_key_file";
    const TOKEN: &str = "sink.elasticsearch.auth.bearer_token_file";
    const REGION: &str = "sink.elasticsearch.auth.aws.region";
    let sink = &config.sink.elasticsearch;
    if sink.hosts.is_empty() {
        reader.blame(
            &["sink.elasticsearch.hosts"],
            "at least one address",
            "write [http://elasticsearch:9200]",
        );
    }
    let auth = &sink.auth;
    match (&auth.username, &auth.password_file) {
        (Some(_), None) => {
            reader.blame(
                &[USERNAME, PASSWORD],
                "a user with a password",
                "set auth.password_file, too",
            );
        }
        (None, Some(_)) => {
            reader.blame(
                &[PASSWORD, USERNAME],
                "a user with a password",
                "set auth.username, too",
            );
        }
        _ => {}
    }
    let has_user = auth.username.is_some() || auth.password_file.is_some();
    if auth.api_key_file.is_some() && has_user {
        reader.blame(
            &[API_KEY, USERNAME, PASSWORD],
            "an API key, or a user with a password",
            "take out auth.username and auth.password_file, or auth.api_key_file",
        );
    }
    if auth.bearer_token_file.is_some() && (has_user || auth.api_key_file.is_some()) {
        reader.blame(
            &[TOKEN, API_KEY, USERNAME, PASSWORD],
            "one way to say who the agent is",
            "take out auth.bearer_token_file, or the others",
        );
    }
    if auth.is_some() && !auth.allow_over_http && sink.hosts.iter().any(|host| !host.is_https()) {
        reader.blame(
            &["sink.elasticsearch.hosts", TOKEN, API_KEY, PASSWORD, REGION],
            "https, because the agent sends a secret",
            "write https://…; where that cannot be, auth.allow_over_http: true lets everybody on the way read the secret",
        );
    }
    check_aws(auth, reader);
    check_tls(&sink.tls, reader);
    check_schema(sink, reader);
}

fn check_aws(auth: &Auth, reader: &mut Reader<'_>) {
    const REGION: &str = "sink.elasticsearch.auth.aws.region";
    const SERVICE: &str = "sink.elasticsearch.auth.aws.service";
    const ID: &str = "sink.elasticsearch.auth.aws.access_key_id_file";
    const SECRET: &str = "sink.elasticsearch.auth.aws.secret_access_key_file";
    const TOKEN: &str = "sink.elasticsearch.auth.aws.session_token_file";
    let aws = &auth.aws;
    let files = [
        &aws.access_key_id_file,
        &aws.secret_access_key_file,
        &aws.session_token_file,
    ];
    let has_files = files.iter().any(|file| file.is_some());
    if aws.region.is_none() {
        if has_files || aws.service != AwsService::Es {
            reader.blame(
                &[ID, SECRET, TOKEN, SERVICE, REGION],
                "credentials and service with their region",
                "set auth.aws.region, too",
            );
        }
        return;
    }
    if !cfg!(feature = "sigv4") {
        reader.blame(
            &[REGION],
            "nothing: this binary was built without the signatures of AWS",
            "take a binary that was built with them: cargo build --release --features sigv4, or the image with --build-arg FEATURES=sigv4",
        );
    }
    if aws.access_key_id_file.is_some() != aws.secret_access_key_file.is_some()
        || aws.session_token_file.is_some() && aws.access_key_id_file.is_none()
    {
        reader.blame(
            &[ID, SECRET, TOKEN],
            "the id of an access key with its secret",
            "set auth.aws.access_key_id_file and auth.aws.secret_access_key_file",
        );
    }
    if auth.username.is_some() || auth.api_key_file.is_some() || auth.bearer_token_file.is_some() {
        reader.blame(
            &[REGION],
            "one way to say who the agent is",
            "take out auth.aws, or the others",
        );
    }
}

fn check_schema(sink: &Elasticsearch, reader: &mut Reader<'_>) {
    const SCHEMA: &str = "sink.elasticsearch.schema";
    if let Some(Err((allowed, hint))) = sink
        .index
        .as_ref()
        .map(|index| data_stream::check(sink.schema, index))
    {
        reader.blame(&["sink.elasticsearch.index", SCHEMA], &allowed, &hint);
    }
    if sink.schema != Schema::Fluentd && sink.message_key == MessageKey::Log {
        reader.blame(
            &["sink.elasticsearch.message_key", SCHEMA],
            "log with the schema fluentd only",
            "take it out: ecs has the message in message, otel in body.text",
        );
    }
}

fn check_tls(tls: &Tls, reader: &mut Reader<'_>) {
    const CERTIFICATE: &str = "sink.elasticsearch.tls.client_certificate_file";
    const KEY: &str = "sink.elasticsearch.tls.client_key_file";
    const FINGERPRINT: &str = "sink.elasticsearch.tls.ca_fingerprint";
    if tls.client_certificate_file.is_some() != tls.client_key_file.is_some() {
        let (has, lacks) = match tls.client_key_file {
            None => (CERTIFICATE, "set tls.client_key_file, too"),
            Some(_) => (KEY, "set tls.client_certificate_file, too"),
        };
        reader.blame(&[has], "a certificate with its key", lacks);
    }
    if tls.ca_fingerprint.is_some() && tls.ca_file.is_some() {
        reader.blame(
            &[FINGERPRINT, "sink.elasticsearch.tls.ca_file"],
            "one way to say whom the agent trusts",
            "take out tls.ca_file, or tls.ca_fingerprint",
        );
    }
    if tls.insecure_skip_verify && (tls.ca_fingerprint.is_some() || tls.ca_file.is_some()) {
        reader.blame(
            &["sink.elasticsearch.tls.insecure_skip_verify"],
            "certificates that are checked, or not",
            "take out tls.insecure_skip_verify, or whom the agent trusts",
        );
    }
}
