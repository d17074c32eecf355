//! Every metric, one row each, in the order of the page and of the README's table.

use super::{Metric, Read, Scrape};
use crate::telemetry::board::{SpoolOnRecord, UnreadOnRecord, VERSION};

/// How many indices on hold have a series of their own.
const MAX_HOLDS: usize = 100;

/// What a pod watch can be.
const WATCH_STATES: [&str; 4] = ["off", "starting", "live", "down"];

pub(super) const METRICS: &[Metric] = &[
    // Where every byte is: read + recovered = acked + dead_lettered + dropped + held + in_flight + spooled.
    row(
        "longshore_ledger_read_bytes_total",
        "Bytes read from log files since the start.",
        Read::One(|s| s.board.ledger.read()),
    ),
    row(
        "longshore_ledger_recovered_bytes_total",
        "Source bytes of what the spool held at the start.",
        Read::One(|s| s.board.ledger.recovered),
    ),
    row(
        "longshore_ledger_acked_bytes_total",
        "Source bytes that Elasticsearch confirmed, as stored now or stored before.",
        Read::One(|s| s.board.ledger.acked),
    ),
    row(
        "longshore_ledger_dead_lettered_bytes_total",
        "Source bytes of documents written to the dead-letter file.",
        Read::One(|s| s.board.ledger.dead_lettered),
    ),
    row(
        "longshore_ledger_dropped_bytes_total",
        "Bytes that were read and will not be delivered, by reason.",
        Read::By("reason", |s| named(s.board.ledger.dropped())),
    ),
    row(
        "longshore_ledger_held_bytes",
        "Bytes of lines that are not ended and of messages whose last part is awaited.",
        Read::One(|s| s.board.ledger.held()),
    ),
    row(
        "longshore_ledger_in_flight_bytes",
        "Source bytes of documents in memory.",
        Read::One(|s| s.board.ledger.in_flight()),
    ),
    row(
        "longshore_ledger_spooled_bytes",
        "Source bytes of documents in the spool.",
        Read::One(|s| s.board.ledger.spooled),
    ),
    row(
        "longshore_ledger_imbalance_bytes",
        "Both sides of the ledger's law compared. Anything but 0 is a bug: please report it.",
        Read::Signed(|s| clamped(s.board.ledger.imbalance())),
    ),
    row(
        "longshore_lost_unread_bytes_total",
        "Bytes that were gone before they could be read, by reason. Alert on any increase.",
        Read::By("reason", |s| lost(s, |bytes, _| bytes)),
    ),
    row(
        "longshore_lost_unread_files_total",
        "Files of which bytes were gone before they could be read, by reason.",
        Read::By("reason", |s| lost(s, |_, files| files)),
    ),
    row(
        "longshore_lost_unknown_files_total",
        "Files of which more may be lost than longshore_lost_unread_bytes_total says, because their last bytes were never seen, by reason.",
        Read::By("reason", |s| named(s.board.ledger.lost_unknown_files())),
    ),
    row(
        "longshore_lost_on_record_bytes",
        "Bytes that were gone before they could be read, by reason, since the first start: unlike longshore_lost_unread_bytes_total, a restart does not begin at 0.",
        Read::By("reason", |s| unread_on_record(s, |lost| lost.bytes)),
    ),
    row(
        "longshore_lost_on_record_files",
        "Files of which bytes were gone before they could be read, by reason, since the first start.",
        Read::By("reason", |s| unread_on_record(s, |lost| lost.files)),
    ),
    row(
        "longshore_lost_on_record_unknown_files",
        "Files of which more may be lost than longshore_lost_on_record_bytes says, by reason, since the first start.",
        Read::By("reason", |s| unread_on_record(s, |lost| lost.unknown_files)),
    ),
    row(
        "longshore_documents_total",
        "Documents that came to rest, by fate. One that is spooled comes to rest a second time later.",
        Read::By("fate", |s| named(s.board.ledger.documents())),
    ),
    // How far behind.
    row(
        "longshore_lag_bytes",
        "Bytes on the node's disk that are not delivered or durably kept.",
        Read::One(|s| s.board.reader.files.iter().map(|file| file.lag_bytes).sum()),
    ),
    row(
        "longshore_unread_bytes",
        "Bytes on the node's disk that are not read.",
        Read::One(|s| s.board.reader.unread_bytes),
    ),
    row(
        "longshore_oldest_unread_age_seconds",
        "For how long the oldest unread byte has been seen unread; 0 when all is read.",
        Read::One(|s| s.board.reader.oldest_unread_seconds),
    ),
    row(
        "longshore_container_lag_bytes",
        "The lag of one container. Beyond 1000 containers the rest is summed as container=other with empty namespace and pod.",
        Read::ByContainer(|c| c.lag_bytes),
    ),
    row(
        "longshore_container_read_bytes_total",
        "Bytes read of one container since the start; bounded in the same way.",
        Read::ByContainer(|c| c.read_bytes),
    ),
    // Reading.
    row(
        "longshore_reader_lines_total",
        "Lines read.",
        Read::One(|s| s.board.reader.lines),
    ),
    row(
        "longshore_reader_flagged_records_total",
        "Unusual records, by what is unusual.",
        Read::By("flag", |s| named(s.board.reader.flagged.iter().copied())),
    ),
    row(
        "longshore_reader_files",
        "Log files that are followed.",
        Read::One(|s| s.board.reader.files.len() as u64),
    ),
    row(
        "longshore_reader_problem_files",
        "Log files that cannot be read right now; /status says why.",
        Read::One(problems),
    ),
    row(
        "longshore_reader_open_files",
        "Open descriptors of log files.",
        Read::One(|s| s.board.reader.open_files as u64),
    ),
    row(
        "longshore_reader_watching",
        "1 while the log directories are watched, 0 when only the rescan finds new files.",
        Read::One(|s| s.board.reader.watching.into()),
    ),
    row(
        "longshore_reader_forced_rescans_total",
        "Rescans because of a queue overflow or a lack of watches or descriptors.",
        Read::One(|s| s.board.reader.forced_rescans),
    ),
    row(
        "longshore_reader_read_errors_total",
        "Files and directories that could not be read.",
        Read::One(|s| s.board.reader.read_errors),
    ),
    row(
        "longshore_reader_reopened_files_total",
        "Files that stood still with unread bytes and were opened again by the self-audit.",
        Read::One(|s| s.board.reader.reopened_files),
    ),
    row(
        "longshore_reader_blocked",
        "1 while reading waits for room in memory or in the spool.",
        Read::One(|s| s.board.reader.blocked.into()),
    ),
    row(
        "longshore_reader_started",
        "1 when every file of the first listing was looked at.",
        Read::One(|s| s.board.reader.started.into()),
    ),
    row(
        "longshore_deleted_unread_bytes",
        "Unread bytes of deleted files that only descriptors of the agent keep (source.max_deleted_bytes).",
        Read::One(|s| s.board.reader.deleted_bytes),
    ),
    row(
        "longshore_reader_turns_total",
        "Turns of the reader: its proof of life.",
        Read::One(|s| s.board.reader.turns),
    ),
    row(
        "longshore_reader_last_turn_timestamp_seconds",
        "When the reader's last turn ended, in Unix time.",
        Read::Moment(|s| s.board.reader.last_turn_ms),
    ),
    row(
        "longshore_budget_used_bytes",
        "Bytes of the memory budget in use (memory.in_flight).",
        Read::One(|s| s.board.reader.budget_used),
    ),
    row(
        "longshore_budget_limit_bytes",
        "The memory budget.",
        Read::One(|s| s.board.reader.budget_limit),
    ),
    row(
        "longshore_checkpoint_saved_timestamp_seconds",
        "When positions were last saved, in Unix time; 0 before the first time.",
        Read::Moment(|s| s.board.reader.last_checkpoint_ms),
    ),
    row(
        "longshore_checkpoint_errors_total",
        "Checkpoints that could not be saved.",
        Read::One(|s| s.board.reader.checkpoint_errors),
    ),
    // Delivering.
    row(
        "longshore_sink_up",
        "1 while Elasticsearch answers item by item, or before the first request.",
        Read::One(|s| s.board.sink.up.into()),
    ),
    row(
        "longshore_sink_hold",
        "1 while requests fail for a fault of configuration or permission, which time does not heal.",
        Read::One(|s| s.board.sink.hold.into()),
    ),
    row(
        "longshore_sink_requests_total",
        "Bulk requests, by outcome.",
        Read::By("outcome", |s| named(s.board.sink.requests.iter().copied())),
    ),
    row(
        "longshore_sink_in_flight_requests",
        "Bulk requests without an answer.",
        Read::One(|s| s.board.sink.in_flight_requests as u64),
    ),
    row(
        "longshore_sink_verdicts_total",
        "Answers to single documents, by verdict.",
        Read::By("verdict", |s| named(s.board.sink.verdicts.iter().copied())),
    ),
    row(
        "longshore_sink_diverted_documents_total",
        "Documents that the server put elsewhere: under another id or index (seen where an answer was asked for that), or as a \
         copy into a failure store.",
        Read::By("what", |s| named(s.board.sink.diverted.iter().copied())),
    ),
    row(
        "longshore_sink_poorer_documents_total",
        "Documents that were refused and then taken in a poorer form: without a field (shelved), reduced, shortened.",
        Read::By("form", |s| named(s.board.sink.poorer.iter().copied())),
    ),
    row(
        "longshore_sink_hedged_requests_total",
        "Requests with a body that another host did not answer in time.",
        Read::One(|s| s.board.sink.hedged_requests),
    ),
    row(
        "longshore_sink_possible_duplicates_total",
        "Documents that were sent again after a request without an answer and taken, where ids cannot tell (data streams that roll \
         over, ids of the server).",
        Read::One(|s| s.board.sink.possible_duplicates),
    ),
    row(
        "longshore_sink_wire_bytes_total",
        "Bytes of request bodies as sent, after compression.",
        Read::One(|s| s.board.sink.wire_bytes),
    ),
    row(
        "longshore_sink_raw_bytes_total",
        "Bytes of request bodies before compression.",
        Read::One(|s| s.board.sink.raw_bytes),
    ),
    row(
        "longshore_sink_hold_frames",
        "Frames that wait for an index on hold. Beyond 100 indices the rest is summed as index=OTHER.",
        Read::By("index", holds),
    ),
    row(
        "longshore_sink_insecure",
        "1 for what the config allows although others can read or change it on the way: secrets_over_http, certificates_unchecked.",
        Read::By("what", |s| named(s.facts.exposures.iter().map(|what| (*what, 1)))),
    ),
    row(
        "longshore_dead_letter_bytes",
        "Bytes of the dead-letter file.",
        Read::One(|s| s.board.sink.dead_letter_bytes),
    ),
    row(
        "longshore_dead_letter_max_bytes",
        "The most bytes that the dead-letter file takes.",
        Read::One(|s| s.facts.dead_letter_max_bytes),
    ),
    row(
        "longshore_dead_letter_full",
        "1 while the dead-letter file is full and documents wait for room.",
        Read::One(|s| s.board.sink.dead_letter_full.into()),
    ),
    // The spool.
    row(
        "longshore_spool_bytes",
        "Bytes of the spool on disk.",
        Read::One(|s| s.board.spool.bytes),
    ),
    row(
        "longshore_spool_max_bytes",
        "The spool's quota.",
        Read::One(|s| s.board.spool.max_bytes),
    ),
    row(
        "longshore_spool_frames",
        "Frames that are not delivered.",
        Read::One(|s| s.board.spool.frames as u64),
    ),
    row(
        "longshore_spool_full",
        "1 when the last write to the spool found no room.",
        Read::One(|s| s.board.spool.full.into()),
    ),
    row(
        "longshore_spool_evicted_frames_total",
        "Frames dropped to make room.",
        Read::One(|s| s.board.spool.evicted),
    ),
    row(
        "longshore_spool_damaged_frames_total",
        "Frames that could not be read back.",
        Read::One(|s| s.board.spool.damaged),
    ),
    row(
        "longshore_spool_lost_on_record_frames",
        "Frames that the spool has given up, by reason, since the first start. More may be lost where the log says so.",
        Read::By("reason", |s| spool_on_record(s, |lost| lost.frames)),
    ),
    row(
        "longshore_spool_lost_on_record_documents",
        "Documents that are known to have been in these frames, by reason, since the first start.",
        Read::By("reason", |s| spool_on_record(s, |lost| lost.documents)),
    ),
    row(
        "longshore_spool_lost_on_record_bytes",
        "Source bytes of these documents, by reason, since the first start.",
        Read::By("reason", |s| spool_on_record(s, |lost| lost.source_bytes)),
    ),
    // Pod metadata.
    row(
        "longshore_watch_state",
        "1 for the state that the pod watch is in, 0 for the others.",
        Read::By("state", watch_states),
    ),
    row(
        "longshore_watch_pods",
        "Pods that are known.",
        Read::One(|s| s.board.watch.pods as u64),
    ),
    row(
        "longshore_watch_lists_total",
        "LIST requests to the Kubernetes API.",
        Read::One(|s| s.board.watch.lists),
    ),
    row(
        "longshore_watch_watches_total",
        "WATCH requests to the Kubernetes API.",
        Read::One(|s| s.board.watch.watches),
    ),
    row(
        "longshore_watch_errors_total",
        "Failures of the pod watch.",
        Read::One(|s| s.board.watch.errors),
    ),
    // The process. Names as every Prometheus client has them, so that ready-made dashboards work.
    row(
        "longshore_build_info",
        "The running version, and the node it runs on.",
        Read::Labels(&["version", "node"], |s| {
            vec![VERSION.into(), s.facts.node_name.clone()]
        }),
    ),
    row(
        "process_resident_memory_bytes",
        "Bytes of memory that are resident.",
        Read::Process(|p| p.resident_bytes),
    ),
    row(
        "process_cpu_seconds_total",
        "User and system time.",
        Read::ProcessSeconds(|p| p.cpu_seconds),
    ),
    row(
        "process_open_fds",
        "Open descriptors.",
        Read::Process(|p| p.open_fds),
    ),
    row(
        "process_max_fds",
        "The most descriptors that may be open.",
        Read::Process(|p| p.max_fds),
    ),
    row(
        "process_start_time_seconds",
        "When the process started, in Unix time.",
        Read::Moment(|s| s.facts.started_ms),
    ),
];

const fn row(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { name, help, read }
}

fn named(counts: impl Iterator<Item = (&'static str, u64)>) -> Vec<(String, u64)> {
    counts.map(|(name, count)| (String::from(name), count)).collect()
}

fn lost(scrape: &Scrape, of: fn(u64, u64) -> u64) -> Vec<(String, u64)> {
    named(
        scrape
            .board
            .ledger
            .lost_unread()
            .map(|(reason, bytes, files)| (reason, of(bytes, files))),
    )
}

fn unread_on_record(scrape: &Scrape, of: fn(&UnreadOnRecord) -> u64) -> Vec<(String, u64)> {
    let lost = scrape.board.reader.lost_on_record.iter();
    named(lost.map(|lost| (lost.reason, of(lost))))
}

/// Nothing until the spool has told.
fn spool_on_record(scrape: &Scrape, of: fn(&SpoolOnRecord) -> u64) -> Vec<(String, u64)> {
    let lost = scrape.board.spool.lost_on_record.iter().flatten();
    named(lost.map(|lost| (lost.reason, of(lost))))
}

fn clamped(bytes: i128) -> i64 {
    bytes.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn problems(scrape: &Scrape) -> u64 {
    scrape
        .board
        .reader
        .files
        .iter()
        .filter(|file| file.problem.is_some())
        .count() as u64
}

fn holds(scrape: &Scrape) -> Vec<(String, u64)> {
    let holds = &scrape.board.sink.holds;
    let (shown, rest) = holds.split_at(holds.len().min(MAX_HOLDS));
    let mut frames: Vec<_> = shown
        .iter()
        .map(|hold| (hold.index.clone(), hold.frames as u64))
        .collect();
    if !rest.is_empty() {
        // No index is named so: Elasticsearch allows no capital letters.
        frames.push((
            String::from("OTHER"),
            rest.iter().map(|hold| hold.frames as u64).sum(),
        ));
    }
    frames
}

fn watch_states(scrape: &Scrape) -> Vec<(String, u64)> {
    named(
        WATCH_STATES
            .into_iter()
            .map(|state| (state, u64::from(state == scrape.board.watch.state))),
    )
}
