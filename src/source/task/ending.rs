//! The end of the reader thread: what only our descriptors keep is read, then the last checkpoint is saved.

use super::{Clock, Source};
use crate::mutant::{self, Mutant};

/// So often the last checkpoint is tried.
const LAST_SAVES: u32 = 3;

impl Source {
    /// The end begins. What was deleted since the last poll is seen only now.
    pub fn begin_drain(&mut self, clock: Clock) {
        self.desk.begin_turn(clock);
        for container in self.containers.values_mut() {
            container.list_when_due(&mut self.desk);
        }
    }

    /// Reads a quantum of each file that only our descriptors keep; true when there is more.
    pub fn drain_turn(&mut self, clock: Clock) -> bool {
        self.desk.begin_turn(clock);
        let mut more = false;
        for container in self.containers.values_mut() {
            more |= container.drain_deleted(&mut self.desk);
        }
        self.collect();
        more
    }

    /// Closes the open batch and offers it; false while the sink's channel has no room for all batches.
    pub fn close_batch(&mut self) -> bool {
        self.desk.reader.close_batch();
        self.collect();
        self.offer();
        self.waiting.is_empty()
    }

    /// Tells the sink that nothing more comes.
    pub fn hang_up(&mut self) {
        self.batches = self.batches.take().filter(|_| mutant::is(Mutant::ChannelKept));
        self.publish_ledger();
    }

    /// After the last ack: whether the last checkpoint is still to be waited for. One that failed is
    /// asked for again, a few times.
    pub fn wants_last_save(&mut self, clock: Clock) -> bool {
        let tries = if mutant::is(Mutant::LastSaveSkipped) {
            0
        } else {
            LAST_SAVES
        };
        if self.desk.saving.is_none() && self.last_saves < tries && (self.last_saves == 0 || self.desk.dirty)
        {
            self.last_saves += 1;
            self.begin_last_save(clock);
        }
        self.desk.saving.is_some()
    }

    fn begin_last_save(&mut self, clock: Clock) {
        self.desk.begin_turn(clock);
        if self.save().is_err() {
            self.desk.saving = None;
        }
    }
}
