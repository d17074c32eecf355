//! The self-audit: a file that has unread bytes and gives none enters, the same file freshly opened leaves.
//!
//! Whatever made it stand still (an error that stays with a descriptor, a mount that came back, a fault
//! of ours), a new descriptor of the same inode is what can be done about it. It is counted, told once
//! in the log, and shown as the file's problem. Not done: closing the only way to a deleted file.

use super::Source;
use super::container::{Container, Place};
use super::desk::Desk;
use super::files::{self, Descriptor};
use super::instance::{Instance, become_compressed};
use crate::reader::FileState;
use crate::source::chain::UNSEEN_QUIET;
use crate::source::fingerprint::fingerprint;
use crate::source::tail::{Standstill, Tail, TailKey};
use std::time::Duration;
use tracing::warn;

/// The audit comes this often.
pub(super) const AUDIT_INTERVAL: Duration = Duration::from_secs(5);
/// A file that stands still for so long is opened again; it is at least two audits.
const STANDS_STILL: Duration = Duration::from_secs(10);

impl Source {
    /// Looks at every file that is being read, and at what deleted ones hold.
    pub(super) fn audit_when_due(&mut self) {
        self.limit_deleted();
        if self.audit_at > self.desk.now {
            return;
        }
        self.audit_at = self.desk.now + AUDIT_INTERVAL;
        for container in self.containers.values_mut() {
            container.audit(&mut self.desk);
        }
    }
}

impl Container {
    fn audit(&mut self, desk: &mut Desk) {
        for instance in self.instances.values_mut() {
            if instance.audit(&self.place, desk) {
                self.must_list = true;
                self.next_poll = desk.now;
            }
        }
    }
}

impl Instance {
    /// True when the directory must be listed: the name leads to another file.
    fn audit(&mut self, place: &Place, desk: &mut Desk) -> bool {
        let Some(at) = self.chain.active() else {
            return false;
        };
        let seen = if desk.blocked || self.waits() {
            None
        } else {
            self.unread_at(&self.chain.tails()[at])
        };
        let now = desk.now;
        let tail = &mut self.chain.tails_mut()[at];
        let Some(bytes) = seen else {
            tail.standstill = None;
            return false;
        };
        let still = match tail.standstill {
            Some(still) if still.at == bytes => still,
            _ => {
                tail.standstill = Some(Standstill {
                    at: bytes,
                    since: now,
                    told: false,
                });
                return false;
            }
        };
        if now.saturating_duration_since(still.since) < STANDS_STILL {
            return false;
        }
        tell(tail, still, place, desk);
        self.reopen(at, place, desk)
    }

    /// It waits for something else than its file.
    fn waits(&self) -> bool {
        self.state.is_none() || self.waits_for_save()
    }

    /// How many bytes of a file were read or inflated, when there are more to come.
    fn unread_at(&self, tail: &Tail<FileState>) -> Option<u64> {
        let read = tail.state.as_ref().map_or(0, FileState::read_offset);
        // Without an identity it waits for the end of its first line.
        let more = tail.state.is_some() && !tail.paused && (tail.compressed || tail.size > read);
        let inflated = match self.descriptors.get(&tail.key).map(|open| &open.source) {
            Some(files::Source::Gzip(file)) => file.inflated,
            _ => 0,
        };
        (more || tail.problem.is_some()).then(|| read.max(inflated))
    }

    /// Opens the file by its name; the old descriptor goes only when the new one leads to the same file.
    fn reopen(&mut self, at: usize, place: &Place, desk: &mut Desk) -> bool {
        let tail = &mut self.chain.tails_mut()[at];
        let key = tail.key;
        if tail.compressed {
            self.close(key, desk);
            return false;
        }
        let Some(name) = &tail.name else {
            self.give_up(at, place, desk);
            return false;
        };
        let opened = desk.folders.open(&format!("{}/{name}", place.path));
        match opened {
            Ok(file) if file.inode == tail.inode => {
                let source = files::Source::Plain(file);
                let used = desk.now;
                if self
                    .descriptors
                    .insert(key, Descriptor { source, used })
                    .is_none()
                {
                    desk.open_files += 1;
                }
                false
            }
            Ok(_) => true,
            Err(error) => {
                files::on_error(tail, place, desk, &error);
                false
            }
        }
    }

    /// A deleted file that its descriptor does not give: its compressed twin is taken in its place, when there is one. When
    /// none has come after [`UNSEEN_QUIET`], the descriptor is closed, and the rest counts as lost.
    fn give_up(&mut self, at: usize, place: &Place, desk: &mut Desk) {
        let tail = &self.chain.tails()[at];
        let (key, since) = (tail.key, tail.nameless_since);
        let waited = since.is_some_and(|since| desk.now.saturating_duration_since(since) >= UNSEEN_QUIET);
        if !self.take_twin(at, place, desk) && waited {
            self.close(key, desk);
        }
    }

    /// Looks for the file at `at`, which has lost its name, among the compressed files that nobody has looked into, and goes
    /// on there. True when it was found; its place in the chain is another one then.
    pub(super) fn take_twin(&mut self, at: usize, place: &Place, desk: &mut Desk) -> bool {
        let tail = &self.chain.tails()[at];
        let (key, size) = (tail.key, tail.size);
        let known = tail.identity.map(|identity| identity.fingerprint);
        let unknown: Vec<TailKey> = self.unknown_twins().collect();
        for twin in unknown {
            let tails = self.chain.tails();
            let Some(twin) = tails.iter().position(|tail| tail.key == twin) else {
                continue;
            };
            // An error is met again at the next try.
            let Ok(head) = self.head(twin, place, desk) else {
                continue;
            };
            let print = fingerprint(&head, true);
            if known.is_none() && self.holds(twin, size, place, desk) {
                // Nothing of it was shipped: what its twin gives is all of it.
                self.close(key, desk);
                self.chain.remove(at);
                return true;
            }
            let same = print.filter(|print| Some(*print) == known);
            let adopted = same.map(|print| self.adopt(twin, print, place, desk));
            if let Some(Ok(true)) = adopted {
                self.close(key, desk);
                let tails = self.chain.tails_mut().iter_mut();
                tails.filter(|tail| tail.key == key).for_each(become_compressed);
                return true;
            }
        }
        false
    }

    /// Whether the compressed file at `at` has at least so many bytes.
    fn holds(&self, at: usize, size: u64, place: &Place, desk: &Desk) -> bool {
        let name = self.chain.tails()[at].name.as_deref().unwrap_or_default();
        let footer = desk.folders.gzip_size(&format!("{}/{name}", place.path));
        footer.is_ok_and(|footer| u64::from(footer) >= size)
    }
}

fn tell(tail: &mut Tail<FileState>, still: Standstill, place: &Place, desk: &mut Desk) {
    desk.counts.reopened += 1;
    desk.active = true;
    let problem = tail
        .problem
        .get_or_insert_with(|| "stands still with unread bytes; it was opened again".to_owned());
    if !still.told {
        let path = format!("{}/{}", place.path, tail.name.as_deref().unwrap_or("(deleted)"));
        warn!(
            path,
            offset = still.at,
            size = tail.size,
            problem,
            "a log file has unread bytes and stands still; opening it again"
        );
    }
    tail.standstill = Some(Standstill {
        since: desk.now,
        told: true,
        ..still
    });
}
