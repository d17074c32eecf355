//! `longshore setup`: templates and policies for our documents are printed, compared with a server's, or put there.
//!
//! What the objects are, and what is to be done about each, [`crate::setup`] knows. Here they meet files and a server: all of
//! them are read before one is changed, and when the server refuses one, those that were put before it are taken back.

use super::client::Server as Remote;
use super::config_file::ConfigFile;
use super::console::{Console, Exit, Failure};
use super::table::visible;
use crate::config::{Config, JsonMode};
use crate::setup::mappings::{Labels, Wishes};
use crate::setup::objects::{Object, Purpose, Sort, objects, shortcomings};
use crate::setup::plan::{Change, Found, change, found};
use crate::setup::privileges;
use crate::setup::server::{Kind, Server};
use crate::setup::views::{self, Application};
use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const HELP: &str = "\
Makes index and component templates, and with --retention a lifecycle policy, for the documents of
this config: schema and index of sink.elasticsearch. Agents run without it; with it, fields have
types that Kibana can work with, labels cannot conflict, and old indices go. Names of Fluentd's
documents are aliases in the schema ecs, and the other way round, so searches find both.

It needs rights that agents must not have (see role-setup.json of --print): name credentials for it
in a config of its own. Nothing is touched that Longshore has not made. Roles, API keys, and what
Kibana or OpenSearch Dashboards import (data view, searches, dashboard) are printed only.

Examples:
  longshore setup --dry-run --retention 14d
  longshore setup --apply --retention 14d --config setup.yaml
  longshore setup --print templates --server elasticsearch-8.19     (no server is asked)

Exit codes:
  0  shown, written, or applied; applying once more changes nothing
  1  the server cannot be asked, refuses an object, or has one of that name from somebody else
  64 wrong usage, or mistakes in the config";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    task: Task,
    /// What the server is, unasked: elasticsearch-8.19, opensearch-2.19 or serverless
    #[arg(long, value_name = "NAME", value_parser = Server::from_name)]
    server: Option<Server>,
    /// How labels are mapped
    #[arg(long, value_enum, default_value_t = LabelMapping::Keyword)]
    labels: LabelMapping,
    /// When old documents are deleted, in days or hours; without it never
    #[arg(long, value_name = "14d", value_parser = retention)]
    retention: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Task {
    /// Write the objects into files of this directory
    #[arg(long, value_name = "DIR")]
    print: Option<PathBuf>,
    /// Show what --apply would change
    #[arg(long)]
    dry_run: bool,
    /// Put the objects where they are missing or different
    #[arg(long)]
    apply: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LabelMapping {
    /// A keyword for each key
    Keyword,
    /// One field for all keys
    Flattened,
}

fn retention(text: &str) -> Result<String, String> {
    let is_number = |digits: &str| digits.parse::<u32>().is_ok_and(|number| number > 0);
    match text.strip_suffix(['d', 'h']).is_some_and(is_number) {
        true => Ok(text.to_owned()),
        false => Err("write it as 14d or 36h".to_owned()),
    }
}

pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let config = args.config.load(console)?;
    let purpose = purpose(args, &config);
    let (remote, server) = match (&args.server, &args.task.print) {
        (Some(server), Some(_)) => (None, server.clone()),
        _ => {
            let remote = Remote::connect(&config.sink.elasticsearch)?;
            let server = ask(args, &remote)?;
            (Some(remote), server)
        }
    };
    let objects = objects(&server, &purpose).map_err(|problem| anyhow!(problem))?;
    console.note(format_args!(
        "{server}, indices {}",
        purpose.patterns().join(", ")
    ));
    for told in shortcomings(&server, &purpose) {
        console.note(told);
    }
    match (&args.task.print, remote) {
        (Some(folder), _) => print(folder, &server, &purpose, &objects, console),
        (None, Some(remote)) => compare(&remote, &objects, args.task.apply, console),
        (None, None) => Ok(Exit::Clean),
    }
}

fn purpose(args: &Args, config: &Config) -> Purpose {
    let elasticsearch = &config.sink.elasticsearch;
    Purpose {
        wishes: Wishes {
            schema: elasticsearch.schema,
            labels: match args.labels {
                LabelMapping::Keyword => Labels::Keyword,
                LabelMapping::Flattened => Labels::Flattened,
            },
            merges_json: config.parse.json == JsonMode::Merge,
        },
        index: elasticsearch.index_pattern(),
        retention: args.retention.clone(),
        looks_up: elasticsearch.look_up_after.is_some(),
    }
}

/// What server it is, and which modules it has.
fn ask(args: &Args, remote: &Remote) -> anyhow::Result<Server> {
    let (nodes_status, nodes) = remote.call("GET", "_nodes/plugins", None)?;
    let server = match &args.server {
        Some(server) => server.clone(),
        None => {
            let (status, answer) = remote.call("GET", "", None)?;
            let server = match (status, nodes_status) {
                (200, _) => Server::from_root(&answer),
                (_, 200) => Server::from_nodes(&nodes),
                (_, status @ (401 | 403)) => {
                    let why = refusal(&nodes);
                    Err(format!(
                        "GET _nodes/plugins answers {status}{why}; setup needs rights that agents do not have: give it \
                         credentials with those of role-setup.json, which --print writes"
                    ))
                }
                _ => {
                    let why = refusal(&answer);
                    Err(format!(
                        "GET / answers {status}{why}; name the server with --server, such as --server elasticsearch-8.19"
                    ))
                }
            };
            server.map_err(|problem| anyhow!(problem))?
        }
    };
    // Who may not ask, or cannot be asked, has all that his version brings.
    Ok(match nodes_status {
        200 => server.with_modules(&nodes),
        _ => server,
    })
}

/// Writes the objects, and the recipes for rights, into files.
fn print(
    folder: &Path,
    server: &Server,
    purpose: &Purpose,
    objects: &[Object],
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    make_folder(folder)?;
    for (at, object) in objects.iter().enumerate() {
        let sort = match object.sort {
            Sort::IlmPolicy | Sort::IsmPolicy => "policy",
            Sort::ComponentTemplate => "component",
            Sort::IndexTemplate => "template",
        };
        let file = folder.join(format!("{}-{sort}-{}.json", at + 1, object.name));
        write(&file, &format!("{:#}\n", object.body))?;
        writeln!(console.out, "PUT /{} from {}", object.path(), file.display())?;
    }
    let recipes = [
        ("role-agent.json", Some(privileges::agent_role(server, purpose))),
        ("api-key-agent.json", privileges::agent_api_key(server, purpose)),
        ("role-setup.json", Some(privileges::setup_role(server))),
    ];
    for (name, body) in recipes {
        if let Some(body) = body {
            let file = folder.join(name);
            write(&file, &format!("{body:#}\n"))?;
            writeln!(console.out, "for you to grant: {}", file.display())?;
        }
    }
    let (application, name) = match server.kind {
        Kind::OpenSearch => (Application::OpenSearchDashboards, "opensearch-dashboards.ndjson"),
        Kind::Elasticsearch | Kind::Serverless => (Application::Kibana, "kibana.ndjson"),
    };
    let file = folder.join(name);
    write(&file, &views::ndjson(application, purpose, &server.abilities()))?;
    writeln!(console.out, "for you to import: {}", file.display())?;
    Ok(Exit::Clean)
}

#[expect(clippy::disallowed_methods, reason = "the directory that a person named")]
fn make_folder(folder: &Path) -> Result<(), Failure> {
    Ok(fs::create_dir_all(folder).with_context(|| folder.display().to_string())?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "files in the directory that a person named"
)]
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    Ok(fs::write(file, text).with_context(|| file.display().to_string())?)
}

/// An object, what the server has, and what is to be done.
struct Step<'a> {
    object: &'a Object,
    found: Option<Found>,
    change: Change,
}

/// Shows what differs, or makes it alike.
fn compare(
    remote: &Remote,
    objects: &[Object],
    apply: bool,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut steps = Vec::with_capacity(objects.len());
    for object in objects {
        let found = look(remote, object)?;
        let change = change(object, found.as_ref());
        steps.push(Step {
            object,
            found,
            change,
        });
    }
    let foreign = steps.iter().filter(|step| step.change == Change::Foreign);
    let foreign: Vec<String> = foreign.map(|step| step.object.path()).collect();
    if !foreign.is_empty() {
        return Err(anyhow!(
            "{}: not made by Longshore; nothing was changed. Remove it, or give it another name, and try again",
            foreign.join(", ")
        )
        .into());
    }
    let mut done: Vec<&Step<'_>> = Vec::new();
    for step in &steps {
        tell(step, apply, console)?;
        if !apply || !matches!(step.change, Change::Create | Change::Update(_)) {
            continue;
        }
        if let Err(problem) = put(remote, step.object, &step.object.body) {
            let undone = done.iter().rev().try_for_each(|step| undo(remote, step));
            return Err(match undone {
                Ok(()) => problem.context("refused; all is as it was"),
                Err(other) => problem.context(format!(
                    "refused, and what was put before it could not be taken back ({other:#})"
                )),
            }
            .into());
        }
        done.push(step);
    }
    let count = steps
        .iter()
        .filter(|step| matches!(step.change, Change::Create | Change::Update(_)))
        .count();
    match (count, apply) {
        (0, _) => writeln!(console.out, "nothing to do")?,
        (count, true) => writeln!(console.out, "{count} applied")?,
        (count, false) => writeln!(console.out, "{count} to apply")?,
    }
    Ok(Exit::Clean)
}

fn tell(step: &Step<'_>, apply: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let path = step.object.path();
    let word = match (&step.change, apply) {
        (Change::Create, false) => "create",
        (Change::Create, true) => "creating",
        (Change::Update(_), false) => "update",
        (Change::Update(_), true) => "updating",
        (Change::Unchanged, _) => "unchanged",
        (Change::Newer(version), _) => {
            writeln!(
                console.out,
                "stays      {path} (version {version}, of a newer Longshore)"
            )?;
            return Ok(());
        }
        (Change::Foreign, _) => "foreign",
    };
    writeln!(console.out, "{word:<10} {path}")?;
    if let Change::Update(differences) = &step.change {
        for line in differences {
            writeln!(console.out, "  {}", visible(line))?;
        }
    }
    Ok(())
}

/// What the server has under the name of an object.
fn look(remote: &Remote, object: &Object) -> anyhow::Result<Option<Found>> {
    let path = object.path();
    let (status, answer) = remote.call("GET", &path, None)?;
    match status {
        404 => Ok(None),
        200 => found(object, &answer)
            .map(Some)
            .map_err(|problem| anyhow!(problem)),
        _ => Err(anyhow!("GET {path} answers {status}{}", refusal(&answer))),
    }
}

fn put(remote: &Remote, object: &Object, body: &Value) -> anyhow::Result<()> {
    let mut path = object.path();
    // Index State Management wants to know which state a change is made of.
    if object.sort == Sort::IsmPolicy
        && let Some((seq_no, primary_term)) = look(remote, object)?.and_then(|found| found.at)
    {
        path = format!("{path}?if_seq_no={seq_no}&if_primary_term={primary_term}");
    }
    let (status, answer) = remote.call("PUT", &path, Some(body))?;
    match status {
        200..=299 => Ok(()),
        _ => Err(anyhow!("PUT {path} answers {status}{}", refusal(&answer))),
    }
}

/// Puts back what was there before.
fn undo(remote: &Remote, step: &Step<'_>) -> anyhow::Result<()> {
    if let Some(found) = &step.found {
        return put(remote, step.object, &found.body);
    }
    let path = step.object.path();
    let (status, answer) = remote.call("DELETE", &path, None)?;
    match status {
        200..=299 | 404 => Ok(()),
        _ => Err(anyhow!("DELETE {path} answers {status}{}", refusal(&answer))),
    }
}

/// The reasons in an answer, outermost first, as much as a person reads.
fn refusal(answer: &[u8]) -> String {
    const REASONS_MAX: usize = 5;
    const LETTERS_MAX: usize = 2000;
    let answer: Value = serde_json::from_slice(answer).unwrap_or(json!(null));
    let mut error = &answer["error"];
    let mut told = String::new();
    if let Some(text) = error.as_str() {
        told = format!(": {text}");
    }
    for _ in 0..REASONS_MAX {
        if let Some(reason) = error["reason"].as_str() {
            told += &format!(": {reason}");
        }
        error = &error["caused_by"];
    }
    visible(&told.chars().take(LETTERS_MAX).collect::<String>())
}
