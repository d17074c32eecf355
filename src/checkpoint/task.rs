//! The loop of the checkpoint thread: entries enter, durable generations and their confirmations
//! leave. It is the thread that waits for this disk.

use super::disk::CheckpointFolder;
use super::snapshot::Checkpoint;
use crate::mutant::{self, Mutant};
use crate::sync::mpsc::Receiver;
use tracing::{error, info};

/// Saves each checkpoint that comes, until the other side is gone. `saved` hears the number and
/// whether it is durable.
pub fn run(folder: &CheckpointFolder, saves: &Receiver<(u64, Checkpoint)>, mut saved: impl FnMut(u64, bool)) {
    let mut failed = false;
    while let Ok((number, checkpoint)) = saves.recv() {
        let result = folder.save(&checkpoint);
        match &result {
            Ok(()) if failed => info!("checkpoints can be saved again"),
            Err(error) if !failed => {
                error!(%error, "cannot save the checkpoint; lines since the last one are sent again after a crash");
            }
            _ => {}
        }
        failed = result.is_err();
        if result.is_ok() || !mutant::is(Mutant::SaveUnanswered) {
            saved(number, result.is_ok());
        }
    }
}
