//! The house rules of `src/`, read from its `use` lines and paths: who may know whom, who may touch the outside, how long
//! a function and a file may be.
//!
//! [`violations`] takes texts and returns sentences, so each rule is tested on a bad sample below; `src_follows_the_rules`
//! applies it to the real tree. What a rule cannot see (a method call such as `path.exists()`), `clippy.toml` forbids.

mod samples;
mod scan;

use scan::Source;
use std::fs;
use std::path::{Path, PathBuf};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;

/// Stages meet in `record` (data), in `reader` (hot path) and in `agent` (wiring), never in each other.
const STAGES: [&str; 8] = [
    "source",
    "parse",
    "edit",
    "enrich",
    "batch",
    "spool",
    "checkpoint",
    "sink",
];

/// Agreed exceptions: file, what it names, why. A line here that nothing needs any more is a violation, too.
const AGREED: [(&str, &str, &str); 1] = [(
    "source/registry.rs",
    "crate::checkpoint::snapshot::Entry",
    "the positions that a start finds are the checkpoint's own lines; a twin in record.rs would only be copied",
)];

/// What a file is for, which follows from its path alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Main,
    Cli,
    /// `cli/client`: the one subcommand part that speaks to servers.
    CliClient,
    Agent,
    Admin,
    /// `task` or `client`: sockets, clocks, waiting.
    Shell,
    /// `disk`: files.
    Disk,
    /// `sync`: std's and tokio's names for what threads meet through, or a model checker's.
    Sync,
    /// Everything else: no clock, no randomness, no I/O, no await, no environment.
    Pure,
}

impl Role {
    fn of(module: &[String]) -> Self {
        let has = |name: &str| module.iter().any(|part| part == name);
        match module.first().map(String::as_str) {
            Some("main") => Self::Main,
            Some("cli") if has("client") => Self::CliClient,
            Some("cli") => Self::Cli,
            Some("agent") => Self::Agent,
            Some("admin") => Self::Admin,
            Some("sync") => Self::Sync,
            _ if has("task") || has("client") => Self::Shell,
            _ if has("disk") => Self::Disk,
            _ => Self::Pure,
        }
    }

    fn may_name_the_network(self) -> bool {
        matches!(
            self,
            Self::Main | Self::CliClient | Self::Agent | Self::Admin | Self::Shell | Self::Sync
        )
    }

    fn may_touch_files(self) -> bool {
        matches!(self, Self::Main | Self::Cli | Self::CliClient | Self::Disk)
    }
}

/// Everything in these files (path below `src/`, text) that breaks a rule, one sentence each.
fn violations(files: &[(&str, &str)], agreed: &[(&str, &str, &str)]) -> Vec<String> {
    let sources: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Source::read(path, text)))
        .collect();
    let test_modules: Vec<_> = sources
        .iter()
        .flat_map(|(_, source)| source.test_modules.clone())
        .collect();
    let mut found = Vec::new();
    let mut used = vec![false; agreed.len()];
    for (path, source) in &sources {
        if test_modules.iter().any(|test| source.module.starts_with(test)) {
            continue;
        }
        sizes(path, source, &mut found);
        for (line, named) in &source.paths {
            let Some(why) = outside(source, named)
                .map(str::to_owned)
                .or_else(|| arrow(source, named))
            else {
                continue;
            };
            let named = named.join("::");
            match agreed
                .iter()
                .position(|(file, what, _)| file == path && named.starts_with(what))
            {
                Some(exception) => used[exception] = true,
                None => found.push(format!("src/{path}:{line}: {named}: {why}")),
            }
        }
        if Role::of(&source.module) == Role::Pure {
            found.extend(
                source
                    .awaits
                    .iter()
                    .map(|line| format!("src/{path}:{line}: a pure file does not wait (async, await)")),
            );
        }
    }
    let unused = agreed.iter().zip(used).filter(|(_, used)| !used);
    found.extend(unused.map(|((file, what, _), _)| {
        format!("src/{file} does not name {what} any more: take it out of AGREED")
    }));
    found
}

fn sizes(path: &str, source: &Source, found: &mut Vec<String>) {
    for (line, name, lines) in &source.functions {
        if *lines > FUNCTION_LINES_MAX {
            found.push(format!(
                "src/{path}:{line}: fn {name} has {lines} lines, more than {FUNCTION_LINES_MAX}"
            ));
        }
    }
    if source.lines > FILE_LINES_MAX {
        found.push(format!(
            "src/{path}: {} lines without tests, more than {FILE_LINES_MAX}",
            source.lines
        ));
    }
}

/// The file-name law: only some names may touch what lies outside.
fn outside(source: &Source, named: &[String]) -> Option<&'static str> {
    let role = Role::of(&source.module);
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    match named[..] {
        ["tokio" | "reqwest" | "notify" | "kube" | "axum", ..]
        | ["crate", "sync", "tokio", ..]
        | [
            "std",
            "net",
            "TcpStream" | "TcpListener" | "UdpSocket" | "ToSocketAddrs",
            ..,
        ] if !role.may_name_the_network() => {
            Some("only task, client, agent, admin and main may name the network")
        }
        ["std", "fs", ..] | ["std", "os", "unix", "fs", ..] | ["rustix", "fs", ..]
            if !role.may_touch_files() =>
        {
            Some("only disk, cli and main may touch files")
        }
        ["std", "thread" | "process" | "env", ..]
        | ["crate", "sync", "thread" | "mpsc" | "now" | "unix", ..]
        | ["rustix", "process" | "time" | "system", ..]
            if role == Role::Pure =>
        {
            Some("a pure file knows no thread, process, clock or environment")
        }
        [.., "Instant" | "SystemTime", "now"] if role == Role::Pure => Some("a pure file is told the time"),
        [.., "stdin" | "stdout" | "stderr"]
            if named[0] == "std"
                && !matches!(role, Role::Main | Role::Cli | Role::CliClient)
                && source.module != ["telemetry", "logging"] =>
        {
            Some("only cli, main and the log speak to a terminal")
        }
        _ => None,
    }
}

/// Arrows point down: main, cli, agent, shells, reader, cores, then flow and codec, then record.
fn arrow(source: &Source, named: &[String]) -> Option<String> {
    let to = match named.split_first() {
        Some((root, to)) if root == "crate" && !to.is_empty() => to,
        _ => return None,
    };
    // lib.rs is the map: it lies in no module, and what it re-exports is no knowledge.
    let from = source.module.first()?.as_str();
    let (role, target, target_role) = (Role::of(&source.module), to[0].as_str(), Role::of(to));
    if from == target {
        let up = role == Role::Pure && matches!(target_role, Role::Shell | Role::Disk);
        return up.then(|| "a core does not know its own shell".to_owned());
    }
    let into_shell = matches!(target_role, Role::Shell | Role::Disk);
    let allowed = match (from, role) {
        // Switches of deliberate bugs stand where the bugs are; without the feature nothing is left of them.
        _ if target == "mutant" => true,
        // What threads meet through: std's names, or a model checker's.
        _ if target == "sync" => true,
        ("mutant" | "sync", _) => false,
        // The file system as a trait: for shells, whatever stage they belong to.
        (stage, Role::Shell | Role::Disk) if STAGES.contains(&stage) && target == "disk" => true,
        ("main", _) => matches!(target, "cli" | "config" | "agent"),
        ("cli", _) => target != "main",
        ("agent", _) => !matches!(target, "main" | "cli"),
        ("admin", _) => matches!(target, "telemetry" | "config" | "record"),
        ("record" | "config" | "disk", _) => false,
        ("codec" | "flow", _) => target == "record",
        // What a server should have follows from the fields of our documents, and from nothing else of the sink.
        ("setup", _) => {
            target == "config"
                || matches!(to.get(..3), Some([_, _, file]) if target == "sink" && file == "schema")
        }
        ("telemetry", _) => matches!(target, "record" | "config"),
        ("reader", _) => match target {
            "sink" => {
                matches!(to.get(1..3), Some([server, file]) if server == "elasticsearch" && (file == "encode" || file == "schema"))
            }
            "record" | "config" | "codec" | "flow" => true,
            stage => STAGES.contains(&stage) && !into_shell,
        },
        (stage, Role::Pure) if STAGES.contains(&stage) => {
            matches!(target, "record" | "config" | "codec" | "flow")
        }
        // A task drives the reader and what the reader is made of: cores of any stage, nobody's shell.
        (stage, Role::Shell)
            if STAGES.contains(&stage) && source.module.iter().any(|part| part == "task") =>
        {
            matches!(
                target,
                "record" | "config" | "codec" | "flow" | "telemetry" | "reader"
            ) || (STAGES.contains(&target) && !into_shell)
        }
        (stage, _) if STAGES.contains(&stage) => matches!(
            target,
            "record" | "config" | "codec" | "flow" | "telemetry" | "reader"
        ),
        _ => {
            return Some(format!(
                "{from} is no module of DESIGN §4: give it a row in tests/it/layering.rs"
            ));
        }
    };
    (!allowed).then(|| format!("{from} may not know {target}"))
}

fn src() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn src_follows_the_rules() {
    let files = src();
    assert!(files.len() > 30, "src/ was not found");
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let found = violations(&files, &AGREED);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
