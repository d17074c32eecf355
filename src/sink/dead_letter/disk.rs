//! The files of dead letters as `longshore dead-letter` sees them, next to an agent that may append at any moment.
//!
//! ```text
//!  dead-letter.ndjson ──rename──▶ taking.ndjson ──copied──▶ taken.ndjson ──rewritten without──▶ taken.ndjson
//!  the agent appends              moved, whole              what waits      what was delivered
//! ```
//!
//! There is no lock between the agent and a person, and none is needed:
//!
//! - A rename moves the file with all rows in it. Rows count for the agent only when the file still has its name after they
//!   were synced ([`super::super::disk::DeadLetterFile::append`]), so a row that counts is in the file before the rename, or in
//!   the next file. A row that came into a moved file is in both: it may be sent twice, and its id makes it one document.
//! - Nobody but one `resend` at a time touches the other files: whoever calls [`Taken::take`] holds the folder's lock.
//! - Each change of `taken.ndjson` is a new file, synced, that gets the name by a rename. A kill at any point leaves the old rows
//!   or the new ones; what was copied and not yet removed (`taking.ndjson`) is copied once more: a row is never in no file.
//! - Rows that a person moved aside in this folder (`*.ndjson`) are taken over likewise.
//!
//! Readers ([`row_files`]) open the files in the order in which rows move, so that they may meet a row twice and never miss
//! one. Not done here: what is in a row, and what becomes of it.

use crate::disk::{Disk, How, Kind, OpenFile, Sequential};
use crate::sink::disk::{FILE, FOLDER, TAKEN, end_of_last_row};
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The file of the agent, after it was moved and before its rows are in [`TAKEN`].
const TAKING: &str = "taking.ndjson";
/// What becomes [`TAKEN`].
const PART: &str = "taken.part";
/// Files of rows end so.
const ENDING: &str = "ndjson";
/// How much is read or copied at once.
const STEP: usize = 64 * 1024;
/// A longer row is none of ours: it stays where it is, unread.
pub const MAX_ROW: usize = 64 << 20;

/// The folder of dead letters below a state directory.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER)
}

/// The files that may hold rows, in the order in which rows move from one to the next; backwards, the oldest rows come first.
/// Not all of the files need be there.
///
/// # Errors
/// When the folder cannot be read; that it is not there is no error.
pub fn row_files(disk: &Disk, state_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = folder(state_dir);
    let mut files = vec![folder.join(FILE), folder.join(TAKING)];
    files.extend(moved_aside(disk, &folder)?.into_iter().rev());
    files.push(folder.join(TAKEN));
    Ok(files)
}

/// Files of rows whose names nobody but a person gives.
fn moved_aside(disk: &Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match disk.list(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let own = [FILE, TAKING, TAKEN].map(OsStr::new);
    let files = entries.into_iter().filter(|entry| entry.kind == Kind::File);
    let names = files.map(|entry| folder.join(entry.name));
    let mut names: Vec<PathBuf> = names
        .filter(|path| path.extension() == Some(OsStr::new(ENDING)))
        .filter(|path| path.file_name().is_none_or(|name| !own.contains(&name)))
        .collect();
    names.sort();
    Ok(names)
}

/// A line of a file of rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowLine {
    /// Where it begins.
    pub at: u64,
    /// Its bytes in the file, newline included.
    pub len: u64,
    /// Without the newline. The first bytes only, when it is longer than [`MAX_ROW`].
    pub text: Vec<u8>,
    /// It ends with a newline, and is not longer than [`MAX_ROW`].
    pub whole: bool,
}

/// The lines of a file, one after the other: never more than one of them is in memory.
#[derive(Debug)]
pub struct RowLines {
    file: BufReader<Sequential>,
    at: u64,
}

impl RowLines {
    /// Opens a file; `None` when it is not there.
    ///
    /// # Errors
    /// When the disk fails, or the file may not be read.
    pub fn open(disk: &Disk, path: &Path) -> io::Result<Option<RowLines>> {
        match disk.open(path, How::Read) {
            Ok(file) => Ok(Some(RowLines::new(Sequential::new(file), 0))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new(file: Sequential, at: u64) -> RowLines {
        RowLines {
            file: BufReader::with_capacity(STEP, file),
            at,
        }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn next_line(&mut self) -> io::Result<Option<RowLine>> {
        let mut line = RowLine {
            at: self.at,
            len: 0,
            text: Vec::new(),
            whole: false,
        };
        loop {
            let bytes = self.file.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let newline = memchr::memchr(b'\n', bytes);
            let part = &bytes[..newline.unwrap_or(bytes.len())];
            let room = MAX_ROW - line.text.len();
            line.text.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(newline.is_some());
            line.len += used as u64;
            self.file.consume(used);
            if newline.is_some() {
                line.whole = line.len <= MAX_ROW as u64;
                break;
            }
        }
        self.at += line.len;
        Ok((line.len > 0).then_some(line))
    }
}

/// Rows that were taken over from the agent, to be delivered. Only one may exist for a folder: the caller holds its lock.
#[derive(Debug)]
pub struct Taken {
    disk: Disk,
    folder: PathBuf,
}

impl Taken {
    /// Takes over what waits: what the agent has written so far, what an earlier `resend` left, and what was moved aside.
    ///
    /// # Errors
    /// When the disk fails. Then each row is still in one of the files, and the next call goes on.
    pub fn take(disk: &Disk, state_dir: &Path) -> io::Result<Taken> {
        let taken = Taken {
            disk: Disk::clone(disk),
            folder: folder(state_dir),
        };
        taken.remove(PART)?;
        taken.merge(&taken.path(TAKING))?;
        for path in moved_aside(disk, &taken.folder)? {
            taken.merge(&path)?;
        }
        if taken.len(FILE)? > 0 {
            disk.rename(&taken.path(FILE), &taken.path(TAKING))?;
            disk.sync_folder(&taken.folder)?;
            taken.merge(&taken.path(TAKING))?;
        }
        Ok(taken)
    }

    /// The rows, from this byte on; `None` when there is none at all.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn rows(&self, from: u64) -> io::Result<Option<RowLines>> {
        let file = self.open(&self.path(TAKEN))?;
        Ok(file.map(|file| RowLines::new(Sequential::starting_at(file, from), from)))
    }

    /// Bytes of the rows.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn bytes(&self) -> io::Result<u64> {
        self.len(TAKEN)
    }

    /// Takes lines away: `gone` has where each begins and how long it is, ascending. Durable when it returns.
    ///
    /// # Errors
    /// When the disk fails, or has no room for what stays: then all lines are still there.
    pub fn remove_lines(&self, gone: &[(u64, u64)]) -> io::Result<()> {
        let file = self.disk.open(&self.path(TAKEN), How::Read)?;
        let len = file.stat()?.len;
        let mut part = self.disk.open(&self.path(PART), How::Replace)?;
        let (mut from, mut kept) = (0, 0);
        for (at, bytes) in gone.iter().copied().chain([(len, 0)]) {
            copy(file.as_ref(), from..at, part.as_mut())?;
            kept += at - from;
            from = at + bytes;
        }
        if kept == 0 {
            drop(part);
            self.disk.remove(&self.path(TAKEN))?;
            self.remove(PART)?;
            return self.disk.sync_folder(&self.folder);
        }
        self.finish(part.as_mut())
    }

    /// Puts the rows of another file behind those that were taken over before, and removes it.
    fn merge(&self, path: &Path) -> io::Result<()> {
        let Some(file) = self.open(path)? else {
            return Ok(());
        };
        let mut part = self.disk.open(&self.path(PART), How::Replace)?;
        if let Some(before) = self.open(&self.path(TAKEN))? {
            copy_rows(before.as_ref(), part.as_mut())?;
        }
        copy_rows(file.as_ref(), part.as_mut())?;
        self.finish(part.as_mut())?;
        self.disk.remove(path)?;
        self.disk.sync_folder(&self.folder)
    }

    /// Opens a file to be read; `None` when it is not there.
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn OpenFile>>> {
        match self.disk.open(path, How::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes what was written the rows.
    fn finish(&self, part: &mut dyn OpenFile) -> io::Result<()> {
        part.sync()?;
        self.disk.rename(&self.path(PART), &self.path(TAKEN))?;
        self.disk.sync_folder(&self.folder)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.disk.remove(&self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        match self.disk.stat(&self.path(name)) {
            Ok(stat) => Ok(stat.len),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Copies all lines as they are. A last one without a newline is a row that a crash tore off, or one that came after the file
/// was moved: it counts for nobody, unless a person's editor has only left the newline away.
fn copy_rows(from: &dyn OpenFile, to: &mut dyn OpenFile) -> io::Result<()> {
    let len = from.stat()?.len;
    let end = end_of_last_row(from, len)?;
    copy(from, 0..end, to)?;
    let mut rest = vec![0; (len - end).min(MAX_ROW as u64) as usize];
    let read = from.read_at(&mut rest, end)?;
    rest.truncate(read);
    if super::bulk_lines(&rest).is_some() {
        rest.push(b'\n');
        to.append(&rest)?;
    }
    Ok(())
}

fn copy(from: &dyn OpenFile, bytes: std::ops::Range<u64>, to: &mut dyn OpenFile) -> io::Result<()> {
    let mut at = bytes.start;
    let mut step = vec![0; STEP];
    while at < bytes.end {
        let wanted = STEP.min((bytes.end - at) as usize);
        if from.read_at(&mut step[..wanted], at)? < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.append(&step[..wanted])?;
        at += wanted as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
