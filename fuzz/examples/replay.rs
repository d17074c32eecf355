//! Runs inputs through one target without libFuzzer: to look at a finding, and to measure coverage.
//!
//! ```text
//! replay TARGET FILE|FOLDER...      each file, and each file in a folder
//! replay --modules TARGET           the modules that the target is there for, and what in them it cannot reach
//! ```

use longshore_fuzz::{TARGETS, Target};
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let first = words.next().ok_or("replay TARGET FILE...")?;
    if first == "--modules" {
        for module in target(&words.next().unwrap_or_default())?.modules {
            println!("{}\t{}", module.path, module.unreachable);
        }
        return Ok(());
    }
    let target = target(&first)?;
    for path in words {
        for file in files(Path::new(&path))? {
            match fs::read(file) {
                Ok(bytes) => (target.run)(&bytes),
                // A fuzzer at work removes what it has made smaller.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn target(name: &str) -> Result<Target, String> {
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.ok_or_else(|| format!("no target {name}"))
}

fn files(path: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
}
