//! `cargo xtask soak`: many broadcasters and listeners, for long, with faults; and the
//! account of every message at the end.
//!
//! Two hosts are network namespaces with a faulty cable between them. Eight processes
//! publish and eight listen, each in another way ([`roles`]); broadcasters are killed
//! and started again, listeners come and go ([`schedule`]). Each payload says what it
//! must be ([`content`]), and each message that was sent must be delivered, or be
//! counted by what became of it, at each listener that was there ([`account`]).

mod account;
mod book;
mod broadcaster;
mod conductor;
mod content;
mod dice;
mod ear;
mod listener;
mod options;
mod party;
mod report;
mod resources;
mod roles;
mod schedule;
mod stage;
mod stop;
mod witness;
mod words;
mod world;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::Outcome;
use crate::test::{exit_code, inside_namespace, itself, way_inside};

use conductor::Conductor;
use options::Options;

pub(crate) use broadcaster::main as broadcaster;
pub(crate) use listener::main as listener;

/// The hidden commands: the one that runs it all in its namespace, and those of the
/// processes that it starts.
pub(crate) const INSIDE: &str = "soak-inside";
pub(crate) const BROADCASTER: &str = "soak-broadcaster";
pub(crate) const LISTENER: &str = "soak-listener";

pub(crate) fn main(arguments: &[String]) -> Outcome {
    let options = Options::parse(arguments)?;
    // An interrupt ends the soak inside, which then still has its account to show.
    let _interrupted = interrupts()?;
    let mut way = way_inside()?;
    let status = way
        .arg(itself()?)
        .arg(INSIDE)
        .args(options.arguments())
        .status()?;
    Ok(exit_code(status))
}

fn interrupts() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

pub(crate) fn inside(arguments: &[String]) -> Outcome {
    inside_namespace()?;
    let options = Options::parse(arguments)?;
    let mut out = io::stdout();
    writeln!(
        out,
        "8 broadcasters and 8 listeners on two hosts, {} s, seed {}; an interrupt ends it early.",
        options.seconds, options.seed
    )?;
    let outcome = Conductor::new(&options, interrupts()?)?.run()?;
    let verdict = report::verdict(&outcome, &options);
    report::show(&mut out, &outcome, &options, &verdict)?;
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(&report::json(&outcome, &options, &verdict))?;
        fs::write(path, text)?;
    }
    Ok(if verdict.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
