//! The agent dies: by SIGKILL at any moment, by SIGTERM with work left, and while another one waits for its place.
//! Every test ends with each line in the index exactly once.

mod exposure;
mod kill9;
mod second_agent;
mod sigterm;
