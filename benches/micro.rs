//! Micro-benches of the pure steps that every line goes through: cri, escape, encode, gzip; and of the spool's frame.
//!
//! Each step runs over the same block of one of the two corpora (`benches/README.md`), so that the figures of the steps
//! add up. Throughput counts the step's own input: bytes of log lines for cri and encode, of messages for escape, of
//! NDJSON for gzip, of the finished body for frame. `cargo bench --bench micro [-- FILTER]`.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use longshore::codec::{escape, gzip};
use longshore::config::{DocumentId, IndexPattern, JsonMode, LabelDots, MessageKey};
use longshore::parse::cri::{CriLine, CriParser};
use longshore::record::{Body, Encoding, FileId, Flags, Metadata, Record, Row, Span};
use longshore::sink::elasticsearch::encode::{EncodeConfig, Encoder, FileKey};
use longshore::sink::elasticsearch::schema::{Fragment, Layout, fragment};
use longshore::spool::frame;
use longshore_kit::lines::Corpus;
use std::hint::black_box;

/// Lines in the block that each step runs over: about the reader's chunk of 256 KiB, so that it lies in the L2 cache.
const LINES: usize = 900;
/// 2026-11-21T09:15:27Z: any fixed moment will do, and no clock is read.
const SENT_NS: u64 = 1_795_252_527_000_000_000;

/// One corpus, cut into lines.
struct Sample {
    name: &'static str,
    lines: Vec<Vec<u8>>,
}

impl Sample {
    fn new(name: &'static str, mut corpus: Corpus) -> Sample {
        let line = |at: usize| {
            let mut line = Vec::new();
            corpus.push_line(&mut line, SENT_NS + at as u64 * 1_000_000);
            line.pop();
            line
        };
        Sample {
            name,
            lines: (0..LINES).map(line).collect(),
        }
    }

    fn both() -> [Sample; 2] {
        [
            Sample::new("json", Corpus::json(1, "bench")),
            Sample::new("text", Corpus::text(1, "bench")),
        ]
    }

    fn parsed(&self) -> Vec<CriLine<'_>> {
        let mut parser = CriParser::default();
        self.lines
            .iter()
            .map(|line| parser.parse(line).expect("the corpus is CRI"))
            .collect()
    }

    /// Bytes of the lines, newlines included.
    fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.len() as u64 + 1).sum()
    }
}

fn cri(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cri");
    for sample in Sample::both() {
        group.throughput(Throughput::Bytes(sample.bytes()));
        let mut parser = CriParser::default();
        group.bench_function(sample.name, |bench| {
            bench.iter(|| {
                sample
                    .lines
                    .iter()
                    .filter(|line| parser.parse(black_box(line)).is_some())
                    .count()
            });
        });
    }
}

fn escape(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("escape");
    for sample in Sample::both() {
        let lines = sample.parsed();
        group.throughput(Throughput::Bytes(
            lines.iter().map(|line| line.content.len() as u64).sum(),
        ));
        let mut out = Vec::new();
        group.bench_function(sample.name, |bench| {
            bench.iter(|| {
                out.clear();
                lines
                    .iter()
                    .any(|line| escape::push_lossy(&mut out, black_box(line.content)))
            });
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let fragment = pod_fragment();
    for sample in Sample::both() {
        let lines = sample.parsed();
        group.throughput(Throughput::Bytes(sample.bytes()));
        let mut encoder = encoder();
        let mut out = Vec::new();
        group.bench_function(sample.name, |bench| {
            bench.iter(|| {
                out.clear();
                push_documents(&mut encoder, &mut out, &lines, &fragment);
                out.len()
            });
        });
    }
}

fn gzip_levels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gzip");
    let fragment = pod_fragment();
    for sample in Sample::both() {
        let mut text = Vec::new();
        push_documents(&mut encoder(), &mut text, &sample.parsed(), &fragment);
        for level in [1, 2, 6] {
            bench_gzip(&mut group, sample.name, level, &text);
        }
    }
}

fn bench_gzip(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, level: u8, text: &[u8]) {
    group.throughput(Throughput::Bytes(text.len() as u64));
    let mut compressor = gzip::compressor(level);
    let mut out = Vec::new();
    group.bench_function(format!("{name}/{level}"), |bench| {
        bench.iter(|| {
            out.clear();
            compressor.push(black_box(text), &mut out);
            compressor.finish(&mut out);
            out.len()
        });
    });
}

fn frame_steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for sample in Sample::both() {
        let body = body_of(&sample);
        let bytes = frame::encode(1, None, &body);
        group.throughput(Throughput::Bytes(body.bytes.len() as u64));
        group.bench_function(format!("{}/encode", sample.name), |bench| {
            bench.iter(|| frame::encode(1, None, black_box(&body)));
        });
        group.bench_function(format!("{}/decode", sample.name), |bench| {
            bench.iter(|| frame::decode(black_box(&bytes)));
        });
    }
}

fn encoder() -> Encoder {
    Encoder::new(EncodeConfig {
        layout: LAYOUT,
        index: IndexPattern::default(),
        document_id: DocumentId::Deterministic,
        json: JsonMode::Off,
    })
}

const LAYOUT: Layout = Layout::Fluentd {
    message_key: MessageKey::Message,
    include_tag: true,
    label_dots: LabelDots::Replace,
};

fn pod_fragment() -> Fragment {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let metadata = Metadata {
        namespace: "shop".into(),
        pod: "cart-6d4cf56db6-x2x7p".into(),
        pod_uid: "7f1a3c52-0b1e-4a55-9f38-3a4f1c0d9e11".into(),
        container: "app".into(),
        node: "node-a".into(),
        container_id: Some("5e".repeat(32)),
        image: Some("registry.example/shop/cart:1.42.0".into()),
        pod_ip: Some("10.42.0.17".into()),
        labels: vec![
            pair("app.kubernetes.io/name", "cart"),
            pair("pod-template-hash", "6d4cf56db6"),
        ],
        ..Metadata::default()
    };
    fragment(&metadata, &LAYOUT, "")
}

fn push_documents(encoder: &mut Encoder, out: &mut Vec<u8>, lines: &[CriLine<'_>], fragment: &Fragment) {
    let file = FileId(0x5eed);
    let key = FileKey::new(file);
    let mut start = 0;
    for line in lines {
        let end = start + line.stamp_text.len() as u64 + line.content.len() as u64 + 11;
        let record = Record {
            stamp: line.stamp,
            stream: Some(line.stream),
            message: line.content,
            valid_utf8: true,
            flags: Flags::default(),
            span: Span { file, start, end },
            second: None,
            last_part: None,
            source_bytes: end - start,
            skipped: 0,
        };
        encoder.push(out, black_box(&record), line.stamp_text, key, fragment);
        start = end;
    }
}

/// The block as a finished body, with a table as the batcher makes it.
fn body_of(sample: &Sample) -> Body {
    let (mut encoder, fragment) = (encoder(), pod_fragment());
    let (mut text, mut rows, mut start) = (Vec::new(), Vec::new(), 0);
    for (line, parsed) in sample.lines.iter().zip(sample.parsed()) {
        push_documents(&mut encoder, &mut text, &[parsed], &fragment);
        let source_bytes = line.len() as u32 + 1;
        rows.push(Row {
            end: text.len() as u32,
            file: 0,
            start,
            source_bytes,
        });
        start += u64::from(source_bytes);
    }
    let mut bytes = Vec::new();
    let mut compressor = gzip::compressor(1);
    compressor.push(&text, &mut bytes);
    compressor.finish(&mut bytes);
    Body {
        bytes: bytes.into(),
        encoding: Encoding::Gzip,
        inflated_len: text.len() as u32,
        rows,
        files: vec![FileId(0x5eed)],
    }
}

criterion_group!(benches, cri, escape, encode, gzip_levels, frame_steps);
criterion_main!(benches);
