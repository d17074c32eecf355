use super::*;
use crate::codec::body::document;
use crate::codec::gzip::{compressor, inflate};
use crate::config::{DocumentId, IndexPattern, JsonMode, LabelDots, MessageKey};
use crate::parse::partial::Partials;
use crate::sink::elasticsearch::schema::Layout;
use std::time::Duration;

fn reader(max_line: usize) -> Reader {
    let encode = EncodeConfig {
        layout: Layout::Fluentd {
            message_key: MessageKey::Message,
            include_tag: true,
            label_dots: LabelDots::Replace,
        },
        index: IndexPattern::parse("logstash-%Y.%m.%d").unwrap(),
        document_id: DocumentId::Deterministic,
        json: JsonMode::Off,
    };
    let limits = Limits {
        max_bytes: 1 << 20,
        max_documents: 1000,
        max_age: Duration::from_secs(1),
        seed: 0,
    };
    Reader::new(encode, limits, compressor(1), max_line)
}

fn instance() -> InstanceState {
    InstanceState {
        partials: Partials::default(),
        fragment: Fragment {
            tail: Vec::new(),
            metadata_missing: false,
        },
    }
}

fn file(id: u128) -> FileState {
    FileState::new(
        FileId(id),
        0,
        None,
        Stamp {
            secs: 1_000,
            nanos: 0,
        },
        Vec::new(),
    )
}

fn line(second: u32, stream: &str, tag: &str, text: &str) -> String {
    format!("2026-03-04T09:15:{second:02}.000000000Z {stream} {tag} {text}\n")
}

#[test]
fn what_is_over_a_share_is_in_a_body_of_its_own_and_both_hold_the_offset() {
    let (mut reader, mut instance, mut file) = (reader(1000), instance(), file(7));
    let now = Instant::now();
    let read = |reader: &mut Reader, share, file: &mut FileState, instance: &mut InstanceState, second| {
        reader.set_share(share);
        let text = line(second, "stdout", "F", "x");
        reader.on_chunk(file, instance, text.as_bytes(), now);
        text.len() as u64
    };
    let first = read(&mut reader, Share::Over, &mut file, &mut instance, 1);
    assert!(reader.is_open(Share::Over) && !reader.is_open(Share::Within));
    read(&mut reader, Share::Within, &mut file, &mut instance, 2);
    read(&mut reader, Share::Over, &mut file, &mut instance, 3);
    assert_eq!(reader.open_range(FileId(7)).unwrap().start, 0);
    assert_eq!(reader.open_bytes(), 3 * first);
    // In a hurry, the body within the share goes first.
    reader.hurry(true);
    reader.poll(now + Duration::from_millis(300));
    let handouts = reader.take_ready();
    let seen = |handout: &Handout| (handout.batch.seq, handout.batch.share, handout.ranges[0].start);
    assert_eq!(
        handouts.iter().map(seen).collect::<Vec<_>>(),
        [(1, Share::Within, first)]
    );
    reader.poll(now + Duration::from_secs(2));
    let handouts = reader.take_ready();
    assert_eq!(
        handouts.iter().map(seen).collect::<Vec<_>>(),
        [(2, Share::Over, 0)]
    );
    assert_eq!(handouts[0].batch.body.documents(), 2);
    assert_eq!(reader.open_range(FileId(7)), None);
}

/// Action and document of everything that was read, closing the open batch.
fn documents(reader: &mut Reader) -> Vec<(serde_json::Value, serde_json::Value)> {
    reader.close_batch();
    let mut found = Vec::new();
    for Handout { batch, .. } in reader.take_ready() {
        let text = inflate(&batch.body).unwrap();
        for at in 0..batch.body.documents() {
            let mut lines = document(&batch.body, &text, at).split(|byte| *byte == b'\n');
            let mut next = || serde_json::from_slice(lines.next().unwrap()).unwrap();
            found.push((next(), next()));
        }
    }
    found
}

fn messages(reader: &mut Reader) -> Vec<String> {
    documents(reader)
        .iter()
        .map(|(_, document)| document["message"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_file_is_needed_until_its_closed_batch_is_taken() {
    let (mut reader, mut instance, mut file) = (reader(100), instance(), file(1));
    let text = line(1, "stdout", "F", "a");
    reader.on_chunk(&mut file, &mut instance, text.as_bytes(), Instant::now());
    let start = |reader: &Reader| reader.open_range(FileId(1)).map(|range| range.start);
    assert_eq!(start(&reader), Some(0));
    reader.close_batch();
    assert_eq!(start(&reader), Some(0));
    assert_eq!(reader.take_ready().len(), 1);
    assert_eq!(start(&reader), None);
}

#[test]
fn any_chunking_gives_the_same_documents_with_the_same_ids() {
    let now = Instant::now();
    let text = [
        line(1, "stdout", "F", "one"),
        line(2, "stdout", "P", "two-"),
        line(3, "stderr", "F", "between"),
        line(4, "stdout", "F", "end"),
        "not cri\n".to_owned(),
    ]
    .concat();
    let read = |size: usize| {
        let (mut reader, mut file, mut instance) = (reader(1000), file(1), instance());
        for chunk in text.as_bytes().chunks(size) {
            reader.on_chunk(&mut file, &mut instance, chunk, now);
        }
        assert_eq!(file.position().0, text.len() as u64);
        documents(&mut reader)
    };
    let whole = read(text.len());
    let texts: Vec<_> = whole
        .iter()
        .map(|(_, document)| document["message"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["one", "between", "two-end", "not cri"]);
    for size in 1..text.len() {
        assert_eq!(read(size), whole, "chunks of {size}");
    }
}

#[test]
fn a_message_across_a_rotation_is_one_document_and_holds_both_files() {
    let now = Instant::now();
    let (mut reader, mut instance) = (reader(1000), instance());
    let (mut old, mut new) = (file(1), file(2));
    let first = line(1, "stdout", "F", "x");
    let part = line(2, "stdout", "P", "a");
    reader.on_chunk(&mut old, &mut instance, format!("{first}{part}").as_bytes(), now);
    assert_eq!(instance.partials.lowest(FileId(1)).unwrap().0, first.len() as u64);
    let end = line(3, "stdout", "F", "b");
    reader.on_chunk(&mut new, &mut instance, end.as_bytes(), now);
    reader.close_batch();
    let handout = &reader.take_ready()[0];
    let ranges: Vec<_> = handout
        .ranges
        .iter()
        .map(|range| (range.file.0, range.start))
        .collect();
    assert_eq!(ranges, [(1, 0), (2, 0)]);
    assert_eq!(
        handout.batch.body.source_bytes(),
        (first.len() + part.len() + end.len()) as u64
    );
}

#[test]
fn a_recorded_cut_closes_the_group_at_the_same_byte() {
    let now = Instant::now();
    let text = [line(1, "stdout", "P", "orphan"), line(9, "stdout", "F", "later")].concat();
    let end = line(1, "stdout", "P", "orphan").len() as u64;
    let mut live = reader(1000);
    let (mut state, mut inst) = (file(1), instance());
    live.on_chunk(&mut state, &mut inst, &text.as_bytes()[..end as usize], now);
    live.close_group(&mut inst, Stream::Stdout, now);
    live.on_chunk(&mut state, &mut inst, &text.as_bytes()[end as usize..], now);
    let first_run = documents(&mut live);
    assert_eq!(
        first_run[0].1["longshore"]["flags"],
        serde_json::json!(["partial"])
    );
    assert_eq!(first_run[0].1["logtag"], "P");
    let mut again = reader(1000);
    let mut state = file(1);
    state.add_cut(Cut {
        stream: Stream::Stdout,
        end,
    });
    again.on_chunk(&mut state, &mut instance(), text.as_bytes(), now);
    assert_eq!(documents(&mut again), first_run);
}

#[test]
fn a_line_without_a_stamp_takes_the_last_one_or_the_first_seen_time() {
    let now = Instant::now();
    let (mut reader, mut file, mut instance) = (reader(1000), file(1), instance());
    let text = [
        "plain\n".to_owned(),
        line(5, "stdout", "F", "x"),
        "\n".to_owned(),
        "a\0b\n".to_owned(),
    ]
    .concat();
    reader.on_chunk(&mut file, &mut instance, text.as_bytes(), now);
    let found = documents(&mut reader);
    let times: Vec<_> = found
        .iter()
        .map(|(_, document)| document["@timestamp"].as_str().unwrap())
        .collect();
    assert_eq!(times[0], "1970-01-01T00:16:40.000000000+00:00");
    assert_eq!(times[2], "2026-03-04T09:15:05.000000000+00:00");
    assert_eq!(found[2].1["message"], "");
    assert_eq!(found[3].1["message"], "a\0b");
    assert_eq!(reader.unusual().unparsed, 3);
}

#[test]
fn docker_lines_are_recognised_and_their_parts_joined() {
    let now = Instant::now();
    let (mut reader, mut file, mut instance) = (reader(1000), file(1), instance());
    let text = concat!(
        r#"{"log":"one\n","stream":"stdout","time":"2026-03-04T09:15:01Z"}"#,
        "\n",
        r#"{"log":"tw","stream":"stdout","time":"2026-03-04T09:15:02Z"}"#,
        "\n",
        r#"{"log":"o\n","stream":"stdout","time":"2026-03-04T09:15:03Z"}"#,
        "\n",
    );
    reader.on_chunk(&mut file, &mut instance, text.as_bytes(), now);
    assert_eq!(messages(&mut reader), ["one", "two"]);
}

#[test]
fn an_over_long_line_is_cut_flagged_and_counted_and_the_next_is_whole() {
    let now = Instant::now();
    let (mut reader, mut file, mut instance) = (reader(10), file(1), instance());
    let long = line(1, "stdout", "F", &"x".repeat(5000));
    let text = [long.as_str(), &line(2, "stdout", "F", "next")].concat();
    for chunk in text.as_bytes().chunks(700) {
        reader.on_chunk(&mut file, &mut instance, chunk, now);
    }
    let found = documents(&mut reader);
    assert_eq!(found[0].1["message"], "x".repeat(10));
    assert_eq!(found[0].1["longshore"]["skipped_bytes"], 4990);
    assert_eq!(found[1].1["message"], "next");
    assert_eq!(
        (reader.unusual().truncated, reader.unusual().truncated_bytes),
        (1, 4990)
    );
}

#[test]
fn the_torn_last_line_of_a_finished_file_is_shipped() {
    let now = Instant::now();
    let (mut reader, mut file, mut instance) = (reader(1000), file(1), instance());
    reader.on_chunk(
        &mut file,
        &mut instance,
        b"2026-03-04T09:15:01Z stdout F torn",
        now,
    );
    assert_eq!(file.held_bytes(), 34);
    reader.on_file_end(&mut file, &mut instance, now);
    assert_eq!(messages(&mut reader), ["torn"]);
    assert_eq!(file.position().0, 34);
}
