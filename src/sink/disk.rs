//! The sink's files: the dead-letter file, and the secrets that are read from files.
//!
//! The dead-letter file is `<state_dir>/dead-letter/dead-letter.ndjson`, mode 0600: rows are appended
//! and synced before they count, up to a cap. A row that a crash tore off is cut at the next open.
//! Who makes room may move the file away, remove it or empty it while the agent runs.
//!
//! Not done here: what a row holds (`dead_letter.rs`), rotation of the file.

#![expect(
    clippy::disallowed_methods,
    reason = "the sink's files are touched here and nowhere else in src/sink"
)]

use crate::config::{Auth, Tls};
use crate::disk::{Disk, How, OpenFile, Stat};
use crate::mutant::{self, Mutant};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Name of the folder below the state directory.
const FOLDER: &str = "dead-letter";
/// Name of the file in it.
const FILE: &str = "dead-letter.ndjson";
/// How much is read at once while the end of the last whole row is looked for.
const STEP: u64 = 64 * 1024;
/// A secret longer than this is a wrong file.
const MAX_SECRET: u64 = 64 * 1024;

/// Where dead letters are, below a state directory.
pub fn dead_letter_path(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER).join(FILE)
}

/// The dead-letter file, open for appending.
#[derive(Debug)]
pub struct DeadLetterFile {
    disk: Disk,
    path: PathBuf,
    file: Box<dyn OpenFile>,
    max_bytes: u64,
}

impl DeadLetterFile {
    /// Opens the file below `state_dir`, makes it when it is not there, and cuts a torn last row.
    /// It never grows beyond `max_bytes`.
    pub fn open(disk: &Disk, state_dir: &Path, max_bytes: u64) -> io::Result<DeadLetterFile> {
        let path = dead_letter_path(state_dir);
        let file = open_whole(disk, &path)?;
        Ok(DeadLetterFile {
            disk: Disk::clone(disk),
            path,
            file,
            max_bytes,
        })
    }

    /// Appends rows and syncs them: all of them or, with `false`, none for want of room.
    ///
    /// # Errors
    /// When the disk fails. The rows are cut off again, and do not count.
    pub fn append(&mut self, rows: &[u8]) -> io::Result<bool> {
        self.follow_name()?;
        let len = self.bytes()?;
        if len + rows.len() as u64 > self.max_bytes {
            return Ok(false);
        }
        let written = self.file.append(rows).and_then(|()| {
            if mutant::is(Mutant::DeadLetterNotSynced) {
                return Ok(());
            }
            self.file.sync()
        });
        if let Err(error) = written {
            // Best effort: what stays is a torn row, which the next open cuts, or rows that count twice.
            let _cut = self.file.cut(len);
            return if error.kind() == io::ErrorKind::StorageFull {
                Ok(false)
            } else {
                Err(error)
            };
        }
        Ok(true)
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.stat()?.len)
    }

    /// Opens the file anew when its name leads elsewhere: rows in a removed file would be lost.
    fn follow_name(&mut self) -> io::Result<()> {
        let ours = self.file.stat()?;
        let same = |named: Stat| (named.dev, named.ino) == (ours.dev, ours.ino);
        if !self.disk.stat(&self.path).is_ok_and(same) {
            self.file = open_whole(&self.disk, &self.path)?;
        }
        Ok(())
    }
}

/// Opens a file of rows for appending, without a torn last row, and makes its name durable.
fn open_whole(disk: &Disk, path: &Path) -> io::Result<Box<dyn OpenFile>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    disk.make_folder(folder)?;
    let mut file = disk.open(path, How::Append)?;
    let len = file.stat()?.len;
    let whole = end_of_last_row(file.as_ref(), len)?;
    if whole < len {
        file.cut(whole)?;
    }
    file.sync()?;
    disk.sync_folder(folder)?;
    if let Some(parent) = folder.parent() {
        disk.sync_folder(parent)?;
    }
    Ok(file)
}

fn end_of_last_row(file: &dyn OpenFile, len: u64) -> io::Result<u64> {
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut step = vec![0; (end - start) as usize];
        if file.read_at(&mut step, start)? < step.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = memchr::memrchr(b'\n', &step) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// What the files of `auth` and `tls` hold. Its debug form shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Of `auth.password_file`, without the newline at its end.
    pub password: Option<String>,
    /// Of `auth.api_key_file`, without the newline at its end.
    pub api_key: Option<String>,
    /// Of `tls.ca_file`, as it is.
    pub ca_pem: Option<Vec<u8>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secrets")
            .field("password", &self.password.is_some())
            .field("api_key", &self.api_key.is_some())
            .field("ca_pem", &self.ca_pem.is_some())
            .finish()
    }
}

/// A file of the config that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("sink.elasticsearch.{key}: {path}: {cause}")]
pub struct SecretError {
    key: &'static str,
    path: String,
    cause: String,
}

/// Reads every file that `auth` and `tls` name.
///
/// # Errors
/// When one of them cannot be read, is empty, larger than 64 KiB (the CA file may be larger), or no
/// text. The contents are never in the error.
pub fn read_secrets(auth: &Auth, tls: &Tls) -> Result<Secrets, SecretError> {
    let text = |key: &'static str, path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| read_secret(path).map_err(|cause| secret_error(key, path, cause)))
            .transpose()
    };
    let ca_pem = tls
        .ca_file
        .as_ref()
        .map(|path| fs::read(path).map_err(|error| secret_error("tls.ca_file", path, error.to_string())));
    Ok(Secrets {
        password: text("auth.password_file", &auth.password_file)?,
        api_key: text("auth.api_key_file", &auth.api_key_file)?,
        ca_pem: ca_pem.transpose()?,
    })
}

fn read_secret(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err("the file is too large for a secret".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "the file is no text".to_owned())?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        Err("the file is empty".to_owned())
    } else {
        Ok(secret.to_owned())
    }
}

fn secret_error(key: &'static str, path: &Path, cause: String) -> SecretError {
    SecretError {
        key,
        path: path.display().to_string(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn read(state: &Path) -> String {
        fs::read_to_string(dead_letter_path(state)).unwrap()
    }

    #[test]
    fn rows_are_kept_and_nobody_else_may_read_them() {
        let state = tempfile::tempdir().unwrap();
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 100).unwrap();
        assert!(file.append(b"{\"n\":1}\n").unwrap());
        drop(file);
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 100).unwrap();
        assert!(file.append(b"{\"n\":2}\n").unwrap());
        assert_eq!(read(state.path()), "{\"n\":1}\n{\"n\":2}\n");
        let mode = fs::metadata(dead_letter_path(state.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_torn_last_row_is_cut_however_long_it_is() {
        for torn in [1, 10, STEP as usize - 1, STEP as usize, 3 * STEP as usize] {
            let state = tempfile::tempdir().unwrap();
            drop(DeadLetterFile::open(&crate::disk::kernel(), state.path(), 100).unwrap());
            fs::write(
                dead_letter_path(state.path()),
                format!("whole\n{}", "x".repeat(torn)),
            )
            .unwrap();
            let file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 100).unwrap();
            assert_eq!(
                (file.bytes().unwrap(), read(state.path()).as_str()),
                (6, "whole\n"),
                "{torn} bytes"
            );
        }
    }

    #[test]
    fn the_cap_holds_and_a_full_file_takes_no_part_of_the_rows() {
        let state = tempfile::tempdir().unwrap();
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 10).unwrap();
        assert!(file.append(b"12345\n").unwrap());
        assert!(!file.append(b"1\n345\n").unwrap());
        assert!(file.append(b"123\n").unwrap());
        assert_eq!(read(state.path()), "12345\n123\n");
    }

    #[test]
    fn room_is_made_by_moving_removing_or_emptying_the_file() {
        let state = tempfile::tempdir().unwrap();
        let path = dead_letter_path(state.path());
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 6).unwrap();
        let makers: [&dyn Fn(); 3] = [
            &|| fs::rename(&path, state.path().join("moved")).unwrap(),
            &|| fs::remove_file(&path).unwrap(),
            &|| fs::write(&path, "").unwrap(),
        ];
        for make_room in makers {
            assert!(file.append(b"12345\n").unwrap());
            assert!(!file.append(b"12345\n").unwrap());
            make_room();
        }
        assert!(file.append(b"67890\n").unwrap());
        assert_eq!(read(state.path()), "67890\n");
        assert_eq!(fs::read(state.path().join("moved")).unwrap(), b"12345\n");
    }

    fn secret(contents: &[u8]) -> (tempfile::TempDir, Auth) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, contents).unwrap();
        (
            folder,
            Auth {
                username: Some("u".into()),
                password_file: Some(path),
                api_key_file: None,
            },
        )
    }

    #[test]
    fn a_secret_loses_its_newline_and_nothing_else() {
        for (contents, expected) in [
            ("pass word", "pass word"),
            (" hush \n", " hush "),
            ("quiet\r\n", "quiet"),
        ] {
            let (_folder, auth) = secret(contents.as_bytes());
            let secrets = read_secrets(&auth, &Tls::default()).unwrap();
            assert_eq!(secrets.password.as_deref(), Some(expected));
            assert!(!format!("{secrets:?}").contains(expected.trim()));
        }
    }

    #[test]
    fn a_secret_that_cannot_be_used_names_key_and_file_but_never_its_bytes() {
        for contents in [&b"\n"[..], b"secret\xff", &[b's'; MAX_SECRET as usize + 1]] {
            let (folder, auth) = secret(contents);
            let error = read_secrets(&auth, &Tls::default()).unwrap_err().to_string();
            assert!(
                error.contains("auth.password_file") && error.contains("password"),
                "{error}"
            );
            assert!(
                !error.contains("ss\u{fffd}") && !error.contains("secrets"),
                "{error}"
            );
            drop(folder);
            let gone = read_secrets(&auth, &Tls::default()).unwrap_err().to_string();
            assert!(gone.contains("No such file"), "{gone}");
        }
    }
}
