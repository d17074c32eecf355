//! One turn of the spool: commands enter, reports leave, the disk does its work between.
//!
//! Free of clock, channel and thread, so that a simulator can turn it as well as the spool's thread
//! ([`crate::spool::task`]) does.

use super::{Appended, Parcel, Reading, Spool};
use crate::mutant::{self, Mutant};
use crate::record::{Body, Keep};
use crate::spool::losses::Reason;
use crate::spool::protocol::{Command, Evicted, Report};
use tracing::{error, warn};

/// A command to append.
struct Append {
    parcel: u64,
    body: Body,
    lane: Option<String>,
    keep: Keep,
}

/// Carries out commands and tells what became of them. All appends come last and share a sync: what is
/// done makes room for them, and what is read is not evicted for them. [`Command::Close`] is the
/// caller's to notice: what stands behind it is not looked at.
pub fn execute(spool: &mut Spool, commands: Vec<Command>, report: &mut dyn FnMut(Report)) {
    let mut appends = Vec::new();
    for command in commands {
        match command {
            Command::Append {
                parcel,
                body,
                lane,
                keep,
            } => appends.push(Append {
                parcel,
                body,
                lane,
                keep,
            }),
            Command::Read(frame) => read(spool, frame, report),
            Command::Done(frame) => {
                if let Err(error) = spool.done(frame) {
                    warn!(%error, "cannot remove a segment of the spool; it is tried again");
                }
            }
            Command::Close => break,
        }
    }
    append(spool, &appends, report);
    tell_size(spool, report);
}

/// Once a second: makes durable what changed, and tries again what could not be done.
pub fn tick(spool: &mut Spool, report: &mut dyn FnMut(Report)) {
    let before = spool.index().bytes();
    if let Err(error) = spool.save_delivered() {
        warn!(%error, "cannot save which frames are delivered; they may be sent again after a crash");
    }
    let postponed = spool.postponed();
    for frame in &postponed {
        read(spool, *frame, report);
    }
    if !postponed.is_empty() || spool.index().bytes() != before {
        tell_size(spool, report);
    }
}

fn append(spool: &mut Spool, appends: &[Append], report: &mut dyn FnMut(Report)) {
    if appends.is_empty() {
        return;
    }
    let mut evicted = Vec::new();
    let parcels: Vec<Parcel<'_>> = appends
        .iter()
        .map(|Append { body, lane, keep, .. }| Parcel {
            lane: lane.as_deref(),
            body,
            keep: *keep,
        })
        .collect();
    let outcomes = spool.append(&parcels, &mut evicted);
    let mut failure = None;
    for (append, outcome) in appends.iter().zip(outcomes) {
        let frame = match outcome {
            Appended::Frame(sequence) => Some(sequence),
            Appended::Full => None,
            Appended::Failed(problem) => {
                failure = Some(problem);
                None
            }
        };
        let parcel = append.parcel;
        report(Report::Appended { parcel, frame });
        if mutant::is(Mutant::GroupReplyLost) {
            break;
        }
    }
    // After the others: a frame of this very group may be among them.
    for evicted in evicted {
        report(Report::Evicted(evicted));
    }
    if let Some(problem) = failure {
        error!(problem, "cannot write to the spool; reading stops until it can");
    }
}

fn read(spool: &mut Spool, frame: u64, report: &mut dyn FnMut(Report)) {
    let body = match spool.read(frame) {
        Reading::Frame(frame) => Ok(frame.body),
        Reading::Gone => Err(Evicted {
            sequence: frame,
            documents: 0,
            source_bytes: 0,
        }),
        Reading::Postponed(error) => {
            warn!(frame, %error, "cannot read a frame of the spool; it is tried again");
            return;
        }
        Reading::Lost(lost) => {
            let Evicted {
                documents,
                source_bytes,
                ..
            } = lost.evicted;
            error!(
                file = %lost.path.display(), byte = lost.byte, documents, source_bytes, problem = lost.problem,
                "a frame of the spool cannot be read and is lost"
            );
            Err(lost.evicted)
        }
    };
    report(Report::Frame { frame, body });
}

/// Tells what the spool holds, and what it has given up.
pub fn tell_size(spool: &Spool, report: &mut dyn FnMut(Report)) {
    let index = spool.index();
    report(Report::Size {
        bytes: index.bytes(),
        frames: index.frames(),
        source_bytes: index.source_bytes(),
        lost: Reason::ALL.map(|reason| (reason, spool.losses().totals(reason))),
    });
}
