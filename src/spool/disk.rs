//! Segments on the disk: append with sync, read, remove, and look through at the start.
//!
//! - Bodies that come together share one `fdatasync`, and count only after it. After a failed write or
//!   sync the segment is left alone and they are written again, once, into a new one, under the same
//!   numbers: a sync is never retried, because the kernel may have dropped the dirty pages (fsync
//!   semantics since Linux 4.13). ([`append`])
//! - What must survive beside the frames stands in the file `delivered`, replaced atomically: what is
//!   delivered, handed out, lost ([`super::delivered`]). It is saved once a second, before a frame is
//!   handed out that is not covered by it, and before a segment is removed in which something was lost.
//! - A segment's room is set aside when it is made, so that the quota and the floor of free space hold
//!   at every step. The directory is synced when a segment is made or removed.
//! - What waits for an index on hold has segments of its own ([`places`]).
//! - A frame that cannot be read is asked for again for a while: only wrong bytes are damage at once.
//!
//! Not done here: clocks and threads ([`crate::spool::task`]), what frames mean.

mod append;
mod places;
mod recovery;
/// Whether the disk, or our part of it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
pub(crate) mod tests;
pub mod turn;

use super::delivered::{self, Delivered, HandedOut, SegmentRecord};
use super::frame::{self, Frame};
use super::index::{Index, Located, Quota, SegmentNumber, WhenFull};
use super::losses::{self, Loss, Losses, LostSpan, Reason, Totals};
use super::protocol::Evicted;
use super::ranges::Ranges;
use super::segment::Found;
pub use crate::config::MinFree;
use crate::disk::{Disk, How, OpenFile};
use crate::mutant::{self, Mutant};
use places::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

pub use append::{Appended, Parcel};

/// Frames that are put on record as handed out together, so that one sync covers many reads.
const HANDED_OUT_TOGETHER: u64 = 32;
/// Seconds after which a frame that the disk fails to read is lost.
const READ_ATTEMPTS: u32 = 10;

/// The spool folder.
#[derive(Debug)]
pub struct Spool {
    disk: Disk,
    path: PathBuf,
    index: Index,
    min_free: MinFree,
    /// The segment of `place`.
    active: Option<Active>,
    place: Place,
    /// Those of the other places.
    others: BTreeMap<Place, Active>,
    losses: Losses,
    /// Frames that may have been sent: on record under `drop_oldest` only, which alone asks for it.
    handed_out: Ranges,
    saved: Saved,
    /// Reads that could not be done, and how often they were tried.
    postponed: BTreeMap<u64, u32>,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Active {
    number: SegmentNumber,
    file: Box<dyn OpenFile>,
    /// Bytes that are synced.
    confirmed: u64,
    /// Bytes that are written.
    written: u64,
    /// Bytes that it takes.
    allocated: u64,
}

/// What is known of the file `delivered`.
#[derive(Debug)]
struct Saved {
    /// There is something new to save.
    dirty: bool,
    /// It must be saved before a segment is removed.
    urgent: bool,
    /// A save failed half-way: it may hold what was then taken back.
    uncertain: bool,
    /// What it says about frames that were handed out.
    handed_out: HandedOut,
    /// Segments in which something waits, by what it says.
    waiting: BTreeSet<SegmentNumber>,
}

/// What the start found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Frames that wait, in order.
    pub frames: Vec<Found>,
    /// One sentence per damaged file.
    pub damage: Vec<String>,
}

/// What reading a frame gave.
#[derive(Debug)]
pub enum Reading {
    /// The frame.
    Frame(Frame),
    /// There is no such frame any more.
    Gone,
    /// Its bytes are not those that were written, or cannot be read: it is lost, and done.
    Lost(Lost),
    /// Not now: it is tried again with [`Spool::take_postponed`].
    Postponed(io::Error),
}

/// A frame that could not be read.
#[derive(Debug)]
pub struct Lost {
    /// The segment.
    pub path: PathBuf,
    /// Where the frame begins in it.
    pub byte: u64,
    /// What is wrong.
    pub problem: String,
    /// What is lost.
    pub evicted: Evicted,
}

impl Spool {
    /// Opens the folder below the state directory and looks through the headers of every segment.
    /// Damage is skipped and reported, never an error.
    pub fn open(
        disk: &Disk,
        state_dir: &Path,
        quota: Quota,
        min_free: MinFree,
    ) -> io::Result<(Spool, Recovered)> {
        let path = state_dir.join("spool");
        disk.make_folder(&path)?;
        disk.sync_folder(state_dir)?;
        let mut recovered = Recovered::default();
        let (delivered, kept) = recovery::load(disk.as_ref(), &path, &mut recovered.damage);
        let handed_out = match &delivered.handed_out {
            HandedOut::Only(ranges) => ranges.clone(),
            HandedOut::All => Ranges::default(),
        };
        // What a former process renamed may not be durable yet.
        let uncertain = disk.sync_folder(&path).is_err();
        let mut spool = Spool {
            disk: Disk::clone(disk),
            index: Index::new(quota, delivered.next_sequence, delivered.next_segment),
            path,
            min_free,
            active: None,
            place: Place::Common,
            others: BTreeMap::new(),
            losses: delivered.losses.clone(),
            handed_out,
            saved: Saved {
                dirty: false,
                urgent: false,
                uncertain,
                handed_out: delivered.handed_out.clone(),
                waiting: delivered.waiting().collect(),
            },
            postponed: BTreeMap::new(),
        };
        spool.recover(&delivered, kept, &mut recovered)?;
        Ok((spool, recovered))
    }

    /// Reads a frame back. It is on record as handed out before.
    pub fn read(&mut self, sequence: u64) -> Reading {
        let Some(located) = self.index.take(sequence) else {
            return Reading::Gone;
        };
        if let Err(error) = self.cover(sequence) {
            // Postponed without an end: the frame itself may be whole.
            self.postponed.entry(sequence).or_default();
            return Reading::Postponed(error);
        }
        let problem = match self.bytes(located.segment, located.offset, located.len) {
            Ok(bytes) => match frame::decode(&bytes) {
                Ok(frame) if frame.sequence == sequence => {
                    self.postponed.remove(&sequence);
                    return Reading::Frame(frame);
                }
                Ok(_) => "another frame lies there".to_owned(),
                Err(damage) => damage.to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => error.to_string(),
            Err(error) => {
                let attempts = self.postponed.entry(sequence).or_default();
                *attempts += 1;
                if *attempts <= READ_ATTEMPTS {
                    return Reading::Postponed(error);
                }
                error.to_string()
            }
        };
        self.postponed.remove(&sequence);
        Reading::Lost(self.give_up(sequence, located, problem))
    }

    /// The reads that could not be done: to be tried again, once a second.
    pub fn postponed(&self) -> Vec<u64> {
        self.postponed.keys().copied().collect()
    }

    /// A frame is delivered: its segment goes when it was the last one.
    pub fn done(&mut self, sequence: u64) -> io::Result<()> {
        self.postponed.remove(&sequence);
        self.saved.dirty |= self.index.on_done(sequence);
        self.seal_idle_lanes();
        self.reap()
    }

    /// Makes durable what changed, and removes what could not be removed before.
    pub fn save_delivered(&mut self) -> io::Result<()> {
        if self.saved.dirty || self.saved.urgent {
            self.save(&BTreeMap::new())?;
        }
        self.reap()
    }

    /// The end of the process: active segments without a needed frame go.
    pub fn close(&mut self) -> io::Result<()> {
        self.seal_all();
        let reaped = self.reap();
        self.saved.dirty = true;
        self.save_delivered()?;
        reaped
    }

    /// The spool's plan: sizes and counts.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What was given up since the first start, by this process and those before it.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Puts a frame on record as handed out, before it is.
    fn cover(&mut self, sequence: u64) -> io::Result<()> {
        let first = sequence - sequence % HANDED_OUT_TOGETHER;
        self.handed_out
            .insert_range(first, first.saturating_add(HANDED_OUT_TOGETHER - 1));
        if self.saved.handed_out.contains(sequence) && !self.saved.uncertain {
            return Ok(());
        }
        self.save(&BTreeMap::new())
    }

    /// Counts a frame as lost, and names the bytes of files that are lost with it where its table is
    /// whole.
    fn give_up(&mut self, sequence: u64, located: Located, problem: String) -> Lost {
        self.losses.push(self.loss(Reason::Damaged, sequence, &located));
        self.index.on_done(sequence);
        (self.saved.dirty, self.saved.urgent) = (true, true);
        Lost {
            path: self.segment_path(located.segment),
            byte: located.offset,
            problem,
            evicted: Evicted {
                sequence,
                documents: located.documents,
                source_bytes: located.source_bytes,
            },
        }
    }

    fn loss(&self, reason: Reason, sequence: u64, located: &Located) -> Loss {
        let (spans, more_files) = self.spans(located).unwrap_or_default();
        Loss {
            reason,
            sequence: Some(sequence),
            totals: Totals::one(located.documents, located.source_bytes),
            spans,
            more_files,
        }
    }

    /// The spans of a frame, when its header and table are whole.
    fn spans(&self, located: &Located) -> Option<(Vec<LostSpan>, u64)> {
        let Located {
            segment, offset, len, ..
        } = *located;
        let head = self
            .bytes(segment, offset, len.min(frame::HEADER_LEN as u64))
            .ok()?;
        let header = frame::header(&head).ok()?;
        let table_at = offset + header.header_len() + header.lane_len();
        let table = self.bytes(segment, table_at, header.table_len()).ok()?;
        let (files, rows) = header.table(&table)?;
        Some(losses::spans(&files, &rows))
    }

    /// Bytes of a segment; fewer when it ends before.
    fn bytes(&self, segment: SegmentNumber, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let file = self.disk.open(&self.segment_path(segment), How::Read)?;
        let mut bytes = vec![0; len as usize];
        let read = file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Removes the segments that are not needed any more.
    fn reap(&mut self) -> io::Result<()> {
        let removable = self.index.removable();
        if removable.is_empty() {
            return Ok(());
        }
        if self.saved.urgent {
            self.save(&BTreeMap::new())?;
        } else if removable.iter().any(|number| self.saved.waiting.contains(number)) {
            // A segment that is gone although something waits in it is a loss for the next start.
            match self.save(&BTreeMap::new()) {
                // Room comes first. A crash before the next save counts what was delivered as lost.
                Err(error) if is_full(&error) => {}
                saved => saved?,
            }
        }
        let mut unlinked = Ok(());
        let mut gone = Vec::new();
        for number in removable {
            match self.disk.remove(&self.segment_path(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => unlinked = Err(error),
                _ => gone.push(number),
            }
        }
        let synced = self.sync_folder();
        for number in gone {
            self.index.on_removed(number, synced.is_ok());
        }
        self.saved.dirty = true;
        unlinked.and(synced)
    }

    /// Replaces the file `delivered` where it is not there yet: from then on it is missing only where it
    /// was lost.
    fn save_first(&mut self) {
        // Tried again with the next change.
        self.saved.dirty |= self.save(&BTreeMap::new()).is_err();
    }

    /// Replaces the file `delivered`. What `instead` says of a segment is written in place of what the
    /// index knows.
    fn save(&mut self, instead: &BTreeMap<SegmentNumber, SegmentRecord>) -> io::Result<()> {
        let handed_out = match self.index.quota().when_full {
            WhenFull::Block => HandedOut::All,
            WhenFull::DropOldest => HandedOut::Only(self.handed_out.clone()),
        };
        let (next_sequence, next_segment) = self.index.next_numbers();
        let mut segments = self.index.segment_records();
        segments.extend(instead.iter().map(|(number, record)| (*number, record.clone())));
        let content = Delivered {
            next_sequence,
            next_segment,
            handed_out,
            segments,
            losses: self.losses.clone(),
        };
        let bytes = delivered::encode(&content, self.index.quota().delivered_bytes() as usize);
        let next = self.path.join("delivered.next");
        let mut file = self.disk.open(&next, How::Replace)?;
        file.append(&bytes)?;
        file.sync()?;
        // From here on until the folder is synced, a crash may leave the old file or the new one.
        self.saved.uncertain = true;
        self.disk.rename(&next, &self.path.join("delivered"))?;
        self.sync_folder()?;
        self.saved = Saved {
            dirty: false,
            urgent: false,
            uncertain: false,
            waiting: content.waiting().collect(),
            handed_out: content.handed_out,
        };
        Ok(())
    }

    fn segment_path(&self, number: SegmentNumber) -> PathBuf {
        self.path.join(format!("{number:012}.segment"))
    }

    fn sync_folder(&self) -> io::Result<()> {
        if mutant::is(Mutant::FolderNotSynced) {
            return Ok(());
        }
        self.disk.sync_folder(&self.path)
    }

    /// What the file system may still give above the floor.
    fn free_bytes(&self) -> io::Result<u64> {
        let space = self.disk.space(&self.path)?;
        let floor = match self.min_free {
            MinFree::Bytes(bytes) => bytes,
            MinFree::Percent(percent) => space.total / 100 * u64::from(percent),
        };
        Ok(space.available.saturating_sub(floor))
    }
}
