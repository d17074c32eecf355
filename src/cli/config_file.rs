//! Which config file counts, and its text.

use super::console::{Console, Failure};
use crate::config::{Config, Mistakes};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where the config lies when nobody says otherwise.
const DEFAULT_PATH: &str = "/etc/longshore/longshore.yaml";

/// The variable that names the config file when the option does not.
const VARIABLE: &str = "LONGSHORE_CONFIG";

/// The option that all subcommands with a config have.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ConfigFile {
    /// The config file; see `longshore --help` for where it is looked for
    #[arg(long = "config", value_name = "FILE")]
    pub(super) path: Option<PathBuf>,
}

/// A config before it is checked.
pub(super) struct ConfigText {
    /// Where it comes from, as a person calls it.
    pub(super) name: String,
    text: String,
}

impl ConfigFile {
    /// The text that counts. Only the file that nobody named may be missing: then there is none, and that is said.
    pub(super) fn read(&self, console: &mut Console<'_>) -> Result<ConfigText, Failure> {
        let named = self.path.clone().or_else(|| {
            (console.env)(VARIABLE)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let path = named.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        match read_text(path) {
            Ok(text) => Ok(ConfigText {
                name: path.display().to_string(),
                text,
            }),
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {
                console.note(format_args!(
                    "there is no {DEFAULT_PATH}: the built-in defaults count"
                ));
                Ok(ConfigText {
                    name: "built-in defaults".to_owned(),
                    text: String::new(),
                })
            }
            Err(error) => Err(Failure::Usage(format!(
                "config file {}: {error}\n  fix: name a readable file with --config or {VARIABLE}",
                path.display()
            ))),
        }
    }

    /// The checked config, with the host name where no node name is set.
    pub(super) fn load(&self, console: &mut Console<'_>) -> Result<Config, Failure> {
        let text = self.read(console)?;
        text.parse(console)
            .map_err(|mistakes| Failure::Usage(text.told(&mistakes)))
    }
}

impl ConfigText {
    /// The checked config, with the host name where no node name is set.
    pub(super) fn parse(&self, console: &Console<'_>) -> Result<Config, Mistakes> {
        let mut config = Config::parse(&self.text, console.env)?;
        if config.node_name.is_empty() {
            config.node_name = host_name();
        }
        Ok(config)
    }

    /// What is wrong in it, as a person reads it.
    pub(super) fn told(&self, mistakes: &Mistakes) -> String {
        let count = mistakes.0.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        format!("{}: {count} {noun}\n{mistakes}", self.name)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the config file is read here, and only here"
)]
fn read_text(path: &Path) -> std::io::Result<String> {
    fs::read_to_string(path)
}

/// The name that the kernel has for this machine.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
