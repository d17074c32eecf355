//! How much and how soon: attempts, outcomes, `now` and a random number enter; delays and permits
//! leave. Does not know what is retried.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod fair;
pub mod limiter;
pub mod rate;
