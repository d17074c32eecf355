//! Which file is this: the first bytes of a file and the last checkpoint enter, its identity and its position leave.

use super::container::Place;
use super::desk::{Desk, QUANTUM};
use super::files::{Descriptor, Source, Step, is_about_the_file, lost, on_damaged, on_error};
use super::instance::{Instance, become_compressed};
use crate::checkpoint::snapshot::Entry;
use crate::parse::docker;
use crate::reader::{Cut, FileState};
use crate::record::{FileId, Span, Stamp};
use crate::source::disk::{Inflated, LogFile};
use crate::source::fingerprint::{Fingerprint, HEAD_BYTES, file_id, fingerprint};
use crate::source::registry::InstanceKey;
use crate::source::tail::{Identity, RECENT_BYTES, Tail};
use crate::telemetry::ledger::LostReason;
use std::collections::HashMap;
use std::io;
use tracing::warn;
use twox_hash::XxHash3_64;

impl Instance {
    /// Finds out which file this is: from the checkpoint, or new. `Ok(false)`: its first line is not
    /// whole yet.
    pub(super) fn identify(
        &mut self,
        at: usize,
        complete: bool,
        place: &Place,
        desk: &mut Desk,
    ) -> Result<bool, Step> {
        let head = self.head(at, place, desk)?;
        let Some(print) = fingerprint(&head, complete) else {
            return Ok(false);
        };
        if self.chain.tails()[at].compressed && self.adopt(at, print, place, desk)? {
            return Err(Step::Restarted);
        }
        let marks = self.marks(at, print, place, desk)?;
        let tail = &mut self.chain.tails_mut()[at];
        tail.first_stamp = first_stamp(&head, desk);
        let log = match self.descriptors.get(&tail.key).map(|open| &open.source) {
            Some(Source::Plain(log)) => Some(log),
            _ => None,
        };
        let size = if tail.compressed { u64::MAX } else { tail.size };
        let fits = |entry: &Entry| {
            let same = |mark| marks.get(&entry.offset).map(|bytes| XxHash3_64::oneshot(bytes)) == Some(mark);
            // Without a mark nothing but the size tells that the bytes before the offset are not others by now.
            let same = entry.mark.map_or(entry.size <= size, same);
            entry.offset <= size && (log.is_none() || same)
        };
        let claimed = desk.registry.claim(&self.key, print, tail.inode, fits);
        let claimed = claimed.or_else(|| claim_set_back(&self.key, tail, print, &head, place, desk));
        let (identity, offset, last_stamp, cuts) = match claimed {
            Some(entry) => {
                if tail.compressed {
                    tail.size = tail.size.max(entry.size);
                    tail.mark = entry.mark;
                } else if entry.size > tail.size {
                    let file = FileId(0);
                    let (start, end) = (tail.size, entry.size);
                    desk.on_lost(
                        LostReason::Truncated,
                        &place.path,
                        Span { file, start, end },
                        true,
                    );
                }
                resume(&entry)
            }
            None => {
                let epoch = desk.registry.fresh(&self.key, print);
                let (identity, offset) = begin(tail, log, print, epoch, place, desk);
                (identity, offset, None, Vec::new())
            }
        };
        let (uid, container, restart) = &self.key;
        let id = file_id(uid, container, *restart, print, identity.epoch);
        tail.identity = Some(identity);
        let first_seen = Stamp {
            secs: identity.first_seen,
            nanos: 0,
        };
        tail.state = Some(FileState::new(id, offset, last_stamp, first_seen, cuts));
        let read = || log.and_then(|log| before(log, offset).ok()?);
        if let Some(bytes) = marks.get(&offset).cloned().or_else(read) {
            tail.recent.push(&bytes);
        }
        desk.dirty = true;
        desk.active = true;
        Ok(true)
    }

    /// The bytes before every offset at which an entry of the checkpoint could go on. A file that cannot be read now is
    /// nobody's yet: taken for a new one, it would be shipped a second time.
    fn marks(
        &mut self,
        at: usize,
        print: Fingerprint,
        place: &Place,
        desk: &mut Desk,
    ) -> Result<HashMap<u64, Vec<u8>>, Step> {
        let tail = &mut self.chain.tails_mut()[at];
        let mut marks = HashMap::new();
        let Some(Source::Plain(log)) = self.descriptors.get(&tail.key).map(|open| &open.source) else {
            return Ok(marks);
        };
        for offset in desk.registry.offsets(&self.key, print) {
            match before(log, offset) {
                Ok(Some(bytes)) => drop(marks.insert(offset, bytes)),
                Ok(None) => {}
                Err(error) => return Err(on_error(tail, place, desk, &error)),
            }
        }
        Ok(marks)
    }

    /// A new name of a file that was lost from sight: its earlier tail takes the name over.
    pub(super) fn adopt(
        &mut self,
        at: usize,
        print: Fingerprint,
        place: &Place,
        desk: &mut Desk,
    ) -> Result<bool, Step> {
        let name = self.chain.tails()[at].name.clone().unwrap_or_default();
        let footer = match desk.folders.gzip_size(&format!("{}/{name}", place.path)) {
            Ok(footer) => Some(footer),
            Err(error) if is_about_the_file(&error) => None,
            Err(error) => return Err(on_error(&mut self.chain.tails_mut()[at], place, desk, &error)),
        };
        let tails = self.chain.tails().iter();
        let known = tails
            .enumerate()
            .position(|(other, tail)| other != at && self.is_same(tail, print, footer));
        let Some(known) = known else { return Ok(false) };
        let kind = self.chain.tails()[at].kind.clone();
        let tail = &mut self.chain.tails_mut()[known];
        tail.name = Some(name);
        tail.kind = kind;
        tail.nameless_since = None;
        if !self.descriptors.contains_key(&tail.key) {
            become_compressed(tail);
        }
        self.chain.remove(at);
        Ok(true)
    }

    /// Whether a compressed file with this fingerprint and this size is what `tail` has lost its name to.
    fn is_same(&self, tail: &Tail<FileState>, print: Fingerprint, footer: Option<u32>) -> bool {
        if tail.name.is_some() {
            return false;
        }
        let known = tail.identity.map(|identity| identity.fingerprint);
        match self
            .descriptors
            .get(&tail.key)
            .map(|descriptor| &descriptor.source)
        {
            Some(Source::Plain(log)) => {
                let begins = || known.or_else(|| fingerprint(&first_bytes(log)?, true));
                // A descriptor that tells no size gives no bytes either: the twin is the only way to them.
                let same = log.size().map_or(true, |size| Some(size as u32) == footer);
                same && begins() == Some(print)
            }
            _ => {
                let read = tail.state.as_ref().map_or(0, FileState::read_offset);
                known == Some(print) && (!tail.finished || footer == Some(read as u32))
            }
        }
    }

    /// The first bytes of the file.
    pub(super) fn head(&mut self, at: usize, place: &Place, desk: &mut Desk) -> Result<Vec<u8>, Step> {
        let mut head = vec![0; HEAD_BYTES];
        let seen = self.is_listing_believed();
        let tail = &mut self.chain.tails_mut()[at];
        if tail.compressed {
            let Some(name) = &tail.name else {
                return Err(lost(tail, seen, place, desk));
            };
            let path = format!("{}/{name}", place.path);
            let mut file = desk
                .folders
                .open_gzip(&path)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => Step::Stale,
                    _ => on_error(tail, place, desk, &error),
                })?;
            let read = file.read(&mut head);
            let inflated = read.map_err(|error| on_error(tail, place, desk, &error))?;
            let (Inflated::Bytes(bytes) | Inflated::End(bytes) | Inflated::Damaged(bytes)) = inflated;
            if inflated == Inflated::Damaged(0) && !tail.finished {
                // Nothing of it inflates: it gets no identity, and its loss is told here.
                tail.finished = true;
                desk.dirty = true;
                on_damaged(tail, 0, file.cut_short, place, desk);
                return Err(Step::Restarted);
            }
            tail.problem = None;
            head.truncate(bytes);
            return Ok(head);
        }
        // Where descriptors are scarce, an empty file gets none.
        if desk.open_files >= desk.max_open_files && !self.has_unread(at, place, desk)? {
            return Ok(Vec::new());
        }
        self.open(at, place, desk)?;
        let tail = &mut self.chain.tails_mut()[at];
        let Some(Descriptor {
            source: Source::Plain(log),
            used,
        }) = self.descriptors.get_mut(&tail.key)
        else {
            return Err(Step::Waits);
        };
        *used = desk.now;
        let read = log.read_at(&mut head, 0).and_then(|read| Ok((read, log.size()?)));
        match read {
            Ok((read, size)) => {
                tail.size = size;
                tail.problem = None;
                head.truncate(read);
                Ok(head)
            }
            Err(error) => Err(on_error(tail, place, desk, &error)),
        }
    }

    /// Opens the files that were just found and looks at their first stamps, for the order.
    pub(super) fn learn_first_stamps(&mut self, place: &Place, desk: &mut Desk) {
        let last = self.chain.tails().len().saturating_sub(1);
        for at in 0..self.chain.tails().len() {
            let tail = &self.chain.tails()[at];
            if tail.identity.is_some() || tail.first_stamp.is_some() || tail.finished || tail.name.is_none() {
                continue;
            }
            // The head of a lone live file is looked at when it is read.
            let Ok(head) = self.head(at, place, desk) else {
                continue;
            };
            if at < last {
                self.chain.tails_mut()[at].first_stamp = first_stamp(&head, desk);
            }
        }
    }
}

/// The stamp of the first line, if it has one.
fn first_stamp(head: &[u8], desk: &mut Desk) -> Option<Stamp> {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    desk.cri.parse(line).map(|line| line.stamp)
}

/// The stamps of the lines that have one.
fn stamps(head: &[u8], desk: &mut Desk) -> impl Iterator<Item = Stamp> {
    let lines = head.split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let cri = desk.cri.parse(line).map(|line| line.stamp);
        cri.or_else(|| docker::parse(line).map(|line| line.stamp))
    })
}

/// A file that no checkpoint knows. When its identity or its beginning cannot be found again in its bytes, it waits until
/// they are durable.
fn begin(
    tail: &mut Tail<FileState>,
    log: Option<&LogFile>,
    print: Fingerprint,
    epoch: u32,
    place: &Place,
    desk: &mut Desk,
) -> (Identity, u64) {
    let identity = Identity {
        fingerprint: print,
        epoch,
        first_seen: (desk.unix_ms / 1000) as i64,
    };
    let offset = if tail.skip_old {
        end_of(tail, log, place, desk)
    } else {
        0
    };
    if tail.first_stamp.is_none() || offset > 0 {
        tail.wait_for_save = Some(desk.next_save());
    }
    (identity, offset)
}

/// The entry of a file that a power loss has set back: the same inode begins with the same line, stamp included, but other
/// bytes stand where its offset is, or none (nobody syncs container logs). Which of them are the old ones cannot be told,
/// so the file is read again from its beginning under its old identity: what was delivered has the same ids again and is
/// not stored twice. Where the first line has no stamp (it was damaged by a power loss before), one of the lines after it has to
/// have one, and not a later one than the last that was read: what was written since the file began anew is later. A file
/// without any counts as a new one, because equal lines could not be told apart.
fn claim_set_back(
    instance: &InstanceKey,
    tail: &Tail<FileState>,
    print: Fingerprint,
    head: &[u8],
    place: &Place,
    desk: &mut Desk,
) -> Option<Entry> {
    let first = stamps(head, desk).next()?;
    let is_old = |entry: &Entry| tail.first_stamp.is_some() || entry.last_stamp() >= Some(first);
    let same_inode = |entry: &Entry| (entry.dev, entry.ino) == (tail.inode.dev, tail.inode.ino);
    let same = |entry: &Entry| entry.ino != 0 && same_inode(entry) && is_old(entry);
    let mut entry = desk.registry.claim(instance, print, tail.inode, same)?;
    let file = FileId(0);
    let (start, end) = (entry.offset, entry.size.max(entry.offset));
    on_set_back(tail, Span { file, start, end }, place, desk);
    entry.last_stamp = None;
    entry.cuts.clear();
    (entry.offset, entry.size) = (0, 0);
    Some(entry)
}

/// Tells that a file is read again, and counts what was known of it and not read.
pub(super) fn on_set_back(tail: &Tail<FileState>, unread: Span, place: &Place, desk: &mut Desk) {
    let path = format!("{}/{}", place.path, tail.name.as_deref().unwrap_or_default());
    warn!(
        path,
        read = unread.start,
        size = tail.size,
        "a log file has lost its end (a power loss?); reading it again, what was delivered is not stored twice"
    );
    desk.on_lost(LostReason::Truncated, &place.path, unread, true);
}

fn resume(entry: &Entry) -> (Identity, u64, Option<Stamp>, Vec<Cut>) {
    let identity = Identity {
        fingerprint: Fingerprint(entry.fingerprint),
        epoch: entry.epoch,
        first_seen: entry.first_seen,
    };
    let cuts = entry
        .cuts
        .iter()
        .map(|cut| Cut {
            stream: cut.stream(),
            end: cut.end,
        })
        .collect();
    (identity, entry.offset, entry.last_stamp(), cuts)
}

/// Where a file is begun whose earlier part is not wanted: after its last whole line.
fn end_of(tail: &Tail<FileState>, log: Option<&LogFile>, place: &Place, desk: &mut Desk) -> u64 {
    let end = match log {
        Some(log) => last_line_end(log, tail.size),
        None => {
            let path = format!("{}/{}", place.path, tail.name.as_deref().unwrap_or_default());
            desk.folders.gzip_size(&path).map_or(0, u64::from)
        }
    };
    let span = Span {
        file: FileId(0),
        start: 0,
        end,
    };
    desk.on_lost(LostReason::StartAtEnd, &place.path, span, false);
    end
}

fn last_line_end(log: &LogFile, size: u64) -> u64 {
    let mut buffer = vec![0; QUANTUM];
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(QUANTUM as u64);
        let Ok(read) = log.read_at(&mut buffer[..(end - start) as usize], start) else {
            return size;
        };
        if let Some(newline) = memchr::memrchr(b'\n', &buffer[..read]) {
            return start + newline as u64 + 1;
        }
        end = start;
    }
    0
}

/// The up to 64 bytes before `offset`.
fn before(log: &LogFile, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let len = offset.min(RECENT_BYTES as u64);
    let mut bytes = vec![0; len as usize];
    let read = log.read_at(&mut bytes, offset - len)?;
    Ok((read as u64 == len).then_some(bytes))
}

/// Hash of the up to 64 bytes before `offset`.
pub(super) fn mark_of(log: &LogFile, offset: u64) -> Option<u64> {
    let bytes = before(log, offset).ok()??;
    Some(XxHash3_64::oneshot(&bytes))
}

fn first_bytes(log: &LogFile) -> Option<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let read = log.read_at(&mut head, 0).ok()?;
    head.truncate(read);
    Some(head)
}
