//! `varve timeline …`

use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{ArgGroup, Subcommand};
use types::{Lsn, PgVersion, TenantId, TimelineId};

use super::help::examples;
use super::{Moment, parse_pg_version};

#[derive(Subcommand)]
pub enum TimelineCommand {
    /// Make a new, empty root branch.
    Create {
        /// Name of the new branch.
        #[arg(long)]
        branch_name: String,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
        /// Id of the new timeline, 32 hexadecimal digits. Default: a random one.
        #[arg(long)]
        timeline_id: Option<TimelineId>,
        /// Major version of PostgreSQL. Default: the cluster's.
        #[arg(long, value_parser = parse_pg_version)]
        pg_version: Option<PgVersion>,
    },
    /// Make a root branch of a base backup, or of a server that runs.
    ///
    /// PostgreSQL's own recovery runs on a copy first, in the directory for temporary files (TMPDIR). One that was cut short goes on
    /// when it is repeated with --timeline-id: what the pageserver has got is not taken anew.
    #[command(after_help = import_examples())]
    #[command(group = ArgGroup::new("what").required(true).args(["base_tarfile", "from"]))]
    Import {
        /// Name of the new branch.
        #[arg(long)]
        branch_name: String,
        /// base.tar of `pg_basebackup -Ft`; also compressed with zstd.
        #[arg(long, value_name = "FILE")]
        base_tarfile: Option<PathBuf>,
        /// The pg_wal.tar beside it. Not needed if the server was stopped, or the WAL is in the backup.
        #[arg(long, value_name = "FILE", requires = "base_tarfile")]
        wal_tarfile: Option<PathBuf>,
        /// Connection string of a server, of a role that may replicate; a base backup is taken of it.
        #[arg(long, value_name = "CONNSTR")]
        from: Option<String>,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
        /// Id of the new timeline, 32 hexadecimal digits. Default: a random one.
        #[arg(long)]
        timeline_id: Option<TimelineId>,
    },
    /// Branch off another branch: at its head, at an LSN, or at a moment.
    #[command(after_help = branch_examples())]
    Branch {
        /// Name of the new branch.
        #[arg(long)]
        branch_name: String,
        /// The branch to leave.
        #[arg(long, default_value = "main")]
        ancestor_branch_name: String,
        /// Where to leave it. Default: its head.
        #[arg(long)]
        ancestor_start_lsn: Option<Lsn>,
        /// When to leave it: with all that was committed until then. "2026-11-22 10:00" or "2 hours ago".
        #[arg(long, value_name = "TIME", conflicts_with = "ancestor_start_lsn")]
        ancestor_start_time: Option<Moment>,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
        /// Id of the new timeline, 32 hexadecimal digits. Default: a random one.
        #[arg(long)]
        timeline_id: Option<TimelineId>,
    },
    /// Take a branch back to where it was. What it is now stays, under another name.
    ///
    /// Endpoints of the branch must be stopped; they find the restored branch when they start.
    #[command(after_help = restore_examples())]
    #[command(group = ArgGroup::new("when").required(true).args(["to_time", "to_lsn"]))]
    Restore {
        /// Name of the branch.
        #[arg(long, default_value = "main")]
        branch_name: String,
        /// The moment: "2026-11-22 10:00" or "2 hours ago".
        #[arg(long, value_name = "TIME")]
        to_time: Option<Moment>,
        /// Or the LSN.
        #[arg(long)]
        to_lsn: Option<Lsn>,
        /// What the branch as it is now is called from now on. Default: NAME-before-N.
        #[arg(long, value_name = "NAME")]
        keep_as: Option<String>,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Put a branch away: it is kept in object storage alone, and serves no endpoints.
    ///
    /// Its endpoints must be stopped, and branches that left it be archived before it.
    #[command(after_help = archive_examples())]
    Archive {
        /// Name of the branch.
        #[arg(long)]
        branch_name: String,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Bring back a branch that was archived.
    Unarchive {
        /// Name of the branch.
        #[arg(long)]
        branch_name: String,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Make a branch independent of the one that it left, which may then be deleted.
    ///
    /// Copies what it has from there. Its history begins where it left; endpoints go on meanwhile.
    #[command(after_help = detach_ancestor_examples())]
    DetachAncestor {
        /// Name of the branch.
        #[arg(long)]
        branch_name: String,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Delete a branch, with all that it has in object storage. Nothing brings it back.
    ///
    /// It must have no endpoints, and no branches that left it.
    #[command(after_help = delete_examples())]
    #[command(group = ArgGroup::new("which").required(true).args(["branch_name", "timeline_id"]))]
    Delete {
        /// Name of the branch.
        #[arg(long)]
        branch_name: Option<String>,
        /// Or its id, also of a timeline that has no name.
        #[arg(long)]
        timeline_id: Option<TimelineId>,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// The branches as a tree, with positions and sizes.
    List {
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
        /// A tree for every tenant.
        #[arg(short, long, conflicts_with = "tenant_id")]
        all: bool,
    },
    /// What the safekeepers and the pageserver know of a branch: terms, members, positions.
    #[command(after_help = detail_examples())]
    Detail {
        /// Name of the branch.
        #[arg(long, default_value = "main")]
        branch_name: String,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
    /// Write a branch as it was at an LSN into a plain data directory that stock PostgreSQL starts.
    #[command(after_help = export_examples())]
    Export {
        /// The branch to export.
        #[arg(long, default_value = "main")]
        branch_name: String,
        /// Default: the head.
        #[arg(long)]
        at_lsn: Option<Lsn>,
        /// Directory to make; it must be empty or not exist.
        #[arg(short, long)]
        output: PathBuf,
        /// Default: the default tenant.
        #[arg(long)]
        tenant_id: Option<TenantId>,
    },
}

pub fn group_examples() -> StyledStr {
    examples(&[
        ("varve timeline list", "the branches as a tree"),
        ("varve timeline branch --branch-name test", "main as it is now"),
        ("varve timeline create --branch-name empty", "a root: nothing in it"),
        ("varve timeline export -o /tmp/plain", "main, without us"),
    ])
}

fn import_examples() -> StyledStr {
    examples(&[
        ("varve timeline import --branch-name its --from postgresql://me@db", "it runs"),
        ("varve timeline import --branch-name its --base-tarfile base.tar", "of a backup"),
    ])
}

fn branch_examples() -> StyledStr {
    examples(&[
        ("varve timeline branch --branch-name work", "main as it is now"),
        ("varve timeline branch --branch-name task --ancestor-branch-name work", "a branch of a branch"),
        ("varve timeline branch --branch-name past --ancestor-start-lsn 0/1A2B3C8", "main as it was then"),
        ("varve timeline branch --branch-name old --ancestor-start-time '1h ago'", "an hour ago"),
    ])
}

fn restore_examples() -> StyledStr {
    examples(&[
        ("varve timeline restore --to-time '10 minutes ago'", "main, before the accident"),
        ("varve timeline restore --to-lsn 0/1A2B3C8 --keep-as wrong", "what was main is wrong now"),
    ])
}

fn archive_examples() -> StyledStr {
    examples(&[
        ("varve timeline archive --branch-name test", "until it is needed again"),
        ("varve timeline unarchive --branch-name test", "now"),
    ])
}

fn detach_ancestor_examples() -> StyledStr {
    examples(&[("varve timeline detach-ancestor --branch-name work", "a root, like main")])
}

fn delete_examples() -> StyledStr {
    examples(&[("varve timeline delete --branch-name task", "when the task is done")])
}

fn detail_examples() -> StyledStr {
    examples(&[
        ("varve timeline detail", "of main"),
        ("varve --json timeline detail", "all there is to know"),
    ])
}

fn export_examples() -> StyledStr {
    examples(&[
        ("varve timeline export -o /tmp/mine", "main as it is now"),
        ("varve timeline export -o /tmp/past --at-lsn 0/1A2B3C8", "as it was then"),
    ])
}
