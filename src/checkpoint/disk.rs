//! Checkpoint bytes ⇄ the folder `checkpoints/`: an atomic replace with two generations.
//!
//! Saving writes `next`, syncs it, renames `current` to `previous` and `next` to `current`, and
//! syncs the folder. A power cut at any point leaves one whole generation. Loading takes the newest
//! one that decodes; damage never prevents a start.

#![expect(
    clippy::disallowed_methods,
    reason = "this file is where checkpoints touch the disk"
)]

use super::snapshot::{self, Loaded};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const NEXT: &str = "next";

/// The folder of the checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointFolder {
    path: PathBuf,
}

impl CheckpointFolder {
    /// Opens the folder below the state directory, and makes it when it is not there.
    pub fn open(state_dir: &Path) -> io::Result<CheckpointFolder> {
        let path = state_dir.join("checkpoints");
        fs::create_dir_all(&path)?;
        File::open(state_dir)?.sync_all()?;
        Ok(CheckpointFolder { path })
    }

    /// The newest whole generation.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded {
            first_start: true,
            ..Loaded::default()
        };
        for name in [CURRENT, PREVIOUS] {
            let path = self.path.join(name);
            let bytes = match fs::read(&path) {
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
                Ok(entries) => return Loaded { entries, ..loaded },
                Err(damage) => loaded.damage.push(format!("{}: {damage}", path.display())),
            }
        }
        loaded
    }

    /// Replaces the current generation. When this returns, `bytes` survive a power cut.
    pub fn save(&self, bytes: &[u8]) -> io::Result<()> {
        let next = self.path.join(NEXT);
        let current = self.path.join(CURRENT);
        let mut file = File::create(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match fs::rename(&current, self.path.join(PREVIOUS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&next, &current)?;
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_of_the_newest_generation_falls_back_to_the_older() {
        let state = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::open(state.path()).unwrap();
        assert!(folder.load().first_start);
        folder.save(&snapshot::encode(&[])).unwrap();
        folder.save(b"second").unwrap();
        let loaded = folder.load();
        assert!(!loaded.first_start);
        assert_eq!(loaded.damage.len(), 1, "{loaded:?}");
        fs::write(state.path().join("checkpoints/previous"), b"also damaged").unwrap();
        let loaded = folder.load();
        assert!(loaded.entries.is_empty() && !loaded.first_start);
        assert_eq!(loaded.damage.len(), 2);
    }

    #[test]
    fn a_cut_between_the_two_renames_loses_nothing() {
        let state = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::open(state.path()).unwrap();
        folder.save(&snapshot::encode(&[])).unwrap();
        fs::rename(
            state.path().join("checkpoints/current"),
            state.path().join("checkpoints/previous"),
        )
        .unwrap();
        let loaded = folder.load();
        assert!(loaded.damage.is_empty() && !loaded.first_start);
    }
}
