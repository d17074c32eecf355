//! Each subcommand as a person calls it, inside this process.

mod connect;
mod dead_letter;
mod inspect;
mod setup;
mod try_files;

use super::*;
use crate::config::Config;
use std::path::Path;

/// What a subcommand left behind.
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

/// Runs `longshore` with these arguments in an environment of exactly these variables.
fn longshore_in(env: &[(&str, &str)], args: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let look_up = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let args = ["longshore"].iter().chain(args).map(OsString::from);
    let exit = main(
        args,
        &mut Console {
            out: &mut out,
            err: &mut err,
            env: &look_up,
        },
    );
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8 is written");
    Ran {
        exit,
        out: text(out),
        err: text(err),
    }
}

fn longshore(args: &[&str]) -> Ran {
    longshore_in(&[], args)
}

/// A file of the repository.
fn repository(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder for the test");
    std::fs::write(path, bytes).expect("a file for the test");
}

#[expect(clippy::disallowed_methods, reason = "a test reads the repository")]
fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).expect("a file of the repository")
}

/// Compares with a file of `tests/golden/cli`; `UPDATE=1` writes it anew.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a test that writes its own golden file when it is asked to"
)]
fn assert_golden(name: &str, have: &str) {
    let path = format!("tests/golden/cli/{name}");
    if std::env::var_os("UPDATE").is_some() {
        write(Path::new(&repository(&path)), have);
    }
    assert!(have == read(&path), "{path} differs:\n{have}");
}

#[test]
fn version_and_help_are_results() {
    let version = longshore(&["--version"]);
    assert_eq!(
        (version.exit, version.out.as_str(), version.err.as_str()),
        (
            Exit::Clean,
            concat!("longshore ", env!("CARGO_PKG_VERSION"), "\n"),
            ""
        )
    );
    let help = longshore(&["--help"]);
    assert_eq!((help.exit, help.err.as_str()), (Exit::Clean, ""));
    assert_golden("help", &help.out);
    for subcommand in Cli::command().get_subcommands() {
        let name = subcommand.get_name();
        assert!(help.out.contains(&format!("\n  {name} ")), "{name}");
        let own = longshore(&[name, "--help"]);
        assert_eq!(own.exit, Exit::Clean);
        assert!(
            own.out.contains("Example"),
            "{name} shows an example:\n{}",
            own.out
        );
        assert!(
            own.out.lines().all(|line| line.chars().count() <= 100),
            "{}",
            own.out
        );
    }
}

#[test]
fn the_tree_of_subcommands_has_no_contradictions() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_64_and_says_what_is_right() {
    for args in [
        &[][..],
        &["frobnicate"],
        &["check", "--frobnicate"],
        &["completions", "cobol"],
    ] {
        let ran = longshore(args);
        assert_eq!(
            (ran.exit, ran.exit.code(), ran.out.as_str()),
            (Exit::Usage, 64, ""),
            "{args:?}"
        );
        assert!(
            ran.err.contains("--help") || ran.err.contains("Usage"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn config_prints_a_file_that_check_accepts() {
    let printed = longshore(&["config"]);
    assert_eq!(
        (printed.exit, printed.out.as_str()),
        (Exit::Clean, Config::default_yaml())
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.yaml");
    write(&path, &printed.out);
    let checked = longshore(&["check", path.to_str().unwrap()]);
    assert_eq!((checked.exit, checked.err.as_str()), (Exit::Clean, ""));
    assert_eq!(checked.out, format!("{}: no mistakes\n", path.display()));
}

#[test]
fn schema_prints_the_file_of_the_repository() {
    let ran = longshore(&["schema"]);
    assert_eq!(
        (ran.exit, ran.out),
        (Exit::Clean, read("config/longshore.schema.json"))
    );
}

#[test]
fn completions_name_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = longshore(&["completions", shell]);
        assert_eq!(ran.exit, Exit::Clean);
        for subcommand in Cli::command().get_subcommands() {
            assert!(ran.out.contains(subcommand.get_name()), "{shell}");
        }
    }
}

#[test]
fn check_accepts_every_config_of_the_repository() {
    for name in ["minimal", "tls-apikey", "edge-small", "json-apps"] {
        let path = repository(&format!("config/examples/{name}.yaml"));
        let ran = longshore(&["check", "--config", &path]);
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Clean, ""), "{}", ran.out);
    }
    let deployed = repository("deploy/kubernetes/longshore.yaml");
    let ran = longshore_in(&[("NODE_NAME", "node-a")], &["check", &deployed]);
    assert_eq!(ran.exit, Exit::Clean, "{}", ran.out);
    let without_node = longshore(&["check", &deployed]);
    assert_eq!(without_node.exit, Exit::Usage);
    assert!(
        without_node.out.contains("set the variable NODE_NAME"),
        "{}",
        without_node.out
    );
}

#[test]
fn check_tells_all_mistakes_with_line_key_value_form_and_fix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yaml");
    write(
        &path,
        "soruce: {}\nsource:\n  max_open_files: 1\nbatch: {max_bytes: 32MiB}\nmemory: {in_flight: 16MiB}\n",
    );
    let ran = longshore_in(&[("LONGSHORE_CONFIG", path.to_str().unwrap())], &["check"]);
    let want = "\
bad.yaml: 3 mistakes
line 1: soruce
  allowed: node_name, state_dir, source, parse, enrich, batch, spool, memory, sink, admin, log
  fix: this key is not known; did you mean `source`?
line 3: source.max_open_files: `1`
  allowed: a whole number from 16 to 1048576
  fix: raise it to 16 at least
line 4: batch.max_bytes: `32MiB`
  allowed: max_bytes at most memory.in_flight, which is 16MiB
  fix: lower batch.max_bytes or raise memory.in_flight: a batch must fit into the budget
";
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Usage, ""));
    assert_eq!(ran.out, format!("{}/{want}", folder.path().display()));
}

#[test]
fn a_named_config_that_cannot_be_read_is_wrong_usage() {
    for args in [
        &["check", "/nonexistent/longshore.yaml"][..],
        &["check", "--config", "/"],
    ] {
        let ran = longshore(args);
        assert_eq!(ran.exit, Exit::Usage);
        assert!(ran.err.contains("fix: name a readable file"), "{}", ran.err);
    }
    let by_variable = longshore_in(&[("LONGSHORE_CONFIG", "/nonexistent")], &["check"]);
    assert_eq!(by_variable.exit, Exit::Usage);
}

#[test]
fn run_does_not_begin_with_mistakes_in_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yaml");
    write(&path, "soruce: {}\nparse: {json: yes}\n");
    let ran = longshore(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""));
    assert!(
        ran.err.contains("bad.yaml: 2 mistakes\nline 1: soruce"),
        "{}",
        ran.err
    );
}

#[test]
fn the_option_counts_before_the_variable() {
    let minimal = repository("config/examples/minimal.yaml");
    let ran = longshore_in(
        &[("LONGSHORE_CONFIG", "/nonexistent")],
        &["check", "--config", &minimal],
    );
    assert_eq!(ran.exit, Exit::Clean);
}

#[test]
fn a_missing_node_name_is_the_host_name() {
    let env: &dyn Fn(&str) -> Option<String> = &|_| None;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        env,
    };
    let minimal = config_file::ConfigFile {
        path: Some(repository("config/examples/minimal.yaml").into()),
    };
    let Ok(config) = minimal.load(&mut console) else {
        panic!("a good file")
    };
    assert_eq!(
        config.node_name,
        rustix::system::uname().nodename().to_string_lossy()
    );
}

/// Takes a few bytes, then fails.
struct Closes {
    room: usize,
    kind: io::ErrorKind,
}

impl io::Write for Closes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        if taken == 0 {
            Err(self.kind.into())
        } else {
            Ok(taken)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_a_clean_end_and_a_full_disk_is_not() {
    for (kind, want) in [
        (io::ErrorKind::BrokenPipe, Exit::Clean),
        (io::ErrorKind::StorageFull, Exit::Runtime),
    ] {
        for subcommand in [
            &["config"][..],
            &["schema"],
            &["completions", "bash"],
            &["--help"],
        ] {
            let mut err = Vec::new();
            let args = ["longshore"].iter().chain(subcommand).map(OsString::from);
            let exit = main(
                args,
                &mut Console {
                    out: &mut Closes { room: 10, kind },
                    err: &mut err,
                    env: &|_| None,
                },
            );
            assert_eq!(exit, want, "{subcommand:?} {kind:?}");
        }
    }
}
