//! `varve`: runs a cluster on this machine and manages its tenants, timelines and endpoints.
//!
//! It talks to the daemons through their published APIs only; what it keeps itself is names and ports.

mod arguments;
mod commands;
mod endpoints;
mod local_env;
mod output;
mod process;
mod storage;
mod template;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use output::Output;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output { json: arguments.json };
    match commands::run(arguments, output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("varve: {error:#}");
            ExitCode::FAILURE
        }
    }
}
