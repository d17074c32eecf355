//! What the reader thread puts on the status board.

use super::checkpoints::commit;
use super::container::Container;
use super::desk::Desk;
use crate::flow::budget::Budget;
use crate::telemetry::board::{ContainerStatus, FilePath, FileStatus, UnreadOnRecord};
use crate::telemetry::ledger::LostReason;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The cheap part, each turn: the thread lives, and whether it is blocked.
pub(super) fn publish_life(desk: &Desk) {
    let mut status = desk.board.reader();
    status.turns = desk.turns;
    status.last_turn_ms = desk.unix_ms;
    status.blocked = desk.blocked;
    status.started = desk.first_listing_done;
}

/// Everything.
pub(super) fn publish(containers: &mut BTreeMap<Arc<str>, Box<Container>>, desk: &Desk, budget: &Budget) {
    publish_life(desk);
    // Held while the lists are made: a page waits for milliseconds, and no second list of thousands is needed.
    let mut status = desk.board.reader();
    let mut files = emptied(&mut status.files);
    let mut of_containers = emptied(&mut status.containers);
    let count = containers.values().map(|container| container.files()).sum();
    files.reserve_exact(count);
    of_containers.reserve_exact(containers.len());
    let mut oldest: Option<Instant> = None;
    for container in containers.values_mut() {
        files_of(container, desk, &mut oldest, &mut files);
        of_containers.push(ContainerStatus {
            namespace: Arc::clone(&container.place.pod.namespace),
            pod: Arc::clone(&container.place.pod.pod),
            container: Arc::clone(&container.place.container),
            read_bytes: container.read_bytes,
        });
    }
    let unread = |file: &FileStatus| file.size.saturating_sub(file.read_offset);
    let unread_bytes = files.iter().map(unread).sum();
    let unusual = desk.reader.unusual();
    let flagged = vec![
        ("truncated", unusual.truncated),
        ("replaced_utf8", unusual.replaced_utf8),
        ("unparsed", unusual.unparsed),
        ("partial", unusual.partial),
        ("time_clamped", unusual.time_clamped),
    ];
    let shared = (Arc::new(files), Arc::new(of_containers));
    status.budget_used = budget.used();
    status.budget_limit = budget.limit();
    (status.files, status.containers) = shared;
    status.unread_bytes = unread_bytes;
    status.oldest_unread_seconds =
        oldest.map_or(0, |since| desk.now.saturating_duration_since(since).as_secs());
    status.lines = desk.reader.lines();
    status.flagged = flagged;
    status.open_files = desk.open_files;
    status.deleted_bytes = desk.deleted_bytes;
    status.watching = desk.watching;
    status.forced_rescans = desk.counts.forced_rescans;
    status.read_errors = desk.counts.read_errors;
    status.reopened_files = desk.counts.reopened;
    status.checkpoint_errors = desk.counts.checkpoint_errors;
    status.last_checkpoint_ms = desk.saved_ms;
    status.lost_on_record.clear();
    status
        .lost_on_record
        .extend(LostReason::ALL.map(|reason| on_record(reason, desk)));
}

/// Every reason is named, those without a loss, too.
fn on_record(reason: LostReason, desk: &Desk) -> UnreadOnRecord {
    let reason = reason.as_str();
    let total = desk.losses.totals.get(reason).copied().unwrap_or_default();
    UnreadOnRecord {
        reason,
        files: total.files,
        bytes: total.bytes,
        unknown_files: total.at_least,
    }
}

/// The list of the last time, empty: its room is used again, unless a page is being made of it right now.
fn emptied<T>(list: &mut Arc<Vec<T>>) -> Vec<T> {
    let mut list = Arc::try_unwrap(std::mem::take(list)).unwrap_or_default();
    list.clear();
    list
}

fn files_of(
    container: &mut Container,
    desk: &Desk,
    oldest: &mut Option<Instant>,
    files: &mut Vec<FileStatus>,
) {
    let place = &container.place;
    for instance in container.instances.values_mut() {
        for tail in instance.chain.tails_mut() {
            let read = tail.state.as_ref().map_or(0, |file| file.read_offset());
            tail.unread_since = (tail.size > read).then(|| tail.unread_since.unwrap_or(desk.now));
            *oldest = [*oldest, tail.unread_since].into_iter().flatten().min();
        }
        for tail in instance.chain.tails() {
            let (read_offset, commit_offset) = match &tail.state {
                Some(file) => (file.read_offset(), commit(instance, file, desk).0),
                None => (0, 0),
            };
            let size = tail.size.max(read_offset);
            let id = tail.state.as_ref().map(|file| file.id());
            let last_ack_ms = id.and_then(|id| desk.acked_ms.get(&id)).copied().unwrap_or(0);
            files.push(FileStatus {
                namespace: Arc::clone(&place.pod.namespace),
                pod: Arc::clone(&place.pod.pod),
                uid: Arc::clone(&place.pod.uid),
                container: Arc::clone(&place.container),
                restart: instance.restart(),
                path: FilePath {
                    folder: Arc::clone(&place.path),
                    name: tail.name.as_deref().map(Box::from),
                },
                identity: id,
                read_offset,
                commit_offset,
                size,
                lag_bytes: size - commit_offset,
                last_ack_ms,
                finished: tail.finished,
                metadata: instance.metadata,
                problem: tail.problem.clone(),
            });
        }
    }
}
