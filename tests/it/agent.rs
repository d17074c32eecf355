//! The agent as a process: the real binary with a config of the test, started, watched through its status server,
//! stopped or killed.
//!
//! A test makes a [`Lodging`] (a temporary directory with the agent's config), starts the agent as often as it likes and
//! waits for facts with [`Agent::wait_for`]. Waiting wakes at each line of the agent's log and asks again in between; when
//! the deadline is over or the agent is gone, the test panics with the agent's last words and its status page.

#![allow(dead_code, reason = "what one test module does not need, another does")]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for a fact. Generous: a loaded machine is no bug, and no test measures time with it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// How often a fact is asked for when the log is silent.
const POLL: Duration = Duration::from_millis(25);
/// Who has no more rights than anybody.
const NOBODY: u32 = 65_534;
/// Lines of the log in a panic.
const LAST_WORDS: usize = 25;
/// What the agent may find in our environment and must not.
const ENVIRONMENT: [&str; 6] = [
    "NODE_NAME",
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_UID",
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
];

/// The binary under test: the one of this build, or the one that `LONGSHORE_BINARY` names (a release build, where memory
/// is measured).
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("LONGSHORE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_longshore").into(), PathBuf::from)
}

/// A directory with an agent's config and state, and room for the logs of a node.
pub(crate) struct Lodging {
    dir: TempDir,
    /// The config, as the YAML file will say it (JSON is YAML); set any key before a start.
    pub(crate) config: Value,
}

impl Lodging {
    /// An agent that reads `<root>/pods`, without an API server, and ships to `elasticsearch` (`http://host:port`) into
    /// indices named by `index`. Batches close after 100 ms, the rescan comes every 200 ms.
    pub(crate) fn new(elasticsearch: &str, index: &str) -> Lodging {
        let dir = tempfile::Builder::new()
            .prefix("longshore-it-")
            .tempdir()
            .expect("a temporary directory");
        let config = json!({
            "node_name": "node-a",
            "state_dir": dir.path().join("state"),
            "source": {
                "pod_logs_dir": dir.path().join("pods"),
                "containers_dir": dir.path().join("containers"),
                "rescan_interval": "200ms",
            },
            "enrich": {"kubernetes": {"source": "none"}},
            "batch": {"max_age": "100ms"},
            "spool": {"min_free": "0%"},
            "sink": {"elasticsearch": {"hosts": [elasticsearch], "index": index}},
            "admin": {"listen": "127.0.0.1:0"},
        });
        Lodging { dir, config }
    }

    /// The directory. `simkubelet::Node::new` of it makes the `pods` and `containers` that the agent reads.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The directory that the agent reads.
    pub(crate) fn pods(&self) -> PathBuf {
        self.root().join("pods")
    }

    /// The agent's state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    /// Removes the state directory, as if the agent had never run here.
    pub(crate) fn forget_state(&self) {
        fs::remove_dir_all(self.state()).expect("the state directory can be removed");
    }

    /// The agent reads pods of the API server of this kubeconfig.
    pub(crate) fn use_apiserver(&mut self, kubeconfig: &str) {
        let file = self.root().join("kubeconfig");
        fs::write(&file, kubeconfig).expect("the kubeconfig can be written");
        self.config["enrich"]["kubernetes"]["source"] = "api".into();
        self.config["enrich"]["kubernetes"]["kubeconfig"] = json!(file);
    }

    /// Writes the config and starts the agent; it returns when the status server listens.
    pub(crate) fn start(&self) -> Agent {
        let config = self.root().join("longshore.yaml");
        fs::write(&config, self.config.to_string()).expect("the config can be written");
        Agent::start(&config)
    }

    /// Starts the agent by another command, which runs the binary that follows it with the arguments after that.
    pub(crate) fn start_by(&self, mut command: Command) -> Agent {
        let config = self.root().join("longshore.yaml");
        fs::write(&config, self.config.to_string()).expect("the config can be written");
        command.arg(binary());
        Agent::spawn(command, &config)
    }

    /// Starts the agent as somebody whom file permissions bind: as ourselves, or as *nobody* when we are root. Then all of
    /// the directory is his, and the binary is copied into it, because he may not reach ours.
    pub(crate) fn start_unprivileged(&self) -> Agent {
        let config = self.root().join("longshore.yaml");
        fs::write(&config, self.config.to_string()).expect("the config can be written");
        let mut command = Command::new(binary());
        if rustix::process::geteuid().is_root() {
            let binary = self.root().join("longshore");
            fs::copy(self::binary(), &binary).expect("the binary can be copied");
            give_away(self.root()).expect("files can be given away");
            command = Command::new(binary);
            command.uid(NOBODY).gid(NOBODY);
        }
        Agent::spawn(command, &config)
    }

    /// The rows of the dead-letter file, oldest first; none when there is no file.
    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        let dir = self.state().join("dead-letter");
        let Ok(entries) = fs::read_dir(dir) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        let rows = files.iter().map(|file| fs::read_to_string(file).expect("UTF-8"));
        rows.flat_map(|text| {
            text.lines()
                .map(|row| serde_json::from_str(row).expect("JSON"))
                .collect::<Vec<_>>()
        })
        .collect()
    }
}

/// Gives a directory and all that is in it to *nobody*.
fn give_away(path: &Path) -> io::Result<()> {
    lchown(path, Some(NOBODY), Some(NOBODY))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give_away(&entry?.path())?;
        }
    }
    Ok(())
}

/// A running agent. Dropping it kills it.
pub(crate) struct Agent {
    child: Child,
    address: String,
    log: Arc<Log>,
    log_reader: Option<JoinHandle<()>>,
}

/// How an agent ended.
pub(crate) struct Ended {
    /// What its parent sees.
    pub(crate) status: ExitStatus,
    /// All of its log.
    pub(crate) log: Vec<String>,
}

impl Ended {
    /// The last line of the log: whether it ended clean, and what stays in the spool.
    pub(crate) fn last_line(&self) -> &str {
        self.log.last().map_or("", String::as_str)
    }

    /// Panics unless the exit code is 0 and the log says "ended clean".
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert!(
            self.status.success() && self.last_line().contains("ended clean"),
            "{}; log:\n{}",
            self.status,
            self.log.join("\n")
        );
    }
}

impl Agent {
    fn start(config: &Path) -> Agent {
        Agent::spawn(Command::new(binary()), config)
    }

    fn spawn(mut command: Command, config: &Path) -> Agent {
        for name in ENVIRONMENT {
            command.env_remove(name);
        }
        let mut child = command
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent's binary can be started");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let log = Arc::new(Log::default());
        let log_reader = Some(Log::follow(&log, stderr));
        let mut agent = Agent {
            child,
            address: String::new(),
            log,
            log_reader,
        };
        agent.address = agent.wait_for_some("the status server", |agent| {
            let line = agent.log_line("status server listens")?;
            Some(line.split("address=").nth(1)?.trim().to_owned())
        });
        agent
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines().clone()
    }

    /// The first line of the log that contains `text`.
    pub(crate) fn log_line(&self, text: &str) -> Option<String> {
        self.log.lines().iter().find(|line| line.contains(text)).cloned()
    }

    /// `GET path` of the status server: status and body.
    ///
    /// # Errors
    /// When it cannot be reached, as after its end.
    pub(crate) fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let broken = || io::Error::other(format!("no HTTP answer: {answer:?}"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(broken)?;
        Ok((status, body.to_owned()))
    }

    /// The status page. The ledger's law holds on each that a test looks at.
    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        let (code, body) = self.get("/status").unwrap_or_else(|error| {
            panic!("/status: {error}; log:\n{}", self.last_words());
        });
        assert_eq!(code, 200, "{body}");
        let page = serde_json::from_str(&body).unwrap_or_else(|error| panic!("/status: {error} in {body}"));
        let status = Status(page);
        assert_eq!(status.imbalance(), 0, "the ledger's law: {}", status.0["ledger"]);
        status
    }

    /// The sample of one series of `/metrics`, such as `longshore_documents_total{fate="duplicate"}`.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (_, page) = self.get("/metrics").expect("the status server answers");
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no series {series} in\n{page}"))
    }

    /// Waits until `fact` holds.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`], or when the agent ends meanwhile.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, mut fact: impl FnMut(&Agent) -> bool) {
        self.wait_for_some(what, |agent| fact(agent).then_some(()));
    }

    /// Waits until `ask` answers; see [`Agent::wait_for`].
    #[track_caller]
    pub(crate) fn wait_for_some<T>(&mut self, what: &str, mut ask: impl FnMut(&Agent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                panic!(
                    "the agent ended ({status}) while waiting for {what}; log:\n{}",
                    self.last_words()
                );
            }
            if let Some(answer) = ask(self) {
                return answer;
            }
            let late = Instant::now() >= deadline;
            assert!(
                !late,
                "waited {PATIENCE:?} in vain for {what}; log:\n{}\nstatus:\n{}",
                self.last_words(),
                self.get("/status")
                    .map_or_else(|e| e.to_string(), |(_, page)| page)
            );
            self.log.wait(POLL);
        }
    }

    /// Waits until `bytes` source bytes were read since the start (what the spool held counts, too) and all of them are
    /// acked, dead-lettered or counted as dropped: nothing held, in flight or spooled. Gives the status that said so.
    #[track_caller]
    pub(crate) fn wait_until_delivered(&mut self, bytes: u64) -> Status {
        self.wait_for_some(&format!("{bytes} bytes to be delivered"), |agent| {
            let status = agent.status();
            let entered = status.ledger("read") + status.ledger("recovered");
            (entered >= bytes && status.is_at_rest()).then_some(status)
        })
    }

    /// SIGTERM, then waits for the end.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> Ended {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the agent runs");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end after SIGTERM; log:\n{}",
                self.last_words()
            );
            self.log.wait(POLL);
        };
        self.ended(status)
    }

    /// SIGKILL: nothing is flushed.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().expect("our child");
        let status = self.child.wait().expect("our child");
        self.ended(status)
    }

    fn ended(&mut self, status: ExitStatus) -> Ended {
        if let Some(reader) = self.log_reader.take() {
            reader.join().expect("the log's reader does not panic");
        }
        Ended {
            status,
            log: self.log(),
        }
    }

    fn last_words(&self) -> String {
        let lines = self.log.lines();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It is gone already, or goes now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One status page.
pub(crate) struct Status(pub(crate) Value);

impl Status {
    /// A number of the ledger, such as `acked`.
    #[track_caller]
    pub(crate) fn ledger(&self, place: &str) -> u64 {
        number(&self.0["ledger"][place], place)
    }

    /// Documents that came to rest, by fate: `accepted`, `duplicate`, `spooled`, `dead_lettered`, `dropped`.
    #[track_caller]
    pub(crate) fn documents(&self, fate: &str) -> u64 {
        number(&self.0["ledger"]["documents"][fate], fate)
    }

    /// Bytes that were read and will not be delivered, all reasons.
    pub(crate) fn dropped(&self) -> u64 {
        let reasons = self.0["ledger"]["dropped"].as_object();
        reasons
            .into_iter()
            .flatten()
            .filter_map(|(_, n)| n.as_u64())
            .sum()
    }

    /// Bytes that were never read, all reasons.
    pub(crate) fn lost_unread(&self) -> u64 {
        let reasons = self.0["ledger"]["lost_unread"].as_object();
        reasons
            .into_iter()
            .flatten()
            .filter_map(|(_, lost)| lost["bytes"].as_u64())
            .sum()
    }

    /// Both sides of the ledger's law compared: 0, or there is a bug.
    pub(crate) fn imbalance(&self) -> i64 {
        self.0["ledger"]["imbalance"].as_i64().unwrap_or(i64::MAX)
    }

    /// Nothing unread, held, in flight or in the spool.
    pub(crate) fn is_at_rest(&self) -> bool {
        let unread = number(&self.0["reader"]["unread_bytes"], "unread_bytes");
        let moving = ["held", "in_flight", "spooled"].map(|place| self.ledger(place));
        unread == 0 && moving == [0; 3]
    }

    /// Panics unless the ledger's law holds and nothing was dropped or lost.
    #[track_caller]
    pub(crate) fn assert_nothing_lost(&self) {
        assert_eq!(
            (self.imbalance(), self.dropped(), self.lost_unread()),
            (0, 0, 0),
            "imbalance, dropped, lost unread: {}",
            self.0["ledger"]
        );
    }
}

#[track_caller]
fn number(value: &Value, what: &str) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number {what} in the status"))
}

/// The agent's standard error, line by line.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    fn follow(log: &Arc<Log>, stderr: ChildStderr) -> JoinHandle<()> {
        let log = Arc::clone(log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                log.lines().push(String::from_utf8_lossy(&line).into_owned());
                log.grown.notify_all();
            }
        })
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until a line comes, or for `at_most`.
    fn wait(&self, at_most: Duration) {
        let waited = self.grown.wait_timeout(self.lines(), at_most);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
