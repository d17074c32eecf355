//! Rules between keys. Rules about one value alone stand with its form.

use std::path::Path;

use super::reader::Reader;
use super::types::Config;
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
    if auth.api_key_file.is_some() && (auth.username.is_some() || auth.password_file.is_some()) {
        reader.blame(
            &[API_KEY, USERNAME, PASSWORD],
            "an API key, or a user with a password",
            "take out auth.username and auth.password_file, or auth.api_key_file",
        );
    }
}
