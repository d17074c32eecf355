//! Every checked-in input goes through its target: crashes that were found stay named tests (`crash-…`).

use longshore_fuzz::TARGETS;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_checked_in_input_keeps_the_laws() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let inputs = names(&folder);
        assert!(inputs.len() >= 5, "{}: hardly any inputs", target.name);
        for name in inputs {
            let bytes = fs::read(folder.join(&name)).unwrap();
            if catch_unwind(|| (target.run)(&bytes)).is_err() {
                failed.push(format!("{}/{name}", target.name));
            }
        }
    }
    assert_eq!(failed, Vec::<String>::new());
}

#[test]
fn every_folder_is_that_of_a_target_and_all_of_them_stay_small() {
    let mut targets = TARGETS.map(|target| target.name);
    targets.sort_unstable();
    assert_eq!(names(&corpus()), targets);
    let bytes: u64 = targets
        .iter()
        .flat_map(|target| {
            names(&corpus().join(target))
                .into_iter()
                .map(move |name| corpus().join(target).join(name))
        })
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(bytes < 2 << 20, "the corpus has {bytes} bytes");
}
