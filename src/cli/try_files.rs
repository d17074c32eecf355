//! `longshore try`: log files enter, the documents that they would become leave.
//!
//! The files go through the real [`Reader`], with identity, index and id as in a run. What only the API server knows
//! is left out, nothing is sent, and nothing is written to the state directory.

use super::config_file::ConfigFile;
use super::console::{Console, Exit, Failure};
use super::origin::{self, Origin};
use super::pretty::pretty;
use crate::batch::Limits;
use crate::codec::body::document;
use crate::codec::gzip::{compressor, inflate};
use crate::config::{Config, Elasticsearch, Exclude, Glob, Schema};
use crate::parse::partial::Partials;
use crate::reader::{FileState, InstanceState, Reader, Unusual};
use crate::record::{Metadata, Stamp};
use crate::sink::dead_letter;
use crate::sink::elasticsearch::encode::EncodeConfig;
use crate::sink::elasticsearch::schema::fragment;
use crate::source::disk::{Links, LogFolders};
use crate::source::fingerprint::{file_id, fingerprint};
use crate::source::pod_path::{LogKind, LogName, PodName};
use anyhow::Context;
use flate2::read::MultiGzDecoder;
use serde_json::json;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

const HELP: &str = "\
Takes files as containerd, CRI-O and Docker write them, plain or .gz. Namespace, pod, container and
restart number come from the path when it is one of kubelet's; then rotated files are read before
the live one, so that messages that were split by a rotation are joined.

Each document is printed with the index and the id that it would get; what was unusual stands in
`longshore.flags`. Differences to a run:
  - Labels, images and addresses come from the API server, and are not here. The container id is
    taken from kubelet's links, where there are some.
  - A file is taken as finished: an unfinished last line is shown, a run would wait for its end.
  - Lines before the first time stamp get the file's modification time, a run takes the time when
    it first saw the file. It also stands where ecs and otel tell when a line was read.

Examples:
  longshore try /var/log/pods/shop_web-0_*/app/0.log* | less
  longshore try --schema ecs app.log
  longshore try --format ndjson app.log | jq -c '[._index, ._source.message]'
  zcat old.gz | longshore try --namespace shop --pod web-0 --container app /dev/stdin

Exit codes:
  0  all files were read
  1  some were not, or not to their end; the others are shown
  64 wrong usage, or mistakes in the config";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The log files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// How documents look
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    /// The layout of documents, in place of the config's
    #[arg(long, value_enum)]
    schema: Option<AskedSchema>,
    /// The namespace, where the path does not tell it
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The pod, where the path does not tell it
    #[arg(long, default_value = "pod")]
    pod: String,
    /// The container, where the path does not tell it
    #[arg(long, default_value = "container")]
    container: String,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, over many lines
    Pretty,
    /// One object a line, its `_source` byte by byte as it would be sent
    Ndjson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AskedSchema {
    /// What the stock Fluentd image makes
    Fluentd,
    /// The Elastic Common Schema
    Ecs,
    /// OpenTelemetry
    Otel,
}

impl From<AskedSchema> for Schema {
    fn from(asked: AskedSchema) -> Schema {
        match asked {
            AskedSchema::Fluentd => Schema::Fluentd,
            AskedSchema::Ecs => Schema::Ecs,
            AskedSchema::Otel => Schema::Otel,
        }
    }
}

/// The uid of a pod that nobody knows.
const UNKNOWN_UID: &str = "00000000-0000-0000-0000-000000000000";

/// Enough that the first chunk holds all that makes the identity of a file.
const CHUNK_BYTES: usize = 64 * 1024;

/// The files of one container instance, in the order in which they were written.
struct Instance {
    origin: Origin,
    files: Vec<(LogKind, PathBuf)>,
}

pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut config = args.config.load(console)?;
    if let Some(schema) = args.schema {
        use_schema(&mut config.sink.elasticsearch, schema.into());
    }
    let mut trial = Trial::new(&config, args.format);
    let mut exit = Exit::Clean;
    for instance in instances(args) {
        let origin = &instance.origin;
        if let Some(pattern) = excluded(&config.source.exclude, origin) {
            let PodName { namespace, pod, .. } = &origin.pod;
            console.note(format_args!(
                "{namespace}/{pod}/{}: a run leaves it out by source.exclude, pattern {pattern}",
                origin.container
            ));
        }
        let mut state = InstanceState {
            partials: Partials::default(),
            fragment: fragment(
                &metadata(&config, origin),
                &EncodeConfig::from(&config).layout,
                &log_path(&config, &instance),
            ),
        };
        for (_, path) in &instance.files {
            if let Err(error) = trial.read(path, origin, &mut state, console.out)? {
                console.note(format_args!("{}: {error}", path.display()));
                exit = Exit::Runtime;
            }
        }
        trial.end_instance(&mut state, console.out)?;
    }
    console.note(trial.summary());
    Ok(exit)
}

/// The config as it would be for another schema: with an index of its own.
fn use_schema(sink: &mut Elasticsearch, schema: Schema) {
    if schema != sink.schema {
        sink.index = None;
        sink.schema = schema;
    }
}

/// The live file, as a run names it.
fn log_path(config: &Config, instance: &Instance) -> String {
    let Origin { pod, container, log } = &instance.origin;
    let path = match instance.files.first() {
        Some((_, path)) if &*pod.uid == UNKNOWN_UID => path.clone(),
        _ => {
            let PodName { namespace, pod, uid } = pod;
            let folder = config
                .source
                .pod_logs_dir
                .join(format!("{namespace}_{pod}_{uid}"));
            folder.join(container).join(format!("{}.log", log.restart))
        }
    };
    path.to_string_lossy().into_owned()
}

fn instances(args: &Args) -> Vec<Instance> {
    let mut instances: Vec<Instance> = Vec::new();
    for path in &args.files {
        let Some(origin) = origin::of_file(path) else {
            let files = vec![(LogKind::Live, path.clone())];
            instances.push(Instance {
                origin: placeholder(args),
                files,
            });
            continue;
        };
        let file = (origin.log.kind.clone(), path.clone());
        match instances
            .iter_mut()
            .find(|known| known.origin.is_same_instance(&origin))
        {
            Some(instance) => instance.files.push(file),
            None => instances.push(Instance {
                origin,
                files: vec![file],
            }),
        }
    }
    for instance in &mut instances {
        instance.files.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    instances
}

fn placeholder(args: &Args) -> Origin {
    Origin {
        pod: PodName {
            namespace: args.namespace.as_str().into(),
            pod: args.pod.as_str().into(),
            uid: UNKNOWN_UID.into(),
        },
        container: args.container.clone(),
        log: LogName {
            restart: 0,
            kind: LogKind::Live,
        },
    }
}

/// The pattern by which a run would not read this container.
fn excluded<'a>(exclude: &'a Exclude, origin: &Origin) -> Option<&'a str> {
    let lists = [
        (&exclude.namespaces, &*origin.pod.namespace),
        (&exclude.pods, &*origin.pod.pod),
        (&exclude.containers, origin.container.as_str()),
    ];
    let mut matches = lists
        .into_iter()
        .flat_map(|(globs, name)| globs.iter().filter(|glob| glob.matches(name)));
    matches.next().map(Glob::as_str)
}

fn metadata(config: &Config, origin: &Origin) -> Metadata {
    Metadata {
        namespace: origin.pod.namespace.to_string(),
        pod: origin.pod.pod.to_string(),
        pod_uid: origin.pod.uid.to_string(),
        container: origin.container.clone(),
        container_id: container_id(config, origin),
        node: config.node_name.clone(),
        ..Metadata::default()
    }
}

/// The id in the name of kubelet's link to the live file, as a run looks it up when the API server is silent.
fn container_id(config: &Config, origin: &Origin) -> Option<String> {
    let folders = LogFolders {
        disk: crate::disk::kernel(),
        root: config.source.pod_logs_dir.clone(),
        containers_dir: config.source.containers_dir.clone(),
        docker_roots: config.source.docker_roots.clone(),
    };
    let PodName { namespace, pod, uid } = &origin.pod;
    let container = &origin.container;
    let log = format!("{namespace}_{pod}_{uid}/{container}/{}.log", origin.log.restart);
    Links::default().container_id(&folders, 0, [pod, namespace, container, &log])
}

/// One reader for all files, as in a run.
struct Trial {
    reader: Reader,
    format: Format,
    /// The reader wants a time for the age of batches, which does not matter here.
    now: Instant,
    documents: usize,
}

impl Trial {
    #[expect(clippy::disallowed_methods, reason = "a subcommand brings the time")]
    fn new(config: &Config, format: Format) -> Self {
        let limits = Limits::from(&config.batch);
        // Documents are the same whatever the level is; stored ones are the quickest to take apart again.
        let reader = Reader::new(
            config.into(),
            limits,
            compressor(0),
            config.source.max_line as usize,
        );
        Self {
            reader,
            format,
            now: Instant::now(),
            documents: 0,
        }
    }

    /// Prints the documents of a file. The inner error says why it was not read to its end.
    fn read(
        &mut self,
        path: &Path,
        origin: &Origin,
        instance: &mut InstanceState,
        out: &mut dyn Write,
    ) -> Result<io::Result<()>, Failure> {
        let (mut bytes, first_seen) = match open(path) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        let (mut len, mut outcome) = fill(&mut *bytes, &mut chunk);
        let Some(print) = fingerprint(&chunk[..len], true) else {
            return Ok(outcome);
        };
        // Files of one instance that begin alike are told apart by what happened to them, which nobody knows here.
        let epoch = 0;
        let id = file_id(
            &origin.pod.uid,
            &origin.container,
            origin.log.restart,
            print,
            epoch,
        );
        let mut file = FileState::new(id, 0, None, first_seen, Vec::new());
        self.reader.set_read_time(first_seen.secs as u64 * 1000);
        while len > 0 {
            self.reader.on_chunk(&mut file, instance, &chunk[..len], self.now);
            self.print_ready(out)?;
            if outcome.is_err() {
                break;
            }
            (len, outcome) = fill(&mut *bytes, &mut chunk);
        }
        self.reader.on_file_end(&mut file, instance, self.now);
        Ok(outcome)
    }

    fn end_instance(&mut self, instance: &mut InstanceState, out: &mut dyn Write) -> Result<(), Failure> {
        self.reader.on_instance_end(instance, self.now);
        self.reader.close_batch();
        self.print_ready(out)
    }

    fn print_ready(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        for handout in self.reader.take_ready() {
            let body = handout.batch.body;
            let text = inflate(&body).context("BUG: a batch of this process is damaged")?;
            for at in 0..body.documents() {
                let hit = hit(document(&body, &text, at));
                match self.format {
                    Format::Ndjson => writeln!(out, "{hit}")?,
                    Format::Pretty => writeln!(out, "{}", pretty(&hit))?,
                }
            }
            self.documents += body.documents();
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let Unusual {
            truncated,
            truncated_bytes,
            replaced_utf8,
            unparsed,
            partial,
            time_clamped,
        } = self.reader.unusual();
        let counts = [
            (truncated, "truncated"),
            (truncated_bytes, "bytes cut off"),
            (replaced_utf8, "with replaced bytes"),
            (unparsed, "neither CRI nor Docker"),
            (partial, "without their end"),
            (time_clamped, "with a clamped time"),
        ];
        let unusual = counts.iter().filter(|(count, _)| *count > 0);
        let unusual: String = unusual.map(|(count, what)| format!(", {count} {what}")).collect();
        format!(
            "{} documents from {} lines{unusual}",
            self.documents,
            self.reader.lines()
        )
    }
}

/// A document with its target, in the form of a search hit.
fn hit(lines: &[u8]) -> String {
    let newline = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
    let (action, source) = lines.split_at(newline);
    let (index, id) = dead_letter::target(action);
    let id = if id.is_empty() {
        String::new()
    } else {
        format!(r#","_id":{}"#, json!(id))
    };
    let source = String::from_utf8_lossy(source.trim_ascii());
    format!(r#"{{"_index":{}{id},"_source":{source}}}"#, json!(index))
}

/// The file's text, inflated, and the time of lines before any stamp.
#[expect(clippy::disallowed_methods, reason = "the file that a person named")]
fn open(path: &Path) -> io::Result<(Box<dyn Read>, Stamp)> {
    let file = File::open(path)?;
    let modified = file.metadata()?.modified()?;
    let secs = modified
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let first_seen = Stamp {
        secs: secs as i64,
        nanos: 0,
    };
    let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
    let bytes: Box<dyn Read> = if is_gzip {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    Ok((bytes, first_seen))
}

/// Fills the chunk as far as the file goes, and says why not further when it is damaged there.
fn fill(bytes: &mut dyn Read, chunk: &mut [u8]) -> (usize, io::Result<()>) {
    let mut len = 0;
    while len < chunk.len() {
        match bytes.read(&mut chunk[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (len, Err(error)),
        }
    }
    (len, Ok(()))
}
