//! The metrics page. A copy of the board enters, text in the OpenMetrics format leaves.
//!
//! Every metric is one row of [`catalog`]: its name as a query spells it, its meaning, and how it is
//! read from the board. Type and unit follow from the name: `_total` is a counter, `_info` carries
//! labels only, the rest are gauges; `_bytes` and `_seconds` are units. Nothing is counted here: the
//! board is copied once per scrape, so the ledger in one page obeys its law to the byte.
//!
//! Not done: histograms (the agent keeps none) and series per file (`/status` tells files).

mod catalog;
#[cfg(test)]
mod tests;

use super::board::{Board, Facts, ReaderStatus, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many containers have series of their own. The rest, by name, are summed into one.
pub const MAX_CONTAINERS: usize = 1000;

/// What the kernel tells of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Bytes of memory that are resident.
    pub resident_bytes: u64,
    /// User and system time since the start, in seconds.
    pub cpu_seconds: f64,
    /// Open descriptors.
    pub open_fds: u64,
    /// The most descriptors that may be open.
    pub max_fds: u64,
}

/// The page, `# EOF` included. Without `process` its rows have no samples.
pub fn render(board: &Board, facts: &Facts, process: Option<Process>) -> String {
    let board = board.snapshot();
    let containers = containers(&board.reader);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        board,
        facts: facts.clone(),
        process,
        containers,
    }));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry)
        .expect("BUG: writing into a String does not fail");
    page
}

/// All metrics as a Markdown table, for the README.
pub fn table() -> String {
    let mut table = String::from("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for metric in catalog::METRICS {
        let labels: Vec<String> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (metric.kind(), labels.join(", "));
        writeln!(
            table,
            "| `{}` | {} | {labels} | {} |",
            metric.name,
            kind.as_str(),
            metric.help
        )
        .expect("BUG: writing into a String does not fail");
    }
    table
}

/// What one page is made of.
#[derive(Debug)]
struct Scrape {
    board: Snapshot,
    facts: Facts,
    process: Option<Process>,
    containers: Vec<Container>,
}

/// Sums over the files of one container, or of all that have no series of their own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Container {
    namespace: String,
    pod: String,
    container: String,
    lag_bytes: u64,
    read_bytes: u64,
}

/// One row of the catalog.
struct Metric {
    name: &'static str,
    help: &'static str,
    read: Read,
}

/// Where a metric's samples come from.
enum Read {
    /// One number.
    One(fn(&Scrape) -> u64),
    /// One number that may be negative.
    Signed(fn(&Scrape) -> i64),
    /// One point in time, in milliseconds since 1970; shown in seconds.
    Moment(fn(&Scrape) -> u64),
    /// A number per value of one label.
    By(&'static str, fn(&Scrape) -> Vec<(String, u64)>),
    /// A number per container.
    ByContainer(fn(&Container) -> u64),
    /// One number of the process.
    Process(fn(&Process) -> u64),
    /// Seconds of the process.
    ProcessSeconds(fn(&Process) -> f64),
    /// Labels and no number.
    Labels(&'static [&'static str], fn(&Scrape) -> Vec<String>),
}

// === impl Metric ===

impl Metric {
    fn kind(&self) -> MetricType {
        match self.name {
            name if name.ends_with("_total") => MetricType::Counter,
            name if name.ends_with("_info") => MetricType::Info,
            _ => MetricType::Gauge,
        }
    }

    /// The name without what the encoder appends: type suffix and unit.
    fn stem(&self) -> (&'static str, Option<Unit>) {
        let name = self.name.trim_end_matches("_total").trim_end_matches("_info");
        match (name.strip_suffix("_bytes"), name.strip_suffix("_seconds")) {
            (Some(stem), _) => (stem, Some(Unit::Bytes)),
            (_, Some(stem)) => (stem, Some(Unit::Seconds)),
            _ => (name, None),
        }
    }

    fn labels(&self) -> Vec<&'static str> {
        match self.read {
            Read::By(label, _) => vec![label],
            Read::ByContainer(_) => Container::LABELS.to_vec(),
            Read::Labels(labels, _) => labels.to_vec(),
            _ => Vec::new(),
        }
    }

    fn encode(&self, scrape: &Scrape, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (stem, unit) = self.stem();
        let mut encoder = encoder.encode_descriptor(stem, self.help, unit.as_ref(), self.kind())?;
        match self.read {
            Read::One(read) => self.whole(read(scrape), encoder),
            Read::Signed(read) => encoder.encode_gauge(&read(scrape)),
            Read::Moment(read) => self.fraction(read(scrape) as f64 / 1e3, encoder),
            Read::By(label, read) => read(scrape)
                .into_iter()
                .try_for_each(|(value, count)| self.whole(count, encoder.encode_family(&[(label, value)])?)),
            Read::ByContainer(read) => scrape.containers.iter().try_for_each(|container| {
                self.whole(read(container), encoder.encode_family(&container.labels())?)
            }),
            Read::Process(read) => scrape
                .process
                .map_or(Ok(()), |process| self.whole(read(&process), encoder)),
            Read::ProcessSeconds(read) => scrape
                .process
                .map_or(Ok(()), |process| self.fraction(read(&process), encoder)),
            Read::Labels(labels, read) => {
                let pairs: Vec<(&str, String)> = labels.iter().copied().zip(read(scrape)).collect();
                encoder.encode_info(&pairs)
            }
        }
    }

    fn whole(&self, value: u64, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.kind() {
            MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
            _ => encoder.encode_gauge(&value),
        }
    }

    fn fraction(&self, value: f64, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.kind() {
            MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
            _ => encoder.encode_gauge(&value),
        }
    }
}

// === impl Container ===

impl Container {
    const LABELS: [&'static str; 3] = ["namespace", "pod", "container"];

    fn labels(&self) -> [(&'static str, &str); 3] {
        let [namespace, pod, container] = Container::LABELS;
        [
            (namespace, &self.namespace),
            (pod, &self.pod),
            (container, &self.container),
        ]
    }
}

/// Sums by container, in the order of names. By name and not by size, so that a series which is shown
/// stays shown; no namespace is empty, so the row of the rest cannot be mistaken for a pod.
fn containers(reader: &ReaderStatus) -> Vec<Container> {
    let mut sums: BTreeMap<[&str; 3], (u64, u64)> = BTreeMap::new();
    for file in reader.files.iter() {
        sums.entry([&file.namespace, &file.pod, &file.container])
            .or_default()
            .0 += file.lag_bytes;
    }
    for one in reader.containers.iter() {
        sums.entry([&one.namespace, &one.pod, &one.container])
            .or_default()
            .1 += one.read_bytes;
    }
    let mut rest = Container {
        container: String::from("other"),
        ..Container::default()
    };
    let mut shown = Vec::with_capacity(sums.len().min(MAX_CONTAINERS + 1));
    let left_out = sums.len() > MAX_CONTAINERS;
    for ([namespace, pod, container], (lag_bytes, read_bytes)) in sums {
        if shown.len() < MAX_CONTAINERS {
            let [namespace, pod, container] = [namespace, pod, container].map(String::from);
            shown.push(Container {
                namespace,
                pod,
                container,
                lag_bytes,
                read_bytes,
            });
        } else {
            rest.lag_bytes += lag_bytes;
            rest.read_bytes += read_bytes;
        }
    }
    shown.extend(left_out.then_some(rest));
    shown
}

// === impl Scrape ===

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        catalog::METRICS
            .iter()
            .try_for_each(|metric| metric.encode(self, &mut encoder))
    }
}
