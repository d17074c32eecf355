//! Segments on the disk: append with sync, read, remove, and look through at the start.
//!
//! A frame counts only after `fdatasync`. After a failed write or sync the segment is left alone and
//! the body is written again into a new one: a sync is never retried, because the kernel may have
//! dropped the dirty pages (fsync semantics since Linux 4.13). The directory is synced when a segment
//! is made or removed. Delivered frames are remembered in the file `delivered`, replaced atomically.

pub mod turn;

use super::frame::{self, Frame};
use super::index::{Index, Located, Plan, Quota, SegmentNumber};
use super::protocol::Evicted;
use super::segment::{self, Found};
pub use crate::config::MinFree;
use crate::disk::{self, Disk, How, OpenFile};
use crate::record::Body;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The spool folder.
#[derive(Debug)]
pub struct Spool {
    disk: Disk,
    path: PathBuf,
    index: Index,
    min_free: MinFree,
    active: Option<(SegmentNumber, Box<dyn OpenFile>, u64)>,
    delivered_dirty: bool,
}

/// What the start found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Frames that wait, in order.
    pub frames: Vec<Found>,
    /// One sentence per damaged place.
    pub damage: Vec<String>,
}

/// What became of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk, synced, under this number.
    Frame(u64),
    /// There is no room.
    Full,
}

impl Spool {
    /// Opens the folder below the state directory and looks through every segment. Damage is skipped
    /// and reported, never an error.
    pub fn open(
        disk: &Disk,
        state_dir: &Path,
        quota: Quota,
        min_free: MinFree,
    ) -> io::Result<(Spool, Recovered)> {
        let path = state_dir.join("spool");
        disk.make_folder(&path)?;
        disk.sync_folder(state_dir)?;
        let mut spool = Spool {
            disk: Disk::clone(disk),
            index: Index::new(quota),
            path,
            min_free,
            active: None,
            delivered_dirty: false,
        };
        let recovered = spool.recover()?;
        Ok((spool, recovered))
    }

    /// Appends a body and syncs it. Evictions that were needed are added to `evicted`.
    pub fn append(
        &mut self,
        lane: Option<&str>,
        body: &Body,
        evicted: &mut Vec<Evicted>,
    ) -> io::Result<Appended> {
        let mut bytes = frame::encode(0, lane, body);
        // Two attempts: the second one goes into a new segment after a failed sync.
        for attempt in 0..2 {
            let Some((segment, offset)) = self.room(bytes.len() as u64, evicted)? else {
                return Ok(Appended::Full);
            };
            let sequence = self.index.next_sequence();
            bytes = frame::encode(sequence, lane, body);
            match self.write(&bytes) {
                Ok(()) => {
                    let located = Located {
                        segment,
                        offset,
                        len: bytes.len() as u64,
                        documents: body.documents() as u64,
                        source_bytes: body.source_bytes(),
                        taken: false,
                    };
                    self.index.on_appended(sequence, located);
                    return Ok(Appended::Frame(sequence));
                }
                Err(error) => {
                    self.active = None;
                    let len = self
                        .disk
                        .stat(&self.segment_path(segment))
                        .map_or(offset, |stat| stat.len);
                    self.index.on_append_failed(segment, len);
                    if error.kind() == io::ErrorKind::StorageFull {
                        return Ok(Appended::Full);
                    }
                    if attempt == 1 {
                        return Err(error);
                    }
                }
            }
        }
        Ok(Appended::Full)
    }

    /// Reads a frame back. `None` when it is damaged; it is then done.
    pub fn read(&mut self, sequence: u64) -> io::Result<Option<Frame>> {
        let Some(located) = self.index.take(sequence) else {
            return Ok(None);
        };
        let mut bytes = vec![0; located.len as usize];
        let file = self.disk.open(&self.segment_path(located.segment), How::Read)?;
        // What is missing fails the checksum.
        file.read_at(&mut bytes, located.offset)?;
        match frame::decode(&bytes) {
            Ok(frame) if frame.sequence == sequence => Ok(Some(frame)),
            _ => Ok(None),
        }
    }

    /// What is known of a frame that is not done.
    pub fn located(&mut self, sequence: u64) -> Option<Located> {
        self.index.take(sequence)
    }

    /// A frame is delivered: its segment goes when it was the last one.
    pub fn done(&mut self, sequence: u64) -> io::Result<()> {
        self.delivered_dirty = true;
        match self.index.on_done(sequence) {
            Some(segment) => self.remove(segment),
            None => Ok(()),
        }
    }

    /// Makes the set of delivered frames durable, when it changed.
    pub fn save_delivered(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.delivered_dirty) {
            return Ok(());
        }
        let mut text = String::new();
        for sequence in self.index.delivered() {
            text.push_str(&format!("{sequence}\n"));
        }
        let next = self.path.join("delivered.next");
        let crc = crc32fast::hash(text.as_bytes());
        let mut file = self.disk.open(&next, How::Replace)?;
        file.append(format!("longshore-delivered 1 {crc:08x}\n{text}").as_bytes())?;
        file.sync()?;
        self.disk.rename(&next, &self.path.join("delivered"))?;
        self.sync_folder()
    }

    /// The end of the process: an active segment without a needed frame goes.
    pub fn close(&mut self) -> io::Result<()> {
        if let Some(segment) = self.index.retire_active() {
            self.remove(segment)?;
        }
        self.save_delivered()
    }

    /// The spool's plan: sizes and counts.
    pub fn index(&self) -> &Index {
        &self.index
    }

    fn recover(&mut self) -> io::Result<Recovered> {
        let mut recovered = Recovered::default();
        let delivered = self.load_delivered(&mut recovered.damage);
        self.index.on_delivered_found(&delivered);
        for number in self.segment_numbers()? {
            let path = self.segment_path(number);
            let bytes = match disk::read(self.disk.as_ref(), &path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    recovered.damage.push(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            let scan = segment::scan(&bytes);
            for at in &scan.damaged {
                recovered
                    .damage
                    .push(format!("{}: damage at byte {at}", path.display()));
            }
            let ours: BTreeSet<u64> = scan
                .frames
                .iter()
                .map(|found| found.sequence)
                .filter(|seq| delivered.contains(seq))
                .collect();
            if self
                .index
                .on_segment_found(number, bytes.len() as u64, &scan.frames, &ours)
            {
                recovered.frames.extend(
                    scan.frames
                        .into_iter()
                        .filter(|found| !ours.contains(&found.sequence)),
                );
            } else {
                self.remove(number)?;
            }
        }
        recovered.frames.sort_by_key(|found| found.sequence);
        Ok(recovered)
    }

    fn load_delivered(&self, damage: &mut Vec<String>) -> BTreeSet<u64> {
        let path = self.path.join("delivered");
        let text = match disk::read(self.disk.as_ref(), &path) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeSet::new(),
            Err(error) => {
                damage.push(format!("{}: {error}", path.display()));
                return BTreeSet::new();
            }
        };
        let parsed = text.split_once('\n').and_then(|(head, rest)| {
            let crc = u32::from_str_radix(head.strip_prefix("longshore-delivered 1 ")?, 16).ok()?;
            (crc == crc32fast::hash(rest.as_bytes())).then_some(rest)
        });
        match parsed {
            Some(rest) => rest.lines().filter_map(|line| line.parse().ok()).collect(),
            None => {
                damage.push(format!("{}: damaged; frames may be sent twice", path.display()));
                BTreeSet::new()
            }
        }
    }

    fn segment_numbers(&self) -> io::Result<Vec<SegmentNumber>> {
        let mut numbers = Vec::new();
        for entry in self.disk.list(&self.path)? {
            let number: Option<SegmentNumber> = entry
                .name
                .to_str()
                .and_then(|name| name.strip_suffix(".segment"))
                .and_then(|n| n.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn segment_path(&self, number: SegmentNumber) -> PathBuf {
        self.path.join(format!("{number:012}.segment"))
    }

    /// The segment for a frame of `len` bytes, open, and the offset in it; `None` when full.
    fn room(&mut self, len: u64, evicted: &mut Vec<Evicted>) -> io::Result<Option<(SegmentNumber, u64)>> {
        loop {
            let free = self.free_bytes()?;
            match self.index.plan(len, free) {
                Plan::Full => return Ok(None),
                Plan::Evict { segment, frames } => {
                    evicted.extend(frames.into_iter().map(|(sequence, located)| Evicted {
                        sequence,
                        documents: located.documents,
                        source_bytes: located.source_bytes,
                    }));
                    self.remove(segment)?;
                }
                Plan::Append { segment, create } => {
                    if create {
                        let file = self.disk.open(&self.segment_path(segment), How::New)?;
                        self.sync_folder()?;
                        self.active = Some((segment, file, 0));
                    }
                    if let Some((number, _, len)) = &self.active
                        && *number == segment
                    {
                        return Ok(Some((segment, *len)));
                    }
                    // The index and the open file disagree only after a failure.
                    self.index.on_append_failed(segment, 0);
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((_, file, len)) = &mut self.active else {
            return Err(io::Error::other("no active segment"));
        };
        if let Err(error) = file.append(bytes) {
            // Cut the torn frame off, so that the quota is not eaten by garbage.
            let _ = file.cut(*len);
            return Err(error);
        }
        file.sync()?;
        *len += bytes.len() as u64;
        Ok(())
    }

    fn remove(&mut self, number: SegmentNumber) -> io::Result<()> {
        if self.active.as_ref().is_some_and(|(active, ..)| *active == number) {
            self.active = None;
        }
        match self.disk.remove(&self.segment_path(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.delivered_dirty = true;
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
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

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test looks at the files and damages them"
)]
mod tests {
    use super::super::frame::tests::body;
    use super::super::index::WhenFull;
    use super::*;
    use std::fs;

    const QUOTA: Quota = Quota {
        max_bytes: 4000,
        segment_bytes: 500,
        when_full: WhenFull::Block,
    };

    fn open(state: &Path, quota: Quota) -> (Spool, Recovered) {
        Spool::open(&disk::kernel(), state, quota, MinFree::Bytes(0)).unwrap()
    }

    fn append(spool: &mut Spool) -> u64 {
        match spool.append(None, &body(3), &mut Vec::new()).unwrap() {
            Appended::Frame(sequence) => sequence,
            Appended::Full => panic!("full"),
        }
    }

    fn disk_bytes(state: &Path) -> u64 {
        fs::read_dir(state.join("spool"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    }

    #[test]
    fn undelivered_frames_are_found_again_in_order_and_delivered_ones_are_not() {
        let state = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(state.path(), QUOTA);
        let frames: Vec<u64> = (0..8).map(|_| append(&mut spool)).collect();
        spool.done(frames[0]).unwrap();
        spool.done(frames[5]).unwrap();
        spool.save_delivered().unwrap();
        drop(spool);
        let (mut spool, recovered) = open(state.path(), QUOTA);
        let found: Vec<u64> = recovered.frames.iter().map(|found| found.sequence).collect();
        let expected: Vec<u64> = frames
            .iter()
            .copied()
            .filter(|f| *f != frames[0] && *f != frames[5])
            .collect();
        assert_eq!(found, expected);
        assert_eq!(spool.read(found[0]).unwrap().unwrap().body, body(3));
        assert!(append(&mut spool) > frames[7]);
    }

    #[test]
    fn frames_of_a_new_process_are_not_taken_for_delivered_ones_of_the_last() {
        let state = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(state.path(), QUOTA);
        let frames: Vec<u64> = (0..8).map(|_| append(&mut spool)).collect();
        frames[..7].iter().for_each(|frame| spool.done(*frame).unwrap());
        spool.save_delivered().unwrap();
        // A crash after the last segment went, and before that was on record.
        let record = fs::read(state.path().join("spool/delivered")).unwrap();
        spool.done(frames[7]).unwrap();
        spool.close().unwrap();
        fs::write(state.path().join("spool/delivered"), record).unwrap();
        let (mut spool, recovered) = open(state.path(), QUOTA);
        assert_eq!(recovered.frames, []);
        let new: Vec<u64> = (0..8).map(|_| append(&mut spool)).collect();
        drop(spool);
        let (_, recovered) = open(state.path(), QUOTA);
        let found: Vec<u64> = recovered.frames.iter().map(|found| found.sequence).collect();
        assert_eq!(found, new);
    }

    #[test]
    fn the_hard_cap_holds_on_disk_and_block_refuses() {
        let state = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(state.path(), QUOTA);
        let mut accepted = 0;
        while spool.append(None, &body(3), &mut Vec::new()).unwrap() != Appended::Full {
            accepted += 1;
            assert!(disk_bytes(state.path()) <= QUOTA.max_bytes);
        }
        assert!(accepted > 10);
    }

    #[test]
    fn drop_oldest_reports_what_it_evicted() {
        let state = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(
            state.path(),
            Quota {
                when_full: WhenFull::DropOldest,
                ..QUOTA
            },
        );
        let mut evicted = Vec::new();
        for _ in 0..60 {
            spool.append(None, &body(3), &mut evicted).unwrap();
            assert!(disk_bytes(state.path()) <= QUOTA.max_bytes);
        }
        assert_eq!(evicted[0].sequence, 1);
        assert_eq!(evicted.len() + spool.index().frames(), 60);
    }

    #[test]
    fn a_torn_segment_keeps_its_earlier_frames() {
        let state = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(
            state.path(),
            Quota {
                segment_bytes: 5000,
                ..QUOTA
            },
        );
        for _ in 0..3 {
            append(&mut spool);
        }
        drop(spool);
        let path = state.path().join("spool/000000000001.segment");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
        let (_, recovered) = open(state.path(), QUOTA);
        assert_eq!(recovered.frames.len(), 2);
        assert_eq!(recovered.damage.len(), 1);
    }

    #[test]
    fn an_empty_spool_leaves_no_segment() {
        let state = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(state.path(), QUOTA);
        let frame = append(&mut spool);
        spool.done(frame).unwrap();
        spool.close().unwrap();
        assert!(spool.segment_numbers().unwrap().is_empty());
    }
}
