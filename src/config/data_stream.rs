//! Names of data streams, and which schema's documents belong into an index: its name alone tells it.
//!
//! `logs-<dataset>-<namespace>` is a data stream by the template that servers bring along, and takes documents of `ecs`, or
//! of `otel` when its dataset ends in `.otel`; every other name is an index of `fluentd`. So two agents with different
//! schemas, which know nothing of each other, cannot write into the same index, where `log` would be a text in one
//! document and an object in the next. The rules for names are those of Elastic's data streams.

use super::index::{IndexPart, IndexPattern};
use super::types::{Elasticsearch, Schema};

/// The longest dataset or namespace, in bytes.
const MAX_PART: usize = 100;
/// What the datasets of `otel` end in.
const OTEL: &str = ".otel";

/// What a data stream is called by: `logs-<dataset>-<namespace>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataStream {
    /// What kind of logs, such as `k8s.container`.
    pub dataset: String,
    /// Whose, such as `default`.
    pub namespace: String,
}

impl DataStream {
    /// The parts of a name; none when it is not one of a data stream for logs.
    pub fn of_name(name: &str) -> Option<Self> {
        let (dataset, namespace) = name.strip_prefix("logs-")?.split_once('-')?;
        Some(Self {
            dataset: dataset.to_owned(),
            namespace: namespace.to_owned(),
        })
    }

    /// The one that documents of a schema go to when nobody says otherwise.
    fn default_of(schema: Schema) -> Self {
        let dataset = match schema {
            Schema::Fluentd | Schema::Ecs => "k8s.container",
            Schema::Otel => "k8s.otel",
        };
        Self {
            dataset: dataset.to_owned(),
            namespace: "default".to_owned(),
        }
    }

    /// The nearest name that a schema may have: hyphens become underscores, and what is too long is cut.
    fn like(schema: Schema, name: &str) -> Self {
        let default = Self::default_of(schema);
        let name = name.strip_prefix("logs-").unwrap_or(name);
        let (dataset, namespace) = name.split_once('-').unwrap_or((name, ""));
        let plain = |text: &str, most: usize, default: String| {
            let text = text.trim_matches(['-', '.', '_']).replace(['-', '%'], "_");
            let cut = text[..text.floor_char_boundary(most)].trim_end_matches(OTEL);
            if cut.is_empty() { default } else { cut.to_owned() }
        };
        let dataset = match schema {
            Schema::Otel => plain(dataset, MAX_PART - OTEL.len(), "k8s".to_owned()) + OTEL,
            Schema::Fluentd | Schema::Ecs => plain(dataset, MAX_PART, default.dataset),
        };
        Self {
            dataset,
            namespace: plain(namespace, MAX_PART, default.namespace),
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        format!("logs-{}-{}", self.dataset, self.namespace)
    }
}

impl Schema {
    /// The schema of the documents that belong into an index.
    pub fn of_index(name: &str) -> Self {
        match DataStream::of_name(name) {
            None => Self::Fluentd,
            Some(stream) if stream.dataset.ends_with(OTEL) => Self::Otel,
            Some(_) => Self::Ecs,
        }
    }
}

impl Elasticsearch {
    /// The index of a document: as it was written, else the schema's own.
    pub fn index_pattern(&self) -> IndexPattern {
        match (&self.index, self.schema) {
            (Some(index), _) => index.clone(),
            (None, Schema::Fluentd) => IndexPattern::default(),
            (None, schema @ (Schema::Ecs | Schema::Otel)) => IndexPattern {
                parts: vec![IndexPart::Text(DataStream::default_of(schema).name())],
            },
        }
    }

    /// The data stream of `ecs` and `otel`.
    pub fn data_stream(&self) -> DataStream {
        let written = self.index.as_ref().and_then(stream_of);
        written.unwrap_or_else(|| DataStream::default_of(self.schema))
    }
}

/// Why documents of a schema may not go into an index, and what to write instead.
pub(super) fn check(schema: Schema, index: &IndexPattern) -> Result<(), (String, String)> {
    let whole = index.to_string();
    if schema == Schema::Fluentd {
        return match DataStream::of_name(&whole) {
            None => Ok(()),
            Some(_) => Err((
                "no name of the form logs-…-…, for those are data streams of the schemas ecs and otel"
                    .to_owned(),
                "write another name, such as logstash-%Y.%m.%d".to_owned(),
            )),
        };
    }
    let is_part = |part: &str| (1..=MAX_PART).contains(&part.len()) && !part.contains('-');
    let fits = stream_of(index).is_some_and(|stream| {
        is_part(&stream.dataset) && is_part(&stream.namespace) && Schema::of_index(&whole) == schema
    });
    if fits {
        return Ok(());
    }
    let (name, dataset) = match schema {
        Schema::Otel => ("otel", "a dataset that ends in .otel"),
        Schema::Fluentd | Schema::Ecs => ("ecs", "a dataset that does not end in .otel"),
    };
    let texts = index.parts.iter().map(|part| match part {
        IndexPart::Text(text) => text.as_str(),
        _ => "",
    });
    let like = DataStream::like(schema, &texts.collect::<String>()).name();
    Err((
        format!(
            "logs-<dataset>-<namespace> for {name}: a data stream, without dates, {dataset}, no hyphen and at most \
             {MAX_PART} bytes in each"
        ),
        format!("write {like}, or null"),
    ))
}

/// The data stream that a pattern without dates names.
fn stream_of(index: &IndexPattern) -> Option<DataStream> {
    match index.parts.as_slice() {
        [IndexPart::Text(name)] => DataStream::of_name(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Schema; 3] = [Schema::Fluentd, Schema::Ecs, Schema::Otel];

    fn pattern(text: &str) -> IndexPattern {
        IndexPattern::parse(text).unwrap()
    }

    #[test]
    fn each_schema_has_names_of_its_own() {
        for (name, schema) in [
            ("logstash-%Y.%m.%d", Schema::Fluentd),
            ("logs-%Y", Schema::Fluentd),
            ("k8s", Schema::Fluentd),
            ("logs-k8s.container-default", Schema::Ecs),
            ("logs-nginx-eu_1", Schema::Ecs),
            ("logs-k8s.otel-default", Schema::Otel),
        ] {
            let fitting: Vec<Schema> = ALL
                .into_iter()
                .filter(|schema| check(*schema, &pattern(name)).is_ok())
                .collect();
            assert_eq!(fitting, [schema], "{name}");
        }
        for none in ["logs-a-b-c", "logs-a-%Y", "logs-a-", "logs--a"] {
            assert!(
                ALL.iter().all(|schema| check(*schema, &pattern(none)).is_err()),
                "{none}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_a_name_that_does() {
        for (schema, name, fix) in [
            (
                Schema::Ecs,
                "logs-k8s.container-prod-eu-1",
                "write logs-k8s.container-prod_eu_1, or null",
            ),
            (
                Schema::Ecs,
                "logstash-%Y.%m.%d",
                "write logs-logstash-default, or null",
            ),
            (Schema::Ecs, "logs-k8s.otel-a", "write logs-k8s-a, or null"),
            (
                Schema::Otel,
                "logs-k8s.container-a",
                "write logs-k8s.container.otel-a, or null",
            ),
            (Schema::Otel, "%Y", "write logs-k8s.otel-default, or null"),
            (
                Schema::Fluentd,
                "logs-a-b",
                "write another name, such as logstash-%Y.%m.%d",
            ),
        ] {
            let (_, hint) = check(schema, &pattern(name)).unwrap_err();
            assert_eq!(hint, fix, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_is_of_two_schemas_and_every_fix_fits(name in "(logs-)?[a-z.-]{1,120}(-%Y)?(-[a-zé._-]{1,120})?") {
            let Ok(index) = IndexPattern::parse(&name) else { return Ok(()) };
            let fitting = ALL.iter().filter(|schema| check(**schema, &index).is_ok()).count();
            prop_assert!(fitting <= 1, "{fitting} schemas take {name}");
            for schema in [Schema::Ecs, Schema::Otel] {
                if let Err((_, hint)) = check(schema, &index) {
                    let fix = hint.strip_prefix("write ").unwrap().strip_suffix(", or null").unwrap();
                    prop_assert_eq!(check(schema, &pattern(fix)), Ok(()), "{}", fix);
                }
            }
        }
    }
}
