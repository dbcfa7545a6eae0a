//! `varve pageserver …`, `varve safekeeper …`, `varve broker …`

use clap::Subcommand;
use clap::builder::StyledStr;
use types::{NodeId, TenantId, TimelineId};

use super::help::examples;
use super::{BlockAt, StopArguments};

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

#[derive(Subcommand)]
pub enum PageserverCommand {
    #[command(flatten)]
    Daemon(DaemonCommand),
    /// What a read of one block goes through: layers, images, changes.
    #[command(after_help = explain_examples())]
    ExplainRead {
        /// TABLESPACE/DATABASE/FILE/BLOCK[@LSN], numbers as in PostgreSQL's file names; default: at the head.
        block: BlockAt,
        /// Name of the branch.
        #[arg(long, default_value = "main")]
        branch_name: String,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
}

#[derive(Subcommand)]
pub enum SafekeeperCommand {
    #[command(flatten)]
    Daemon(DaemonCommand),
    /// Start one more, and bring all timelines to it. Computes go on writing.
    #[command(after_help = add_examples())]
    Add {
        /// Its id: none that was ever used, except to go on where the command was interrupted.
        id: NodeId,
        /// Where it runs, if parts have hosts of their own: it was started before.
        #[arg(long)]
        host: Option<String>,
    },
    /// What a safekeeper keeps of its timelines beside WAL, read from its files. It need not run.
    #[command(after_help = dump_examples())]
    DumpControl {
        /// Its id.
        id: NodeId,
        /// Of this timeline alone.
        #[arg(long)]
        timeline_id: Option<TimelineId>,
    },
    /// Take all timelines from one and stop it. Its files are left. Computes go on writing.
    #[command(after_help = remove_examples())]
    Remove {
        /// Its id.
        id: NodeId,
    },
}

fn dump_examples() -> StyledStr {
    examples(&[
        ("varve safekeeper dump-control 1", "terms, votes, members, positions"),
        ("varve --json safekeeper dump-control 1", "for programs"),
    ])
}

fn add_examples() -> StyledStr {
    examples(&[
        ("varve safekeeper add 4", "one more than three"),
        ("varve safekeeper remove 2", "and then one less: 4 is there instead of 2"),
        ("varve safekeeper add 4 --host safekeeper4", "a container that runs already"),
    ])
}

fn remove_examples() -> StyledStr {
    examples(&[
        ("varve safekeeper add 5", "first another"),
        ("varve safekeeper remove 4", "at least three are left"),
    ])
}

pub fn safekeeper_examples() -> StyledStr {
    examples(&[
        ("varve safekeeper stop --id 2", "commits go on with the other two"),
        ("varve safekeeper start --id 2", "it catches up by itself"),
        ("varve safekeeper status", "all of them"),
    ])
}

fn explain_examples() -> StyledStr {
    examples(&[
        ("varve pageserver explain-read 1664/0/1262/0", "the first block of pg_database"),
        ("varve pageserver explain-read 1663/5/16384_vm/0@0/1A2B3C8", "a map, in the past"),
    ])
}

pub fn pageserver_examples() -> StyledStr {
    examples(&[
        ("varve pageserver stop", "commits go on; reads of what is not cached wait"),
        ("varve pageserver start", "it goes on where it was"),
        ("varve pageserver status", "whether it runs"),
        ("varve pageserver explain-read 1664/0/1262/0", "what a read of a block goes through"),
    ])
}

pub fn broker_examples() -> StyledStr {
    examples(&[
        ("varve broker stop", "positions are not exchanged meanwhile"),
        ("varve broker start", "the others come back to it by themselves"),
        ("varve broker status", "whether it runs"),
    ])
}
