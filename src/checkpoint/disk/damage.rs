//! Damage of a generation, exhaustively: every cut and every flipped bit gives the other generation.

use super::*;
use crate::checkpoint::losses::LossRecord;
use crate::checkpoint::snapshot::{Checkpoint, CutEntry, Entry};
use crate::spool::disk::tests::memory::Memory;

fn checkpoint(offset: u64) -> Checkpoint {
    let entry = |pod: &str| Entry {
        namespace: "shop".into(),
        pod: pod.into(),
        uid: "00000000-0000-4000-8000-000000000001".into(),
        container: "app".into(),
        restart: 2,
        fingerprint: 0xfeed,
        epoch: 1,
        offset,
        size: 100_000,
        finished: false,
        dev: 1,
        ino: 2,
        first_seen: 1_772_000_000,
        last_stamp: Some((1_772_615_690, 5)),
        mark: Some(7),
        cuts: vec![CutEntry {
            stderr: true,
            end: 77,
        }],
    };
    let mut checkpoint = Checkpoint::from(vec![entry("web-0"), entry("web-1"), entry("web-2")]);
    checkpoint.losses.push(LossRecord {
        reason: "deleted_unread".into(),
        container: "shop_web-0_u/app".into(),
        file: "feed".into(),
        start: 100,
        end: 200,
        at_least: false,
    });
    checkpoint
}

struct Folder {
    memory: Memory,
    folder: CheckpointFolder,
}

impl Folder {
    fn empty() -> Folder {
        let memory = Memory::default();
        let folder = CheckpointFolder::open(&memory.disk(), Path::new("/state")).unwrap();
        Folder { memory, folder }
    }

    /// Two generations: offset 10, and the current one at offset 20.
    fn new() -> Folder {
        let folder = Folder::empty();
        for offset in [10, 20] {
            folder.folder.save(&checkpoint(offset)).unwrap();
        }
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = Path::new("/state/checkpoints").join(name);
        self.memory.files().insert(path, bytes.to_vec());
    }
}

/// Either the current generation, unharmed, or the other one, and the file is named.
fn assert_loaded(loaded: &Loaded, what: &str) {
    assert!(!loaded.first_start, "{what}");
    if loaded.damage.is_empty() {
        assert_eq!(loaded.checkpoint, checkpoint(20), "{what}");
    } else {
        assert_eq!(loaded.checkpoint, checkpoint(10), "{what}");
        assert!(
            loaded.damage.len() == 1 && loaded.damage[0].contains("checkpoints/current: "),
            "{what}"
        );
    }
}

#[test]
fn every_cut_and_every_flipped_bit_of_the_newest_generation_gives_the_older() {
    let folder = Folder::new();
    let mut bytes = snapshot::encode(&checkpoint(20));
    assert!((800..=2048).contains(&bytes.len()), "{}", bytes.len());
    for len in 0..bytes.len() {
        folder.write(CURRENT, &bytes[..len]);
        let loaded = folder.folder.load();
        assert_loaded(&loaded, &format!("cut at {len}"));
        assert_eq!(loaded.damage.len(), 1, "cut at {len}");
    }
    let mut unseen = 0;
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        folder.write(CURRENT, &bytes);
        let loaded = folder.folder.load();
        assert_loaded(&loaded, &format!("bit {bit}"));
        unseen += usize::from(loaded.damage.is_empty());
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    // The case of the checksum's hex digits, which changes nothing.
    assert!(unseen <= 8, "{unseen}");
}

/// A save that moved the damaged generation aside and died: what it had written is whole.
#[test]
fn a_cut_while_the_damaged_generation_is_replaced_loses_nothing() {
    let folder = Folder::new();
    folder.write(PREVIOUS, b"damaged");
    let path = Path::new("/state/checkpoints");
    let disk = folder.memory.disk();
    disk.rename(&path.join(CURRENT), &path.join(NEXT)).unwrap();
    let loaded = folder.folder.load();
    assert_eq!((loaded.checkpoint, loaded.first_start), (checkpoint(20), false));
    // A torn one is nothing that was ever promised.
    let first = Folder::empty();
    first.write(NEXT, b"longshore-ch");
    let loaded = first.folder.load();
    assert!(loaded.first_start && loaded.damage.is_empty());
}
