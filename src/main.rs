//! The `longshore` binary: the command line and the environment enter, an exit code leaves.

use longshore::cli::{self, Console};
use std::io::{self, BufWriter};
use std::process::ExitCode;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the command line and the environment enter"
)]
fn main() -> ExitCode {
    // Before anything can speak TLS. It fails only when there is a provider already, and nothing ran before us.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let exit = cli::main(
        std::env::args_os(),
        &mut Console {
            out: &mut BufWriter::new(io::stdout()),
            err: &mut io::stderr(),
            env: &|name| std::env::var(name).ok(),
        },
    );
    ExitCode::from(exit.code())
}
