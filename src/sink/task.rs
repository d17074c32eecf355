//! The loop of the dead-letter file's thread: rows enter, confirmations leave after the sync. It is
//! a thread because it waits for the disk.
//!
//! Others make room in the file, too (a person, `longshore dead-letter resend`): its size is told at the start, and again
//! when a look now and then finds another one.

use super::dead_letter::Appended;
use super::disk::DeadLetterFile;
use crate::sync::mpsc::{Receiver, RecvTimeoutError};
use crate::sync::recv_timeout;
use crate::sync::tokio::sync::mpsc::UnboundedSender;
use std::time::Duration;
use tracing::error;

/// How often the size of the file is looked at while no rows come.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What the dead-letter file is to do.
#[derive(Debug)]
pub enum Command {
    /// Append rows and sync them.
    Append {
        /// Given back with the confirmation.
        parcel: u64,
        /// Finished rows.
        rows: Vec<u8>,
    },
    /// End.
    Close,
}

/// What the dead-letter file has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// An append ended.
    Appended {
        /// From the command.
        parcel: u64,
        /// What became of the rows.
        appended: Appended,
        /// Bytes of the file.
        bytes: u64,
    },
    /// The dead letters take so many bytes, without an append of ours.
    Size {
        /// Bytes of the file.
        bytes: u64,
    },
    /// Everything that was asked for is done.
    Closed,
}

/// Does one thing; false when that is to end. `failing`: whether the last append failed.
pub fn execute(
    file: &mut DeadLetterFile,
    command: Command,
    failing: &mut bool,
    report: &mut dyn FnMut(Report),
) -> bool {
    let Command::Append { parcel, rows } = command else {
        report(Report::Closed);
        return false;
    };
    let result = file.append(&rows);
    if let (Err(error), false) = (&result, *failing) {
        error!(%error, "cannot write dead letters: refused documents are kept and tried again; look at the disk of state_dir");
    }
    *failing = result.is_err();
    report(Report::Appended {
        parcel,
        appended: result.unwrap_or(Appended::Failed),
        bytes: file.bytes().unwrap_or(0),
    });
    true
}

/// Runs until [`Command::Close`] or until the other side is gone.
pub fn run_dead_letters(
    mut file: DeadLetterFile,
    commands: &Receiver<Command>,
    reports: &UnboundedSender<Report>,
) {
    let mut failing = false;
    let mut known = None;
    loop {
        if let Ok(bytes) = file.bytes()
            && known.replace(bytes) != Some(bytes)
        {
            let _ = reports.send(Report::Size { bytes });
        }
        let command = match recv_timeout(commands, LOOK_INTERVAL) {
            Ok(command) => command,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => Command::Close,
        };
        // The receiver lives as long as the sink; a closed channel only means that it is ending.
        let mut report = |report| {
            if let Report::Appended { bytes, .. } = report {
                known = Some(bytes);
            }
            let _ = reports.send(report);
        };
        if !execute(&mut file, command, &mut failing, &mut report) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::mpsc::channel;
    use crate::sync::tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn each_append_is_confirmed_with_its_number_and_the_end_is_told() {
        let state = tempfile::tempdir().unwrap();
        let file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 8).unwrap();
        let (commands, received) = channel();
        for (parcel, rows) in [(7, "12345\n"), (8, "too long\n"), (9, "6\n")] {
            commands
                .send(Command::Append {
                    parcel,
                    rows: rows.into(),
                })
                .unwrap();
        }
        drop(commands);
        let (reports, mut told) = unbounded_channel();
        run_dead_letters(file, &received, &reports);
        let told: Vec<Report> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        let appended = |parcel, appended, bytes| Report::Appended {
            parcel,
            appended,
            bytes,
        };
        let expected = [
            Report::Size { bytes: 0 },
            appended(7, Appended::Synced, 6),
            appended(8, Appended::NoRoom, 6),
            appended(9, Appended::Synced, 8),
            Report::Closed,
        ];
        assert_eq!(told, expected);
    }

    /// Red when the size is told after appends only: what a person or `resend` took away would go on counting.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test starts the thread that agent.rs would start"
    )]
    fn room_that_others_made_is_told_at_the_next_look() {
        let state = tempfile::tempdir().unwrap();
        let disk = crate::disk::kernel();
        let mut file = DeadLetterFile::open(&disk, state.path(), 8).unwrap();
        assert_eq!(file.append(b"12345\n").unwrap(), Appended::Synced);
        let path = crate::sink::disk::dead_letter_path(state.path());
        let (commands, received) = channel();
        let (reports, mut told) = unbounded_channel();
        let thread = std::thread::spawn(move || run_dead_letters(file, &received, &reports));
        assert_eq!(told.blocking_recv(), Some(Report::Size { bytes: 6 }));
        disk.remove(&path).unwrap();
        assert_eq!(told.blocking_recv(), Some(Report::Size { bytes: 0 }));
        drop(commands);
        thread.join().unwrap();
    }
}
