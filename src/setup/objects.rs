//! All objects for one kind of documents on one kind of server, in the order in which a server takes them.
//!
//! ```text
//!  policy ◀─names─ component "settings" ─┐
//!                  component "mappings" ─┴─composed─▶ index template ─matches─▶ indices to come
//! ```
//!
//! Each object says whose it is, and carries a version and a digest of its content, in `_meta` (a policy of OpenSearch has
//! none: in its description). So a second run knows that nothing is to be done, and an older Longshore leaves what a newer one
//! has made.

use super::lifecycle;
use super::mappings::{Wishes, mappings};
use super::server::{Lifecycle, Server};
use crate::config::{IndexPart, IndexPattern, Schema};
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

/// The version of what this program makes. Raised with every change of it.
pub const VERSION: u64 = 1;
/// Before the templates that servers bring along (100, 120) and those of Elastic's agents (200).
const PRIORITY: u64 = 210;
/// Whose it is.
const MANAGED_BY: &str = "longshore";
/// Fields that an index may have. What is beyond is kept unmapped, where the server can.
const FIELD_LIMIT: u64 = 1000;

/// What sort of object it is, which says where it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// A policy of index lifecycle management.
    IlmPolicy,
    /// A policy of Index State Management.
    IsmPolicy,
    /// A part of index templates.
    ComponentTemplate,
    /// What new indices and data streams are made from.
    IndexTemplate,
}

impl Sort {
    /// The path of an object of this sort, without its name.
    fn folder(self) -> &'static str {
        match self {
            Sort::IlmPolicy => "_ilm/policy",
            Sort::IsmPolicy => "_plugins/_ism/policies",
            Sort::ComponentTemplate => "_component_template",
            Sort::IndexTemplate => "_index_template",
        }
    }
}

/// An object of the server.
#[derive(Clone, PartialEq, Debug)]
pub struct Object {
    /// Its sort.
    pub sort: Sort,
    /// Its name.
    pub name: String,
    /// What is put there.
    pub body: Value,
}

impl Object {
    /// Where it lives, for `GET`, `PUT` and `DELETE`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.sort.folder(), self.name)
    }

    /// An object that says whose it is, and what it is.
    fn new(sort: Sort, name: &str, mut body: Value) -> Object {
        let digest = format!("{:016x}", XxHash3_64::oneshot(body.to_string().as_bytes()));
        let meta = json!({"managed_by": MANAGED_BY, "version": VERSION, "digest": digest});
        match sort {
            Sort::IlmPolicy => body["policy"]["_meta"] = meta,
            Sort::IsmPolicy => {
                body["policy"]["description"] =
                    format!("{MANAGED_BY}, version {VERSION}, digest {digest}").into();
            }
            Sort::ComponentTemplate | Sort::IndexTemplate => {
                body["_meta"] = meta;
                body["version"] = VERSION.into();
            }
        }
        Object {
            sort,
            name: name.to_owned(),
            body,
        }
    }
}

/// Version and digest that an object carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// See [`VERSION`].
    pub version: u64,
    /// Of its content.
    pub digest: String,
}

/// The stamp in a body, when it is one of ours.
pub fn stamp(sort: Sort, body: &Value) -> Option<Stamp> {
    let meta = match sort {
        Sort::IsmPolicy => {
            let text = body["policy"]["description"].as_str()?;
            let (version, digest) = text
                .strip_prefix(MANAGED_BY)?
                .strip_prefix(", version ")?
                .split_once(", digest ")?;
            return Some(Stamp {
                version: version.parse().ok()?,
                digest: digest.to_owned(),
            });
        }
        Sort::IlmPolicy => &body["policy"]["_meta"],
        Sort::ComponentTemplate | Sort::IndexTemplate => &body["_meta"],
    };
    if meta["managed_by"] != MANAGED_BY {
        return None;
    }
    Some(Stamp {
        version: meta["version"].as_u64()?,
        digest: meta["digest"].as_str()?.to_owned(),
    })
}

/// What objects are made for.
#[derive(Clone, PartialEq, Debug)]
pub struct Purpose {
    /// The mappings.
    pub wishes: Wishes,
    /// The index, or the data stream, of the config.
    pub index: IndexPattern,
    /// How old documents become, such as `14d`; without it nothing is ever deleted.
    pub retention: Option<String>,
    /// Agents look up what may be there twice (`sink.elasticsearch.look_up_after`).
    pub looks_up: bool,
}

impl Purpose {
    /// The names of the indices or data streams, as a server matches them.
    pub fn patterns(&self) -> Vec<String> {
        let parts = self.index.parts.iter();
        let mut pattern: String = parts
            .map(|part| match part {
                IndexPart::Text(text) => text.as_str(),
                _ => "*",
            })
            .collect();
        // Dates are one star.
        while let Some(at) = pattern.find("*.*") {
            pattern.replace_range(at..at + 3, "*");
        }
        while pattern.contains("**") {
            pattern = pattern.replace("**", "*");
        }
        let is_stream = self.wishes.schema != Schema::Fluentd;
        // A data stream is type-dataset-namespace: the namespace is any.
        match pattern.rsplit_once('-') {
            Some((dataset, _)) if is_stream && !pattern.contains('*') => vec![format!("{dataset}-*")],
            _ => vec![pattern],
        }
    }

    fn name(&self) -> &'static str {
        match self.wishes.schema {
            Schema::Fluentd => "longshore-fluentd",
            Schema::Ecs => "longshore-ecs",
            Schema::Otel => "longshore-otel",
        }
    }
}

/// All objects, in the order in which they are to be put.
///
/// # Errors
/// When the server cannot keep such documents.
pub fn objects(server: &Server, purpose: &Purpose) -> Result<Vec<Object>, String> {
    let able = server.abilities();
    let is_stream = purpose.wishes.schema != Schema::Fluentd;
    if is_stream && !able.data_streams {
        return Err(format!(
            "{server} has no data streams, which this schema needs; use sink.elasticsearch.schema: fluentd"
        ));
    }
    let name = purpose.name();
    let mut objects = Vec::new();
    // Indices of one day each, and nothing to delete: there is nothing to manage.
    let is_managed = is_stream || purpose.retention.is_some();
    let retention = purpose.retention.as_deref();
    let mut policy = None;
    match able.lifecycle {
        Lifecycle::Ilm if is_managed => {
            policy = Some(name);
            objects.push(Object::new(
                Sort::IlmPolicy,
                name,
                lifecycle::ilm(purpose.wishes.schema, retention),
            ));
        }
        Lifecycle::Ism if is_managed => objects.push(Object::new(
            Sort::IsmPolicy,
            name,
            lifecycle::ism(purpose.wishes.schema, &purpose.patterns(), retention),
        )),
        _ => {}
    }
    let (settings, fields) = (format!("{name}-settings"), format!("{name}-mappings"));
    objects.push(Object::new(
        Sort::ComponentTemplate,
        &settings,
        json!({"template": {"settings": {"index": index_settings(server, purpose, policy)}}}),
    ));
    objects.push(Object::new(
        Sort::ComponentTemplate,
        &fields,
        json!({"template": {"mappings": mappings(purpose.wishes, &able)}}),
    ));
    let template = index_template(server, purpose, &[settings, fields]);
    objects.push(Object::new(Sort::IndexTemplate, name, template));
    Ok(objects)
}

/// What of the wishes this server cannot do, for a person.
pub fn shortcomings(server: &Server, purpose: &Purpose) -> Vec<String> {
    let able = server.abilities();
    let is_stream = purpose.wishes.schema != Schema::Fluentd;
    let mut told = Vec::new();
    let unmanaged = match able.lifecycle {
        Lifecycle::None => true,
        Lifecycle::DataStream => !is_stream,
        Lifecycle::Ilm | Lifecycle::Ism => false,
    };
    if unmanaged && purpose.retention.is_some() {
        told.push(format!(
            "{server} has no policies for these indices: delete old ones by other means"
        ));
    } else if purpose.retention.is_none() {
        told.push("without --retention nothing is ever deleted".to_owned());
    }
    if purpose.wishes.schema == Schema::Otel && !able.passthrough {
        told.push(format!(
            "{server} keeps attributes as one field each: they can be searched, and are not listed"
        ));
    }
    told
}

fn index_settings(server: &Server, purpose: &Purpose, policy: Option<&str>) -> Value {
    let able = server.abilities();
    let mut settings = json!({
        "refresh_interval": "5s",
        "mapping": {"ignore_malformed": true, "total_fields": {"limit": FIELD_LIMIT}},
    });
    if able.ignore_beyond_limit {
        settings["mapping"]["total_fields"]["ignore_dynamic_beyond_limit"] = true.into();
    }
    // The index mode for logs sorts by `host.name`, which is no object in documents of `fluentd`.
    if able.logsdb && purpose.wishes.schema != Schema::Fluentd {
        settings["mode"] = "logsdb".into();
    } else {
        settings["codec"] = "best_compression".into();
    }
    if let Some(policy) = policy {
        settings["lifecycle"] = json!({ "name": policy });
    }
    settings
}

fn index_template(server: &Server, purpose: &Purpose, components: &[String]) -> Value {
    let able = server.abilities();
    let mut composed: Vec<String> = components.to_vec();
    let mut body = json!({"index_patterns": purpose.patterns(), "priority": PRIORITY});
    if able.optional_components {
        // Whoever wants more fields or other settings puts them there, and no update touches them.
        let custom = format!("{}@custom", purpose.name());
        body["ignore_missing_component_templates"] = json!([custom]);
        composed.push(custom);
    }
    body["composed_of"] = composed.into();
    if purpose.wishes.schema != Schema::Fluentd {
        body["data_stream"] = json!({});
        if able.failure_store {
            // What goes there has no id of ours, and is missing where people look.
            body["template"]["data_stream_options"] = json!({"failure_store": {"enabled": false}});
        }
        if able.lifecycle == Lifecycle::DataStream {
            body["template"]["lifecycle"] = lifecycle::data_stream(purpose.retention.as_deref());
        }
    }
    body
}
