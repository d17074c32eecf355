//! The demo from beginning to end.

use crate::agent::Agent;
use crate::destination::Destination;
use crate::pods::{NODE, Plan, Pods};
use crate::{Failure, Options};
use longshore_kit::fake_apiserver::FakeApiserver;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const TICK: Duration = Duration::from_millis(20);
/// So long the node has no agent.
const DOWN_TIME: Duration = Duration::from_secs(1);
/// When no document arrives for so long, no more will.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the story; true when each line arrived exactly once.
pub(crate) fn tell(options: &Options) -> Result<bool, Failure> {
    let dir = tempfile::Builder::new().prefix("longshore-demo-").tempdir()?;
    let apiserver = FakeApiserver::start();
    let destination = Destination::new(options.elasticsearch.as_deref())?;
    let admin = free_address()?;
    let config = write_config(dir.path(), &apiserver, &destination, &admin)?;
    let plan = Plan::new(options.pods, options.lines);
    let mut stage = Stage {
        plan,
        pods: Pods::new(&dir.path().join("log"), plan, &apiserver)?,
        agent: Agent::new(&config),
        destination,
        progress: Progress::new(),
        crash: Crash::Ahead,
    };
    println!(
        "node           {} pods below {}",
        options.pods,
        dir.path().display()
    );
    println!("agent's log    {}", stage.agent.log().display());
    println!("Elasticsearch  {}", stage.destination.url());
    println!("status         http://{admin}/status\n");
    stage.agent.start()?;
    stage.write()?;
    stage.drain()?;
    let sent_again = stage.destination.sent_again(&admin);
    // An agent that does not end well is a failure, but not one that should hide what became of the lines.
    let stopped = if options.keep { Ok(()) } else { stage.agent.stop() };
    let exactly_once = stage.close(&admin, sent_again)?;
    if options.keep {
        println!(
            "\neverything still runs and stays below {}; Ctrl-C ends it",
            dir.path().display()
        );
        wait_for_ctrl_c()?;
        // The same Ctrl-C has reached the agent: it may be gone already.
        let _gone = stage.agent.stop();
        let _kept = dir.keep();
    } else {
        stage.destination.clean();
    }
    stopped.map(|()| exactly_once)
}

/// Everything that runs, except the API server.
struct Stage {
    plan: Plan,
    pods: Pods,
    agent: Agent,
    destination: Destination,
    progress: Progress,
    crash: Crash,
}

/// How far the crash has got.
enum Crash {
    Ahead,
    Down(Instant),
    Over,
}

impl Stage {
    /// The pods write and kubelet rotates; meanwhile the agent ships, dies and ships on.
    fn write(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        while self.pods.written() < self.plan.lines {
            thread::sleep(TICK);
            let due = (start.elapsed().as_secs_f64() * self.plan.pace) as u64;
            while self.pods.written() < due.min(self.plan.lines) {
                self.pods.write_line(unix_ns())?;
            }
            self.look()?;
        }
        Ok(())
    }

    /// Until everything has arrived, or nothing does any more.
    fn drain(&mut self) -> Result<(), Failure> {
        let all_there =
            |stage: &Stage| stage.progress.indexed >= stage.plan.lines && matches!(stage.crash, Crash::Over);
        while !all_there(self) && self.progress.changed.elapsed() < PATIENCE {
            thread::sleep(TICK);
            self.look()?;
        }
        self.progress.end();
        Ok(())
    }

    /// What happens beside the writing: progress, and the crash.
    fn look(&mut self) -> Result<(), Failure> {
        let runs = self.agent.runs()?;
        self.progress.update(&self.pods, &self.destination, runs);
        match self.crash {
            Crash::Ahead if self.pods.written() * 2 >= self.plan.lines && self.progress.indexed > 0 => {
                self.agent.kill()?;
                self.progress
                    .tell("SIGKILL: the agent is gone, the pods write on");
                self.crash = Crash::Down(Instant::now());
            }
            Crash::Down(since) if since.elapsed() >= DOWN_TIME => {
                self.agent.start()?;
                self.progress.tell("the agent is started again");
                self.crash = Crash::Over;
            }
            _ => {}
        }
        Ok(())
    }

    /// Samples, counts and the closing line; true when each line arrived exactly once.
    fn close(&self, admin: &str, sent_again: Option<u64>) -> Result<bool, Failure> {
        let report = self.destination.report(self.pods.streams());
        for (number, sample) in (1..).zip(self.destination.samples()) {
            println!("\nsample document {number}:\n{sample}");
        }
        println!(
            "\nfiles       {} rotations, {} files compressed",
            self.pods.rotated(),
            self.pods.compressed()?
        );
        if let Some(documents) = sent_again {
            println!(
                "sent again  {documents} documents after the crash, answered 409: they were there, and stay there once"
            );
        }
        if !report.is_exactly_once() {
            println!("astray      {}", self.destination.astray());
        }
        println!("status      http://{admin}/status");
        println!("{report}");
        Ok(report.is_exactly_once())
    }
}

/// The line that says how far everything is.
struct Progress {
    start: Instant,
    shown: Option<Instant>,
    /// Documents in the index when it was last looked at.
    indexed: u64,
    /// When that number last changed.
    changed: Instant,
    on_terminal: bool,
}

impl Progress {
    fn new() -> Progress {
        let now = Instant::now();
        Progress {
            start: now,
            shown: None,
            indexed: 0,
            changed: now,
            on_terminal: io::stdout().is_terminal(),
        }
    }

    /// Counts and shows again when it is time to.
    fn update(&mut self, pods: &Pods, destination: &Destination, agent_runs: bool) {
        // A log file of the demo wants fewer lines than a terminal, where they take each other's place.
        let interval = Duration::from_millis(if self.on_terminal { 200 } else { 1000 });
        if self.shown.is_some_and(|shown| shown.elapsed() < interval) {
            return;
        }
        self.shown = Some(Instant::now());
        let indexed = destination.documents();
        if indexed != self.indexed {
            (self.indexed, self.changed) = (indexed, Instant::now());
        }
        let agent = if agent_runs { "runs" } else { "is dead" };
        self.show(&format!(
            "written {}  indexed {indexed}  rotations {}  agent {agent}",
            pods.written(),
            pods.rotated()
        ));
    }

    fn show(&self, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        if self.on_terminal {
            print!("\r\x1b[K{seconds:5.1} s  {text}");
            // Nobody reading is no reason to stop.
            let _unread = io::stdout().flush();
        } else {
            println!("{seconds:5.1} s  {text}");
        }
    }

    /// A line that stays.
    fn tell(&self, text: &str) {
        self.show(text);
        self.end();
    }

    fn end(&self) {
        if self.on_terminal {
            println!();
        }
    }
}

fn write_config(
    dir: &Path,
    apiserver: &FakeApiserver,
    destination: &Destination,
    admin: &str,
) -> Result<PathBuf, Failure> {
    let state = dir.join("state");
    fs::create_dir(&state)?;
    let kubeconfig = dir.join("kubeconfig");
    fs::write(&kubeconfig, apiserver.kubeconfig())?;
    let config = dir.join("longshore.yaml");
    // The free space that a node keeps for itself is no business of a demo: 0%.
    let text = format!(
        "node_name: {NODE}\nstate_dir: {state}\n\
         source: {{pod_logs_dir: {log}/pods, containers_dir: {log}/containers}}\n\
         enrich: {{kubernetes: {{kubeconfig: {kubeconfig}}}}}\n\
         spool: {{min_free: 0%}}\n\
         sink: {{elasticsearch: {{hosts: [\"{hosts}\"], index: \"{index}\"}}}}\n\
         admin: {{listen: \"{admin}\"}}\n",
        state = state.display(),
        log = dir.join("log").display(),
        kubeconfig = kubeconfig.display(),
        hosts = destination.url(),
        index = destination.index(),
    );
    fs::write(&config, text)?;
    Ok(config)
}

/// A loopback address on which nobody listens just now.
fn free_address() -> io::Result<String> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .to_string())
}

fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

fn wait_for_ctrl_c() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tokio::signal::ctrl_c())
}
