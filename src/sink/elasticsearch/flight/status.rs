//! What the state machine of the sink tells of itself.

use super::{Flight, Health, Hold, Room, Unsaved};
use crate::record::Origin;

impl Flight {
    /// Whether whole requests get through.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The indices on hold.
    pub fn holds(&self) -> impl Iterator<Item = Hold<'_>> {
        self.lanes.holds()
    }

    /// Requests without an answer.
    pub fn flying(&self) -> usize {
        self.flying.len()
    }

    /// Frames that wait to be sent, those on hold aside.
    pub fn waiting_frames(&self) -> usize {
        self.frames.len() + self.lanes.open_frames() + usize::from(self.reading.is_some())
    }

    /// True when a spool write found no room, and documents still want one.
    pub fn is_spool_full(&self) -> bool {
        self.room != Room::Open
    }

    /// True while bodies wait that were never sent: the server takes less than is read. Those in lanes do not
    /// count; and a server that is down takes nothing from anybody: then few large frames serve the disk best.
    pub fn is_pressed(&self) -> bool {
        let unsent = !self.fresh.is_empty() || !self.over.is_empty() || !self.loaded.is_empty();
        self.is_up() && (unsent || self.waiting_frames() > 0 || self.is_spooling())
    }

    /// How many bytes of bodies the sink has use for. While the server is down everything goes to the disk: what is on the
    /// way there is then a sixteenth of the memory at most (1 MiB by default, some bodies), so that a slow disk and a
    /// large backlog do not fill the memory. What stays in memory besides does not count against that.
    pub fn ceiling(&self) -> u64 {
        if self.is_up() {
            return self.config.memory;
        }
        let stays: u64 = self.in_memory().map(|parcel| parcel.permit).sum();
        stays + (self.config.memory / 16).max(1)
    }

    /// True when the last dead letters found no room.
    pub fn is_dead_letter_full(&self) -> bool {
        self.dead_letter_full
    }

    /// What would be lost with the memory: documents of batches that rest nowhere. (Those of frames
    /// are still in the spool.)
    pub fn unsaved(&self) -> Unsaved {
        let mut unsaved = self.unsaved;
        for parcel in self
            .parcels()
            .filter(|parcel| matches!(parcel.origin, Origin::Batch(_)))
        {
            unsaved.documents += parcel.body.documents() as u64;
            unsaved.bytes += parcel.body.source_bytes();
        }
        unsaved
    }
}
