//! The first bytes of a file and its place enter, its durable identity leaves.
//!
//! The identity must survive rename, compression and inode reuse, and must be the same after a
//! restart: it is a hash of pod uid, container, restart number, the *fingerprint* (a hash of the
//! first line, at most [`HEAD_BYTES`] of it) and an *epoch*, which counts files of one instance
//! that begin alike (truncation in place, identical first lines). It is frozen before anything of
//! the file ships.

use crate::record::FileId;
use twox_hash::{XxHash3_64, XxHash3_128};

/// At most so many bytes of the first line make the fingerprint.
pub const HEAD_BYTES: usize = 256;

/// Hash of a file's first line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Fingerprint(pub u64);

/// The fingerprint of a file that begins with `head`.
///
/// `None` while the first line is unfinished and shorter than [`HEAD_BYTES`], unless the file is
/// `finished` (will not grow) and not empty.
pub fn fingerprint(head: &[u8], finished: bool) -> Option<Fingerprint> {
    let head = &head[..head.len().min(HEAD_BYTES)];
    let line = match memchr::memchr(b'\n', head) {
        Some(newline) => &head[..=newline],
        None if head.len() == HEAD_BYTES || (finished && !head.is_empty()) => head,
        None => return None,
    };
    Some(Fingerprint(XxHash3_64::oneshot(line)))
}

/// The identity of a file of the container instance (`pod_uid`, `container`, `restart`).
pub fn file_id(pod_uid: &str, container: &str, restart: u32, fingerprint: Fingerprint, epoch: u32) -> FileId {
    let mut key = Vec::with_capacity(pod_uid.len() + container.len() + 18);
    key.extend_from_slice(pod_uid.as_bytes());
    key.push(0);
    key.extend_from_slice(container.as_bytes());
    key.push(0);
    key.extend_from_slice(&restart.to_le_bytes());
    key.extend_from_slice(&fingerprint.0.to_le_bytes());
    key.extend_from_slice(&epoch.to_le_bytes());
    FileId(XxHash3_128::oneshot(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_file_keeps_its_fingerprint() {
        assert_eq!(fingerprint(b"first li", false), None);
        let first = fingerprint(b"first line\n", false);
        assert!(first.is_some());
        assert_eq!(fingerprint(b"first line\nsecond", false), first);
        let long = [b'x'; 1000];
        assert_eq!(fingerprint(&long[..256], false), fingerprint(&long, false));
    }

    #[test]
    fn a_finished_file_has_a_fingerprint_unless_it_is_empty() {
        assert!(fingerprint(b"torn", true).is_some());
        assert_eq!(fingerprint(b"", true), None);
    }

    #[test]
    fn every_part_of_the_place_is_in_the_identity() {
        let print = Fingerprint(7);
        let ids = [
            file_id("u", "c", 0, print, 0),
            file_id("uc", "", 0, print, 0),
            file_id("u", "c", 1, print, 0),
            file_id("u", "c", 0, print, 1),
            file_id("u", "c", 0, Fingerprint(8), 0),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id), "{at}");
        }
    }
}
