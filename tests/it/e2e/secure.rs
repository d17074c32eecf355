//! Real servers with security on: rights, keys, passwords and tokens that end and are replaced, certificates that are wrong. In
//! each case everything is held, the log says once which file to look at, and when that is mended all of it is delivered,
//! once, by the same process.
//!
//! The servers are started by the tests themselves: see [`server`]. The comment on each test names the line of the agent whose
//! loss turns it red.

mod keys;
mod opensearch;
mod server;
mod setup;
mod tls;

use super::{MORNING_NS, Talker};
use crate::agent::{Agent, Lodging};
use longshore_kit::simkubelet::{ContainerLog, Node};
use longshore_kit::verifier::Verifier;
use serde_json::{Value, json};
use server::{SecureServer, Who};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines that are written at once.
const ROUND: u64 = 25;
/// How the log begins to tell of credentials that are refused.
const REFUSED: &str = "refuses the credentials";

/// A node whose agent ships to a secured server.
struct Scene<'a> {
    server: &'a SecureServer,
    /// How the names of all indices of this scene begin.
    prefix: String,
    lodging: Lodging,
    log: ContainerLog,
    talker: Talker,
}

impl<'a> Scene<'a> {
    /// Documents go to `<prefix>-2026.03.04`. The agent trusts the server's authority, and has no credentials yet.
    fn new(server: &'a SecureServer, name: &str) -> Scene<'a> {
        let prefix = unique(name);
        let mut lodging = Lodging::new(server.url(), &format!("{prefix}-%Y.%m.%d"));
        lodging.config["sink"]["elasticsearch"]["tls"] = json!({"ca_file": server.ca_file()});
        let node = Node::new(lodging.root()).unwrap();
        let log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
        Scene {
            server,
            talker: Talker::new(&prefix),
            prefix,
            lodging,
            log,
        }
    }

    /// The part of the config that says how the server is met.
    fn sink(&mut self) -> &mut Value {
        &mut self.lodging.config["sink"]["elasticsearch"]
    }

    /// Writes [`ROUND`] lines.
    fn say(&mut self) {
        self.talker.say(&mut self.log, MORNING_NS, ROUND);
    }

    /// Writes lines and waits until they and all before are stored.
    #[track_caller]
    fn deliver(&mut self, agent: &mut Agent) {
        self.say();
        agent
            .wait_until_delivered(self.talker.bytes)
            .assert_nothing_lost();
    }

    /// Writes lines and waits until they are read, held, and the log says `told`.
    #[track_caller]
    fn hold(&mut self, agent: &mut Agent, told: &[&str]) {
        let before = agent.status().documents("accepted");
        self.say();
        let bytes = self.talker.bytes;
        agent.wait_for(told[0], |agent| agent.log_line(told[0]).is_some());
        agent.wait_for("the lines to be read", |agent| {
            let status = agent.status();
            status.ledger("read") + status.ledger("recovered") >= bytes
        });
        let line = agent.log_line(told[0]).unwrap();
        for part in told {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        let status = agent.status();
        status.assert_nothing_lost();
        assert_eq!(status.documents("accepted"), before, "nothing of it is stored");
    }

    /// Ends the agent; each line is in exactly one document, none was refused, and `told` stands in one line of the log.
    #[track_caller]
    fn end(self, agent: Agent, told: Option<&str>) {
        let status = agent.status();
        status.assert_nothing_lost();
        assert_eq!(status.documents("duplicate"), 0, "sent twice");
        let ended = agent.terminate();
        ended.assert_clean();
        assert_eq!(self.lodging.dead_letters(), Vec::<Value>::new());
        if let Some(told) = told {
            let lines: Vec<&String> = ended.log.iter().filter(|line| line.contains(told)).collect();
            assert_eq!(lines.len(), 1, "{lines:#?}");
        }
        let mut verifier = Verifier::new();
        verifier.sent_range(&self.talker.stream, 0..self.talker.lines);
        for document in self.server.documents(&self.prefix) {
            verifier.arrived(document.to_string().as_bytes());
        }
        verifier.assert_exactly_once();
    }
}

/// A name that no other test, process or run has.
fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{:x}-{n}", std::process::id(), started.as_micros())
}

/// A Secret as kubelet mounts it: files are links into `..data`, a link to a folder that is replaced as a whole.
struct Secret {
    folder: PathBuf,
    versions: u32,
}

impl Secret {
    fn new(root: &Path, files: &[(&str, &str)]) -> Secret {
        let mut secret = Secret {
            folder: root.join("secret"),
            versions: 0,
        };
        fs::create_dir(&secret.folder).unwrap();
        secret.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), secret.file(name)).unwrap();
        }
        secret
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// All files anew, in one step, as kubelet does it.
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        fs::create_dir(self.folder.join(&version)).unwrap();
        for (name, text) in files {
            fs::write(self.folder.join(&version).join(name), text).unwrap();
        }
        let (new, data) = (self.folder.join("..data_tmp"), self.folder.join("..data"));
        symlink(&version, &new).unwrap();
        let old = fs::read_link(&data).ok();
        fs::rename(&new, &data).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old)).unwrap();
        }
    }
}
