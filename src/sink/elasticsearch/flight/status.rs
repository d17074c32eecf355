//! What the state machine of the sink tells of itself.

use super::{Flight, Health, Hold, Room, Unsaved};
use crate::config::WhenLettersFull;
use crate::record::FileId;
use std::collections::BTreeSet;

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

    /// The files of which nothing more is wanted for now, when these have changed since the last call.
    pub fn take_paused(&mut self) -> Option<BTreeSet<FileId>> {
        self.lanes.take_paused()
    }

    /// Bodies that another host got, too, because one did not answer.
    pub fn hedged(&self) -> u64 {
        self.hedged
    }

    /// Documents that were taken although they may have been there under another index or id.
    pub fn possible_duplicates(&self) -> u64 {
        self.possible_duplicates
    }

    /// Documents that were taken in a poorer form, by form.
    pub fn poorer(&self) -> &[(&'static str, u64)] {
        &self.poorer
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

    /// True when the next calls of [`Flight::poll`] take long: what was sent should be on its way before.
    pub fn is_behind(&self) -> bool {
        !self.answered.is_empty()
    }

    /// Whether refused documents are dropped then.
    pub fn drops_refused(&self) -> bool {
        self.config.when_letters_full == WhenLettersFull::Drop
    }

    /// Whether the last dead letters found no room.
    pub fn is_dead_letter_full(&self) -> bool {
        self.dead_letter_full
    }

    /// What would be lost with the memory: documents of batches that rest nowhere. (Those of frames
    /// are still in the spool.)
    pub fn unsaved(&self) -> Unsaved {
        let mut unsaved = self.unsaved;
        self.parcels().for_each(|parcel| unsaved.add(parcel));
        unsaved
    }
}
