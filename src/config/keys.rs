//! Every key of the file, once: its path, the form of its value, and its place in [`Config`].
//!
//! Reading, JSON Schema and the list of known names are all walks over this one list, so none of them can forget a key.
//! Each range has a floor that keeps the agent working and a ceiling that keeps it within a node's means.

use std::time::Duration;

use super::access::{Auth, Aws, AwsService, Tls};
use super::form::{AbsolutePath, Choice, Count, Form, FreeSpace, Host, IndexName, Level, Listen, Pattern};
use super::form::{Region, Sha256, Size, Switch, Text, Time};
use super::log::{LogFormat, LogLevel};
use super::types::*;
use super::units::{GIB, KIB, MIB, TIB};

/// Somebody who walks over all keys.
pub(super) trait Keys {
    /// A key with exactly one value.
    fn one<F: Form>(&mut self, path: &'static str, form: F, place: &mut F::Value);

    /// A key whose value may be null, or empty once variables are filled in.
    fn maybe<F: Form>(&mut self, path: &'static str, form: F, place: &mut Option<F::Value>);

    /// A key with a list of values.
    fn list<F: Form>(&mut self, path: &'static str, form: F, place: &mut Vec<F::Value>);
}

/// Walks over all keys, in the order of the default file.
pub(super) fn walk(config: &mut Config, keys: &mut impl Keys) {
    keys.one("node_name", Text, &mut config.node_name);
    keys.one("state_dir", AbsolutePath, &mut config.state_dir);
    walk_source(&mut config.source, keys);
    keys.one("parse.json", Choice(&JSON_MODES), &mut config.parse.json);
    walk_kubernetes(&mut config.enrich.kubernetes, keys);
    walk_buffers(config, keys);
    walk_elasticsearch(&mut config.sink.elasticsearch, keys);
    keys.one("admin.listen", Listen, &mut config.admin.listen);
    keys.one("log.level", Choice(&LOG_LEVELS), &mut config.log.level);
    keys.one("log.format", Choice(&LOG_FORMATS), &mut config.log.format);
}

fn walk_source(source: &mut Source, keys: &mut impl Keys) {
    keys.one("source.pod_logs_dir", AbsolutePath, &mut source.pod_logs_dir);
    keys.one("source.containers_dir", AbsolutePath, &mut source.containers_dir);
    keys.list("source.docker_roots", AbsolutePath, &mut source.docker_roots);
    keys.list(
        "source.exclude.namespaces",
        Pattern,
        &mut source.exclude.namespaces,
    );
    keys.list("source.exclude.pods", Pattern, &mut source.exclude.pods);
    keys.list(
        "source.exclude.containers",
        Pattern,
        &mut source.exclude.containers,
    );
    keys.one("source.own_namespace", Text, &mut source.own_namespace);
    keys.one("source.own_pod", Text, &mut source.own_pod);
    keys.one("source.own_uid", Text, &mut source.own_uid);
    keys.one("source.start_at", Choice(&START_AT), &mut source.start_at);
    // Below 256 bytes even one fingerprint would not fit; above 64 MiB no server takes the document.
    keys.one(
        "source.max_line",
        Size {
            least: 256,
            most: 64 * MIB,
        },
        &mut source.max_line,
    );
    keys.one(
        "source.partial_idle",
        time(millis(10), hours(1)),
        &mut source.partial_idle,
    );
    walk_reading(source, keys);
}

/// How much is read, and when.
fn walk_reading(source: &mut Source, keys: &mut impl Keys) {
    keys.one("source.fair", Switch, &mut source.fair);
    let bytes = || Size {
        least: 0,
        most: 64 * GIB,
    };
    keys.one("source.rate_limit.pod", bytes(), &mut source.rate_limit.pod);
    keys.one(
        "source.rate_limit.namespace",
        bytes(),
        &mut source.rate_limit.namespace,
    );
    keys.one(
        "source.rate_limit.when_exceeded",
        Choice(&WHEN_EXCEEDED),
        &mut source.rate_limit.when_exceeded,
    );
    keys.one(
        "source.reader_threads",
        // One for now: what shares containers out among several is not built.
        Count { least: 1, most: 1 },
        &mut source.reader_threads,
    );
    keys.one(
        "source.rescan_interval",
        time(millis(10), hours(1)),
        &mut source.rescan_interval,
    );
    walk_descriptors(source, keys);
}

fn walk_descriptors(source: &mut Source, keys: &mut impl Keys) {
    keys.one(
        "source.max_open_files",
        Count {
            least: 16,
            most: 1 << 20,
        },
        &mut source.max_open_files,
    );
    for (path, place) in [
        ("source.max_deleted_bytes", &mut source.max_deleted_bytes),
        (
            "source.max_deleted_bytes_per_pod",
            &mut source.max_deleted_bytes_per_pod,
        ),
    ] {
        keys.one(
            path,
            Size {
                least: 0,
                most: 64 * TIB,
            },
            place,
        );
    }
}

fn walk_kubernetes(kubernetes: &mut Kubernetes, keys: &mut impl Keys) {
    keys.one(
        "enrich.kubernetes.source",
        Choice(&METADATA_SOURCES),
        &mut kubernetes.source,
    );
    // A file that waits keeps its descriptor open, and kubelet may delete what nobody holds.
    keys.one(
        "enrich.kubernetes.metadata_wait",
        time(Duration::ZERO, Duration::from_secs(60)),
        &mut kubernetes.metadata_wait,
    );
    keys.one("enrich.kubernetes.labels", Switch, &mut kubernetes.labels);
    keys.list(
        "enrich.kubernetes.annotations",
        Pattern,
        &mut kubernetes.annotations,
    );
    keys.one(
        "enrich.kubernetes.namespace_labels",
        Switch,
        &mut kubernetes.namespace_labels,
    );
    keys.maybe(
        "enrich.kubernetes.kubeconfig",
        AbsolutePath,
        &mut kubernetes.kubeconfig,
    );
}

fn walk_buffers(config: &mut Config, keys: &mut impl Keys) {
    // Elasticsearch refuses requests over 100 MB; larger batches than 64 MiB only cost memory.
    keys.one(
        "batch.max_bytes",
        Size {
            least: KIB,
            most: 64 * MIB,
        },
        &mut config.batch.max_bytes,
    );
    keys.one(
        "batch.max_documents",
        Count {
            least: 1,
            most: 100_000,
        },
        &mut config.batch.max_documents,
    );
    keys.one(
        "batch.max_age",
        time(millis(10), hours(1)),
        &mut config.batch.max_age,
    );
    keys.one(
        "spool.max_bytes",
        Size {
            least: 128 * KIB,
            most: 64 * TIB,
        },
        &mut config.spool.max_bytes,
    );
    keys.one("spool.min_free", FreeSpace, &mut config.spool.min_free);
    keys.one("spool.when_full", Choice(&WHEN_FULL), &mut config.spool.when_full);
    keys.one(
        "spool.segment_bytes",
        Size {
            least: 64 * KIB,
            most: GIB,
        },
        &mut config.spool.segment_bytes,
    );
    keys.one(
        "spool.lane_share",
        Count { least: 1, most: 100 },
        &mut config.spool.lane_share,
    );
    keys.maybe(
        "memory.in_flight",
        Size {
            least: KIB,
            most: 64 * GIB,
        },
        &mut config.memory.in_flight,
    );
}

fn walk_auth(auth: &mut Auth, keys: &mut impl Keys) {
    keys.maybe("sink.elasticsearch.auth.username", Text, &mut auth.username);
    keys.maybe(
        "sink.elasticsearch.auth.password_file",
        AbsolutePath,
        &mut auth.password_file,
    );
    keys.maybe(
        "sink.elasticsearch.auth.api_key_file",
        AbsolutePath,
        &mut auth.api_key_file,
    );
    keys.maybe(
        "sink.elasticsearch.auth.bearer_token_file",
        AbsolutePath,
        &mut auth.bearer_token_file,
    );
    walk_aws(&mut auth.aws, keys);
    keys.one(
        "sink.elasticsearch.auth.allow_over_http",
        Switch,
        &mut auth.allow_over_http,
    );
}

fn walk_aws(aws: &mut Aws, keys: &mut impl Keys) {
    keys.maybe("sink.elasticsearch.auth.aws.region", Region, &mut aws.region);
    keys.one(
        "sink.elasticsearch.auth.aws.service",
        Choice(&AWS_SERVICES),
        &mut aws.service,
    );
    keys.maybe(
        "sink.elasticsearch.auth.aws.access_key_id_file",
        AbsolutePath,
        &mut aws.access_key_id_file,
    );
    keys.maybe(
        "sink.elasticsearch.auth.aws.secret_access_key_file",
        AbsolutePath,
        &mut aws.secret_access_key_file,
    );
    keys.maybe(
        "sink.elasticsearch.auth.aws.session_token_file",
        AbsolutePath,
        &mut aws.session_token_file,
    );
}

fn walk_tls(tls: &mut Tls, keys: &mut impl Keys) {
    keys.maybe("sink.elasticsearch.tls.ca_file", AbsolutePath, &mut tls.ca_file);
    keys.maybe(
        "sink.elasticsearch.tls.ca_fingerprint",
        Sha256,
        &mut tls.ca_fingerprint,
    );
    keys.maybe(
        "sink.elasticsearch.tls.client_certificate_file",
        AbsolutePath,
        &mut tls.client_certificate_file,
    );
    keys.maybe(
        "sink.elasticsearch.tls.client_key_file",
        AbsolutePath,
        &mut tls.client_key_file,
    );
    keys.one(
        "sink.elasticsearch.tls.insecure_skip_verify",
        Switch,
        &mut tls.insecure_skip_verify,
    );
}

fn walk_elasticsearch(sink: &mut Elasticsearch, keys: &mut impl Keys) {
    keys.list("sink.elasticsearch.hosts", Host, &mut sink.hosts);
    walk_auth(&mut sink.auth, keys);
    walk_tls(&mut sink.tls, keys);
    keys.one("sink.elasticsearch.schema", Choice(&SCHEMAS), &mut sink.schema);
    keys.maybe("sink.elasticsearch.index", IndexName, &mut sink.index);
    keys.one(
        "sink.elasticsearch.message_key",
        Choice(&MESSAGE_KEYS),
        &mut sink.message_key,
    );
    keys.one("sink.elasticsearch.include_tag", Switch, &mut sink.include_tag);
    keys.one(
        "sink.elasticsearch.label_dots",
        Choice(&LABEL_DOTS),
        &mut sink.label_dots,
    );
    keys.one(
        "sink.elasticsearch.document_id",
        Choice(&DOCUMENT_IDS),
        &mut sink.document_id,
    );
    keys.one(
        "sink.elasticsearch.compression",
        Level { most: 9 },
        &mut sink.compression,
    );
    keys.one(
        "sink.elasticsearch.request_timeout",
        time(millis(100), hours(1)),
        &mut sink.request_timeout,
    );
    keys.one(
        "sink.elasticsearch.hedge_after",
        time(millis(100), hours(1)),
        &mut sink.hedge_after,
    );
    keys.maybe(
        "sink.elasticsearch.look_up_after",
        time(millis(100), hours(1)),
        &mut sink.look_up_after,
    );
    keys.one(
        "sink.elasticsearch.max_in_flight",
        Count { least: 1, most: 64 },
        &mut sink.max_in_flight,
    );
    keys.one(
        "sink.elasticsearch.backlog_share",
        Count { least: 10, most: 90 },
        &mut sink.backlog_share,
    );
    keys.one(
        "sink.elasticsearch.dead_letter.max_bytes",
        Size {
            least: KIB,
            most: 64 * TIB,
        },
        &mut sink.dead_letter.max_bytes,
    );
    keys.one(
        "sink.elasticsearch.dead_letter.when_full",
        Choice(&WHEN_LETTERS_FULL),
        &mut sink.dead_letter.when_full,
    );
}

const AWS_SERVICES: [(&str, AwsService); 2] = [("es", AwsService::Es), ("aoss", AwsService::Aoss)];
const START_AT: [(&str, StartAt); 2] = [("beginning", StartAt::Beginning), ("end", StartAt::End)];
const JSON_MODES: [(&str, JsonMode); 3] = [
    ("off", JsonMode::Off),
    ("merge", JsonMode::Merge),
    ("nest", JsonMode::Nest),
];
const METADATA_SOURCES: [(&str, MetadataSource); 2] =
    [("api", MetadataSource::Api), ("none", MetadataSource::None)];
const WHEN_EXCEEDED: [(&str, WhenExceeded); 2] =
    [("delay", WhenExceeded::Delay), ("drop", WhenExceeded::Drop)];
const WHEN_FULL: [(&str, WhenFull); 2] = [("block", WhenFull::Block), ("drop_oldest", WhenFull::DropOldest)];
const WHEN_LETTERS_FULL: [(&str, WhenLettersFull); 2] =
    [("block", WhenLettersFull::Block), ("drop", WhenLettersFull::Drop)];
const SCHEMAS: [(&str, Schema); 3] = [
    ("fluentd", Schema::Fluentd),
    ("ecs", Schema::Ecs),
    ("otel", Schema::Otel),
];
const MESSAGE_KEYS: [(&str, MessageKey); 2] = [("message", MessageKey::Message), ("log", MessageKey::Log)];
const LABEL_DOTS: [(&str, LabelDots); 2] = [("replace", LabelDots::Replace), ("keep", LabelDots::Keep)];
const DOCUMENT_IDS: [(&str, DocumentId); 2] = [
    ("deterministic", DocumentId::Deterministic),
    ("auto", DocumentId::Auto),
];
const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

fn time(least: Duration, most: Duration) -> Time {
    Time { least, most }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}
