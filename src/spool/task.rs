//! The loop of the spool's thread: commands enter, confirmations leave. It is the thread that waits
//! for the disk: bodies and dead letters are confirmed after their sync.

use super::disk::{Appended, Spool};
use super::protocol::{Command, Evicted, Report};
use crate::record::Body;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, warn};

/// How often the set of delivered frames is made durable.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until [`Command::Close`] or until the other side is gone.
pub fn run(mut spool: Spool, commands: &Receiver<Command>, reports: &UnboundedSender<Report>) {
    let mut save_at = clock() + SAVE_INTERVAL;
    loop {
        match commands.recv_timeout(save_at.saturating_duration_since(clock())) {
            Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => return close(spool, reports),
            Ok(command) => execute(&mut spool, command, reports),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Not only when nothing comes: a spool that drains for hours must not be sent again as a whole.
        if clock() >= save_at {
            if let Err(error) = spool.save_delivered() {
                warn!(%error, "cannot save which frames are delivered; they may be sent again after a crash");
            }
            save_at = clock() + SAVE_INTERVAL;
        }
    }
}

fn close(mut spool: Spool, reports: &UnboundedSender<Report>) {
    if let Err(error) = spool.close() {
        error!(%error, "cannot save which frames are delivered; they may be sent again");
    }
    let _ = reports.send(Report::Closed);
}

fn execute(spool: &mut Spool, command: Command, reports: &UnboundedSender<Report>) {
    // The receiver lives as long as the agent; a closed channel only means that it is ending.
    let report = |report| {
        let _ = reports.send(report);
    };
    match command {
        Command::Append { parcel, body, lane } => {
            let mut evicted = Vec::new();
            let frame = match spool.append(lane.as_deref(), &body, &mut evicted) {
                Ok(Appended::Frame(sequence)) => Some(sequence),
                Ok(Appended::Full) => None,
                Err(error) => {
                    error!(%error, "cannot write to the spool; reading stops until it can");
                    None
                }
            };
            evicted
                .into_iter()
                .for_each(|evicted| report(Report::Evicted(evicted)));
            report(Report::Appended { parcel, frame });
        }
        Command::Read(frame) => report(Report::Frame {
            frame,
            body: read(spool, frame),
        }),
        Command::Done(frame) => {
            if let Err(error) = spool.done(frame) {
                warn!(%error, "cannot remove a segment of the spool");
            }
        }
        Command::Close => {}
    }
    let index = spool.index();
    report(Report::Size {
        bytes: index.bytes(),
        frames: index.frames(),
        source_bytes: index.source_bytes(),
    });
}

fn read(spool: &mut Spool, sequence: u64) -> Result<Body, Evicted> {
    let problem = match spool.read(sequence) {
        Ok(Some(frame)) => return Ok(frame.body),
        Ok(None) => "checksum mismatch".to_owned(),
        Err(error) => error.to_string(),
    };
    let located = spool.located(sequence);
    let (documents, source_bytes) =
        located.map_or((0, 0), |located| (located.documents, located.source_bytes));
    error!(
        sequence,
        documents, source_bytes, problem, "a frame of the spool cannot be read and is lost"
    );
    if let Err(error) = spool.done(sequence) {
        warn!(%error, "cannot remove a segment of the spool");
    }
    Err(Evicted {
        sequence,
        documents,
        source_bytes,
    })
}

#[expect(clippy::disallowed_methods, reason = "the clock of the spool's thread")]
fn clock() -> Instant {
    Instant::now()
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
    use super::*;
    use std::sync::mpsc::channel;

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
        let thread = std::thread::spawn(move || run(spool, &to_thread, &reports));
        let append = |parcel| Command::Append {
            parcel,
            body: body(3),
            lane: None,
        };
        let deadline = clock() + 20 * SAVE_INTERVAL;
        while !state.path().join("spool/delivered").exists() {
            assert!(clock() < deadline, "never saved");
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
}
