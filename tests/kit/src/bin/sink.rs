//! The rude Elasticsearch as a process of its own: for agents that are measured, killed or written in another language.
//!
//! It prints its URL on the first line and serves until it is killed. `GET /_kit/stats` tells what came, `POST
//! /_kit/control` makes it rude (see `longshore_kit::rude_elasticsearch`).

use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use std::io::Write as _;
use std::process::ExitCode;

const USAGE: &str = "\
usage: sink [--port N] [--lean]
  --port N   listen on this loopback port; 0, the default, takes a free one
  --lean     keep a hash per document instead of the document: still counts exactly and answers 409 to a second one
prints http://127.0.0.1:<port>; GET /_kit/stats shows the counters, POST /_kit/control takes orders
";

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    port: u16,
    lean: bool,
}

fn main() -> ExitCode {
    match wanted(std::env::args().skip(1)) {
        Some(wanted) => match serve(&wanted) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("sink: port {}: {error}\n", wanted.port), 1),
        },
        None => complain(USAGE, 64),
    }
}

fn serve(wanted: &Wanted) -> std::io::Result<()> {
    let server = RudeElasticsearch::start_on(wanted.port)?;
    if wanted.lean {
        server.keep(Keeping::Ids);
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", server.url())?;
    stdout.flush()?;
    loop {
        std::thread::park();
    }
}

/// What the arguments ask for; nothing when they are no good.
fn wanted(mut arguments: impl Iterator<Item = String>) -> Option<Wanted> {
    let mut wanted = Wanted { port: 0, lean: false };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--lean" => wanted.lean = true,
            "--port" => wanted.port = arguments.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(wanted)
}

fn complain(text: &str, code: u8) -> ExitCode {
    // Nothing is left to do when stderr is closed, too.
    let _said = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}
