//! `varve console`

use std::net::SocketAddr;

use clap::Args;
use clap::builder::StyledStr;

use super::help::examples;

#[derive(Args)]
pub struct ConsoleArguments {
    /// Where to listen. Default: 127.0.0.1, and port 7700 or a port of the cluster's range.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// A name under which browsers reach it, besides localhost and the address. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub name: Vec<String>,
}

pub fn console_examples() -> StyledStr {
    examples(&[
        ("varve console", "print a link to open in a browser; Ctrl-C ends it"),
        ("varve console --listen 127.0.0.1:0", "on any free port"),
    ])
}
