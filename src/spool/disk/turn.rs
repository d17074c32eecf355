//! One turn of the spool: commands enter, reports leave, the disk does its work between.
//!
//! Free of clock, channel and thread, so that a simulator can turn it as well as the spool's thread
//! ([`crate::spool::task`]) does.

use super::super::protocol::{Command, Evicted, Report};
use super::{Appended, Spool};
use crate::record::Body;
use tracing::{error, warn};

/// Carries out commands in their order and tells what became of them. [`Command::Close`] is the
/// caller's to notice: what stands behind it is not looked at.
pub fn execute(spool: &mut Spool, commands: Vec<Command>, report: &mut dyn FnMut(Report)) {
    for command in commands {
        match command {
            Command::Append { parcel, body, lane } => append(spool, parcel, &body, lane.as_deref(), report),
            Command::Read(frame) => {
                let body = read(spool, frame);
                report(Report::Frame { frame, body });
            }
            Command::Done(frame) => done(spool, frame),
            Command::Close => break,
        }
    }
    let index = spool.index();
    report(Report::Size {
        bytes: index.bytes(),
        frames: index.frames(),
        source_bytes: index.source_bytes(),
    });
}

fn append(spool: &mut Spool, parcel: u64, body: &Body, lane: Option<&str>, report: &mut dyn FnMut(Report)) {
    let mut evicted = Vec::new();
    let frame = match spool.append(lane, body, &mut evicted) {
        Ok(Appended::Frame(sequence)) => Some(sequence),
        Ok(Appended::Full) => None,
        Err(error) => {
            error!(%error, "cannot write to the spool; reading stops until it can");
            None
        }
    };
    for evicted in evicted {
        report(Report::Evicted(evicted));
    }
    report(Report::Appended { parcel, frame });
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
    done(spool, sequence);
    Err(Evicted {
        sequence,
        documents,
        source_bytes,
    })
}

fn done(spool: &mut Spool, sequence: u64) {
    if let Err(error) = spool.done(sequence) {
        warn!(%error, "cannot remove a segment of the spool");
    }
}
