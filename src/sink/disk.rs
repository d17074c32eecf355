//! The sink's files: the dead-letter file, and the secrets that are read from files.
//!
//! The dead-letter file is `<state_dir>/dead-letter/dead-letter.ndjson`, mode 0600: rows are appended
//! and synced before they count, up to a cap. A row that a crash tore off is cut at the next open.
//! Who makes room may move the file away, remove it or empty it while the agent runs; `longshore dead-letter resend`
//! moves it ([`super::dead_letter::disk`]). There is no lock, so that nobody can make the agent wait: rows count only when the
//! file still has its name *after* they were synced. Then whoever moves it later finds them in it. When it has lost its
//! name meanwhile they are written again, into the next file: they may be there twice, never not at all.
//!
//! Not done here: what a row holds (`dead_letter.rs`), rotation of the file.

#![expect(
    clippy::disallowed_methods,
    reason = "the sink's files are touched here and nowhere else in src/sink"
)]

use crate::config::{Auth, Aws, Tls};
use crate::disk::{Disk, How, OpenFile, Stat};
use crate::mutant::{self, Mutant};
use crate::sink::dead_letter::Appended;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Name of the folder below the state directory.
pub(super) const FOLDER: &str = "dead-letter";
/// Name of the file in it.
pub(super) const FILE: &str = "dead-letter.ndjson";
/// Name of the file of rows that `resend` has taken over: they count as room that is taken.
pub(super) const TAKEN: &str = "taken.ndjson";
/// So often rows are written again because the file has lost its name meanwhile.
const ATTEMPTS: usize = 3;
/// How much is read at once while the end of the last whole row is looked for.
const STEP: u64 = 64 * 1024;
/// A secret longer than this is a wrong file.
const MAX_SECRET: u64 = 64 * 1024;
/// Certificates longer than this are a wrong file, too: those of all systems together take a quarter of it.
const MAX_CERTIFICATES: u64 = 1 << 20;

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

    /// Appends rows and syncs them: all of them or none, for want of room.
    ///
    /// # Errors
    /// When the disk fails, or somebody takes the file away each time. The rows are cut off again, and do not count.
    pub fn append(&mut self, rows: &[u8]) -> io::Result<Appended> {
        for _ in 0..ATTEMPTS {
            if !self.has_name() {
                self.file = open_whole(&self.disk, &self.path)?;
            }
            if self.bytes()? + rows.len() as u64 > self.max_bytes {
                return Ok(Appended::NoRoom);
            }
            if !self.write(rows)? {
                return Ok(Appended::NoRoom);
            }
            // Who has moved it may have read it before the rows came.
            if self.has_name() {
                return Ok(Appended::Synced);
            }
        }
        Err(io::Error::other(
            "the dead-letter file was moved away each time that rows were written",
        ))
    }

    /// Writes and syncs rows into the open file; false when the disk is full.
    fn write(&mut self, rows: &[u8]) -> io::Result<bool> {
        let len = self.file.stat()?.len;
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

    /// Bytes of the dead letters: of the file that has the name now, and of what `resend` has taken over and could not deliver.
    pub fn bytes(&self) -> io::Result<u64> {
        let len = |path: &Path| match self.disk.stat(path) {
            Ok(stat) => Ok(stat.len),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        };
        Ok(len(&self.path)? + len(&self.path.with_file_name(TAKEN))?)
    }

    /// Whether the name leads to the open file. In a removed file rows would be lost.
    fn has_name(&self) -> bool {
        let same = |ours: Stat, named: Stat| (named.dev, named.ino) == (ours.dev, ours.ino);
        let ours = self.file.stat();
        ours.is_ok_and(|ours| self.disk.stat(&self.path).is_ok_and(|named| same(ours, named)))
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

/// Where the last newline ends; 0 without one.
pub(super) fn end_of_last_row(file: &dyn OpenFile, len: u64) -> io::Result<u64> {
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
    /// Of `auth.bearer_token_file`, without the newline at its end.
    pub bearer_token: Option<String>,
    /// Of the files of `auth.aws`, or of the environment where there are none.
    pub aws: Option<AwsSecret>,
    /// Of `tls.ca_file`, as it is.
    pub ca_pem: Option<Vec<u8>>,
    /// Of `tls.client_certificate_file` and `tls.client_key_file`, as they are.
    pub client_pem: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secrets")
            .field("password", &self.password.is_some())
            .field("api_key", &self.api_key.is_some())
            .field("bearer_token", &self.bearer_token.is_some())
            .field("aws", &self.aws.is_some())
            .field("ca_pem", &self.ca_pem.is_some())
            .field("client_pem", &self.client_pem.is_some())
            .finish()
    }
}

/// How requests to AWS are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwsSecret {
    /// With this key.
    Keys(AwsKeys),
    /// With a key that AWS hands out to whoever has this role.
    Role(WebIdentity),
}

/// A token of the pod's service account that AWS takes for a role. Its debug form shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// The name of the role; no secret.
    pub role_arn: String,
    /// The token.
    pub token: String,
}

impl fmt::Debug for WebIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = out.debug_struct("WebIdentity");
        out.field("role_arn", &self.role_arn).finish_non_exhaustive()
    }
}

/// Credentials of AWS. Its debug form shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsKeys {
    /// Which key it is; no secret.
    pub access_key_id: String,
    /// The secret of the key.
    pub secret_access_key: String,
    /// What temporary credentials have to show, too.
    pub session_token: Option<String>,
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AwsKeys").finish_non_exhaustive()
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
/// When one of them cannot be read, is empty, larger than 64 KiB (certificates: 1 MiB), or no
/// text; when requests are to be signed for AWS, and neither files nor the environment have its credentials. The contents
/// are never in the error.
pub fn read_secrets(auth: &Auth, tls: &Tls) -> Result<Secrets, SecretError> {
    let whole = |key: &'static str, path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| read_whole(path).map_err(|cause| secret_error(key, path, cause)))
            .transpose()
    };
    let certificate = whole("tls.client_certificate_file", &tls.client_certificate_file)?;
    let key = whole("tls.client_key_file", &tls.client_key_file)?;
    Ok(Secrets {
        password: text("auth.password_file", &auth.password_file)?,
        api_key: text("auth.api_key_file", &auth.api_key_file)?,
        bearer_token: text("auth.bearer_token_file", &auth.bearer_token_file)?,
        aws: match auth.aws.region {
            Some(_) => Some(read_aws(&auth.aws, &|name| std::env::var(name).ok())?),
            None => None,
        },
        ca_pem: whole("tls.ca_file", &tls.ca_file)?,
        client_pem: certificate.zip(key),
    })
}

/// The secret in the file of a key, where one is named.
fn text(key: &'static str, path: &Option<PathBuf>) -> Result<Option<String>, SecretError> {
    path.as_ref()
        .map(|path| read_secret(path).map_err(|cause| secret_error(key, path, cause)))
        .transpose()
}

/// The key in the files, else the key in the environment, else the role that the environment names: the order of AWS's own
/// clients.
fn read_aws(aws: &Aws, env: &dyn Fn(&str) -> Option<String>) -> Result<AwsSecret, SecretError> {
    let id = text("auth.aws.access_key_id_file", &aws.access_key_id_file)?;
    let secret = text("auth.aws.secret_access_key_file", &aws.secret_access_key_file)?;
    if let (Some(access_key_id), Some(secret_access_key)) = (id, secret) {
        return Ok(AwsSecret::Keys(AwsKeys {
            access_key_id,
            secret_access_key,
            session_token: text("auth.aws.session_token_file", &aws.session_token_file)?,
        }));
    }
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let (Some(access_key_id), Some(secret_access_key)) =
        (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY"))
    {
        return Ok(AwsSecret::Keys(AwsKeys {
            access_key_id,
            secret_access_key,
            session_token: set("AWS_SESSION_TOKEN"),
        }));
    }
    const TOKEN: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
    if let (Some(role_arn), Some(file)) = (set("AWS_ROLE_ARN"), set(TOKEN)) {
        let token = read_secret(Path::new(&file));
        let token = token
            .map_err(|cause| secret_error("auth.aws", Path::new(&format!("{TOKEN} ({file})")), cause))?;
        return Ok(AwsSecret::Role(WebIdentity { role_arn, token }));
    }
    let cause = "has no credentials of AWS; set auth.aws.access_key_id_file and auth.aws.secret_access_key_file, or \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or let the service account of the pod have a role";
    Err(secret_error(
        "auth.aws",
        Path::new("the environment"),
        cause.to_owned(),
    ))
}

fn read_whole(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_CERTIFICATES + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_CERTIFICATES {
        return Err("the file is too large for certificates".to_owned());
    }
    Ok(bytes)
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
    use crate::disk::FileSystem;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn read(state: &Path) -> String {
        fs::read_to_string(dead_letter_path(state)).unwrap()
    }

    #[test]
    fn rows_are_kept_and_nobody_else_may_read_them() {
        let state = tempfile::tempdir().unwrap();
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 100).unwrap();
        assert_eq!(file.append(b"{\"n\":1}\n").unwrap(), Appended::Synced);
        drop(file);
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 100).unwrap();
        assert_eq!(file.append(b"{\"n\":2}\n").unwrap(), Appended::Synced);
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
        assert_eq!(file.append(b"12345\n").unwrap(), Appended::Synced);
        assert_eq!(file.append(b"1\n345\n").unwrap(), Appended::NoRoom);
        assert_eq!(file.append(b"123\n").unwrap(), Appended::Synced);
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
            assert_eq!(file.append(b"12345\n").unwrap(), Appended::Synced);
            assert_eq!(file.append(b"12345\n").unwrap(), Appended::NoRoom);
            make_room();
        }
        assert_eq!(file.append(b"67890\n").unwrap(), Appended::Synced);
        assert_eq!(read(state.path()), "67890\n");
        assert_eq!(fs::read(state.path().join("moved")).unwrap(), b"12345\n");
    }

    /// Red when rows count although the file has lost its name while they were written: who moved it has read it before.
    #[test]
    fn rows_that_come_into_a_file_that_has_just_been_moved_are_written_into_the_next_one() {
        let state = tempfile::tempdir().unwrap();
        let moved = state.path().join("moved");
        let disk: Disk = Arc::new(Mover {
            disk: crate::disk::kernel(),
            moves: Arc::new(AtomicUsize::new(0)),
            from: dead_letter_path(state.path()),
            to: moved.clone(),
        });
        let mut file = DeadLetterFile::open(&disk, state.path(), 100).unwrap();
        assert_eq!(file.append(b"1\n").unwrap(), Appended::Synced);
        assert_eq!(read(state.path()), "1\n");
        assert_eq!(fs::read(moved).unwrap(), b"1\n");
        assert_eq!(file.append(b"2\n").unwrap(), Appended::Synced);
        assert_eq!(read(state.path()), "1\n2\n");
    }

    /// A file system on which somebody takes the file away, once, between the look at its name and the first write.
    #[derive(Debug)]
    struct Mover {
        disk: Disk,
        moves: Arc<AtomicUsize>,
        from: PathBuf,
        to: PathBuf,
    }

    #[derive(Debug)]
    struct Moved {
        file: Box<dyn OpenFile>,
        moves: Arc<AtomicUsize>,
        from: PathBuf,
        to: PathBuf,
    }

    impl OpenFile for Moved {
        fn stat(&self) -> io::Result<Stat> {
            self.file.stat()
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            self.file.read_at(buffer, offset)
        }
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            if self.moves.fetch_add(1, Ordering::SeqCst) == 0 {
                fs::rename(&self.from, &self.to).unwrap();
            }
            self.file.append(bytes)
        }
        fn cut(&mut self, len: u64) -> io::Result<()> {
            self.file.cut(len)
        }
        fn allocate(&mut self, len: u64) -> io::Result<()> {
            self.file.allocate(len)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.file.sync()
        }
    }

    impl FileSystem for Mover {
        fn list(&self, folder: &Path) -> io::Result<Vec<crate::disk::Entry>> {
            self.disk.list(folder)
        }
        fn stat(&self, path: &Path) -> io::Result<Stat> {
            self.disk.stat(path)
        }
        fn link(&self, path: &Path) -> io::Result<PathBuf> {
            self.disk.link(path)
        }
        fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
            self.disk.canonical(path)
        }
        fn open_beneath(&self, root: &Path, relative: &Path) -> io::Result<Box<dyn OpenFile>> {
            self.disk.open_beneath(root, relative)
        }
        fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
            let file = self.disk.open(path, how)?;
            Ok(Box::new(Moved {
                file,
                moves: Arc::clone(&self.moves),
                from: self.from.clone(),
                to: self.to.clone(),
            }))
        }
        fn make_folder(&self, path: &Path) -> io::Result<()> {
            self.disk.make_folder(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.disk.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.disk.remove(path)
        }
        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            self.disk.sync_folder(folder)
        }
        fn space(&self, folder: &Path) -> io::Result<crate::disk::Space> {
            self.disk.space(folder)
        }
    }

    /// Red when what `resend` could not deliver does not count as room that is taken.
    #[test]
    fn rows_that_were_taken_over_take_room() {
        let state = tempfile::tempdir().unwrap();
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), state.path(), 10).unwrap();
        let taken = dead_letter_path(state.path()).with_file_name(TAKEN);
        fs::write(&taken, "12345\n").unwrap();
        assert_eq!(file.append(b"12345\n").unwrap(), Appended::NoRoom);
        assert_eq!(file.append(b"123\n").unwrap(), Appended::Synced);
        assert_eq!(file.bytes().unwrap(), 10);
        fs::remove_file(&taken).unwrap();
        assert_eq!(file.append(b"12345\n").unwrap(), Appended::Synced);
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
                ..Auth::default()
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

    /// Red when half of the credentials is taken from elsewhere, an empty variable for one, or a role before a key.
    #[test]
    fn credentials_of_aws_are_those_of_the_files_or_all_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            fs::write(folder.path().join(name), format!("{name} of a file\n")).unwrap();
            Some(folder.path().join(name))
        };
        let token = file("identity").unwrap();
        let all = |name: &str| match name {
            "AWS_SESSION_TOKEN" => None,
            "AWS_WEB_IDENTITY_TOKEN_FILE" => Some(token.display().to_string()),
            _ => Some(format!("{name} of the environment")),
        };
        let keys = |id: &str, secret: &str| {
            AwsSecret::Keys(AwsKeys {
                access_key_id: id.to_owned(),
                secret_access_key: secret.to_owned(),
                session_token: None,
            })
        };
        let aws = Aws::default();
        assert_eq!(
            read_aws(&aws, &all).unwrap(),
            keys(
                "AWS_ACCESS_KEY_ID of the environment",
                "AWS_SECRET_ACCESS_KEY of the environment"
            )
        );
        let role = read_aws(&aws, &|name| {
            all(name).filter(|_| name != "AWS_SECRET_ACCESS_KEY")
        })
        .unwrap();
        let wanted = WebIdentity {
            role_arn: "AWS_ROLE_ARN of the environment".to_owned(),
            token: "identity of a file".to_owned(),
        };
        assert!(!format!("{role:?}").contains("identity of"));
        assert_eq!(role, AwsSecret::Role(wanted));
        let by_files = Aws {
            access_key_id_file: file("id"),
            secret_access_key_file: file("secret"),
            ..Aws::default()
        };
        assert_eq!(
            read_aws(&by_files, &all).unwrap(),
            keys("id of a file", "secret of a file")
        );
        let with_token = Aws {
            session_token_file: file("token"),
            ..by_files
        };
        let secret = read_aws(&with_token, &all).unwrap();
        assert!(
            matches!(secret, AwsSecret::Keys(keys) if keys.session_token.as_deref() == Some("token of a file"))
        );
        for nothing in [None, Some(String::new())] {
            let error = read_aws(&aws, &|_| nothing.clone()).unwrap_err().to_string();
            assert!(
                error.contains("the environment") && error.contains("secret_access_key_file"),
                "{error}"
            );
        }
        fs::remove_file(&token).unwrap();
        let error = read_aws(&aws, &|name| all(name).filter(|_| !name.contains("KEY")))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("AWS_WEB_IDENTITY_TOKEN_FILE") && error.contains("No such file"),
            "{error}"
        );
    }
}
