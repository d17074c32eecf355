//! The promise, asked of a run that has come to rest: every line once in the index, or dead-lettered, or counted.

use crate::disk::STATE_DIR;
use crate::node::Piece;
use crate::world::World;
use longshore::checkpoint::snapshot::decode;
use longshore::spool::losses::Reason;
use longshore_kit::chance::Chance;
use longshore_kit::lines::{Corrupt, MARK, find_messages, rfc3339};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// A fresh line must arrive within this after the faults have ended.
const LIVELINESS: Duration = Duration::from_secs(10);
/// A run comes to rest within this, open groups and backoffs included.
const REST: Duration = Duration::from_secs(240);

type Token = (String, u64);

/// Ends the faults, waits for rest, and judges.
pub(crate) fn judge(world: &mut World) {
    if world.violation.is_some() {
        return;
    }
    world.heal();
    // Whatever waits for an answer of before gets none; backoffs may be long.
    let mut chance = Chance::new(world.script.seed);
    for at in world.kubelet.running() {
        world.kubelet.finish_line(at);
    }
    come_to_rest(world, &mut chance);
    fresh_lines(world, &mut chance);
    come_to_rest(world, &mut chance);
    let undisturbed = world.deaths + world.lives == 0;
    stop_and_start(world, &mut chance);
    if world.violation.is_none() {
        order(world);
        tokens(world, undisturbed);
    }
}

/// Sorted by time and id, the documents of a stream are in the order in which it was written.
fn order(world: &mut World) {
    let pieces = &world.kubelet.truth.pieces;
    // What was torn or glued has no stamp of its own.
    let unsound: BTreeSet<&Token> = pieces
        .iter()
        .filter(|piece| piece.torn || piece.cut || piece.glued)
        .map(|piece| &piece.token)
        .collect();
    let any_cut = pieces.iter().any(|piece| piece.cut);
    let mut streams: BTreeMap<String, Vec<(String, String, u64, String)>> = BTreeMap::new();
    for document in world.server.documents() {
        let found: Vec<_> = find_messages(&document.source).collect();
        let tokens: Vec<Token> = found
            .iter()
            .flatten()
            .map(|found| (found.stream.to_owned(), found.seq))
            .collect();
        let Some((stream, seq)) = tokens.first().cloned() else {
            continue;
        };
        if tokens.iter().any(|token| unsound.contains(token)) {
            continue;
        }
        let json: serde_json::Value = serde_json::from_slice(&document.source).unwrap_or_default();
        // What begins with a damaged line has the time of that one.
        let message = json["message"].as_str().unwrap_or_default();
        if !message.starts_with(&format!("{MARK}{stream} n={seq} ")) {
            continue;
        }
        let time = json["@timestamp"].as_str().unwrap_or_default().to_owned();
        // And what a cut has left of the stamp of another one comes before it with that one's time.
        let own = found
            .iter()
            .flatten()
            .next()
            .map(|first| rfc3339(first.sent_ns / 1000 * 1000));
        if any_cut && own.is_some_and(|own| own.as_bytes()[..26] != time.as_bytes()[..26.min(time.len())]) {
            continue;
        }
        streams.entry(stream).or_default().push((
            time,
            document.id.clone(),
            seq,
            String::from_utf8_lossy(&document.source).into_owned(),
        ));
    }
    for (stream, mut documents) in streams {
        documents.sort();
        if let Some(pair) = documents.windows(2).find(|pair| pair[0].2 > pair[1].2) {
            world.fail(format!("the order of {stream} is lost: {pair:?}"));
            return;
        }
    }
}

fn come_to_rest(world: &mut World, chance: &mut Chance) {
    let deadline = world.now + REST;
    // Longer than it takes to cut open groups and to give up nameless files; and an agent that finds no pod at all takes
    // that for a missing mount, for a minute.
    let empty = world.kubelet.pods.iter().all(|pod| pod.removed);
    let rest = Duration::from_secs(if empty { 75 } else { 15 });
    let mut quiet_since = None;
    while world.now < deadline && world.violation.is_none() {
        world.start();
        world.pass(Duration::from_millis(500), chance);
        let quiet = world.agent.as_ref().is_some_and(|agent| agent.is_quiet());
        match (quiet, quiet_since) {
            (false, _) => quiet_since = None,
            (true, None) => quiet_since = Some(world.now),
            (true, Some(since)) if world.now >= since + rest => return,
            (true, Some(_)) => {}
        }
    }
    if world.violation.is_none() {
        world.fail("no rest within four minutes after the faults ended".into());
    }
}

fn fresh_lines(world: &mut World, chance: &mut Chance) {
    let running = world.kubelet.running();
    // The first one may be glued to what was torn.
    for at in running.iter().chain(&running) {
        world.kubelet.write_whole(*at, chance);
    }
    let Some(last) = world.kubelet.truth.pieces.last().map(|piece| piece.token.clone()) else {
        return;
    };
    if running.is_empty() || last.0.ends_with('X') {
        return;
    }
    let written = world.now;
    while world.now < written + REST && world.violation.is_none() {
        world.pass(Duration::from_millis(100), chance);
        let found = world
            .server
            .documents()
            .iter()
            .any(|document| find_messages(&document.source).any(|found| is(&found, &last)));
        // It may be the end of a message that is refused.
        if found || dead_letters(world).contains(&last) {
            let took = world.now - written;
            if took > LIVELINESS {
                world.fail(format!("a fresh line {last:?} took {took:?} to arrive"));
            }
            return;
        }
    }
    if world.violation.is_none() {
        world.fail(format!("a fresh line {last:?} never arrived"));
    }
}

/// After an orderly end with a healthy server nothing is sent again, wherever the last lines were when it began.
fn stop_and_start(world: &mut World, chance: &mut Chance) {
    if world.violation.is_some() {
        return;
    }
    for at in world.kubelet.running() {
        world.kubelet.write_whole(at, chance);
    }
    world.pass(Duration::from_millis(chance.below(1_500)), chance);
    world.stop();
    world.conflicts_allowed = false;
    world.start();
    world.pass(Duration::from_secs(12), chance);
}

fn is(found: &Result<longshore_kit::lines::Sequenced<'_>, Corrupt>, token: &Token) -> bool {
    found
        .as_ref()
        .is_ok_and(|found| found.stream == token.0 && found.seq == token.1)
}

fn tokens(world: &mut World, undisturbed: bool) {
    let mut arrived: BTreeMap<Token, u64> = BTreeMap::new();
    let (mut corrupt, mut damaged) = (0, String::new());
    for document in world.server.documents() {
        for found in find_messages(&document.source) {
            match found {
                Ok(found) => *arrived.entry((found.stream.to_owned(), found.seq)).or_default() += 1,
                Err(Corrupt::NoMark) => {}
                Err(_) => {
                    corrupt += 1;
                    damaged.push_str(&format!(
                        "\n{}: {}",
                        document.id,
                        String::from_utf8_lossy(&document.source)
                    ));
                }
            }
        }
    }
    let lettered = dead_letters(world);
    // What was read of a line before the file was truncated, or deleted while it was closed, is a line.
    let truth = &world.kubelet.truth;
    let lost_its_end = |file: u64| truth.truncated.contains(&file) || !world.kubelet.is_there(file);
    let is_torn = |piece: &&Piece| piece.torn || piece.split && lost_its_end(piece.file);
    let torn = truth.pieces.iter().filter(is_torn).count();
    if corrupt > torn {
        world.fail(format!(
            "{corrupt} documents are damaged; {torn} lines were torn:{damaged}"
        ));
        return;
    }
    let mut lost: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut first = None;
    for piece in &world.kubelet.truth.pieces {
        let came = arrived.remove(&piece.token).unwrap_or(0);
        let letter = lettered.contains(&piece.token);
        // Known: when the file with the end of a message is truncated, and the agent has died before it knew that the
        // message was delivered, its first parts are shipped again as a message of their own.
        let truth = &world.kubelet.truth;
        let any_cut = truth.pieces.iter().any(|piece| piece.cut);
        let cut_apart = (piece.partial || piece.glued) && (!truth.truncated.is_empty() || any_cut);
        // What was shipped whole before the power went, and then had its end cut off, is what the next line begins with.
        let glued = (piece.cut || piece.glued) && came == 2;
        // Known: without a stamp in its first line a file is told by that line and its size; when the power is cut again it
        // counts as a new one.
        let headless = truth.headless.contains(&piece.file);
        // The dead-letter file holds a document at least once: after a death before the ack it is tried again. And a server
        // that finds a document too large, after it has stored it and has not said so, is believed.
        let too_large = world.reached.contains_key("server: Refuse(TooLarge413)");
        let tried_again = letter && came == 1 && (world.lives > 1 || too_large);
        if came + u64::from(letter) > 1 && !cut_apart && !tried_again && !glued && !headless {
            let token = &piece.token;
            let mut text = format!("{token:?} came {came} times; dead letter: {letter}");
            for document in world.server.documents() {
                if find_messages(&document.source).any(|found| is(&found, token)) {
                    let source = String::from_utf8_lossy(&document.source);
                    text.push_str(&format!("\n{} {} {source}", document.index, document.id));
                }
            }
            world.violation = Some(text);
            return;
        }
        // Known: a message whose parts lie in two files waits in the spool, and the power cut has taken the end of the second
        // file, which is read again: its last part then arrives alone, under the id of the whole. And a line that is glued to
        // what the cut has left has no stamp of its own, so its id may be that of the line that was there before.
        let id_taken = any_cut && (piece.partial || piece.glued) && is_id_taken(world, piece);
        if came == 0 && !letter && !piece.torn && !id_taken {
            let (bytes, seen) = lost.entry(piece.file).or_default();
            *bytes += piece.end - piece.start;
            let known = world.disk.seen(piece.file);
            // Nor does an agent that has not noticed a truncation know whose size it sees.
            let truth = &world.kubelet.truth;
            let excused = truth.truncated.contains(&piece.file) || truth.renewed.contains(&piece.file);
            if piece.end <= known && !excused {
                *seen += piece.end - piece.start;
            }
            let there = world.kubelet.is_there(piece.file);
            if first.as_ref().is_none_or(|(_, is_there)| there && !is_there) {
                first = Some((piece.clone(), there));
            }
        }
    }
    if let Some((token, _)) = arrived.first_key_value() {
        world.violation = Some(format!("nobody wrote {token:?}"));
        return;
    }
    let first = first.map(|(piece, _)| format!("{piece:?}{}", sent_as(world, &piece)));
    judge_lost(world, &lost, first, undisturbed);
}

/// The piece was sent in a document whose id another one has in the index.
fn is_id_taken(world: &World, piece: &Piece) -> bool {
    let has = |bytes: &[u8]| find_messages(bytes).any(|found| is(&found, &piece.token));
    let variants = world.variants.iter().map(|(id, document)| (id, document));
    let mut sent = world
        .sent
        .iter()
        .chain(variants)
        .filter(|(_, document)| has(document));
    sent.any(|((index, id), _)| {
        let stored = world.server.documents();
        stored
            .iter()
            .any(|stored| stored.index == *index && stored.id == *id)
    })
}

/// For who looks for the fault: the documents with this piece that were sent, and what is stored under their ids.
fn sent_as(world: &World, piece: &Piece) -> String {
    let mut text = String::new();
    let has = |bytes: &[u8]| find_messages(bytes).any(|found| is(&found, &piece.token));
    let variants = world.variants.iter().map(|(id, document)| (id, document));
    let sent = world.sent.iter().chain(variants);
    for ((index, id), document) in sent.filter(|(_, document)| has(document)) {
        text.push_str(&format!("\nsent as {id}: {}", String::from_utf8_lossy(document)));
        let stored = world.server.documents();
        for stored in stored
            .iter()
            .filter(|stored| stored.index == *index && stored.id == *id)
        {
            text.push_str(&format!("\nstored: {}", String::from_utf8_lossy(&stored.source)));
        }
    }
    text
}

/// Lines are only lost with their file, or where a counter says so.
fn judge_lost(world: &mut World, lost: &BTreeMap<u64, (u64, u64)>, first: Option<String>, undisturbed: bool) {
    let counted = counted(world);
    let there: u64 = lost
        .iter()
        .filter(|(file, _)| world.kubelet.is_there(**file))
        .map(|(_, (bytes, _))| bytes)
        .sum();
    let seen: u64 = lost.values().map(|(_, seen)| seen).sum();
    let all: u64 = lost.values().map(|(bytes, _)| bytes).sum();
    // After a death nobody knows whether what was on its way has arrived: of files that are gone it is counted. And a
    // checkpoint has one offset per file: what was delivered behind an open group is counted with it.
    let truth = &world.kubelet.truth.pieces;
    let renewed = &world.kubelet.truth.renewed;
    let is_gone = |file: u64| !world.kubelet.is_there(file) || renewed.contains(&file);
    // What was known of a file that a power cut has set back counts as lost, although it may begin with some of it.
    let set_back: BTreeSet<u64> = truth
        .iter()
        .filter(|piece| piece.cut)
        .map(|piece| piece.file)
        .collect();
    let gone = truth
        .iter()
        .filter(|piece| set_back.contains(&piece.file) || is_gone(piece.file));
    // Nor are torn lines among those that have to arrive; they may be evicted like all others.
    let torn = truth.iter().filter(|piece| piece.torn);
    let twice: u64 = match undisturbed {
        true => torn.map(|piece| piece.end - piece.start).sum(),
        false => gone.chain(torn).map(|piece| piece.end - piece.start).sum(),
    };
    // A frame that the disk has spoiled may have been sent before; and after a death the reader has read again what was
    // spooled just before, so that an evicted frame may arrive all the same.
    let twice = twice
        + world.agent.as_ref().map_or(0, |agent| {
            agent.spool_lost(if undisturbed {
                &[Reason::Damaged]
            } else {
                &Reason::ALL
            })
        });
    let first = first.unwrap_or_default();
    if there > counted {
        world.fail(format!(
            "{there} bytes of files that are still there did not arrive, {counted} are counted; the first: {first}"
        ));
    } else if counted > all + twice {
        world.fail(format!(
            "{counted} bytes are counted as lost, but only {all} are, and {twice} may be"
        ));
    } else if seen > counted {
        world.fail(format!(
            "{seen} bytes that the agent knew of did not arrive, {counted} are counted; the first: {first}"
        ));
    }
}

/// Bytes whose loss is on record, on the disk.
fn counted(world: &World) -> u64 {
    let path = Path::new(STATE_DIR).join("checkpoints/current");
    let checkpoint = world.disk.bytes(&path).and_then(|bytes| decode(&bytes).ok());
    let unread: u64 = checkpoint
        .iter()
        .flat_map(|checkpoint| checkpoint.losses.totals.values())
        .map(|total| total.bytes)
        .sum();
    unread
        + world
            .agent
            .as_ref()
            .map_or(0, |agent| agent.spool_lost(&Reason::ALL))
}

fn dead_letters(world: &World) -> BTreeSet<Token> {
    let path = Path::new(STATE_DIR).join("dead-letter/dead-letter.ndjson");
    let bytes = world.disk.bytes(&path).unwrap_or_default();
    find_messages(&bytes)
        .flatten()
        .map(|found| (found.stream.to_owned(), found.seq))
        .collect()
}
