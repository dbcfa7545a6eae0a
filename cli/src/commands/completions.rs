//! `completions`: a program for a shell, made of the definition of the command line itself.

use clap::CommandFactory;

use crate::arguments::{Arguments, CompletionsArguments};
use crate::output::write_raw;

pub fn completions(arguments: &CompletionsArguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "varve", &mut script);
    write_raw(&script)
}
