//! The loop of the spool's thread: commands enter, confirmations leave. It is the thread that waits
//! for the disk; what it does with a command is [`turn::execute`].

use super::disk::{Spool, turn};
use super::protocol::{Command, Report};
use crate::sync::mpsc::{Receiver, RecvTimeoutError};
use crate::sync::tokio::sync::mpsc::UnboundedSender;
use crate::sync::{now, recv_timeout};
use std::time::Duration;
use tracing::error;

/// How often the set of delivered frames is made durable.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Commands that are carried out together, and share a sync.
const COMMANDS_MAX: usize = 64;

/// Runs until [`Command::Close`] or until the other side is gone.
pub fn run(mut spool: Spool, commands: &Receiver<Command>, reports: &UnboundedSender<Report>) {
    // The receiver lives as long as the agent; a closed channel only means that it is ending.
    let mut report = |report| {
        let _ = reports.send(report);
    };
    // What former processes left and lost is known from the first moment.
    turn::tell_size(&spool, &mut report);
    let mut save_at = now() + SAVE_INTERVAL;
    let mut open = true;
    while open {
        match recv_timeout(commands, save_at.saturating_duration_since(now())) {
            Ok(first) => {
                let waiting = commands.try_iter().take(COMMANDS_MAX - 1);
                let commands: Vec<Command> = std::iter::once(first).chain(waiting).collect();
                open = !commands.iter().any(|command| matches!(command, Command::Close));
                turn::execute(&mut spool, commands, &mut report);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => open = false,
        }
        // Not only when nothing comes: a spool that drains for hours must not be sent again as a whole.
        if now() >= save_at {
            turn::tick(&mut spool, &mut report);
            save_at = now() + SAVE_INTERVAL;
        }
    }
    if let Err(error) = spool.close() {
        error!(%error, "cannot save which frames are delivered; they may be sent again");
    }
    report(Report::Closed);
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts a thread and looks at files"
)]
mod tests {
    use super::super::disk::MinFree;
    use super::super::frame::tests::body;
    use super::super::index::{Quota, WhenFull};
    use super::super::losses::{Reason, Totals};
    use super::*;
    use crate::record::Keep;
    use crate::sync::mpsc::channel;
    use crate::sync::{thread, tokio};

    #[test]
    fn what_is_delivered_is_saved_while_commands_never_pause() {
        let state = tempfile::tempdir().unwrap();
        let quota = Quota {
            max_bytes: 1 << 30,
            segment_bytes: 1 << 24,
            when_full: WhenFull::Block,
        };
        let (spool, _) = Spool::open(&crate::disk::kernel(), state.path(), quota, MinFree::Bytes(0)).unwrap();
        let (commands, to_thread) = channel();
        let (reports, mut from_thread) = tokio::sync::mpsc::unbounded_channel();
        let thread = thread::spawn(move || run(spool, &to_thread, &reports));
        let append = |parcel| Command::Append {
            parcel,
            body: body(3),
            lane: None,
            keep: Keep::Unsent,
        };
        let deadline = now() + 20 * SAVE_INTERVAL;
        let file = state.path().join("spool/delivered");
        let first = std::fs::read(&file).unwrap();
        while std::fs::read(&file).unwrap() == first {
            assert!(now() < deadline, "never saved");
            commands.send(append(1)).unwrap();
            let mut done = false;
            while !done {
                if let Report::Appended { frame, .. } = from_thread.blocking_recv().unwrap() {
                    commands.send(Command::Done(frame.unwrap())).unwrap();
                    done = true;
                }
            }
        }
        drop(commands);
        thread.join().unwrap();
    }

    /// Red when the thread tells sizes and losses only after the first command.
    #[test]
    fn what_former_processes_lost_is_told_first() {
        let state = tempfile::tempdir().unwrap();
        let quota = Quota {
            max_bytes: 1 << 30,
            segment_bytes: 1 << 24,
            when_full: WhenFull::Block,
        };
        let open = || Spool::open(&crate::disk::kernel(), state.path(), quota, MinFree::Bytes(0)).unwrap();
        let (commands, to_thread) = channel();
        for parcel in 1..=2 {
            let append = Command::Append {
                parcel,
                body: body(3),
                lane: None,
                keep: Keep::Unsent,
            };
            commands.send(append).unwrap();
        }
        drop(commands);
        let (reports, _) = tokio::sync::mpsc::unbounded_channel();
        run(open().0, &to_thread, &reports);
        std::fs::remove_file(state.path().join("spool/000000000001.segment")).unwrap();

        let (commands, to_thread) = channel();
        drop(commands);
        let (reports, mut told) = tokio::sync::mpsc::unbounded_channel();
        run(open().0, &to_thread, &reports);
        let Some(Report::Size { frames, lost, .. }) = told.blocking_recv() else {
            panic!("something else came first");
        };
        let mut two = Totals::one(3, 300);
        two.add(Totals::one(3, 300));
        let expected = [(Reason::Evicted, Totals::default()), (Reason::Damaged, two)];
        assert_eq!((frames, lost), (0, expected));
    }
}
