//! What a subcommand writes to and asks, and how it ends.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// The world of a subcommand, so that tests can bring their own.
pub struct Console<'a> {
    /// Results. The caller may buffer; [`super::main`] flushes.
    pub out: &'a mut dyn Write,
    /// Messages for a person.
    pub err: &'a mut dyn Write,
    /// Looks up environment variables; one that is not UTF-8 counts as not set.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Console<'_> {
    /// Tells a person something that is not the result. Nobody listening is no failure.
    pub(super) fn note(&mut self, message: impl Display) {
        let _ = writeln!(self.err, "longshore: {message}");
    }
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Clean,
    /// Something failed while running.
    Runtime,
    /// The command line or the config is wrong.
    Usage,
}

impl Exit {
    /// The exit code of the process; 64 is `EX_USAGE` of BSD's sysexits.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Runtime => 1,
            Self::Usage => 64,
        }
    }
}

/// Why a subcommand could not do what it was asked for.
pub(super) enum Failure {
    /// The console cannot be written to.
    Output(io::Error),
    /// The command line or the config is wrong.
    Usage(String),
    /// Something failed while running.
    Runtime(anyhow::Error),
}

/// Only writes to the console fail with a bare `io::Error`; what fails on a file is told with its path.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

impl Failure {
    /// Tells the person, and the exit that follows. A reader that has seen enough (`| head`) is no failure.
    pub(super) fn tell(self, console: &mut Console<'_>) -> Exit {
        match self {
            Self::Output(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Clean,
            Self::Output(error) => {
                console.note(format_args!("standard output: {error}"));
                Exit::Runtime
            }
            Self::Usage(message) => {
                console.note(message);
                Exit::Usage
            }
            Self::Runtime(error) => {
                console.note(format_args!("{error:#}"));
                Exit::Runtime
            }
        }
    }
}
