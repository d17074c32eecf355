//! One log file that is followed: which inode, under which name, how far.
//!
//! Facts enter, the state of the file leaves. Does no I/O; descriptors are kept by the shell, under
//! the tail's key.

use super::fingerprint::Fingerprint;
use super::pod_path::{LogKind, LogName};
use crate::record::Stamp;
use std::time::Instant;

/// Bytes ahead of the read offset that are compared at each read.
pub const RECENT_BYTES: usize = 64;

/// Device and inode: which file a name means right now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Inode {
    /// Device.
    pub dev: u64,
    /// Inode on it.
    pub ino: u64,
}

/// One log file in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What the name says.
    pub log: LogName,
    /// Which file it is.
    pub inode: Inode,
    /// Size in bytes, as on disk.
    pub size: u64,
}

/// The last bytes that were read, to be found again ahead of the next read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent(Vec<u8>);

impl Recent {
    /// Remembers the last bytes of what was there and of `chunk`.
    pub fn push(&mut self, chunk: &[u8]) {
        if chunk.len() >= RECENT_BYTES {
            self.0.clear();
        }
        self.0
            .extend_from_slice(&chunk[chunk.len().saturating_sub(RECENT_BYTES)..]);
        let surplus = self.0.len().saturating_sub(RECENT_BYTES);
        self.0.drain(..surplus);
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Name of a tail in this process.
pub type TailKey = u64;

/// Durable identity, once known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Hash of the first line.
    pub fingerprint: Fingerprint,
    /// Which of the files that begin alike.
    pub epoch: u32,
    /// Seconds since 1970 when the file was first seen.
    pub first_seen: i64,
}

/// One log file that is followed. `S` is what the hot path remembers of it; it comes into being with
/// the identity.
#[derive(Debug)]
pub struct Tail<S> {
    /// Its key.
    pub key: TailKey,
    /// The name under which it was last listed; `None` when no name leads to it any more.
    pub name: Option<String>,
    /// What the last name said.
    pub kind: LogKind,
    /// Which file; meaningless for a compressed source.
    pub inode: Inode,
    /// Bytes come from a `.gz`.
    pub compressed: bool,
    /// Durable identity; `None` before the first line is whole.
    pub identity: Option<Identity>,
    /// State of the hot path; there exactly when the identity is.
    pub state: Option<S>,
    /// Stamp of the first line.
    pub first_stamp: Option<Stamp>,
    /// Size when last looked at, in uncompressed bytes as far as known.
    pub size: u64,
    /// The last bytes read.
    pub recent: Recent,
    /// Of a compressed file: the hash that the bytes before its offset should have, until they are inflated.
    pub mark: Option<u64>,
    /// Its size when these bytes were last found where they should be: certainly of this file, and not
    /// of what has taken its place in the same inode.
    pub own_size: u64,
    /// Read to the end, and nothing more is expected.
    pub finished: bool,
    /// Since when it has no name.
    pub nameless_since: Option<Instant>,
    /// When it last gave a byte, or was found.
    pub last_growth: Instant,
    /// Not to be read before this save of the checkpoint is durable.
    pub wait_for_save: Option<u64>,
    /// Its part before the first start is not wanted.
    pub skip_old: bool,
    /// When bytes of it were first seen to be unread.
    pub unread_since: Option<Instant>,
    /// Why it is not read.
    pub problem: Option<String>,
    /// The sink wants nothing more of it for now.
    pub paused: bool,
    /// What the last audit saw, while there are unread bytes.
    pub standstill: Option<Standstill>,
}

/// A file that has unread bytes and may be standing still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standstill {
    /// Bytes read or inflated when it was first seen so.
    pub at: u64,
    /// When that was, or when it was last opened again.
    pub since: Instant,
    /// It was told.
    pub told: bool,
}

impl<S> Tail<S> {
    /// A file that was just found.
    pub fn new(key: TailKey, listed: Listed, now: Instant) -> Tail<S> {
        let compressed = matches!(listed.log.kind, LogKind::Compressed { .. });
        Tail {
            key,
            name: Some(listed.name),
            kind: listed.log.kind,
            inode: listed.inode,
            compressed,
            identity: None,
            state: None,
            first_stamp: None,
            size: if compressed { 0 } else { listed.size },
            recent: Recent::default(),
            mark: None,
            own_size: 0,
            finished: false,
            nameless_since: None,
            last_growth: now,
            wait_for_save: None,
            skip_old: false,
            unread_since: None,
            problem: None,
            paused: false,
            standstill: None,
        }
    }

    /// The stamp in its rotated name, if it has or had one.
    pub fn rotation(&self) -> Option<&str> {
        match &self.kind {
            LogKind::Live => None,
            LogKind::Rotated { stamp } | LogKind::Compressed { stamp } => Some(stamp),
        }
    }

    /// It is the file that the container writes to, as far as names tell.
    pub fn is_live(&self) -> bool {
        self.kind == LogKind::Live && self.name.is_some()
    }

    /// Somebody has written to it.
    pub fn has_content(&self) -> bool {
        self.compressed || self.size > 0 || self.identity.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn recent_bytes_are_the_last_ones(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..8)) {
            let mut recent = Recent::default();
            chunks.iter().for_each(|chunk| recent.push(chunk));
            let all = chunks.concat();
            prop_assert_eq!(recent.bytes(), &all[all.len().saturating_sub(RECENT_BYTES)..]);
        }
    }
}
