//! The loop of the dead-letter file's thread: rows enter, confirmations leave after the sync. It is
//! a thread because it waits for the disk.

use super::disk::DeadLetterFile;
use crate::sync::mpsc::Receiver;
use crate::sync::tokio::sync::mpsc::UnboundedSender;
use tracing::error;

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
        /// False when there is no room, or the disk failed.
        written: bool,
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
        written: result.unwrap_or(false),
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
    loop {
        let command = commands.recv().unwrap_or(Command::Close);
        // The receiver lives as long as the sink; a closed channel only means that it is ending.
        let mut report = |report| {
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
        let expected = [(7, true, 6), (8, false, 6), (9, true, 8)];
        let mut expected: Vec<Report> = expected
            .map(|(parcel, written, bytes)| Report::Appended {
                parcel,
                written,
                bytes,
            })
            .into();
        expected.push(Report::Closed);
        assert_eq!(told, expected);
    }
}
