//! Server, schema and wishes enter; the objects that Elasticsearch or OpenSearch needs for our documents leave, as data.
//!
//! - [`server`]: what a server is and can do. [`mappings`]: the fields of a schema ([`crate::sink::elasticsearch::schema::fields`])
//!   become mappings, with the names of other schemas as aliases. [`lifecycle`]: how old data goes. [`privileges`]: recipes for
//!   the rights of agents and of whoever runs `longshore setup`.
//! - [`views`]: a data view, saved searches and a dashboard for Kibana or OpenSearch Dashboards.
//! - [`objects`]: all that a server keeps, as named objects with a version and a digest; [`plan`]: what a server has compared with what it should.
//!
//! Nothing here speaks to a server: `cli/setup.rs` does.

pub mod lifecycle;
pub mod mappings;
pub mod objects;
pub mod plan;
pub mod privileges;
pub mod server;
pub mod views;

#[cfg(test)]
mod tests;
