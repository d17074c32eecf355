//! Checkpoints: any bytes; entries as text under a right checksum; entries that are written and then damaged.

use crate::input::Input;
use crate::tree::Tree;
use longshore::checkpoint::losses::LossRecord;
use longshore::checkpoint::snapshot::{self, Checkpoint, CutEntry, Entry};

/// The first byte chooses the kind of input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 3 {
        0 => drop(stable(input.rest())),
        1 => sealed(input.rest()),
        _ => damaged(input),
    }
}

/// What is read, written and read again is the same.
fn stable(bytes: &[u8]) -> Option<Checkpoint> {
    let checkpoint = snapshot::decode(bytes).ok()?;
    let written = snapshot::encode(&checkpoint);
    assert_eq!(snapshot::decode(&written).as_ref(), Ok(&checkpoint));
    assert_eq!(snapshot::encode(&checkpoint), written);
    Some(checkpoint)
}

/// Lines of JSON as a checkpoint holds them: what is read is what a tree of the text says.
fn sealed(text: &[u8]) {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let is_entry = |line: &&[u8]| !line.starts_with(b"{\"total\"") && !line.starts_with(b"{\"loss\"");
    let entries: Vec<&[u8]> = lines.take_while(is_entry).collect();
    let head = format!(
        "longshore-checkpoint 1 {:08x} {}\n",
        crc32fast::hash(text),
        entries.len()
    );
    let Some(checkpoint) = stable(&[head.as_bytes(), text].concat()) else {
        return;
    };
    assert_eq!(checkpoint.entries.len(), entries.len());
    for (entry, line) in checkpoint.entries.iter().zip(entries) {
        // Beyond what the tree can hold, or an entry without names: nothing writes them.
        if let Some(tree) = Tree::parse(line).filter(|tree| tree.members().is_some()) {
            told(entry, &tree);
        }
    }
}

fn told(entry: &Entry, tree: &Tree) {
    let texts = [
        ("namespace", &entry.namespace),
        ("pod", &entry.pod),
        ("uid", &entry.uid),
        ("container", &entry.container),
    ];
    for (name, value) in texts {
        assert_eq!(tree.get(name).and_then(Tree::text), Some(&**value), "{name}");
    }
    let numbers = [
        ("restart", entry.restart.into()),
        ("fingerprint", entry.fingerprint),
        ("epoch", entry.epoch.into()),
        ("offset", entry.offset),
        ("size", entry.size),
        ("dev", entry.dev),
        ("ino", entry.ino),
    ];
    for (name, value) in numbers {
        assert_eq!(tree.get(name), Some(&Tree::Number(value.into())), "{name}");
    }
    assert_eq!(
        tree.get("first_seen"),
        Some(&Tree::Number(entry.first_seen.into()))
    );
    assert_eq!(tree.get("finished"), Some(&Tree::Bool(entry.finished)));
    let mark = tree.get("mark").filter(|mark| **mark != Tree::Null);
    assert_eq!(mark.is_some(), entry.mark.is_some());
}

/// A few bytes of a written checkpoint are changed: it is refused, or (a digit in another case) means the same.
fn damaged(mut input: Input<'_>) {
    let entries: Vec<Entry> = (0..input.below(4)).map(|_| entry(&mut input)).collect();
    let mut checkpoint = Checkpoint::from(entries);
    for _ in 0..input.below(4) {
        checkpoint.losses.push(loss(&mut input));
    }
    let mut bytes = snapshot::encode(&checkpoint);
    assert_eq!(stable(&bytes).as_ref(), Some(&checkpoint));
    for _ in 0..input.below(4) {
        let at = usize::from(input.short()) % bytes.len();
        bytes[at] = input.byte();
    }
    if input.byte() & 1 == 1 {
        bytes.truncate(usize::from(input.short()) % (bytes.len() + 1));
    }
    if let Some(found) = stable(&bytes) {
        assert_eq!(found, checkpoint);
    }
}

fn loss(input: &mut Input<'_>) -> LossRecord {
    let start = input.short().into();
    LossRecord {
        reason: input.text(),
        container: input.text(),
        file: input.text(),
        start,
        end: start + u64::from(input.short()),
        at_least: input.byte() & 1 == 1,
    }
}

fn entry(input: &mut Input<'_>) -> Entry {
    let shape = input.byte();
    let cuts = 0..usize::from(shape >> 6);
    Entry {
        namespace: input.text().into(),
        pod: input.text().into(),
        uid: input.text().into(),
        container: input.text().into(),
        restart: input.short().into(),
        fingerprint: input.long(),
        epoch: input.byte().into(),
        offset: input.long(),
        size: input.long(),
        finished: shape & 1 == 1,
        dev: input.long(),
        ino: input.long(),
        first_seen: input.long() as i64,
        last_stamp: (shape & 2 == 2).then(|| (input.long() as i64, input.short().into())),
        mark: (shape & 4 == 4).then(|| input.long()),
        cuts: cuts
            .map(|at| CutEntry {
                stderr: at & 1 == 1,
                end: input.long(),
            })
            .collect(),
    }
}
