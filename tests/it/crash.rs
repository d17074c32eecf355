//! The agent dies: by SIGKILL at any moment, by SIGTERM with work left, and while another one waits for its place.
//! Every test ends with each line in the index exactly once.

mod containerd;
mod damage;
mod exposure;
mod flood;
mod full_disk;
mod kill9;
mod mounts;
mod out_of_memory;
mod poison;
mod power_loss;
mod real_disk;
mod resend;
mod restarts;
mod scene;
mod second_agent;
mod signals;
mod sigterm;
mod stalled;
mod syscalls;
