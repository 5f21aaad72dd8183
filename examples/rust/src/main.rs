// SPDX-License-Identifier: Apache-2.0
//! Forks children of a snapshot, and has each run a command.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::time::Duration;

use forkd::Server;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (snapshot, disk, count, command) = match arguments.as_slice() {
        [snapshot, disk, count, command @ ..] if !command.is_empty() => {
            (snapshot, disk, count.parse(), command)
        }
        _ => usage(),
    };
    let count = count.unwrap_or_else(|_| usage());
    if let Err(error) = run(Path::new(snapshot), Path::new(disk), count, command) {
        eprintln!("forkd-example: {error}");
        exit(1);
    }
}

fn usage() -> ! {
    eprintln!("usage: forkd-example SNAPSHOT DISK COUNT COMMAND...");
    exit(2)
}

fn run(
    snapshot: &Path,
    disk: &Path,
    count: usize,
    command: &[String],
) -> Result<(), Box<dyn Error>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../build/forkd-vmm");
    let vmm = PathBuf::from(env::var_os("FORKD_VMM").unwrap_or(beside.into()));
    let mut server = Server::start(&vmm, snapshot, &[disk])?;
    let mut children = (1..=count)
        .map(|number| server.fork(&format!("child-{number}")))
        .collect::<Result<Vec<_>, _>>()?;
    for child in &mut children {
        let ready = child.wait(PATIENCE)?;
        eprintln!("process {}, ready after {:?}", ready.pid, ready.after);
    }
    // Debug has the quotes of JSON, of plain words.
    let question = format!(r#"{{"action":"exec","args":{command:?}}}"#);
    for child in &mut children {
        println!("{}", child.ask(&question)?.trim_end());
    }
    Ok(())
}
