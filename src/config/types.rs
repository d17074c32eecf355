//! The checked configuration: every value parsed, in range, in one unit.
//!
//! These types say what the agent may rely on; how they are written in YAML stands in `keys.rs`.
//! The defaults here and in `config/longshore.yaml` are the same, and a test proves it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::access::{Auth, Tls};
use super::glob::Glob;
use super::host::HostUrl;
use super::index::IndexPattern;
use super::log::{Log, LogFormat, LogLevel};
use super::units::{GIB, MIB};

/// Everything that a person can set, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node whose pods are watched; empty means the host name, which the caller looks up.
    pub node_name: String,
    /// Where checkpoints, spool and dead letters live.
    pub state_dir: PathBuf,
    /// Which files are read, and how.
    pub source: Source,
    /// What is made of a message.
    pub parse: Parse,
    /// What is added to a message.
    pub enrich: Enrich,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// The disk buffer.
    pub spool: Spool,
    /// Bounds on what stays in memory.
    pub memory: Memory,
    /// Where documents go.
    pub sink: Sink,
    /// The status server.
    pub admin: Admin,
    /// The agent's own log.
    pub log: Log,
}

/// Which files are read, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The directory in which kubelet keeps one directory per pod.
    pub pod_logs_dir: PathBuf,
    /// The directory of kubelet's links, whose names tell container ids.
    pub containers_dir: PathBuf,
    /// Containers whose files are never opened.
    pub exclude: Exclude,
    /// Where a file without a checkpoint is begun.
    pub start_at: StartAt,
    /// The longest message, joined from partials or not; the rest of it is cut, flagged and counted.
    pub max_line: u64,
    /// Whether each container has a share of what the sink takes, while that is less than they write.
    pub fair: bool,
    /// How fast containers are read at most.
    pub rate_limit: RateLimit,
    /// How many threads read; container instances are sharded over them.
    pub reader_threads: usize,
    /// How often the directories are listed, with or without a watch.
    pub rescan_interval: Duration,
    /// How many log files are open at once.
    pub max_open_files: usize,
    /// The most unread bytes that deleted files of the node may hold.
    pub max_deleted_bytes: u64,
    /// The most unread bytes that deleted files of one pod may hold.
    pub max_deleted_bytes_per_pod: u64,
    /// How long a message without its last part is waited for.
    pub partial_idle: Duration,
    /// The only directories into which a link named `N.log` may lead.
    pub docker_roots: Vec<PathBuf>,
    /// The agent's own namespace; with `own_pod` it names the pod that is never read.
    pub own_namespace: String,
    /// The agent's own pod; empty names none.
    pub own_pod: String,
    /// The uid of the agent's own pod; empty names none.
    pub own_uid: String,
}

/// How fast containers are read at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Bytes a second of all containers of a pod together; 0 is no limit.
    pub pod: u64,
    /// Bytes a second of all pods of a namespace together; 0 is no limit.
    pub namespace: u64,
    /// What happens to what is written faster.
    pub when_exceeded: WhenExceeded,
}

/// What happens to what is written faster than a rate limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenExceeded {
    /// It stays in its file until there is room in the limit.
    #[default]
    Delay,
    /// It is dropped, counted.
    Drop,
}

/// Containers whose files are never opened: one match in one list is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclude {
    /// Namespaces to leave out.
    pub namespaces: Vec<Glob>,
    /// Pods to leave out, by pod name in any namespace.
    pub pods: Vec<Glob>,
    /// Containers to leave out, by container name in any pod.
    pub containers: Vec<Glob>,
}

/// Where a file without a checkpoint is begun, on the first start ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At its first byte.
    Beginning,
    /// At its end; files born later are read whole.
    End,
}

/// What is made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    /// What happens to a message that is one JSON object.
    pub json: JsonMode,
}

/// What happens to a message that is one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonMode {
    /// It stays text.
    Off,
    /// Its members become fields of the document; reserved keys are never overwritten.
    Merge,
    /// Its members become fields below one key.
    Nest,
}

/// What is added to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrich {
    /// Pod metadata.
    pub kubernetes: Kubernetes,
}

/// Where pod metadata comes from, and which of it is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// Who tells the metadata.
    pub source: MetadataSource,
    /// How long a new container's file waits for its metadata while the watch is live.
    pub metadata_wait: Duration,
    /// Whether pod labels are added.
    pub labels: bool,
    /// The keys of the pod annotations to add.
    pub annotations: Vec<Glob>,
    /// Whether the labels of the pod's namespace are added.
    pub namespace_labels: bool,
    /// The kubeconfig to use; without it the pod's service account.
    pub kubeconfig: Option<PathBuf>,
}

/// Who tells the metadata of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataSource {
    /// A watch on the Kubernetes API.
    Api,
    /// Nobody: only what the path of a file tells.
    None,
}

/// When a batch is full: the first limit that is reached closes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes before compression.
    pub max_bytes: u64,
    /// Documents.
    pub max_documents: usize,
    /// Age of its first document.
    pub max_age: Duration,
}

/// The disk buffer for what cannot be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// The most bytes that it takes on disk.
    pub max_bytes: u64,
    /// The free space of the file system below which nothing is written.
    pub min_free: MinFree,
    /// What happens when it is full.
    pub when_full: WhenFull,
    /// The size at which a segment is closed.
    pub segment_bytes: u64,
    /// Of `max_bytes`, so many percent are for one index on hold.
    pub lane_share: usize,
}

impl Spool {
    /// Bytes of one index on hold, at which no more is read for it.
    pub fn lane_bytes(&self) -> u64 {
        self.max_bytes / 100 * self.lane_share as u64
    }
}

/// The free space of the file system below which the spool takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinFree {
    /// Of the size of the file system, 0 to 100.
    Percent(u8),
    /// In bytes.
    Bytes(u64),
}

/// What happens when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Reading stops until there is room.
    Block,
    /// The oldest frames are dropped, counted.
    DropOldest,
}

/// Bounds on what stays in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Resident bytes of batches that are not acked: bodies, their tables, open buffers. `None`: as the memory limit of
    /// the process tells ([`crate::flow::budget::in_flight`]).
    pub in_flight: Option<u64>,
}

/// Where documents go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Elasticsearch or OpenSearch.
    pub elasticsearch: Elasticsearch,
}

/// How documents look in Elasticsearch, and how they are sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elasticsearch {
    /// The hosts, used in turn; at least one.
    pub hosts: Vec<HostUrl>,
    /// Who we are.
    pub auth: Auth,
    /// Whom we trust.
    pub tls: Tls,
    /// The layout of documents.
    pub schema: Schema,
    /// The index of a document, by its event time in UTC; none: the schema's own ([`Elasticsearch::index_pattern`]).
    pub index: Option<IndexPattern>,
    /// The field that holds the message.
    pub message_key: MessageKey,
    /// Whether documents have the field `tag`, as Fluentd makes it.
    pub include_tag: bool,
    /// What happens to the dots in label keys.
    pub label_dots: LabelDots,
    /// Who makes the document id.
    pub document_id: DocumentId,
    /// The gzip level of bodies, 0 to 9; 0 is off.
    pub compression: u8,
    /// How long one request may take in all; for half of that the other side may stop in the middle of it.
    pub request_timeout: Duration,
    /// After how long without an answer another host gets a body, too.
    pub hedge_after: Duration,
    /// So long after a request without an answer its documents are looked up before they are sent again; none: they are not.
    pub look_up_after: Option<Duration>,
    /// How many requests are unanswered at once, at most.
    pub max_in_flight: usize,
    /// Of the requests while both wait, so many percent are for the backlog, the others for new lines.
    pub backlog_share: usize,
    /// Where refused documents rest.
    pub dead_letter: DeadLetter,
}

impl Elasticsearch {
    /// After how long without an answer another host gets a body, too; none: never. What two servers made ids for would be
    /// there twice; and to look documents up tells only what has ended.
    pub fn hedges(&self) -> Option<Duration> {
        let is_ours = self.document_id == DocumentId::Deterministic;
        let may = self.hosts.len() > 1 && is_ours && self.look_up_after.is_none();
        (may && self.hedge_after < self.request_timeout).then_some(self.hedge_after)
    }
}

/// Where refused documents rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The most bytes that dead letters take on disk.
    pub max_bytes: u64,
    /// What happens then.
    pub when_full: WhenLettersFull,
}

/// What happens to refused documents that the dead-letter file has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenLettersFull {
    /// They wait for room, and with them in the end everything.
    Block,
    /// They are dropped, counted.
    Drop,
}

/// The layout of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// What the stock Fluentd image makes, in an index for each day.
    Fluentd,
    /// The Elastic Common Schema, in a data stream.
    Ecs,
    /// What the OpenTelemetry collector makes for Elasticsearch, in a data stream.
    Otel,
}

/// The field that holds the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKey {
    /// `log`.
    Log,
    /// `message`.
    Message,
}

/// What happens to the dots in label keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelDots {
    /// They become underscores, so that `app` and `app.kubernetes.io/name` fit into one index.
    Replace,
    /// They stay, as in stock Fluentd.
    Keep,
}

/// Who makes the document id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentId {
    /// We do, from the bytes of the file: what is sent again is not indexed again.
    Deterministic,
    /// The server does: what is sent again may be indexed again.
    Auto,
}

/// The status server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The address it listens on.
    pub listen: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            state_dir: PathBuf::from("/var/lib/longshore"),
            source: Source::default(),
            parse: Parse { json: JsonMode::Off },
            enrich: Enrich {
                kubernetes: Kubernetes::default(),
            },
            batch: BatchLimits::default(),
            spool: Spool::default(),
            memory: Memory { in_flight: None },
            sink: Sink {
                elasticsearch: Elasticsearch::default(),
            },
            admin: Admin {
                listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            },
            log: Log {
                level: LogLevel::Info,
                format: LogFormat::Text,
            },
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            pod_logs_dir: PathBuf::from("/var/log/pods"),
            containers_dir: PathBuf::from("/var/log/containers"),
            exclude: Exclude::default(),
            start_at: StartAt::Beginning,
            max_line: MIB,
            fair: true,
            rate_limit: RateLimit::default(),
            reader_threads: 1,
            rescan_interval: Duration::from_secs(5),
            max_open_files: 1024,
            max_deleted_bytes: 256 * MIB,
            max_deleted_bytes_per_pod: 64 * MIB,
            partial_idle: Duration::from_secs(30),
            docker_roots: vec![PathBuf::from("/var/lib/docker/containers")],
            own_namespace: String::new(),
            own_pod: String::new(),
            own_uid: String::new(),
        }
    }
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            source: MetadataSource::Api,
            metadata_wait: Duration::from_secs(5),
            labels: true,
            annotations: Vec::new(),
            namespace_labels: false,
            kubeconfig: None,
        }
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            max_bytes: 4 * MIB,
            max_documents: 5000,
            max_age: Duration::from_secs(1),
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            max_bytes: GIB,
            min_free: MinFree::Percent(10),
            when_full: WhenFull::Block,
            segment_bytes: 16 * MIB,
            lane_share: 25,
        }
    }
}

impl Default for Elasticsearch {
    fn default() -> Self {
        Self {
            hosts: vec![HostUrl::default()],
            auth: Auth::default(),
            tls: Tls::default(),
            schema: Schema::Fluentd,
            index: None,
            message_key: MessageKey::Message,
            include_tag: true,
            label_dots: LabelDots::Replace,
            document_id: DocumentId::Deterministic,
            compression: 1,
            request_timeout: Duration::from_secs(90),
            hedge_after: Duration::from_secs(5),
            look_up_after: None,
            max_in_flight: 4,
            backlog_share: 50,
            dead_letter: DeadLetter {
                max_bytes: 100 * MIB,
                when_full: WhenLettersFull::Block,
            },
        }
    }
}
