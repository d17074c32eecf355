//! What a server says of itself enters; what it can do leaves.
//!
//! From `GET /`, or `GET /_nodes/plugins` where that is closed, or from what a person says, such as `elasticsearch-8.19`. Which version brought what
//! follows the vendors' manuals; where the list of modules is known, what needs a module that is not there is left out.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;

/// Whose server it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Elasticsearch, 7.17 and later.
    Elasticsearch,
    /// Elastic Cloud Serverless: always the newest, and without policies.
    Serverless,
    /// OpenSearch, 1 and later.
    OpenSearch,
}

/// A server, or a whole cluster of one version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Whose it is.
    pub kind: Kind,
    /// Major and minor version.
    pub version: (u32, u32),
    /// Names of its modules and plugins, where it tells them.
    pub modules: Option<BTreeSet<String>>,
}

/// How text, labels and lifecycles can be kept there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// `match_only_text`: text without positions, smaller.
    pub match_only_text: bool,
    /// `constant_keyword`: one value for a whole index.
    pub constant_keyword: bool,
    /// The type that takes any object as one field, if there is one.
    pub flattened: Option<&'static str>,
    /// `passthrough` objects: dotted names below them stay names.
    pub passthrough: bool,
    /// Fields beyond the limit are kept unmapped in place of a refusal.
    pub ignore_beyond_limit: bool,
    /// The index mode for logs.
    pub logsdb: bool,
    /// Streams have a failure store, which is to be switched off.
    pub failure_store: bool,
    /// A template may name component templates that are not there.
    pub optional_components: bool,
    /// Data streams.
    pub data_streams: bool,
    /// How old data goes.
    pub lifecycle: Lifecycle,
}

/// How a server lets old data go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifecycle {
    /// Index lifecycle management: policies that indices name.
    Ilm,
    /// Index State Management: policies that name indices.
    Ism,
    /// The data stream lifecycle: a member of the template. Plain indices have none.
    DataStream,
    /// None that can be told from here.
    None,
}

impl Server {
    /// From the answer to `GET /`.
    ///
    /// # Errors
    /// When it is no answer of Elasticsearch or OpenSearch, or of a version that has no composable templates.
    pub fn from_root(answer: &[u8]) -> Result<Server, String> {
        #[derive(Deserialize)]
        struct Root {
            version: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            number: String,
            #[serde(default)]
            distribution: String,
            #[serde(default)]
            build_flavor: String,
        }
        let root: Root = serde_json::from_slice(answer)
            .map_err(|_| "the answer to GET / is not one of Elasticsearch or OpenSearch".to_owned())?;
        let kind = match (
            root.version.distribution.as_str(),
            root.version.build_flavor.as_str(),
        ) {
            ("opensearch", _) => Kind::OpenSearch,
            (_, "serverless") => Kind::Serverless,
            _ => Kind::Elasticsearch,
        };
        Server::new(kind, &root.version.number)
    }

    /// From the answer to `GET /_nodes/plugins`, which tells the version of each node: the oldest counts.
    ///
    /// # Errors
    /// When there is no node in it, or it is too old.
    pub fn from_nodes(answer: &[u8]) -> Result<Server, String> {
        #[derive(Deserialize)]
        struct Nodes {
            nodes: std::collections::BTreeMap<String, Node>,
        }
        #[derive(Deserialize)]
        struct Node {
            version: String,
            #[serde(default)]
            build_flavor: String,
        }
        let told: Option<Nodes> = serde_json::from_slice(answer).ok();
        let nodes = told.into_iter().flat_map(|told| told.nodes.into_values());
        let servers = nodes.map(|node| {
            // Versions below 7 are OpenSearch's: this path is older in none of those that are known here.
            let is_opensearch = node
                .version
                .split('.')
                .next()
                .is_some_and(|major| major.len() == 1 && major < "7");
            let kind = match (is_opensearch, node.build_flavor.as_str()) {
                (true, _) => Kind::OpenSearch,
                (false, "serverless") => Kind::Serverless,
                (false, _) => Kind::Elasticsearch,
            };
            Server::new(kind, &node.version)
        });
        let servers = servers.collect::<Result<Vec<Server>, String>>()?;
        let oldest = servers.into_iter().min_by_key(|server| server.version);
        oldest.ok_or_else(|| "GET /_nodes/plugins tells of no node".to_owned())
    }

    /// From what a person says: `elasticsearch-8.19`, `opensearch-2.19`, `serverless`.
    ///
    /// # Errors
    /// With the form that is allowed.
    pub fn from_name(name: &str) -> Result<Server, String> {
        let form = || {
            format!(
                "{name} is no server; write elasticsearch-8.19, opensearch-2.19 (your version) or serverless"
            )
        };
        match name.split_once('-') {
            None if name == "serverless" => Server::new(Kind::Serverless, "9.0"),
            Some(("elasticsearch", version)) => Server::new(Kind::Elasticsearch, version),
            Some(("opensearch", version)) => Server::new(Kind::OpenSearch, version),
            _ => Err(form()),
        }
    }

    fn new(kind: Kind, number: &str) -> Result<Server, String> {
        let mut parts = number.split(['.', '-']).map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
            return Err(format!("{number} is no version; write it as 8.19"));
        };
        let server = Server {
            kind,
            version: (major, minor),
            modules: None,
        };
        let oldest = match kind {
            Kind::Elasticsearch | Kind::Serverless => (7, 17),
            Kind::OpenSearch => (1, 0),
        };
        if server.version < oldest {
            return Err(format!(
                "{server} is too old: Elasticsearch 7.17 and OpenSearch 1.0 are the first that are known"
            ));
        }
        Ok(server)
    }

    /// With the modules that `GET /_nodes/plugins` tells: what every node has.
    #[must_use]
    pub fn with_modules(mut self, answer: &[u8]) -> Server {
        #[derive(Deserialize)]
        struct Nodes {
            nodes: std::collections::BTreeMap<String, Node>,
        }
        #[derive(Deserialize)]
        struct Node {
            #[serde(default)]
            plugins: Vec<Named>,
            #[serde(default)]
            modules: Vec<Named>,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let Ok(Nodes { nodes }) = serde_json::from_slice(answer) else {
            return self;
        };
        let names = nodes.into_values().map(|node| -> BTreeSet<String> {
            node.plugins
                .into_iter()
                .chain(node.modules)
                .map(|named| named.name)
                .collect()
        });
        self.modules = names.reduce(|all, other| all.intersection(&other).cloned().collect());
        self
    }

    /// What it can do.
    pub fn abilities(&self) -> Abilities {
        match self.kind {
            Kind::Elasticsearch | Kind::Serverless => self.abilities_of_elasticsearch(),
            Kind::OpenSearch => self.abilities_of_opensearch(),
        }
    }

    fn abilities_of_elasticsearch(&self) -> Abilities {
        let since = |major, minor| self.version >= (major, minor);
        let is_serverless = self.kind == Kind::Serverless;
        Abilities {
            match_only_text: self.has("mapper-extras"),
            constant_keyword: self.has("constant-keyword"),
            // In the core since 8.1, a module before.
            flattened: (since(8, 1) || self.has("flattened")).then_some("flattened"),
            passthrough: since(8, 15),
            ignore_beyond_limit: since(8, 14),
            logsdb: since(8, 17) && self.has("logsdb"),
            failure_store: (since(8, 19) && self.version.0 == 8 || since(9, 1)) && self.has("data-streams"),
            optional_components: since(8, 7),
            // The servers of the tests have streams without the module that has their calls, but not in 7.17.
            data_streams: since(8, 0) || self.has("x-pack-data-streams"),
            lifecycle: match () {
                () if is_serverless => Lifecycle::DataStream,
                () if self.has("x-pack-ilm") => Lifecycle::Ilm,
                () => Lifecycle::None,
            },
        }
    }

    fn abilities_of_opensearch(&self) -> Abilities {
        let since = |major, minor| self.version >= (major, minor);
        Abilities {
            match_only_text: since(2, 14),
            // Its own wants the value in the mapping: then a stream would take one namespace only.
            constant_keyword: false,
            flattened: since(2, 7).then_some("flat_object"),
            passthrough: false,
            ignore_beyond_limit: false,
            logsdb: false,
            failure_store: false,
            optional_components: false,
            data_streams: true,
            lifecycle: if self.has("opensearch-index-management") {
                Lifecycle::Ism
            } else {
                Lifecycle::None
            },
        }
    }

    /// Whether a module is there; yes where nobody knows.
    fn has(&self, module: &str) -> bool {
        self.modules
            .as_ref()
            .is_none_or(|modules| modules.contains(module))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version;
        match self.kind {
            Kind::Elasticsearch => write!(out, "Elasticsearch {major}.{minor}"),
            Kind::Serverless => write!(out, "Elastic Cloud Serverless"),
            Kind::OpenSearch => write!(out, "OpenSearch {major}.{minor}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Server {
        Server::from_name(name).unwrap()
    }

    #[test]
    fn servers_say_what_they_are() {
        let root = |version: &str| Server::from_root(format!("{{\"version\":{version}}}").as_bytes());
        let opensearch = root(r#"{"number":"2.19.1","distribution":"opensearch"}"#).unwrap();
        assert_eq!(opensearch, named("opensearch-2.19"));
        let elasticsearch = root(r#"{"number":"9.2.8-SNAPSHOT","build_flavor":"default"}"#).unwrap();
        assert_eq!(elasticsearch, named("elasticsearch-9.2"));
        let serverless = root(r#"{"number":"8.11.0","build_flavor":"serverless"}"#).unwrap();
        assert_eq!(serverless.kind, Kind::Serverless);
        assert!(root(r#"{"number":"7.10.2"}"#).unwrap_err().contains("too old"));
        assert!(Server::from_root(b"<html>").is_err());
        for wrong in ["elasticsearch", "elasticsearch-8", "solr-9.1", "opensearch-x.y"] {
            assert!(Server::from_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nodes_say_what_they_are_and_the_oldest_counts() {
        let nodes = |versions: &[&str]| {
            let nodes = versions.iter().enumerate();
            let nodes: serde_json::Map<String, serde_json::Value> = nodes
                .map(|(at, version)| (at.to_string(), serde_json::json!({ "version": version })))
                .collect();
            Server::from_nodes(serde_json::json!({ "nodes": nodes }).to_string().as_bytes())
        };
        assert_eq!(nodes(&["9.2.8", "8.19.21"]).unwrap(), named("elasticsearch-8.19"));
        assert_eq!(nodes(&["3.8.0"]).unwrap(), named("opensearch-3.8"));
        assert!(nodes(&[]).unwrap_err().contains("no node"));
        assert!(nodes(&["7.10.2"]).unwrap_err().contains("too old"));
        assert!(Server::from_nodes(b"{}").is_err());
    }

    #[test]
    fn versions_bring_abilities() {
        let able = |name: &str| named(name).abilities();
        let es7 = able("elasticsearch-7.17");
        assert!(!es7.logsdb && !es7.ignore_beyond_limit && !es7.passthrough && es7.match_only_text);
        assert_eq!(
            (es7.lifecycle, es7.flattened),
            (Lifecycle::Ilm, Some("flattened"))
        );
        let [es818, es819, es90, es91] =
            ["8.18", "8.19", "9.0", "9.1"].map(|v| able(&format!("elasticsearch-{v}")));
        assert_eq!(
            [es818, es819, es90, es91].map(|able| able.failure_store),
            [false, true, false, true]
        );
        assert!(es818.logsdb && !able("elasticsearch-8.16").logsdb);
        let [old, os2] = ["opensearch-2.0", "opensearch-2.19"].map(able);
        assert!(!old.match_only_text && os2.match_only_text && !os2.ignore_beyond_limit);
        assert_eq!((old.flattened, os2.flattened), (None, Some("flat_object")));
        assert_eq!(
            (os2.lifecycle, able("serverless").lifecycle),
            (Lifecycle::Ism, Lifecycle::DataStream)
        );
    }

    /// Red when the modules of one node count for all, or when what is not known counts as missing.
    #[test]
    fn what_needs_a_module_that_some_node_has_not_is_not_there() {
        let modules = |lists: &[&[&str]]| {
            let nodes: serde_json::Map<String, serde_json::Value> = lists
                .iter()
                .enumerate()
                .map(|(at, names)| {
                    let names: Vec<_> = names
                        .iter()
                        .map(|name| serde_json::json!({"name": name}))
                        .collect();
                    (
                        at.to_string(),
                        serde_json::json!({"plugins": [], "modules": names}),
                    )
                })
                .collect();
            serde_json::json!({ "nodes": nodes }).to_string().into_bytes()
        };
        let server = named("elasticsearch-8.19");
        let both = server
            .clone()
            .with_modules(&modules(&[&["mapper-extras", "x-pack-ilm"], &["x-pack-ilm"]]));
        let able = both.abilities();
        assert_eq!((able.match_only_text, able.lifecycle), (false, Lifecycle::Ilm));
        let bare = server
            .clone()
            .with_modules(&modules(&[&["x-pack-core"]]))
            .abilities();
        assert_eq!(
            (bare.lifecycle, bare.constant_keyword, bare.logsdb),
            (Lifecycle::None, false, false)
        );
        assert_eq!(bare.flattened, Some("flattened"));
        assert_eq!(server.clone().with_modules(b"no JSON"), server);
    }
}
