//! The files of a data directory, in the order of the tar.

use std::fmt::Write;

use pageserver_api::manifest::{
    BackupManifest, MANIFEST_PATH, RELATIONS_PATH, RelationLine, TablespaceEntry,
};
use pg_format::control_file::RecoveryPoints;
use pg_format::version::catalog_version;
use pg_format::wal::WalIdentity;
use pg_format::{CheckPoint, ControlFile, DatabaseState, StartWal, origins, synthesise_start, two_phase};
use types::{BLCKSZ, Fork, Key, Oid, RELSEG_BLOCKS, RelTag};

use super::archive::{Archive, ChunkSink};
use super::cluster::Cluster;
use super::{BackupError, BackupKind, BackupOptions, settings};
use crate::ingest::{RelSize, WrittenCheckpoint};

/// All that initdb makes and that has no files of ours in it.
const DIRECTORIES: [&str; 23] = [
    "varve",
    "base",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_wal/archive_status",
    "pg_xact",
];

/// Pages that are read at once.
const RUN: u32 = 128;

pub(super) async fn write<S: ChunkSink>(
    cluster: &Cluster<'_>,
    options: &BackupOptions,
    archive: &mut Archive<S>,
) -> Result<(), BackupError> {
    description(cluster, options, archive).await?;
    directories(cluster, archive).await?;
    slrus(cluster, archive).await?;
    for (xid, file) in &cluster.two_phase {
        let version = cluster.timeline.metadata().pg_version;
        let name = two_phase::file_name(version, (xid >> 32) as u32, *xid as u32);
        archive.file(&format!("pg_twophase/{name}"), file).await?;
    }
    beside(cluster, options.kind, archive).await?;
    relations(cluster, options.kind, archive).await?;
    if options.kind == BackupKind::Full {
        for (path, text) in settings::files(&cluster.control) {
            archive.file(path, text.as_bytes()).await?;
        }
    }
    let control = match options.kind {
        BackupKind::Standby(written) => standby_control_file(cluster, &written),
        BackupKind::Sparse | BackupKind::Full => {
            let metadata = cluster.timeline.metadata();
            let start = start_wal(cluster, options);
            for (number, segment) in &start.segments {
                let name = metadata.wal_seg_size.file_name(metadata.tli, *number);
                archive.file(&format!("pg_wal/{name}"), segment).await?;
            }
            control_file(cluster, &start)
        }
    };
    archive.file("global/pg_control", &control.encode()).await
}

fn start_wal(cluster: &Cluster<'_>, options: &BackupOptions) -> StartWal {
    let metadata = cluster.timeline.metadata();
    let identity = WalIdentity {
        version: metadata.pg_version,
        system_identifier: metadata.system_identifier,
        segment_size: metadata.wal_seg_size,
        tli: metadata.tli,
    };
    let checkpoint = CheckPoint {
        // A shutdown checkpoint: no transaction is running.
        oldest_active_xid: 0,
        // Times of commits are not kept: those of before are unknown, not in files that are missing.
        oldest_commit_ts_xid: 0,
        newest_commit_ts_xid: 0,
        ..cluster.checkpoint
    };
    synthesise_start(options.lsn, options.prev_lsn, &checkpoint, &identity)
}

fn control_file(cluster: &Cluster<'_>, start: &StartWal) -> ControlFile {
    ControlFile {
        state: DatabaseState::ShutDown,
        checkpoint: start.record_lsn,
        checkpoint_copy: start.checkpoint,
        unlogged_lsn: ControlFile::FIRST_UNLOGGED_LSN,
        recovery: RecoveryPoints::default(),
        ..cluster.control
    }
}

/// As a standby leaves it that was stopped where redo of the checkpoint begins. So all is consistent from there on.
fn standby_control_file(cluster: &Cluster<'_>, written: &WrittenCheckpoint) -> ControlFile {
    let WrittenCheckpoint { record_lsn, checkpoint } = *written;
    ControlFile {
        state: DatabaseState::ShutDownInRecovery,
        checkpoint: record_lsn,
        checkpoint_copy: checkpoint,
        unlogged_lsn: ControlFile::FIRST_UNLOGGED_LSN,
        recovery: RecoveryPoints {
            min_recovery_point: checkpoint.redo,
            min_recovery_point_tli: checkpoint.tli,
            ..RecoveryPoints::default()
        },
        ..cluster.control
    }
}

/// What compute_ctl reads first.
async fn description<S: ChunkSink>(
    cluster: &Cluster<'_>,
    options: &BackupOptions,
    archive: &mut Archive<S>,
) -> Result<(), BackupError> {
    let metadata = cluster.timeline.metadata();
    let id = cluster.timeline.id();
    let tablespaces = cluster.tablespaces.iter();
    let manifest = BackupManifest {
        format_version: BackupManifest::FORMAT_VERSION,
        tenant_id: id.tenant_id,
        timeline_id: id.timeline_id,
        lsn: options.lsn,
        system_identifier: metadata.system_identifier.to_string(),
        pg_version: metadata.pg_version,
        wal_seg_size: metadata.wal_seg_size,
        prev_lsn: options.prev_lsn,
        tli: metadata.tli,
        tablespaces: tablespaces
            .map(|(oid, location)| TablespaceEntry { oid: *oid, location: location.clone() })
            .collect(),
    };
    let manifest =
        serde_json::to_vec_pretty(&manifest).map_err(|error| BackupError::Sink(Box::new(error)))?;
    let mut list = String::new();
    for (rel, size) in &cluster.relations {
        let line = RelationLine { rel: *rel, blocks: size.blocks };
        writeln!(list, "{line}").expect("writing to a string does not fail");
    }
    archive.file(MANIFEST_PATH, &manifest).await?;
    archive.file(RELATIONS_PATH, list.as_bytes()).await
}

/// Directories, version files and relation maps.
async fn directories<S: ChunkSink>(
    cluster: &Cluster<'_>,
    archive: &mut Archive<S>,
) -> Result<(), BackupError> {
    for path in DIRECTORIES {
        archive.directory(path).await?;
    }
    let version = format!("{}\n", cluster.timeline.metadata().pg_version);
    archive.file("PG_VERSION", version.as_bytes()).await?;
    for (oid, _) in &cluster.tablespaces {
        archive.directory(&format!("pg_tblspc/{oid}")).await?;
        archive.directory(&tablespace_directory(cluster, *oid)).await?;
    }
    for (spc, db) in &cluster.databases {
        let path = database_directory(cluster, *spc, *db);
        archive.directory(&path).await?;
        archive.file(&format!("{path}/PG_VERSION"), version.as_bytes()).await?;
    }
    for (spc, db, map) in &cluster.maps {
        let path = database_directory(cluster, *spc, *db);
        archive.file(&format!("{path}/pg_filenode.map"), map).await?;
    }
    Ok(())
}

async fn slrus<S: ChunkSink>(cluster: &Cluster<'_>, archive: &mut Archive<S>) -> Result<(), BackupError> {
    for (slru, segment, blocks) in &cluster.slru_segments {
        let path = format!("{}/{segment:04X}", slru.directory());
        blocks_file(cluster, &path, Key::slru_block(*slru, *segment, 0), *blocks, archive).await?;
    }
    Ok(())
}

/// A standby has nothing of it: slots are the primary's, and subscriptions do not run there. An export has no slots, since
/// it has no WAL that they could go on with.
async fn beside<S: ChunkSink>(
    cluster: &Cluster<'_>,
    kind: BackupKind,
    archive: &mut Archive<S>,
) -> Result<(), BackupError> {
    if let BackupKind::Standby(_) = kind {
        return Ok(());
    }
    if !cluster.origins.is_empty() {
        archive.file("pg_logical/replorigin_checkpoint", &origins::encode(&cluster.origins)).await?;
    }
    for file in cluster.files.iter().filter(|file| kind == BackupKind::Sparse || !file.is_of_slots()) {
        archive.file(&file.path, &file.contents).await?;
    }
    Ok(())
}

/// All pages in an export; else only the forks that unlogged relations begin from.
async fn relations<S: ChunkSink>(
    cluster: &Cluster<'_>,
    kind: BackupKind,
    archive: &mut Archive<S>,
) -> Result<(), BackupError> {
    for (rel, size) in &cluster.relations {
        match (rel.fork, kind) {
            (Fork::Init, BackupKind::Sparse | BackupKind::Standby(_)) => {
                relation(cluster, *rel, *rel, size, archive).await?
            }
            (Fork::Init, BackupKind::Full) => {
                relation(cluster, *rel, *rel, size, archive).await?;
                relation(cluster, *rel, rel.with_fork(Fork::Main), size, archive).await?;
            }
            (Fork::Main | Fork::Fsm | Fork::Vm, BackupKind::Full) if !cluster.is_unlogged(*rel) => {
                relation(cluster, *rel, *rel, size, archive).await?;
            }
            (Fork::Main | Fork::Fsm | Fork::Vm, _) => {}
        }
    }
    Ok(())
}

/// The pages of `from` as the files of `to`, in segments of 1 GiB.
async fn relation<S: ChunkSink>(
    cluster: &Cluster<'_>,
    from: RelTag,
    to: RelTag,
    size: &RelSize,
    archive: &mut Archive<S>,
) -> Result<(), BackupError> {
    let path = format!("{}/{}{}", database_directory(cluster, to.spc, to.db), to.rel, to.fork.file_suffix());
    for segment in 0..=size.blocks.saturating_sub(1) / RELSEG_BLOCKS {
        let first = segment * RELSEG_BLOCKS;
        let path = if segment == 0 { path.clone() } else { format!("{path}.{segment}") };
        let end = first.saturating_add(RELSEG_BLOCKS).min(size.blocks);
        let bytes = u64::from(end - first) * BLCKSZ as u64;
        archive.begin_file(&path, bytes).await?;
        for first in (first..end).step_by(RUN as usize) {
            let run = first..first.saturating_add(RUN).min(end);
            for page in cluster.pages.relation(cluster.timeline, from, size, run, cluster.lsn).await? {
                archive.write(&page).await?;
            }
        }
        archive.end_file(bytes).await?;
    }
    Ok(())
}

async fn blocks_file<S: ChunkSink>(
    cluster: &Cluster<'_>,
    path: &str,
    first: Key,
    blocks: u32,
    archive: &mut Archive<S>,
) -> Result<(), BackupError> {
    let size = u64::from(blocks) * BLCKSZ as u64;
    archive.begin_file(path, size).await?;
    let mut next = Some(first);
    let mut left = blocks;
    while let Some(key) = next.filter(|_| left > 0) {
        let count = RUN.min(left);
        let pages = cluster.pages.run(cluster.timeline, key, count, cluster.lsn).await?;
        for page in pages {
            archive.write(&page).await?;
        }
        next = std::iter::successors(Some(key), Key::next).nth(count as usize);
        left -= count;
    }
    archive.end_file(size).await
}

fn tablespace_directory(cluster: &Cluster<'_>, spc: Oid) -> String {
    let version = cluster.timeline.metadata().pg_version;
    format!("pg_tblspc/{spc}/PG_{version}_{}", catalog_version(version))
}

fn database_directory(cluster: &Cluster<'_>, spc: Oid, db: Oid) -> String {
    match spc {
        RelTag::DEFAULT_TABLESPACE => format!("base/{db}"),
        RelTag::GLOBAL_TABLESPACE => "global".to_owned(),
        spc => format!("{}/{db}", tablespace_directory(cluster, spc)),
    }
}
