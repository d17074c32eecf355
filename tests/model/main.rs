//! Model checks of the places where two threads meet: the stages of `agent/stages.rs`, all threads of them, as they are,
//! under schedules that a checker (`shuttle`) chooses by the thousand.
//!
//! Only two things are others than in the agent: the disk is the simulator's, and a scripted server takes the bodies in
//! place of the HTTP client. Every channel, atomic, lock, thread and task is the checker's (`src/sync.rs`). What each check
//! shows is said at it; that it can fail is shown by `threads::each_deliberate_bug_is_found`.
//!
//! Not here: the pod watch and the status server (they hand nothing over that anybody waits for), and what one thread does
//! alone, which is the simulator's.

#[path = "../sim/disk.rs"]
#[expect(dead_code, reason = "the simulator uses more of its disk")]
mod disk;
mod scene;
mod threads;
