//! Messages in CRI lines, as the runtimes write them.
//!
//! `<RFC 3339 stamp> SP stdout|stderr SP P|F SP <content> LF`. containerd and conmon differ in the stamp and in where they
//! split long lines; both are imitated byte for byte (containerd: `internal/cri/io/logger.go`; conmon:
//! `src/ctr_logging.c`, checked against the real program).

use std::fmt::Write as _;

/// Which of the container's outputs a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word in the CRI line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Whose habits a CRI line follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CriDialect {
    /// Stamps end in `Z` without trailing zeros in the fraction; content is split at 16,384 bytes.
    #[default]
    Containerd,
    /// Stamps have nine digits and `+00:00`; what does not fit one read of 8,192 bytes becomes `P` lines, closed by an empty `F`.
    Conmon,
}

/// containerd's default `max_container_log_line_size`, in bytes of content.
pub const CONTAINERD_SPLIT_BYTES: usize = 16_384;
/// From one part of a message to the next, as recorded in `tests/corpus/cri`.
const PIECE_NS: u64 = 30_000;
/// What conmon reads from the pipe at once, in bytes.
pub const CONMON_READ_BYTES: usize = 8_192;

impl CriDialect {
    /// The stamp of a moment in Unix nanoseconds.
    pub fn stamp(self, unix_ns: u64) -> String {
        match self {
            Self::Containerd => format!("{}Z", trimmed(&rfc3339(unix_ns))),
            Self::Conmon => format!("{}+00:00", rfc3339(unix_ns)),
        }
    }

    /// One message as one or more lines (`P`…`F`). The first has this stamp, each further one a later stamp of its own.
    pub fn lines(self, unix_ns: u64, stream: Stream, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(content.len() + 64);
        self.push_lines(&mut out, unix_ns, stream, content);
        out
    }

    /// Appends what [`CriDialect::lines`] returns.
    pub fn push_lines(self, out: &mut Vec<u8>, unix_ns: u64, stream: Stream, content: &[u8]) {
        let (last, at) = self.push_partials(out, unix_ns, stream, content);
        push_cri_line(out, &self.stamp(at), stream, "F", last);
    }

    /// What a container that exits without a newline leaves: `P` lines only, the closing `F` never comes
    /// (containerd/containerd#4813, containers/conmon#252).
    pub fn unfinished(self, unix_ns: u64, stream: Stream, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (last, at) = self.push_partials(&mut out, unix_ns, stream, content);
        if !last.is_empty() {
            push_cri_line(&mut out, &self.stamp(at), stream, "P", last);
        }
        out
    }

    /// Appends the `P` lines and returns the content and the moment of the line that closes them.
    fn push_partials<'a>(
        self,
        out: &mut Vec<u8>,
        mut unix_ns: u64,
        stream: Stream,
        content: &'a [u8],
    ) -> (&'a [u8], u64) {
        let (piece, mut rest) = match self {
            Self::Containerd => (CONTAINERD_SPLIT_BYTES, content),
            Self::Conmon => (CONMON_READ_BYTES, content),
        };
        let mut partial = |content: &[u8]| {
            push_cri_line(out, &self.stamp(unix_ns), stream, "P", content);
            unix_ns += PIECE_NS;
        };
        while rest.len() > piece {
            partial(&rest[..piece]);
            rest = &rest[piece..];
        }
        // conmon read the newline on its own once the content had filled a read.
        if self == Self::Conmon && content.len() >= CONMON_READ_BYTES {
            partial(rest);
            rest = &[];
        }
        (rest, unix_ns)
    }
}

/// One CRI line of ready parts, newline included. `tag` may be `P`, `F` or have further parts (`F:x`).
pub fn cri_line(stamp: &str, stream: Stream, tag: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(stamp.len() + content.len() + 16);
    push_cri_line(&mut out, stamp, stream, tag, content);
    out
}

fn push_cri_line(out: &mut Vec<u8>, stamp: &str, stream: Stream, tag: &str, content: &[u8]) {
    for part in [stamp, " ", stream.as_str(), " ", tag, " "] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(content);
    out.push(b'\n');
}

/// `YYYY-MM-DDTHH:MM:SS.nnnnnnnnn` in UTC, without a zone, of a moment in Unix nanoseconds.
pub fn rfc3339(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let mut out = String::with_capacity(30);
    write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60,
        unix_ns % 1_000_000_000
    )
    .expect("a String takes every write");
    out
}

/// `YYYYMMDD-HHMMSS` in UTC: the suffix that kubelet gives to a rotated file.
pub fn rotation_stamp(unix_seconds: u64) -> String {
    let (year, month, day) = civil(unix_seconds / 86_400);
    let of_day = unix_seconds % 86_400;
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Days since 1970-01-01 to year, month, day (Howard Hinnant's `civil_from_days`, for days after the epoch).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn trimmed(stamp: &str) -> &str {
    stamp.trim_end_matches('0').trim_end_matches('.')
}
