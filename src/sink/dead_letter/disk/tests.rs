#![expect(
    clippy::disallowed_methods,
    reason = "tests look at files behind the back of what they test"
)]

use super::*;
use crate::sink::disk::{DeadLetterFile, dead_letter_path};
use std::fs;
use std::path::PathBuf;

struct State(tempfile::TempDir);

impl State {
    /// Files in the folder, each with its text.
    fn new(files: &[(&str, &str)]) -> State {
        let state = State(tempfile::tempdir().unwrap());
        fs::create_dir(state.path("")).unwrap();
        for (name, text) in files {
            fs::write(state.path(name), text).unwrap();
        }
        state
    }

    fn path(&self, name: &str) -> PathBuf {
        folder(self.0.path()).join(name)
    }

    fn take(&self) -> Taken {
        Taken::take(&crate::disk::kernel(), self.0.path()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn row(n: u32) -> String {
    format!("{{\"index\":\"logs\",\"id\":\"{n}\",\"document\":{{}}}}\n")
}

fn texts(taken: &Taken, from: u64) -> Vec<String> {
    let mut lines = taken.rows(from).unwrap();
    let next = || Some(String::from_utf8(lines.as_mut()?.next_line().unwrap()?.text).unwrap());
    std::iter::from_fn(next).collect()
}

#[test]
fn rows_of_all_files_are_taken_over_and_the_agent_goes_on_in_a_new_one() {
    let state = State::new(&[
        (TAKEN, &row(1)),
        (TAKING, &row(2)),
        ("2026-03-03.ndjson", &row(3)),
        (PART, "half of something"),
        ("notes.txt", "mine"),
    ]);
    let disk = crate::disk::kernel();
    let mut agent = DeadLetterFile::open(&disk, state.0.path(), 1 << 20).unwrap();
    assert_eq!(
        agent.append(row(4).as_bytes()).unwrap(),
        crate::sink::dead_letter::Appended::Synced
    );
    let taken = state.take();
    let all: Vec<String> = (1..=4).map(|n| row(n).trim_end().to_owned()).collect();
    assert_eq!(texts(&taken, 0), all);
    assert_eq!(texts(&taken, 3 * row(1).len() as u64), all[3..]);
    assert_eq!(state.names(), ["notes.txt", TAKEN]);
    assert_eq!(
        agent.append(row(5).as_bytes()).unwrap(),
        crate::sink::dead_letter::Appended::Synced
    );
    assert_eq!(
        fs::read_to_string(dead_letter_path(state.0.path())).unwrap(),
        row(5)
    );
    assert_eq!(texts(&taken, 0), all);
}

/// Red when a torn row becomes a line (nothing could ever deliver it), or when a row without a newline is dropped.
#[test]
fn a_torn_row_is_left_behind_and_a_row_without_a_newline_is_not() {
    let state = State::new(&[(FILE, &(row(1) + &row(2)[..20]))]);
    assert_eq!(texts(&state.take(), 0), [row(1).trim_end()]);
    let state = State::new(&[(FILE, &(row(1) + row(2).trim_end())), (TAKEN, row(3).trim_end())]);
    assert_eq!(
        texts(&state.take(), 0),
        [row(3).trim_end(), row(1).trim_end(), row(2).trim_end()]
    );
}

#[test]
fn lines_are_taken_away_and_the_others_stay_as_they_are() {
    let lines = [row(1), "damaged \u{1b}\n".to_owned(), row(2), row(3)];
    let state = State::new(&[(TAKEN, &lines.concat())]);
    let taken = state.take();
    let len = |at: usize| lines[at].len() as u64;
    let gone = [(0, len(0)), (len(0) + len(1), len(2))];
    taken.remove_lines(&gone).unwrap();
    assert_eq!(
        fs::read_to_string(state.path(TAKEN)).unwrap(),
        [&*lines[1], &*lines[3]].concat()
    );
    taken.remove_lines(&[(0, taken.bytes().unwrap())]).unwrap();
    assert_eq!(state.names(), Vec::<String>::new());
    assert!(taken.rows(0).unwrap().is_none());
    taken.remove_lines(&[]).unwrap_err();
}

/// Red when a longer line is cut where it is copied, or kept in memory whole.
#[test]
fn a_line_that_is_too_long_to_be_a_row_is_passed_over_and_kept() {
    let long = "x".repeat(MAX_ROW + 10);
    let state = State::new(&[(FILE, &format!("{long}\n{}", row(1)))]);
    let taken = state.take();
    let mut lines = taken.rows(0).unwrap().unwrap();
    let first = lines.next_line().unwrap().unwrap();
    assert_eq!(
        (first.len, first.text.len(), first.whole),
        (MAX_ROW as u64 + 11, MAX_ROW, false)
    );
    let second = lines.next_line().unwrap().unwrap();
    assert_eq!((second.at, second.whole), (MAX_ROW as u64 + 11, true));
    taken.remove_lines(&[(second.at, second.len)]).unwrap();
    assert_eq!(taken.bytes().unwrap(), first.len);
}

/// The disk dies at the n-th change, for each n; the next process finds each row. Red without: the sync before the rename in
/// `finish` aside (that takes a power cut), any other order of the steps in `merge`, `take` or `remove_lines`.
#[test]
fn a_kill_at_any_step_loses_no_row() {
    for steps in 0..64 {
        let state = State::new(&[(TAKEN, &row(1)), (TAKING, &row(2)), (FILE, &row(3))]);
        let disk: Disk = std::sync::Arc::new(dying::Dying::new(steps));
        let gone = [(0, row(1).len() as u64)];
        let dead = match Taken::take(&disk, state.0.path()) {
            Ok(taken) => taken.remove_lines(&gone).is_err(),
            Err(_) => true,
        };
        let left = texts(&state.take(), 0);
        for n in [2, 3] {
            assert!(
                left.iter().any(|line| *line == row(n).trim_end()),
                "{steps}: {left:?}"
            );
        }
        let is_there = left.contains(&row(1).trim_end().to_owned());
        if !dead {
            assert!(!is_there, "{left:?}");
            assert!(steps > 10, "{steps} changes were enough");
            return;
        }
    }
    panic!("it never got through");
}

#[test]
fn readers_open_the_files_in_the_order_in_which_rows_move() {
    let state = State::new(&[
        (TAKEN, ""),
        ("b.ndjson", ""),
        ("a.ndjson", ""),
        (FILE, ""),
        ("lock", ""),
    ]);
    let files = row_files(&crate::disk::kernel(), state.0.path()).unwrap();
    let names: Vec<&str> = files
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, [FILE, TAKING, "b.ndjson", "a.ndjson", TAKEN]);
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(
        row_files(&crate::disk::kernel(), nothing.path()).unwrap().len(),
        3
    );
}

mod dying;
