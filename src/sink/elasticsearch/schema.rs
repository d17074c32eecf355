//! Container metadata enters, the ready-made tail of its documents leaves.
//!
//! Documents are those of Fluentd's image, of the Elastic Common Schema, or of OpenTelemetry. The first fields differ per
//! line and are written by [`super::encode`]; everything after them is the same for a container instance until its
//! metadata changes, and is made here once.

mod ecs;
pub mod fields;
mod fluentd;
mod members;
mod otel;

use crate::config::{DataStream, Elasticsearch, LabelDots, MessageKey, Schema};
use crate::record::Metadata;

/// How documents are laid out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Layout {
    /// What the stock Fluentd image makes.
    Fluentd {
        /// The field that holds the message.
        message_key: MessageKey,
        /// Whether documents carry Fluentd's `tag`.
        include_tag: bool,
        /// What happens to dots in label keys.
        label_dots: LabelDots,
    },
    /// The Elastic Common Schema.
    Ecs {
        /// Where the documents belong; they say so.
        stream: DataStream,
        /// What happens to dots in label keys.
        label_dots: LabelDots,
    },
    /// OpenTelemetry's, whose attributes keep their dots.
    Otel {
        /// Where the documents belong; they say so.
        stream: DataStream,
    },
}

impl Layout {
    /// What the schema is called in the config.
    pub fn schema(&self) -> Schema {
        match self {
            Layout::Fluentd { .. } => Schema::Fluentd,
            Layout::Ecs { .. } => Schema::Ecs,
            Layout::Otel { .. } => Schema::Otel,
        }
    }
}

impl From<&Elasticsearch> for Layout {
    fn from(config: &Elasticsearch) -> Layout {
        let stream = config.data_stream();
        match config.schema {
            Schema::Fluentd => Layout::Fluentd {
                message_key: config.message_key,
                include_tag: config.include_tag,
                label_dots: config.label_dots,
            },
            Schema::Ecs => Layout::Ecs {
                stream,
                label_dots: config.label_dots,
            },
            Schema::Otel => Layout::Otel { stream },
        }
    }
}

/// The part of a document that is the same for all records of a container instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// From the last field that differs per line to the last field of all, without the closing brace.
    pub tail: Vec<u8>,
    /// The metadata had not arrived; documents say so.
    pub metadata_missing: bool,
}

/// Makes the fragment of a container instance. `log_path` is the name of its log file while it is written to.
pub fn fragment(metadata: &Metadata, layout: &Layout, log_path: &str) -> Fragment {
    let mut tail = Vec::with_capacity(1024);
    match layout {
        Layout::Fluentd {
            include_tag,
            label_dots,
            ..
        } => fluentd::push_tail(&mut tail, metadata, *include_tag, *label_dots),
        Layout::Ecs { stream, label_dots } => {
            ecs::push_tail(&mut tail, metadata, log_path, stream, *label_dots);
        }
        Layout::Otel { stream } => otel::push_tail(&mut tail, metadata, log_path, stream),
    }
    // There is one for each container instance.
    tail.shrink_to_fit();
    Fragment {
        tail,
        metadata_missing: metadata.missing,
    }
}

/// The part of a name that stands for a controller of this kind in `ecs` and `otel`.
fn workload(kind: &str) -> Option<&'static str> {
    match kind {
        "ReplicaSet" => Some("replicaset"),
        "StatefulSet" => Some("statefulset"),
        "DaemonSet" => Some("daemonset"),
        "Job" => Some("job"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
