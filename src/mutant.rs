//! Deliberate bugs, each behind a switch that only the feature `mutants` has: the simulator turns those
//! of [`Mutant::ALL`] on one by one, the model checks those of [`Mutant::BETWEEN_THREADS`], and each of
//! them must be found. Without the feature [`is`] is always false,
//! and the compiler leaves nothing of this behind.

/// A bug that can be switched on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "the names say what the bugs are; the simulator's table says more"
)]
pub enum Mutant {
    None,
    AckBeforeSync,
    FolderNotSynced,
    CheckpointAheadOfAck,
    TruncationUnnoticed,
    PartialDroppedAtRotation,
    GzSkipped,
    GzAndPlainRead,
    DeletedForgotten,
    ConflictRefused,
    SegmentRemovedUnacked,
    OffsetOfTheInode,
    CutNotDurable,
    SyncRetried,
    DeadLetterNotSynced,
    SentFrameEvicted,
    CheckpointNotSynced,
    JoinedMessageCut,
    LossNotRecorded,
    HoldDropped,
    LastSaveSkipped,
    CopyForgotten,
    UselessCopyKept,
    AckBeforeRoom,
    ChannelKept,
    GroupReplyLost,
    RoomUnnoticed,
    SaveUnanswered,
    SinkEndUntold,
}

impl Mutant {
    /// Every bug that one thread alone can show: for the simulator.
    pub const ALL: [Mutant; 22] = [
        Mutant::AckBeforeSync,
        Mutant::FolderNotSynced,
        Mutant::CheckpointAheadOfAck,
        Mutant::TruncationUnnoticed,
        Mutant::PartialDroppedAtRotation,
        Mutant::GzSkipped,
        Mutant::GzAndPlainRead,
        Mutant::DeletedForgotten,
        Mutant::ConflictRefused,
        Mutant::SegmentRemovedUnacked,
        Mutant::OffsetOfTheInode,
        Mutant::CutNotDurable,
        Mutant::SyncRetried,
        Mutant::DeadLetterNotSynced,
        Mutant::SentFrameEvicted,
        Mutant::CheckpointNotSynced,
        Mutant::JoinedMessageCut,
        Mutant::LossNotRecorded,
        Mutant::HoldDropped,
        Mutant::LastSaveSkipped,
        Mutant::CopyForgotten,
        Mutant::UselessCopyKept,
    ];

    /// Every bug that takes two threads: for `tests/model`.
    pub const BETWEEN_THREADS: [Mutant; 6] = [
        Mutant::AckBeforeRoom,
        Mutant::ChannelKept,
        Mutant::GroupReplyLost,
        Mutant::RoomUnnoticed,
        Mutant::SaveUnanswered,
        Mutant::SinkEndUntold,
    ];
}

#[cfg(feature = "mutants")]
static ACTIVE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Whether the bug is switched on.
#[inline(always)]
pub fn is(mutant: Mutant) -> bool {
    #[cfg(feature = "mutants")]
    {
        ACTIVE.load(std::sync::atomic::Ordering::Relaxed) == mutant as u8
    }
    #[cfg(not(feature = "mutants"))]
    {
        let _ = mutant;
        false
    }
}

/// Switches a bug on for this process, in place of the one before; [`Mutant::None`] for none.
#[cfg(feature = "mutants")]
pub fn set(mutant: Mutant) {
    ACTIVE.store(mutant as u8, std::sync::atomic::Ordering::Relaxed);
}
