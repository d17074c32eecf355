//! What document ids cost a real server: documents as the agent makes them enter, without ids, with random ones, and with ours.
//!
//! ```text
//! cargo bench --bench ids                                 Elasticsearch 8.19: an index of a day, and a data stream
//! cargo bench --bench ids -- --server opensearch-2.19     another server of tests/stack
//! cargo bench --bench ids -- --documents 20000 --rounds 1
//! ```
//!
//! The server is started for it, with the templates of `longshore setup`. Kinds of ids take turns, each round begins with
//! another one. Bodies of 3,500 documents come from four agents in turn, each with five containers; the next body is made while
//! the server is idle, and only its answers are waited for. What the figures mean stands in `benches/README.md`. Not done: more
//! than one shard, replicas, several bodies at once.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads clocks and files, waits, and starts processes"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is what a bench is for"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use longshore::config::{DataStream, DocumentId, IndexPattern, JsonMode, LabelDots, MessageKey, Schema};
use longshore::parse::cri::CriParser;
use longshore::record::{FileId, Flags, Metadata, Record, Span};
use longshore::setup::mappings::{Labels, Wishes};
use longshore::setup::objects::{Purpose, objects};
use longshore::setup::server::Server;
use longshore::sink::elasticsearch::encode::{EncodeConfig, Encoder, FileKey};
use longshore::sink::elasticsearch::schema::{Fragment, Layout, fragment};
use longshore_kit::chance::{Chance, mix};
use longshore_kit::lines::Corpus;
use longshore_kit::stack::{Kind, RealServer};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What ends a run early.
type Failure = Box<dyn Error>;

/// 2026-11-21T09:15:27Z: any fixed moment will do.
const BEGIN_NS: u64 = 1_795_252_527_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Documents of a body (4 MB of them), which are what an agent reads in a second.
const BODY: u64 = 3_500;
const AGENTS: u64 = 4;
const CONTAINERS: u64 = 5;
/// The place of our id in an action line.
const ID: &str = "\"_id\":\"";
/// Ticks of `/proc/*/stat` in a second: part of the kernel's interface.
const TICKS: u64 = 100;

/// Measures what document ids cost a real server: see benches/README.md.
#[derive(Parser, Debug)]
#[command(name = "ids")]
struct Options {
    /// A server of tests/stack.
    #[arg(long, default_value = "elasticsearch")]
    server: String,

    /// Only an index of a day (fluentd) or a data stream (ecs); both without it.
    #[arg(long)]
    schema: Option<String>,

    /// Documents for each kind of ids in each round.
    #[arg(long, default_value_t = 400_000)]
    documents: u64,

    /// How often the kinds of ids take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Who makes the ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ids {
    /// The server.
    Auto,
    /// 128 random bits for each document, 22 letters.
    Random,
    /// The agent: time, file and place, 30 letters.
    Ours,
}

const ALL: [Ids; 3] = [Ids::Auto, Ids::Random, Ids::Ours];

/// What one turn took.
#[derive(Clone, Copy, Debug)]
struct Turn {
    ids: Ids,
    /// Until all answers were there.
    wall: Duration,
    /// Of the server, until all was flushed.
    cpu: Duration,
    /// Of the index, merged into one segment.
    bytes: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ids: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == options.server);
    let kind = kind.ok_or_else(|| format!("{} is no server of tests/stack", options.server))?;
    // Its own measure of memory counts what the collector has not taken yet, and refuses bodies for it.
    let server = RealServer::start(kind, &["indices.breaker.total.use_real_memory=false"])?;
    let schemas = match options.schema.as_deref() {
        None if kind == Kind::Elasticsearch7 => vec![Schema::Fluentd],
        None => vec![Schema::Fluentd, Schema::Ecs],
        Some("fluentd") => vec![Schema::Fluentd],
        Some("ecs") => vec![Schema::Ecs],
        Some(other) => return Err(format!("{other} is neither fluentd nor ecs").into()),
    };
    for schema in schemas {
        put_templates(&server, schema)?;
        // Until its compiler has seen everything, the server is slower than later.
        take_turn(&server, schema, Ids::Ours, "warm", options.documents / 4)?;
        let mut turns = Vec::new();
        for round in 0..options.rounds {
            for at in 0..ALL.len() {
                let ids = ALL[(at + round) % ALL.len()];
                turns.push(take_turn(
                    &server,
                    schema,
                    ids,
                    &format!("r{round}"),
                    options.documents,
                )?);
            }
        }
        report(kind, schema, options, &turns);
    }
    Ok(())
}

/// The names of the indices of a turn, and how a template matches all of them.
fn index(schema: Schema, ids: Ids, round: &str) -> String {
    let name = format!("{ids:?}_{round}").to_lowercase();
    match schema {
        Schema::Fluentd => format!("ids-{name}"),
        _ => DataStream {
            dataset: "ids".to_owned(),
            namespace: name,
        }
        .name(),
    }
}

/// What `longshore setup` puts there.
fn put_templates(server: &RealServer, schema: Schema) -> Result<(), Failure> {
    let (_, nodes) = server.get("/_nodes/plugins");
    let known = match server.kind().is_opensearch() {
        true => Server::from_root(server.get("/").1.as_bytes()),
        false => Server::from_nodes(nodes.as_bytes()),
    };
    let pattern = match schema {
        Schema::Fluentd => "ids-%Y",
        _ => "logs-ids-any",
    };
    let purpose = Purpose {
        wishes: Wishes {
            schema,
            labels: Labels::Keyword,
            merges_json: false,
        },
        index: IndexPattern::parse(pattern)?,
        retention: None,
        looks_up: false,
    };
    for object in objects(&known?.with_modules(nodes.as_bytes()), &purpose)? {
        let (status, answer) = server.put(&format!("/{}", object.path()), &object.body.to_string());
        if status != 200 {
            return Err(format!("{}: {answer}", object.path()).into());
        }
    }
    Ok(())
}

/// Indexes documents with such ids into an index of their own, merges it, and removes it where that is possible.
fn take_turn(
    server: &RealServer,
    schema: Schema,
    ids: Ids,
    round: &str,
    documents: u64,
) -> Result<Turn, Failure> {
    let index = index(schema, ids, round);
    let mut writers = Writers::new(ids, &index)?;
    let before = cpu(server)?;
    let mut wall = Duration::ZERO;
    for _ in 0..documents.div_ceil(BODY) {
        let body = writers.next_body()?;
        let begun = Instant::now();
        let (status, answer) = server.post("/_bulk?filter_path=errors", &body);
        wall += begun.elapsed();
        if status != 200 || answer != "{\"errors\":false}" {
            return Err(format!("{index}: {status} {answer}").into());
        }
    }
    for path in ["_refresh", "_flush"] {
        good(server.post(&format!("/{index}/{path}"), ""))?;
    }
    let cpu = cpu(server)? - before;
    let stored = server.count(&index);
    if stored != documents.div_ceil(BODY) * BODY {
        return Err(format!("{index}: {stored} documents are there").into());
    }
    good(server.post(&format!("/{index}/_forcemerge?max_num_segments=1&flush=true"), ""))?;
    good(server.post(&format!("/{index}/_flush?force=true"), ""))?;
    let stats = good(server.get(&format!("/{index}/_stats/store")))?;
    let bytes = &stats["_all"]["primaries"]["store"]["size_in_bytes"];
    let bytes = bytes.as_u64().ok_or_else(|| format!("no size in {stats}"))?;
    // A stream's index stays until the server is stopped: these servers have no call for it.
    if schema == Schema::Fluentd {
        good(server.delete(&format!("/{index}"), ""))?;
    }
    Ok(Turn {
        ids,
        wall,
        cpu,
        bytes,
    })
}

fn good((status, answer): (u16, String)) -> Result<Value, Failure> {
    match status {
        200 => Ok(serde_json::from_str(&answer)?),
        _ => Err(format!("{status} {answer}").into()),
    }
}

/// User and system time of the server so far, to 10 ms.
fn cpu(server: &RealServer) -> Result<Duration, Failure> {
    let pid = server.pid()?.as_raw_nonzero();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may contain anything, in brackets.
    let (_, rest) = stat.rsplit_once(')').ok_or("no brackets in /proc/*/stat")?;
    let ticks = |at: usize| {
        rest.split_whitespace()
            .nth(at)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let ticks = ticks(11).zip(ticks(12)).ok_or("no times in /proc/*/stat")?;
    Ok(Duration::from_millis((ticks.0 + ticks.1) * 1000 / TICKS))
}

/// The agents, which take turns.
struct Writers {
    ids: Ids,
    encoder: Encoder,
    containers: Vec<Container>,
    bodies: u64,
    chance: Chance,
}

/// A container and its log file.
struct Container {
    corpus: Corpus,
    file: FileId,
    fragment: Fragment,
    end: u64,
}

impl Writers {
    fn new(ids: Ids, index: &str) -> Result<Writers, Failure> {
        let label_dots = LabelDots::Replace;
        let layout = match DataStream::of_name(index) {
            Some(stream) => Layout::Ecs { stream, label_dots },
            None => Layout::Fluentd {
                message_key: MessageKey::Message,
                include_tag: true,
                label_dots,
            },
        };
        let document_id = match ids {
            Ids::Auto => DocumentId::Auto,
            Ids::Random | Ids::Ours => DocumentId::Deterministic,
        };
        Ok(Writers {
            ids,
            containers: (0..AGENTS * CONTAINERS)
                .map(|n| Container::new(n, &layout))
                .collect(),
            encoder: Encoder::new(EncodeConfig {
                layout,
                index: IndexPattern::parse(index)?,
                document_id,
                json: JsonMode::Off,
            }),
            bodies: 0,
            chance: Chance::new(u64::from(std::process::id())),
        })
    }

    /// What the agent whose turn it is has read in its second.
    fn next_body(&mut self) -> Result<String, Failure> {
        let (agent, second) = (self.bodies % AGENTS, self.bodies / AGENTS);
        self.bodies += 1;
        self.encoder
            .set_read_time((BEGIN_NS + second * SECOND_NS) / 1_000_000);
        let mut body = Vec::with_capacity(6 << 20);
        let mut line = Vec::new();
        for n in 0..BODY {
            let unix_ns = BEGIN_NS + second * SECOND_NS + n * (SECOND_NS / BODY);
            let container = &mut self.containers[(agent * CONTAINERS + n % CONTAINERS) as usize];
            line.clear();
            container.corpus.push_line(&mut line, unix_ns);
            let start = body.len();
            container.push(&mut self.encoder, &mut body, &line);
            if self.ids == Ids::Random {
                replace_id(&mut body, start, &mut self.chance);
            }
        }
        Ok(String::from_utf8(body)?)
    }
}

/// Puts a random id in the place of ours, in the action line that begins at `start`.
fn replace_id(body: &mut Vec<u8>, start: usize, chance: &mut Chance) {
    let action = String::from_utf8_lossy(&body[start..]).into_owned();
    let Some(from) = action.find(ID).map(|at| start + at + ID.len()) else {
        return;
    };
    let len = body[from..]
        .iter()
        .position(|byte| *byte == b'"')
        .unwrap_or_default();
    let bits = (u128::from(chance.next_u64()) << 64) | u128::from(chance.next_u64());
    let id = URL_SAFE_NO_PAD.encode(bits.to_be_bytes());
    body.splice(from..from + len, id.into_bytes());
}

impl Container {
    fn new(n: u64, layout: &Layout) -> Container {
        let (high, low) = (mix(n + 1), mix(n + 1_000));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let metadata = Metadata {
            namespace: "shop".into(),
            pod: format!("cart-6d4cf56db6-{n:05}"),
            pod_uid: format!("7f1a3c52-0b1e-4a55-9f38-{high:012x}")
                .chars()
                .take(36)
                .collect(),
            container: "app".into(),
            node: format!("node-{}", n / CONTAINERS),
            container_id: Some(format!("{high:016x}{low:016x}").repeat(2)),
            image: Some("registry.example/shop/cart:1.42.0".into()),
            pod_ip: Some(format!("10.42.0.{}", n + 2)),
            labels: vec![
                pair("app.kubernetes.io/name", "cart"),
                pair("pod-template-hash", "6d4cf56db6"),
            ],
            ..Metadata::default()
        };
        Container {
            corpus: Corpus::text(n + 1, "bench"),
            file: FileId((u128::from(high) << 64) | u128::from(low)),
            fragment: fragment(&metadata, layout, "/var/log/pods/shop_cart/app/0.log"),
            end: 0,
        }
    }

    /// The next line becomes a document.
    fn push(&mut self, encoder: &mut Encoder, body: &mut Vec<u8>, line: &[u8]) {
        let mut parser = CriParser::default();
        let cri = parser.parse(line.trim_ascii_end()).expect("the corpus is CRI");
        let start = self.end;
        self.end += line.len() as u64;
        let record = Record {
            stamp: cri.stamp,
            stream: Some(cri.stream),
            message: cri.content,
            valid_utf8: true,
            flags: Flags::default(),
            span: Span {
                file: self.file,
                start,
                end: self.end,
            },
            second: None,
            last_part: None,
            source_bytes: self.end - start,
            skipped: 0,
        };
        encoder.push(
            body,
            &record,
            cri.stamp_text,
            FileKey::new(self.file),
            &self.fragment,
        );
    }
}

/// The table of one kind of index.
fn report(kind: Kind, schema: Schema, options: &Options, turns: &[Turn]) {
    let documents = options.documents.div_ceil(BODY) * BODY;
    let target = if schema == Schema::Fluentd {
        "an index"
    } else {
        "a data stream"
    };
    println!(
        "\n{kind}, {target}: {documents} documents for each, {} rounds",
        options.rounds
    );
    println!(
        "  {:<8} {:>12} {:>8}   {:>14} {:>8}   {:>12} {:>8}   round by round",
        "ids", "documents/s", "of auto", "CPU us/document", "of auto", "bytes/document", "of auto"
    );
    for ids in ALL {
        let of = |ids: Ids, figure: &dyn Fn(&Turn) -> f64| -> Vec<f64> {
            turns.iter().filter(|turn| turn.ids == ids).map(figure).collect()
        };
        // Turns of one round are compared with each other: the machine may be another one in the next.
        let figures = |figure: &dyn Fn(&Turn) -> f64| -> (f64, Vec<f64>) {
            let (own, auto) = (of(ids, figure), of(Ids::Auto, figure));
            let ratios = own.iter().zip(&auto).map(|(own, auto)| own / auto).collect();
            (median(&own), ratios)
        };
        let (rate, rates) = figures(&|turn| documents as f64 / turn.wall.as_secs_f64());
        let (cpu, cpus) = figures(&|turn| turn.cpu.as_secs_f64() * 1e6 / documents as f64);
        let (size, sizes) = figures(&|turn| turn.bytes as f64 / documents as f64);
        let each: Vec<String> = rates.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!(
            "  {:<8} {rate:>12.0} {:>8.2}   {cpu:>15.1} {:>8.2}   {size:>14.1} {:>8.3}   {}",
            format!("{ids:?}").to_lowercase(),
            median(&rates),
            median(&cpus),
            median(&sizes),
            each.join(" ")
        );
    }
}

/// The middle value; of an even number of values the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
