//! Integration tests: one binary (each further one costs a link), one module per promise.
//!
//! Names that begin with `e2e` need real servers, names that begin with `crash` kill processes: `tests/run` says how they
//! are run, and `tests/run unit` leaves both out.

#![expect(
    clippy::disallowed_methods,
    reason = "tests read clocks and files and start processes; the agent does not"
)]

mod agent;
mod bad_input;
mod cli;
mod congested;
mod corpus;
mod crash;
mod docs;
mod drain;
mod e2e;
mod elasticsearch;
mod fairness;
mod hostile;
mod lanes;
mod layering;
mod ledger;
mod metadata;
mod proofs;
mod reliability;
mod traffic;
