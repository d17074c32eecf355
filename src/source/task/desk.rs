//! What all containers of a reader thread share: the hot path, the registry, the tracker, the
//! folders, the counts.

use super::Clock;
use super::shares::{Paused, Shares};
use crate::checkpoint::losses::{LossRecord, Losses};
use crate::checkpoint::snapshot::{Entry, Loaded};
use crate::checkpoint::tracker::Tracker;
use crate::config;
use crate::enrich::cache::Directory;
use crate::flow::fair::ROUND_BYTES;
use crate::mutant::{self, Mutant};
use crate::parse::cri::CriParser;
use crate::reader::Reader;
use crate::record::{FileId, Share, Span};
use crate::sink::elasticsearch::schema::Layout;
use crate::source::disk::{Links, LogFolders};
use crate::source::fingerprint::{Fingerprint, file_id};
use crate::source::registry::Registry;
use crate::source::tail::{RECENT_BYTES, TailKey};
use crate::telemetry::board::Board;
use crate::telemetry::ledger::{DropReason, LostReason, ReaderTotals};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// Bytes that a container instance may read per turn.
pub(super) const QUANTUM: usize = 256 * 1024;

/// What went wrong or was unusual, since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) forced_rescans: u64,
    pub(super) read_errors: u64,
    pub(super) checkpoint_errors: u64,
    /// Files that stood still and were opened again.
    pub(super) reopened: u64,
}

/// What all containers of a reader thread share.
pub(super) struct Desk {
    pub(super) folders: LogFolders,
    pub(super) links: Links,
    pub(super) reader: Reader,
    pub(super) layout: Layout,
    pub(super) registry: Registry,
    /// What was never read, since the first start.
    pub(super) losses: Losses,
    pub(super) tracker: Tracker,
    pub(super) cri: CriParser,
    pub(super) directory: Arc<Directory>,
    pub(super) board: Arc<Board>,
    pub(super) buffer: Vec<u8>,
    pub(super) next_key: TailKey,
    pub(super) now: Instant,
    pub(super) unix_ms: u64,
    pub(super) epoch: Instant,
    pub(super) last_served: Arc<str>,
    pub(super) partial_idle: Duration,
    pub(super) metadata_wait: Duration,
    pub(super) rescan_interval: Duration,
    /// Files found now begin at their end.
    pub(super) start_at_end: bool,
    pub(super) first_listing_done: bool,
    pub(super) max_open_files: usize,
    pub(super) open_files: usize,
    /// Unread bytes of deleted files that only our descriptors keep, when they were last looked at.
    pub(super) deleted_bytes: u64,
    /// When they are looked at again.
    pub(super) deleted_at: Instant,
    /// Open bodies with lines of deleted files are closed at once, but not again before this.
    pub(super) close_urgent_at: Instant,
    /// A file could not be opened because the limit was reached.
    pub(super) starved: bool,
    pub(super) watching: bool,
    pub(super) blocked: bool,
    pub(super) shares: Shares,
    pub(super) paused: Paused,
    pub(super) counts: Counts,
    pub(super) read: u64,
    pub(super) handed_out: u64,
    /// Something changed since the status was published.
    pub(super) active: bool,
    /// Something changed since the last checkpoint.
    pub(super) dirty: bool,
    /// Somebody waits for the next checkpoint.
    pub(super) urgent: bool,
    /// The last save failed: the next one waits for its time, however urgent it is.
    save_failed: bool,
    /// The save under way.
    pub(super) saving: Option<u64>,
    last_save: u64,
    pub(super) saved: u64,
    pub(super) saved_ms: u64,
    pub(super) acked_ms: HashMap<FileId, u64>,
    pub(super) turns: u64,
}

impl Desk {
    pub(super) fn new(
        folders: LogFolders,
        reader: Reader,
        layout: Layout,
        loaded: Loaded,
        now: Instant,
        board: Arc<Board>,
        directory: Arc<Directory>,
    ) -> Desk {
        Desk {
            folders,
            links: Links::default(),
            reader,
            layout,
            registry: Registry::new(loaded.checkpoint.entries),
            losses: loaded.checkpoint.losses,
            tracker: Tracker::default(),
            cri: CriParser::default(),
            directory,
            board,
            buffer: vec![0; QUANTUM + RECENT_BYTES],
            next_key: 0,
            now,
            unix_ms: 0,
            epoch: now,
            last_served: Arc::default(),
            partial_idle: Duration::from_secs(30),
            metadata_wait: Duration::ZERO,
            rescan_interval: Duration::from_secs(5),
            start_at_end: loaded.first_start,
            first_listing_done: false,
            max_open_files: 1024,
            open_files: 0,
            deleted_bytes: 0,
            deleted_at: now,
            close_urgent_at: now,
            starved: false,
            watching: false,
            blocked: false,
            shares: Shares::new(ROUND_BYTES, &config::RateLimit::default()),
            paused: Paused::default(),
            counts: Counts::default(),
            read: 0,
            handed_out: 0,
            active: true,
            dirty: false,
            urgent: false,
            save_failed: false,
            saving: None,
            last_save: 0,
            saved: 0,
            saved_ms: 0,
            acked_ms: HashMap::new(),
            turns: 0,
        }
    }

    pub(super) fn begin_turn(&mut self, clock: Clock) {
        self.now = clock.now;
        self.unix_ms = clock.unix_ms;
        self.reader.set_read_time(clock.unix_ms);
        self.turns += 1;
    }

    /// A turn reads with shares, or without. A round may end.
    pub(super) fn keep_shares(&mut self, keep: bool) {
        self.reader.hurry(keep);
        self.shares.keep(keep, self.reader.is_open(Share::Within));
    }

    /// What the rate limit has dropped of files of `container`.
    pub(super) fn on_discarded(&mut self, container: &str) {
        for span in self.reader.take_discarded() {
            self.dirty = true;
            self.losses.push(LossRecord {
                reason: DropReason::RateLimit.as_str().to_owned(),
                container: container.to_owned(),
                file: format!("{:032x}", span.file.0),
                start: span.start,
                end: span.end,
                at_least: false,
            });
        }
    }

    pub(super) fn on_acked(&mut self, files: &[FileId]) {
        self.dirty = true;
        self.active = true;
        for file in files {
            self.acked_ms.insert(*file, self.unix_ms);
        }
    }

    /// The number of the save that will hold everything known now; it comes soon.
    pub(super) fn next_save(&mut self) -> u64 {
        self.dirty = true;
        self.urgent = true;
        self.last_save + 1
    }

    pub(super) fn save_wanted(&self) -> bool {
        self.dirty && self.saving.is_none()
    }

    /// Whether a save that is wanted shall begin before its time: a disk that fails is not asked without a pause.
    pub(super) fn save_hurries(&self) -> bool {
        self.urgent && !self.save_failed
    }

    pub(super) fn begin_save(&mut self) -> u64 {
        self.last_save += 1;
        self.shares.sweep(self.now);
        self.dirty = false;
        self.urgent = false;
        self.saving = Some(self.last_save);
        self.last_save
    }

    pub(super) fn on_saved(&mut self, number: u64, durable: bool) {
        self.saving = None;
        self.save_failed = !durable;
        if durable {
            self.saved = self.saved.max(number);
            self.saved_ms = self.unix_ms;
        } else {
            self.dirty = true;
            self.counts.checkpoint_errors += 1;
        }
    }

    /// A span of a file of `container` is lost. The next checkpoint has it on record. `at_least`: more
    /// may be lost than is known.
    pub(super) fn on_lost(&mut self, reason: LostReason, container: &str, span: Span, at_least: bool) {
        let mut ledger = self.board.ledger();
        ledger.on_lost_unread(reason, span.len());
        if at_least {
            ledger.on_unknown(reason);
        }
        drop(ledger);
        self.dirty = true;
        self.losses.push(LossRecord {
            reason: reason.as_str().to_owned(),
            container: container.to_owned(),
            file: format!("{:032x}", span.file.0),
            start: span.start,
            end: span.end,
            at_least,
        });
    }

    /// Files came and went, and nobody has seen how large they were.
    pub(super) fn on_never_seen(&self, files: usize) {
        let mut ledger = self.board.ledger();
        for _ in 0..files {
            ledger.on_lost_unread(LostReason::NeverSeen, 0);
            ledger.on_unknown(LostReason::NeverSeen);
        }
    }

    /// A file that the last checkpoint knew is gone. Unless it was finished, it may have grown before it went.
    pub(super) fn on_expired(&mut self, entry: &Entry) {
        self.dirty = true;
        if !entry.finished {
            self.board.ledger().on_unknown(LostReason::DeletedUnread);
        }
        let lost = entry.size.saturating_sub(entry.offset);
        if lost > 0 && !mutant::is(Mutant::LossNotRecorded) {
            let Entry {
                namespace,
                pod,
                container,
                restart,
                ..
            } = entry;
            warn!(
                namespace = &**namespace,
                pod = &**pod,
                container = &**container,
                restart,
                bytes = lost,
                "a log file was deleted while nobody read it; its rest is lost"
            );
            let container = format!("{namespace}_{pod}_{}/{container}", entry.uid);
            let print = Fingerprint(entry.fingerprint);
            let span = Span {
                file: file_id(&entry.uid, &entry.container, *restart, print, entry.epoch),
                start: entry.offset,
                end: entry.size,
            };
            self.on_lost(LostReason::DeletedUnread, &container, span, false);
        }
    }

    /// Notes an error of a file or directory; logs it when it is new.
    pub(super) fn on_problem(&mut self, problem: &mut Option<String>, path: &str, error: &std::io::Error) {
        self.counts.read_errors += 1;
        let text = error.to_string();
        if problem.as_ref() != Some(&text) {
            warn!(
                path,
                error = text,
                "cannot read; the agent needs read access below pod_logs_dir. Trying again"
            );
            *problem = Some(text);
        }
    }

    pub(super) fn publish_ledger(&mut self, held: u64) {
        let totals = ReaderTotals {
            read: self.read,
            held,
            open: self.reader.open_bytes(),
            handed_out: self.handed_out,
            skipped: self.reader.unusual().truncated_bytes,
            discarded: self.reader.discarded_bytes(),
        };
        self.board.ledger().on_reader(totals);
    }
}
