//! `cargo xtask netsetup`: makes a machine ready for IPv6 multicast, and proves it.

use std::io;

use mcl_setup::netsetup::{Options, run};

use crate::Outcome;

pub(crate) fn main(arguments: &[String]) -> Outcome {
    let options = Options::parse(arguments.iter().map(String::as_str))?;
    Ok(run(options, &mut io::stdout())?.into())
}
