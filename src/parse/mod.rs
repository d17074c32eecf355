//! Lines enter, whole records leave. Knows neither Kubernetes nor Elasticsearch.

pub mod cri;
pub mod docker;
pub mod partial;
