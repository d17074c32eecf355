//! The node: pods whose containers write lines that can be told apart, and a kubelet that works step by step. What was
//! written where is remembered: the truth that the oracle compares with.

use crate::disk::{CutLog, NodeSide, SimDisk};
use crate::script::Habit;
use longshore_kit::chance::Chance;
use longshore_kit::lines::{self, CriDialect, Stream, cri_line, rfc3339};
use longshore_kit::simkubelet::rotation::{Compressed, Compressing};
use longshore_kit::simkubelet::{ContainerLog, Node, NodeConfig, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One line that a runtime wrote. It carries one message, so that each piece of a long message can be told apart.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Stream and sequence in the message.
    pub(crate) token: (String, u64),
    /// The file, by uid.
    pub(crate) file: u64,
    /// Where it is in the file, newline included.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The writer died in the middle of it.
    pub(crate) torn: bool,
    /// A part of a message, not its last one.
    pub(crate) partial: bool,
    /// It was written in two parts.
    pub(crate) split: bool,
    /// A power cut has taken it, or its end, from the disk.
    pub(crate) cut: bool,
    /// It was appended to what a power cut has left of another one.
    pub(crate) glued: bool,
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) pieces: Vec<Piece>,
    /// Compressed file → the plain one.
    pub(crate) origin: BTreeMap<u64, u64>,
    /// Files that were truncated: everything before was at risk.
    pub(crate) truncated: BTreeSet<u64>,
    /// What grew in their inodes afterwards.
    pub(crate) renewed: BTreeSet<u64>,
    /// Files whose end a power cut has taken, and nobody has written to since.
    pub(crate) cut: BTreeSet<u64>,
    /// Files whose first line a power cut has damaged: by it they cannot be told from others.
    pub(crate) headless: BTreeSet<u64>,
}

/// Where a pass over a container's files is (kubelet's `rotateLog`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    Idle,
    Cleaned,
    Compressing,
    Committed,
    Compressed,
    Renamed,
}

/// A container and its writer.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) log: ContainerLog,
    pub(crate) pod: usize,
    pub(crate) stage: Stage,
    name: String,
    compressing: Option<Compressing>,
    compressed: Option<Compressed>,
    /// The rest of a line of which only the beginning was written.
    tail: Vec<u8>,
    sequences: BTreeMap<String, u64>,
    open_group: [bool; 2],
    /// logrotate has copied the live file and has not truncated it yet.
    pub(crate) copied: bool,
    pub(crate) deleted: bool,
}

/// A pod.
#[derive(Debug)]
pub(crate) struct PodState {
    pod: Pod,
    pub(crate) deleted: bool,
    pub(crate) removed: bool,
}

/// The node.
#[derive(Debug)]
pub(crate) struct Kubelet {
    disk: Arc<SimDisk>,
    node: Node,
    pub(crate) pods: Vec<PodState>,
    pub(crate) containers: Vec<Container>,
    pub(crate) truth: Truth,
    pub(crate) steps: BTreeMap<String, u64>,
    pub(crate) poison: bool,
    pub(crate) habit: Habit,
    pub(crate) unix_ns: u64,
}

impl Kubelet {
    pub(crate) fn new(disk: &Arc<SimDisk>, max_files: usize, conmon: bool) -> Kubelet {
        let config = NodeConfig {
            max_files,
            max_size_bytes: 1,
            dialect: if conmon {
                CriDialect::Conmon
            } else {
                CriDialect::Containerd
            },
        };
        let node = Node::on(Arc::new(NodeSide(Arc::clone(disk))), "/var/log", config).expect("an empty disk");
        node.set_clock(1_767_225_600);
        Kubelet {
            disk: Arc::clone(disk),
            node,
            pods: Vec::new(),
            containers: Vec::new(),
            truth: Truth::default(),
            steps: BTreeMap::new(),
            poison: false,
            habit: Habit::Usual,
            unix_ns: 0,
        }
    }

    fn reached(&mut self, what: &str) {
        *self.steps.entry(format!("kubelet: {what}")).or_default() += 1;
    }

    /// A pod of `count` containers; now and then one with a name that was there before.
    pub(crate) fn new_pod(&mut self, count: usize, again: bool) {
        let number = self.pods.len();
        let name = if again { 0 } else { number };
        let uid = format!("00000000-0000-4000-8000-{number:012}");
        let pod = self.node.pod("shop", &format!("web-{name}"), &uid);
        for at in 0..count {
            let name = format!("c{at}");
            let log = pod.container(&name).expect("the disk does not fail the node");
            self.containers.push(Container {
                log,
                pod: number,
                stage: Stage::Idle,
                name: format!("p{number}{name}"),
                compressing: None,
                compressed: None,
                tail: Vec::new(),
                sequences: BTreeMap::new(),
                open_group: [false; 2],
                copied: false,
                deleted: false,
            });
        }
        self.pods.push(PodState {
            pod,
            deleted: false,
            removed: false,
        });
        self.reached("new pod");
    }

    /// Containers that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        let all = self.containers.iter().enumerate();
        all.filter(|(_, container)| !container.deleted)
            .map(|(at, _)| at)
            .collect()
    }

    /// A few lines of a container. The last one may be a part, or be torn.
    pub(crate) fn write(&mut self, at: usize, chance: &mut Chance) {
        self.finish_line(at);
        let count = 1 + chance.below(6);
        for number in 0..count {
            let stderr = chance.hit(if self.habit == Habit::Mixed { 0.5 } else { 0.2 });
            let poison = self.poison && chance.hit(0.05);
            let partial = chance.hit(match self.habit {
                Habit::Plain => 0.0,
                Habit::Usual => 0.15,
                Habit::Mixed => 0.4,
            });
            let torn = self.habit != Habit::Plain && number + 1 == count && chance.hit(0.1);
            let pad = chance.below(60) as usize;
            self.write_line(at, stderr, poison, partial, torn, pad, chance);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a line is like")]
    fn write_line(
        &mut self,
        at: usize,
        stderr: bool,
        poison: bool,
        partial: bool,
        torn: bool,
        pad: usize,
        chance: &mut Chance,
    ) {
        let container = &mut self.containers[at];
        let restart = container.log.restart_number();
        let letter = if stderr { "e" } else { "o" };
        let mark = if poison { "X" } else { "" };
        let stream = format!("{}r{restart}{letter}{mark}", container.name);
        let sequence = container.sequences.entry(stream.clone()).or_default();
        let seq = *sequence;
        *sequence += 1;
        self.unix_ns += 1 + chance.below(3_000_000);
        let message = lines::message(&stream, seq, self.unix_ns, pad);
        // conmon gives all lines of a read one stamp.
        let stamp = format!("{}Z", rfc3339(self.unix_ns / 1000 * 1000));
        let side = if stderr { Stream::Stderr } else { Stream::Stdout };
        let tag = if partial { "P" } else { "F" };
        container.open_group[usize::from(stderr)] = partial;
        let line = cri_line(&stamp, side, tag, message.as_bytes());
        let written = if torn {
            1 + chance.below(line.len() as u64 - 1) as usize
        } else {
            line.len()
        };
        container.tail = line[written..].to_vec();
        container
            .log
            .write(&line[..written])
            .expect("the disk does not fail the node");
        let (file, end) = self.disk.last_append();
        self.truth.pieces.push(Piece {
            token: (stream, seq),
            file,
            start: end - written as u64,
            end,
            torn,
            split: torn,
            partial,
            cut: false,
            glued: self.truth.cut.remove(&file),
        });
        if torn {
            self.reached("torn write");
        }
        if partial {
            self.reached("partial line");
        }
    }

    /// One whole line.
    pub(crate) fn write_whole(&mut self, at: usize, chance: &mut Chance) {
        self.finish_line(at);
        self.write_line(at, false, false, false, false, 20, chance);
    }

    /// Writes the rest of a torn line.
    pub(crate) fn finish_line(&mut self, at: usize) {
        let container = &mut self.containers[at];
        let tail = std::mem::take(&mut container.tail);
        if tail.is_empty() || container.deleted {
            return;
        }
        container
            .log
            .write(&tail)
            .expect("the disk does not fail the node");
        let (file, end) = self.disk.last_append();
        let torn = self
            .truth
            .pieces
            .iter_mut()
            .rev()
            .find(|piece| piece.torn && piece.file == file && piece.end + tail.len() as u64 == end);
        if let Some(piece) = torn {
            piece.torn = false;
            piece.end = end;
        }
    }

    /// The next step of kubelet's pass over a container's files.
    pub(crate) fn step(&mut self, at: usize, chance: &mut Chance) {
        // A runtime writes whole lines: it does not let go of a file in the middle of one.
        if self.containers[at].stage == Stage::Renamed {
            self.finish_line(at);
        }
        let container = &mut self.containers[at];
        let log = &mut container.log;
        let (next, what) = match container.stage {
            Stage::Idle => {
                log.remove_unused().expect("node");
                log.remove_excess().expect("node");
                (Stage::Cleaned, "remove excess")
            }
            Stage::Cleaned | Stage::Compressed => match log.compress_begin().expect("node") {
                Some(compressing) => {
                    container.compressing = Some(compressing);
                    (Stage::Compressing, "compress to .tmp")
                }
                None => {
                    log.rotate_rename().expect("node");
                    (Stage::Renamed, "rename")
                }
            },
            Stage::Compressing => match container.compressing.take() {
                Some(compressing) => {
                    let plain = compressing.tmp().with_extension("");
                    let uids = (self.disk.uid(compressing.tmp()), self.disk.uid(&plain));
                    if let (Some(gz), Some(plain)) = uids {
                        self.truth.origin.insert(gz, plain);
                    }
                    container.compressed = Some(compressing.commit().expect("node"));
                    (Stage::Committed, "rename .tmp to .gz")
                }
                None => (Stage::Idle, "pass over"),
            },
            Stage::Committed => {
                if let Some(compressed) = container.compressed.take() {
                    compressed.unlink_plain().expect("node");
                }
                (Stage::Compressed, "remove plain")
            }
            Stage::Renamed if chance.hit(0.15) => {
                log.rotate_rename_back().expect("node");
                (Stage::Idle, "rename back")
            }
            Stage::Renamed => {
                log.rotate_reopen().expect("node");
                (Stage::Idle, "reopen")
            }
        };
        container.stage = next;
        self.reached(what);
    }

    /// kubelet dies in the middle of a pass and begins a new one.
    pub(crate) fn crash(&mut self, at: usize) {
        let container = &mut self.containers[at];
        if container.stage == Stage::Renamed {
            // The runtime still holds the old file; the next pass would find no live file. Its reopen makes one.
            self.finish_line(at);
            self.containers[at].log.rotate_reopen().expect("node");
        }
        let container = &mut self.containers[at];
        container.compressing = None;
        container.compressed = None;
        container.stage = Stage::Idle;
        self.reached("crash");
    }

    /// The power is gone. After the boot a container goes on in the file that it had, or in the one of its next run.
    pub(crate) fn power_cut(&mut self, cuts: &[CutLog], chance: &mut Chance) {
        for cut in cuts {
            for piece in &mut self.truth.pieces {
                if piece.file == cut.file && piece.end > cut.kept {
                    piece.cut = true;
                    piece.torn = true;
                    piece.split = true;
                    if piece.start == 0 && cut.len > 0 {
                        self.truth.headless.insert(cut.file);
                    }
                }
            }
            if cut.len > 0 {
                self.truth.cut.insert(cut.file);
            }
        }
        // Nor is there anybody to finish a line.
        for piece in self.truth.pieces.iter_mut().filter(|piece| piece.torn) {
            if !std::mem::replace(&mut piece.cut, true) {
                self.truth.cut.insert(piece.file);
            }
        }
        for at in self.running() {
            self.containers[at].tail.clear();
            self.containers[at].copied = false;
            self.crash(at);
            if chance.hit(0.5) {
                self.restart(at);
            }
        }
    }

    /// The container dies, maybe in the middle of a line, and is started again.
    pub(crate) fn restart(&mut self, at: usize) {
        let container = &mut self.containers[at];
        container.tail.clear();
        container.compressing = None;
        container.compressed = None;
        container.stage = Stage::Idle;
        container.open_group = [false; 2];
        container.copied = false;
        container.log.restart().expect("node");
        self.reached("container restart");
    }

    /// The pod is deleted: its files first.
    pub(crate) fn delete_pod(&mut self, pod: usize) {
        if std::mem::replace(&mut self.pods[pod].deleted, true) {
            return;
        }
        for container in self
            .containers
            .iter_mut()
            .filter(|container| container.pod == pod)
        {
            container.deleted = true;
            container.copied = false;
            container.tail.clear();
            container.compressing = None;
            container.compressed = None;
            container.stage = Stage::Idle;
        }
        self.pods[pod].pod.remove_files().expect("node");
        self.reached("pod deleted");
    }

    /// Later its directory.
    pub(crate) fn remove_dir(&mut self, pod: usize) {
        if self.pods[pod].deleted && !std::mem::replace(&mut self.pods[pod].removed, true) {
            self.pods[pod].pod.remove_dir().expect("node");
            self.reached("pod directory removed");
        }
    }

    /// The next step of an outside `logrotate` with `copytruncate`. What is written between the two is nowhere afterwards.
    pub(crate) fn copytruncate(&mut self, at: usize) {
        let container = &mut self.containers[at];
        if container.stage == Stage::Renamed {
            return;
        }
        container.copied = !container.copied;
        if container.copied {
            container.log.copy_live().expect("node");
            self.reached("copytruncate: copy");
        } else {
            self.reached("copytruncate: truncate");
            self.truncate(at);
        }
    }

    /// Somebody empties the live file.
    pub(crate) fn truncate(&mut self, at: usize) {
        self.finish_line(at);
        let container = &mut self.containers[at];
        if container.stage == Stage::Renamed {
            return;
        }
        let path = container.log.live_path();
        let Some(uid) = self.disk.uid(&path) else { return };
        container.log.truncate().expect("node");
        // What comes now is another file in the same inode.
        let fresh = self.disk.renew(uid);
        self.truth.truncated.insert(uid);
        self.truth.renewed.insert(fresh);
        self.reached("truncate");
    }

    /// The file of a piece is still there, under some name.
    pub(crate) fn is_there(&self, file: u64) -> bool {
        if self.truth.truncated.contains(&file) {
            return false;
        }
        let gz = self.truth.origin.iter().filter(|(_, plain)| **plain == file);
        self.disk.has_name(file) || gz.into_iter().any(|(gz, _)| self.disk.has_name(*gz))
    }
}
