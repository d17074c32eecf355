//! YAML text and an environment enter; a checked [`Config`] leaves, or *all* [`Mistakes`] at once.
//!
//! Pure: the text and the environment are arguments, no file is opened here, and the host name is the caller's business.
//! Nothing is mended in silence: what is not allowed is a mistake with its line, key, value, allowed form and fix.
//! Values that are not written come from `config/longshore.yaml`, so that its variables (`NODE_NAME`, …) always count.

mod types;

mod access;
mod check;
mod data_stream;
mod file;
mod fingerprint;
mod form;
mod glob;
mod host;
mod index;
mod keys;
mod log;
mod mistake;
mod names;
mod reader;
mod schema;
mod spelling;
#[cfg(test)]
mod tests;
mod units;
mod variables;

pub use access::{Auth, Aws, AwsService, Tls};
pub use data_stream::DataStream;
pub use fingerprint::Fingerprint;
pub use glob::Glob;
pub use host::HostUrl;
pub use index::{IndexPart, IndexPattern};
pub use log::{Log, LogFormat, LogLevel};
pub use mistake::{Mistake, Mistakes};
pub use schema::schema;
pub use types::*;

use names::Names;
use reader::Reader;

impl Config {
    /// Reads a config text; `env` looks up environment variables.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let names = Names::new();
        // A test proves that the default file has no mistakes.
        let default_root = file::read_tree(Self::default_yaml(), &mut Vec::new());
        let root = file::read_tree(text, &mut mistakes);
        let defaults = default_root
            .as_ref()
            .map(|root| names.flatten(root, &mut Vec::new()));
        let written = root.as_ref().map(|root| names.flatten(root, &mut mistakes));
        let mut config = Self::default();
        let mut reader = Reader::new(
            env,
            defaults.unwrap_or_default(),
            written.unwrap_or_default(),
            &mut mistakes,
        );
        keys::walk(&mut config, &mut reader);
        check::check(&config, &mut reader);
        if mistakes.is_empty() {
            return Ok(config);
        }
        mistakes.sort_by_key(|mistake| mistake.line);
        Err(Mistakes(mistakes))
    }

    /// The config file with every key, its default, and what it does.
    pub fn default_yaml() -> &'static str {
        include_str!("../../config/longshore.yaml")
    }
}
