//! Checkpoint bytes ⇄ the folder `checkpoints/`: an atomic replace with two generations.
//!
//! Saving writes `next`, syncs it, renames `current` to `previous` and `next` to `current`, and
//! syncs the folder. A power cut at any point leaves one whole generation. Loading takes the newest
//! one that decodes, `next` when neither of the others does; damage never prevents a start.

#[cfg(test)]
mod damage;

use super::snapshot::{self, Checkpoint, Loaded};
use crate::disk::{self, Disk, How, OpenFile};
use crate::mutant::{self, Mutant};
use std::io;
use std::path::{Path, PathBuf};

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const NEXT: &str = "next";

/// The folder of the checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointFolder {
    disk: Disk,
    path: PathBuf,
}

impl CheckpointFolder {
    /// Opens the folder below the state directory, and makes it when it is not there.
    pub fn open(disk: &Disk, state_dir: &Path) -> io::Result<CheckpointFolder> {
        let path = state_dir.join("checkpoints");
        disk.make_folder(&path)?;
        disk.sync_folder(state_dir)?;
        Ok(CheckpointFolder {
            disk: Disk::clone(disk),
            path,
        })
    }

    /// The newest whole generation.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded {
            first_start: true,
            ..Loaded::default()
        };
        for name in [CURRENT, PREVIOUS] {
            let path = self.path.join(name);
            let bytes = match disk::read(self.disk.as_ref(), &path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    loaded.first_start = false;
                    loaded.damage.push(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            loaded.first_start = false;
            match snapshot::decode(&bytes) {
                Ok(checkpoint) => return Loaded { checkpoint, ..loaded },
                Err(damage) => loaded.damage.push(format!("{}: {damage}", path.display())),
            }
        }
        // Written and synced before the others were touched: it is all there is when a damaged generation was just
        // moved aside. Torn it is no damage, because nothing was promised for it.
        let next = disk::read(self.disk.as_ref(), &self.path.join(NEXT));
        if let Ok(checkpoint) = next.map_or(Err(snapshot::Damage::Head), |bytes| snapshot::decode(&bytes)) {
            (loaded.checkpoint, loaded.first_start) = (checkpoint, false);
        }
        loaded
    }

    /// Replaces the current generation. When this returns, the checkpoint survives a power cut.
    ///
    /// # Errors
    /// What the disk says. A whole generation is there all the same.
    pub fn save(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.replace(|file| snapshot::write(checkpoint, |piece| file.append(piece)))
    }

    fn replace(&self, write: impl FnOnce(&mut dyn OpenFile) -> io::Result<()>) -> io::Result<()> {
        let next = self.path.join(NEXT);
        let current = self.path.join(CURRENT);
        let mut file = self.disk.open(&next, How::Replace)?;
        write(file.as_mut())?;
        if !mutant::is(Mutant::CheckpointNotSynced) {
            file.sync()?;
        }
        match self.disk.rename(&current, &self.path.join(PREVIOUS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.disk.rename(&next, &current)?;
        self.disk.sync_folder(&self.path)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test damages the files")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn damage_of_the_newest_generation_falls_back_to_the_older() {
        let state = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::open(&disk::kernel(), state.path()).unwrap();
        assert!(folder.load().first_start);
        folder.save(&Checkpoint::default()).unwrap();
        folder.replace(|file| file.append(b"second")).unwrap();
        let loaded = folder.load();
        assert!(!loaded.first_start);
        assert_eq!(loaded.damage.len(), 1, "{loaded:?}");
        fs::write(state.path().join("checkpoints/previous"), b"also damaged").unwrap();
        let loaded = folder.load();
        assert!(loaded.checkpoint.entries.is_empty() && !loaded.first_start);
        assert_eq!(loaded.damage.len(), 2);
    }

    #[test]
    fn a_cut_between_the_two_renames_loses_nothing() {
        let state = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::open(&disk::kernel(), state.path()).unwrap();
        folder.save(&Checkpoint::default()).unwrap();
        fs::rename(
            state.path().join("checkpoints/current"),
            state.path().join("checkpoints/previous"),
        )
        .unwrap();
        let loaded = folder.load();
        assert!(loaded.damage.is_empty() && !loaded.first_start);
    }
}
