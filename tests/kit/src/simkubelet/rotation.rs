//! kubelet's rotation of one container log, whole or step by step.
//!
//! One pass (`container_log_manager.go`, `rotateLog`):
//! 1. [`ContainerLog::remove_unused`]: `.tmp` files, and plain ones whose `.gz` is complete (left by a crash).
//! 2. [`ContainerLog::remove_excess`]: the oldest, until `max_files - 2` rotated ones are left.
//! 3. [`ContainerLog::compress_next`] for every plain rotated file: write `.tmp` ([`ContainerLog::compress_begin`]),
//!    rename it to `.gz` ([`Compressing::commit`]), remove the plain one ([`Compressed::unlink_plain`]).
//! 4. [`ContainerLog::rotate_rename`], then [`ContainerLog::rotate_reopen`], or [`ContainerLog::rotate_rename_back`] when
//!    the runtime's reopen fails.

use super::disk::NodeDisk;
use super::{ContainerLog, open_log};
use crate::lines::cri::rotation_stamp;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A `.tmp` that holds the whole compressed file but is not named `.gz` yet. Drop it and kubelet "crashed" here.
#[derive(Debug)]
#[must_use = "without commit() the `.tmp` stays until the next pass, as after a crash"]
pub struct Compressing {
    disk: Arc<dyn NodeDisk>,
    plain: PathBuf,
    tmp: PathBuf,
}

/// A `.gz` whose plain file is still there, too. Drop it and kubelet "crashed" here.
#[derive(Debug)]
#[must_use = "without unlink_plain() both files stay until the next pass, as after a crash"]
pub struct Compressed {
    disk: Arc<dyn NodeDisk>,
    plain: PathBuf,
    gz: PathBuf,
}

impl ContainerLog {
    /// A whole pass: cleans up, compresses, renames, reopens. Returns where the live file went.
    ///
    /// # Errors
    /// What the file system says.
    pub fn rotate(&mut self) -> io::Result<PathBuf> {
        self.remove_unused()?;
        self.remove_excess()?;
        while self.compress_next()?.is_some() {}
        let rotated = self.rotate_rename()?;
        self.rotate_reopen()?;
        Ok(rotated)
    }

    /// A whole pass when the live file has reached `max_size_bytes`, as kubelet's ten-second look does it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn rotate_if_full(&mut self) -> io::Result<Option<PathBuf>> {
        if self.size()? < self.pod.node.config.max_size_bytes {
            return Ok(None);
        }
        self.rotate().map(Some)
    }

    /// Rotated files of the running instance in name order, which is their order in time (`.tmp` included).
    ///
    /// # Errors
    /// What the file system says.
    pub fn rotated_files(&self) -> io::Result<Vec<PathBuf>> {
        let prefix = format!("{}.log.", self.restart);
        let dir = self.dir();
        Ok(self
            .disk()
            .names(&dir)?
            .into_iter()
            .filter(|name| name.starts_with(&prefix))
            .map(|name| dir.join(name))
            .collect())
    }

    /// Step 1: what an interrupted pass left behind goes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_unused(&self) -> io::Result<()> {
        let files = self.rotated_files()?;
        for file in &files {
            let unused = ends(file, ".tmp") || (!ends(file, ".gz") && files.contains(&with(file, ".gz")));
            if unused {
                self.disk().remove(file)?;
            }
        }
        Ok(())
    }

    /// Step 2: the oldest rotated files go, so that with the live one and the one about to be made there are `max_files`.
    /// Returns what went: bytes that nobody has read by now are lost.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_excess(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = self.rotated_files()?;
        let keep = self.pod.node.config.max_files.saturating_sub(2);
        files.truncate(files.len().saturating_sub(keep));
        for file in &files {
            self.disk().remove(file)?;
        }
        Ok(files)
    }

    /// Step 3 for the oldest plain rotated file, whole; `None` when there is none left.
    ///
    /// # Errors
    /// What the file system says.
    pub fn compress_next(&self) -> io::Result<Option<PathBuf>> {
        let Some(compressing) = self.compress_begin()? else {
            return Ok(None);
        };
        compressing.commit()?.unlink_plain().map(Some)
    }

    /// Writes the `.tmp` of the oldest plain rotated file; `None` when there is none.
    ///
    /// # Errors
    /// What the file system says.
    pub fn compress_begin(&self) -> io::Result<Option<Compressing>> {
        let files = self.rotated_files()?;
        let Some(plain) = files
            .into_iter()
            .find(|file| !ends(file, ".gz") && !ends(file, ".tmp"))
        else {
            return Ok(None);
        };
        let tmp = with(&plain, ".tmp");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&self.disk().read(&plain)?)?;
        self.disk().write(&tmp, &gzip.finish()?, &plain)?;
        let disk = Arc::clone(&self.pod.node.disk);
        Ok(Some(Compressing { disk, plain, tmp }))
    }

    /// Step 4a: the live file takes a stamped name; the runtime keeps writing to it.
    ///
    /// # Errors
    /// What the file system says; `AlreadyExists` when the last rename was not followed by a reopen.
    pub fn rotate_rename(&mut self) -> io::Result<PathBuf> {
        if let Some(rotated) = &self.renamed_to {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} was not reopened yet", rotated.display()),
            ));
        }
        let rotated = loop {
            let stamped = with(
                &self.live_path(),
                &format!(".{}", rotation_stamp(self.pod.node.next_stamp())),
            );
            if !self.disk().exists(&stamped) && !self.disk().exists(&with(&stamped, ".gz")) {
                break stamped;
            }
        };
        self.disk().rename(&self.live_path(), &rotated)?;
        self.renamed_to = Some(rotated.clone());
        Ok(rotated)
    }

    /// Step 4b: the runtime opens a new live file and lets go of the old one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn rotate_reopen(&mut self) -> io::Result<()> {
        self.out = open_log(self.disk(), &self.live_path(), self.dialect())?;
        self.renamed_to = None;
        Ok(())
    }

    /// Step 4b when the reopen failed: the same inode gets its old name back.
    ///
    /// # Errors
    /// What the file system says; `NotFound` when nothing was renamed.
    pub fn rotate_rename_back(&mut self) -> io::Result<()> {
        let rotated = self.renamed_to.take().ok_or(io::ErrorKind::NotFound)?;
        self.disk().rename(&rotated, &self.live_path())
    }
}

impl Compressing {
    /// The `.tmp` file, which nobody may read.
    pub fn tmp(&self) -> &Path {
        &self.tmp
    }

    /// Renames the `.tmp` to `.gz`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn commit(self) -> io::Result<Compressed> {
        let gz = with(&self.plain, ".gz");
        self.disk.rename(&self.tmp, &gz)?;
        Ok(Compressed {
            disk: self.disk,
            plain: self.plain,
            gz,
        })
    }
}

impl Compressed {
    /// The finished `.gz`.
    pub fn gz(&self) -> &Path {
        &self.gz
    }

    /// Removes the plain file; returns the `.gz`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn unlink_plain(self) -> io::Result<PathBuf> {
        self.disk.remove(&self.plain)?;
        Ok(self.gz)
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn ends(path: &Path, suffix: &str) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(suffix.as_bytes())
}
