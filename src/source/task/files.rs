//! Reading one file of an instance: open, read on, notice truncation.

use super::container::Place;
use super::desk::{Desk, QUANTUM};
use super::identity::on_set_back;
use super::instance::Instance;
use crate::mutant::{self, Mutant};
use crate::reader::FileState;
use crate::record::{FileId, Span, Stamp};
use crate::source::chain::{NAMELESS_QUIET, UNSEEN_QUIET};
use crate::source::disk::{GzipFile, Inflated, LogFile};
use crate::source::fingerprint::fingerprint;
use crate::source::tail::{Identity, Inode, RECENT_BYTES, Recent, Tail};
use crate::telemetry::ledger::LostReason;
use std::io;
use std::time::Instant;
use tracing::{info, warn};
use twox_hash::XxHash3_64;

/// Bytes that one byte of deflated text can hold, at most.
const MAX_RATIO: u64 = 1032;

/// How a step of reading ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Nothing can be read now.
    Waits,
    /// More may be read then: share or rate are used up.
    Withheld(Instant),
    /// The name leads to another file: the directory must be listed.
    Stale,
    /// So many bytes were read, and there may be more.
    Bytes(usize),
    /// So many bytes were read, up to the end.
    End(usize),
    /// The file begins anew.
    Restarted,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) source: Source,
    pub(super) used: Instant,
}

#[derive(Debug)]
pub(super) enum Source {
    Plain(LogFile),
    Gzip(Box<GzipFile>),
}

impl Instance {
    /// Reads at most `limit` bytes of the file at `at`. `complete`: its next end is the end.
    pub(super) fn step(
        &mut self,
        at: usize,
        limit: usize,
        complete: bool,
        place: &Place,
        desk: &mut Desk,
    ) -> Step {
        if self.chain.tails()[at].identity.is_none() {
            match self.identify(at, complete, place, desk) {
                Ok(true) => {}
                Ok(false) if complete && self.chain.tails()[at].size == 0 => return Step::End(0),
                Ok(false) => return Step::Waits,
                Err(step) => return step,
            }
        }
        let tail = &mut self.chain.tails_mut()[at];
        if let Some(save) = tail.wait_for_save {
            if save > desk.saved {
                // A save that failed is asked for again.
                desk.dirty = true;
                desk.urgent = true;
                return Step::Waits;
            }
            tail.wait_for_save = None;
        }
        if tail.compressed {
            self.read_gzip(at, limit, place, desk)
        } else {
            self.read_plain(at, limit, place, desk)
        }
    }

    fn read_plain(&mut self, at: usize, limit: usize, place: &Place, desk: &mut Desk) -> Step {
        match self.has_unread(at, place, desk) {
            Ok(true) => {}
            Ok(false) => return Step::End(0),
            Err(step) => return step,
        }
        if let Err(step) = self.open(at, place, desk) {
            return step;
        }
        let tail = &mut self.chain.tails_mut()[at];
        let (Some(file), Some(state)) = (&mut tail.state, &mut self.state) else {
            return Step::Waits;
        };
        let Some(Descriptor {
            source: Source::Plain(log),
            used,
        }) = self.descriptors.get_mut(&tail.key)
        else {
            return Step::Waits;
        };
        *used = desk.now;
        let size = match log.size() {
            Ok(size) => size,
            Err(error) => return on_error(tail, place, desk, &error),
        };
        tail.size = size;
        let offset = pass_hole(log, file, &mut tail.recent, size, desk);
        if size == offset {
            tail.problem = None;
            return Step::End(0);
        }
        let recent = tail.recent.bytes().len();
        let wanted = recent + limit.min(size.saturating_sub(offset) as usize);
        let mut buffer = std::mem::take(&mut desk.buffer);
        let read = log.read_at(&mut buffer[..wanted], offset - recent as u64);
        let step = match read {
            Err(error) => on_error(tail, place, desk, &error),
            Ok(read)
                if (size < offset
                    || read < recent
                    || buffer[..recent] != *tail.recent.bytes()
                    || offset == 0 && is_another(tail.identity, &buffer[..read]))
                    && !mutant::is(Mutant::TruncationUnnoticed) =>
            {
                desk.buffer = buffer;
                return self.on_truncated(at, place, desk);
            }
            Ok(read) if read == recent => Step::Waits,
            Ok(read) => {
                let chunk = &buffer[recent..read];
                desk.reader.set_urgent(tail.name.is_none());
                desk.reader.on_chunk(file, state, chunk, desk.now);
                tail.recent.push(chunk);
                tail.own_size = size;
                tail.last_growth = desk.now;
                tail.problem = None;
                desk.read += chunk.len() as u64;
                desk.dirty = true;
                let at_end = offset + chunk.len() as u64 >= size;
                if at_end {
                    Step::End(chunk.len())
                } else {
                    Step::Bytes(chunk.len())
                }
            }
        };
        desk.buffer = buffer;
        step
    }

    /// Whether there may be something to read; a file that is closed is looked at by name first.
    pub(super) fn has_unread(&mut self, at: usize, place: &Place, desk: &mut Desk) -> Result<bool, Step> {
        let tail = &mut self.chain.tails_mut()[at];
        if self.descriptors.contains_key(&tail.key) {
            return Ok(true);
        }
        let Some(name) = &tail.name else { return Ok(true) };
        let (size, inode) = match desk.folders.look(&format!("{}/{name}", place.path)) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Step::Stale),
            Err(error) => return Err(on_error(tail, place, desk, &error)),
        };
        if inode != tail.inode {
            return Err(Step::Stale);
        }
        tail.size = size;
        tail.problem = None;
        Ok(tail.state.as_ref().map_or(0, FileState::read_offset) != size)
    }

    fn read_gzip(&mut self, at: usize, limit: usize, place: &Place, desk: &mut Desk) -> Step {
        if let Err(step) = self.open(at, place, desk) {
            return step;
        }
        let tail = &mut self.chain.tails_mut()[at];
        let (Some(file), Some(_)) = (&tail.state, &self.state) else {
            return Step::Waits;
        };
        let Some(Descriptor {
            source: Source::Gzip(log),
            ..
        }) = self.descriptors.get_mut(&tail.key)
        else {
            return Step::Waits;
        };
        let offset = file.read_offset();
        // What an earlier run delivered is inflated again and thrown away, a quantum a turn.
        let skip = offset.saturating_sub(log.inflated);
        let wanted = if skip > 0 { limit.min(skip as usize) } else { limit };
        if tail.mark.is_some() && log.inflated == 0 {
            tail.recent = Recent::default();
        }
        let inflated = match log.read(&mut desk.buffer[..wanted]) {
            Ok(inflated) => inflated,
            Err(error) => {
                // What was inflated since its beginning is inflated again.
                let (key, step) = (tail.key, on_error(tail, place, desk, &error));
                self.close(key, desk);
                return step;
            }
        };
        tail.problem = None;
        let (Inflated::Bytes(bytes) | Inflated::End(bytes) | Inflated::Damaged(bytes)) = inflated;
        tail.size = tail.size.max(log.inflated);
        if let Some(mark) = tail.mark {
            if skip > 0 {
                tail.recent.push(&desk.buffer[..bytes]);
            }
            let ends = matches!(inflated, Inflated::End(_));
            if skip == 0 || skip == bytes as u64 || ends {
                tail.mark = None;
                if XxHash3_64::oneshot(tail.recent.bytes()) != mark {
                    return self.set_back(at, place, desk);
                }
            }
        }
        let tail = &mut self.chain.tails_mut()[at];
        let (Some(file), Some(state)) = (&mut tail.state, &mut self.state) else {
            return Step::Waits;
        };
        if skip == 0 && bytes > 0 {
            let chunk = &desk.buffer[..bytes];
            desk.reader.on_chunk(file, state, chunk, desk.now);
            tail.recent.push(chunk);
            desk.read += bytes as u64;
        }
        tail.last_growth = desk.now;
        desk.dirty = true;
        match inflated {
            Inflated::Bytes(_) => Step::Bytes(bytes),
            Inflated::End(_) => Step::End(bytes),
            Inflated::Damaged(_) => {
                let (inflated, cut_short) = (log.inflated, log.cut_short);
                on_damaged(tail, inflated, cut_short, place, desk);
                Step::End(bytes)
            }
        }
    }

    /// A compressed file has other bytes before its offset than the last process has read, or none: it is read again from
    /// its beginning, under its identity ([`claim_set_back`](super::identity) says why).
    fn set_back(&mut self, at: usize, place: &Place, desk: &mut Desk) -> Step {
        let tail = &mut self.chain.tails_mut()[at];
        if let (Some(file), Some(identity)) = (&tail.state, tail.identity) {
            let read = file.read_offset();
            on_set_back(tail, span(tail, read, tail.size.max(read)), place, desk);
            let first_seen = Stamp {
                secs: identity.first_seen,
                nanos: 0,
            };
            tail.state = Some(FileState::new(file.id(), 0, None, first_seen, Vec::new()));
            tail.recent = Recent::default();
            tail.size = 0;
        }
        let key = tail.key;
        self.close(key, desk);
        desk.dirty = true;
        Step::Restarted
    }

    /// Other bytes stand where we have read: the file begins anew, under a new epoch.
    fn on_truncated(&mut self, at: usize, place: &Place, desk: &mut Desk) -> Step {
        let tail = &mut self.chain.tails_mut()[at];
        let read = tail.state.as_ref().map_or(0, FileState::read_offset);
        let path = format!("{}/{}", place.path, tail.name.as_deref().unwrap_or_default());
        info!(
            path,
            read,
            size = tail.size,
            "a log file was truncated; reading it from its beginning"
        );
        let span = span(tail, read, tail.own_size.max(read));
        desk.on_lost(LostReason::Truncated, &place.path, span, true);
        if let (Some(file), Some(state)) = (&mut tail.state, &mut self.state) {
            desk.reader.on_file_end(file, state, desk.now);
        }
        let old = tail.key;
        let key = self.chain.restart(at, &mut desk.next_key, desk.now);
        // What is lost of the old file is on record.
        self.chain.tails_mut()[at].size = read;
        if let Some(descriptor) = self.descriptors.remove(&old) {
            self.descriptors.insert(key, descriptor);
        }
        desk.dirty = true;
        Step::Restarted
    }

    /// Opens the file, unless it is.
    pub(super) fn open(&mut self, at: usize, place: &Place, desk: &mut Desk) -> Result<(), Step> {
        let seen = self.is_listing_believed();
        let tail = &mut self.chain.tails_mut()[at];
        if self.descriptors.contains_key(&tail.key) {
            return Ok(());
        }
        if tail.name.is_none() && self.take_twin(at, place, desk) {
            return Err(Step::Restarted);
        }
        let tail = &mut self.chain.tails_mut()[at];
        let Some(name) = &tail.name else {
            let step = lost(tail, seen, place, desk);
            // What was read of its last line is a line.
            if let (Step::Restarted, Some(file), Some(state)) = (step, &mut tail.state, &mut self.state) {
                desk.reader.set_urgent(true);
                desk.reader.on_file_end(file, state, desk.now);
            }
            return Err(step);
        };
        if desk.open_files >= desk.max_open_files {
            desk.starved = true;
            return Err(Step::Waits);
        }
        let path = format!("{}/{name}", place.path);
        let opened = if tail.compressed {
            desk.folders
                .open_gzip(&path)
                .map(|file| Source::Gzip(Box::new(file)))
        } else {
            desk.folders.open(&path).map(Source::Plain)
        };
        match opened {
            Ok(Source::Plain(file)) if file.inode != tail.inode => Err(Step::Stale),
            Ok(source) => {
                self.descriptors.insert(
                    tail.key,
                    Descriptor {
                        source,
                        used: desk.now,
                    },
                );
                desk.open_files += 1;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Step::Stale),
            Err(error) => Err(on_error(tail, place, desk, &error)),
        }
    }
}

/// Passes a hole of the file without reading it, when it lies in a line of which nothing more is kept: programs that write over
/// a truncated file at their old offset leave gigabytes of them. Returns where to read on.
fn pass_hole(log: &LogFile, file: &mut FileState, recent: &mut Recent, size: u64, desk: &mut Desk) -> u64 {
    let offset = file.read_offset();
    if !file.is_beyond_limit() {
        return offset;
    }
    // A short one is read like all else.
    let hole = log.hole_at(offset).min(size.saturating_sub(offset));
    if hole < QUANTUM as u64 {
        return offset;
    }
    let mut before = [0; RECENT_BYTES];
    let before = &mut before[..recent.bytes().len()];
    let read = log.read_at(before, offset - before.len() as u64);
    let is_same = read.is_ok_and(|read| read == before.len()) && before == recent.bytes();
    if !is_same {
        // A file that was truncated since: who reads on finds it.
        return offset;
    }
    file.skip(hole);
    recent.push(&[0; RECENT_BYTES]);
    desk.read += hole;
    desk.dirty = true;
    offset + hole
}

/// The file was truncated, and has grown again, between the look at its first line and its first read.
fn is_another(identity: Option<Identity>, head: &[u8]) -> bool {
    let known = identity.map(|identity| identity.fingerprint);
    fingerprint(head, false).is_some_and(|print| Some(print) != known)
}

/// No name leads to the file and it is not open: its rest is lost, unless it comes back compressed.
/// `seen`: a listing of its instance can be believed.
pub(super) fn lost(tail: &mut Tail<FileState>, seen: bool, place: &Place, desk: &mut Desk) -> Step {
    let quiet = if seen { NAMELESS_QUIET } else { UNSEEN_QUIET };
    let nameless = tail
        .nameless_since
        .map(|since| desk.now.saturating_duration_since(since));
    if nameless.is_none_or(|nameless| nameless < quiet) {
        return Step::Waits;
    }
    let read = tail.state.as_ref().map_or(0, FileState::read_offset);
    let rest = tail.size.saturating_sub(read);
    tail.finished = true;
    desk.dirty = true;
    if rest > 0 {
        warn!(
            path = &*place.path,
            bytes = rest,
            "a log file was deleted before it could be read; its rest is lost"
        );
        let span = span(tail, read, tail.size);
        desk.on_lost(LostReason::DeletedUnread, &place.path, span, true);
        // It is on record now, and must not be counted again by the next start.
        tail.size = read;
    } else {
        // It may have grown since it was looked at by name.
        desk.board.ledger().on_unknown(LostReason::DeletedUnread);
    }
    Step::Restarted
}

/// A compressed file does not inflate any further. Its rest is counted as far as it is known: by the size that the file
/// had as plain text, or by its footer, if that is one. What is counted is a lower bound.
pub(super) fn on_damaged(
    tail: &mut Tail<FileState>,
    inflated: u64,
    cut_short: bool,
    place: &Place,
    desk: &mut Desk,
) {
    let path = format!("{}/{}", place.path, tail.name.as_deref().unwrap_or_default());
    let footer = match desk.folders.gzip_size(&path) {
        // Any four bytes may stand where the footer should be: no more than deflate can hold.
        Ok(size) if !cut_short && u64::from(size) <= inflated.max(1 << 20) * MAX_RATIO => u64::from(size),
        _ => 0,
    };
    let lost = footer.max(tail.size).saturating_sub(inflated);
    warn!(
        path,
        inflated, lost, "a compressed log file is damaged; what inflates is shipped, the rest is lost"
    );
    let span = span(tail, inflated, inflated + lost);
    desk.on_lost(LostReason::DamagedGzip, &place.path, span, true);
    tail.size = inflated;
}

/// A span of the file.
pub(super) fn span(tail: &Tail<FileState>, start: u64, end: u64) -> Span {
    let file = tail.state.as_ref().map_or(FileId(0), FileState::id);
    Span { file, start, end }
}

/// The file itself is not as it should be, or not there: trying again is of no use.
pub(super) fn is_about_the_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
    )
}

pub(super) fn on_error(
    tail: &mut Tail<FileState>,
    place: &Place,
    desk: &mut Desk,
    error: &io::Error,
) -> Step {
    let path = format!("{}/{}", place.path, tail.name.as_deref().unwrap_or("(deleted)"));
    if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) {
        desk.starved = true;
        desk.counts.forced_rescans += 1;
    }
    desk.on_problem(&mut tail.problem, &path, error);
    Step::Waits
}

/// What a compressed file has in place of an inode.
pub(super) fn hint(tail: &Tail<FileState>) -> Inode {
    if tail.compressed {
        Inode::default()
    } else {
        tail.inode
    }
}
