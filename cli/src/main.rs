//! `varve`: runs a cluster on this machine and manages its tenants, timelines and endpoints.
//!
//! It talks to the daemons through their published APIs only; what it keeps itself is names and ports.

mod arguments;
mod commands;
mod console;
mod endpoints;
mod failure;
mod local_env;
mod output;
mod process;
mod storage;
mod template;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use output::Output;
use output::table::Look;

#[tokio::main]
async fn main() -> ExitCode {
    // Before clap reads it: help and complaints are coloured too.
    output::choose_colors(arguments::color_asked_for(std::env::args()));
    let arguments = Arguments::parse();
    if let Err(misuse) = arguments.check() {
        misuse.exit();
    }
    let output = Output { json: arguments.json };
    commands::run(arguments, output).await.unwrap_or_else(|error| {
        output::say(&format!("{} {}", Look::Bad.paint("varve:"), failure::describe(&error)));
        ExitCode::FAILURE
    })
}
