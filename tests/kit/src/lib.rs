//! The test kit of Longshore: what tests, benches and the demo share. The agent never links it.
//!
//! In reading order: [`lines`] writes log lines that can be recognised again, [`simkubelet`] puts them into a node's
//! directory and rotates them as kubelet does, [`rude_elasticsearch`] is where they arrive, [`verifier`] says what became
//! of each of them.
//!
//! The kit does not depend on the `longshore` crate: a test that shared the agent's own code would repeat its mistakes.

pub mod chance;
pub mod conmon;
pub mod containerd;
pub mod fake_apiserver;
pub mod lines;
pub mod rude_elasticsearch;
pub mod runtime;
pub mod simkubelet;
pub mod stack;
pub mod verifier;
