//! `varve pageserver …`, `varve safekeeper …`, `varve broker …`

use clap::Subcommand;
use clap::builder::StyledStr;
use types::NodeId;

use super::StopArguments;
use super::help::examples;

#[derive(Subcommand)]
pub enum DaemonCommand {
    /// Start it, if it does not run, and wait until it answers.
    Start {
        /// Which one; default: all.
        #[arg(long)]
        id: Option<NodeId>,
    },
    /// Stop it; data stays.
    Stop {
        /// Which one; default: all.
        #[arg(long)]
        id: Option<NodeId>,
        #[command(flatten)]
        stop: StopArguments,
    },
    /// Whether it runs, and where. Ends with 1 if it does not.
    Status {
        /// Which one; default: all.
        #[arg(long)]
        id: Option<NodeId>,
    },
}

pub fn safekeeper_examples() -> StyledStr {
    examples(&[
        ("varve safekeeper stop --id 2", "commits go on with the other two"),
        ("varve safekeeper start --id 2", "it catches up by itself"),
        ("varve safekeeper status", "all of them"),
    ])
}

pub fn pageserver_examples() -> StyledStr {
    examples(&[
        ("varve pageserver stop", "commits go on; reads of what is not cached wait"),
        ("varve pageserver start", "it goes on where it was"),
        ("varve pageserver status", "whether it runs"),
    ])
}

pub fn broker_examples() -> StyledStr {
    examples(&[
        ("varve broker stop", "positions are not exchanged meanwhile"),
        ("varve broker start", "the others come back to it by themselves"),
        ("varve broker status", "whether it runs"),
    ])
}
