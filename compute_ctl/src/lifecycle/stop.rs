//! Ending a life: in order, with all WAL on a quorum, or at once.

use std::path::Path;
use std::time::Duration;

use compute_api::{ComputeState, WalproposerStatus};
use nix::sys::signal::Signal;
use pg_format::DatabaseState;
use types::Lsn;

use super::old_wal::OldWal;
use super::{Compute, Ground, Life, LifeEnd, News, blocking};
use crate::data_dir::{control_file, kept::Kept};
use crate::error::ComputeError;
use crate::postgres::ServerProcess;
use crate::predecessor;
use crate::walproposer::Exit;

/// PostgreSQL kills what has not ended five seconds after an immediate shutdown began.
const IMMEDIATE_PATIENCE: Duration = Duration::from_secs(7);

impl Compute {
    /// Fast shutdown. The server's walsender stays until the shutdown checkpoint is confirmed, so the order
    /// is the server's own; only the time limit is ours.
    pub(super) async fn stop(&self, ground: &Ground, mut life: Life) -> Result<LifeEnd, ComputeError> {
        self.status.enter(ComputeState::Stopping, None);
        life.server.signal(Signal::SIGINT);
        if let News::Replica(_) = life.news {
            return self.stop_replica(ground, life).await;
        }
        let in_order = async {
            let path = match (&mut life.companion).await {
                // No commit that waits for a quorum gets one any more, and before that the server would not end.
                Ok(Exit::Fenced { term }) => return Err(term),
                Ok(Exit::PostgresStopped { commit_lsn }) => Ok(commit_lsn),
                Ok(Exit::Failed { reason }) => Err(reason),
                Err(error) => Err(error.to_string()),
            };
            Ok((life.server.ended().await, path))
        };
        match tokio::time::timeout(self.stop_timeout, in_order).await {
            Ok(Err(term)) => self.fenced(ground, &life, term).await,
            Ok(Ok((status, Ok(commit_lsn)))) => {
                if status.success() && is_shut_down(&ground.paths.pgdata, commit_lsn) {
                    tracing::info!(ttid = %self.spec.ttid(), lsn = %commit_lsn, "stopped; all WAL is on a quorum");
                    match life.old_wal {
                        OldWal::Here => self.keep(ground, commit_lsn),
                        // The next start is to try again, which it does only with a new one.
                        OldWal::Missing => tracing::info!(
                            "the data directory is not kept: WAL for replication slots is missing"
                        ),
                    }
                    return Ok(LifeEnd::Stopped);
                }
                tracing::error!(lsn = %commit_lsn, "PostgreSQL ended ({status}) before all its WAL was on a quorum");
                Ok(LifeEnd::NoQuorum)
            }
            Ok(Ok((status, Err(reason)))) => {
                tracing::error!("PostgreSQL ended ({status}), and so did its WAL path: {reason}");
                Ok(LifeEnd::NoQuorum)
            }
            Err(_) => {
                self.show_news(&mut life);
                let seconds = self.stop_timeout.as_secs();
                let walproposer = self.status.subscribe().borrow().walproposer.clone();
                let committed =
                    walproposer.as_ref().map_or(Lsn::INVALID, |walproposer| walproposer.commit_lsn);
                let end = if is_shut_down(&ground.paths.pgdata, committed) {
                    tracing::warn!(
                        "all WAL is on a quorum, but a client that replicates has not confirmed it within {seconds} s: \
                         it is cut off, and the next start begins with an empty cache"
                    );
                    LifeEnd::Stopped
                } else {
                    let missing = missing_safekeepers(walproposer.as_ref());
                    tracing::error!(
                        "no quorum for the last WAL within {seconds} s, stopping at once; missing: {missing}"
                    );
                    self.status.enter(ComputeState::Stopping, Some(format!("no quorum; missing: {missing}")));
                    LifeEnd::NoQuorum
                };
                life.companion.abort();
                end_at_once(ground, &life.server).await?;
                Ok(end)
            }
        }
    }

    /// Notes that the next start can go on from here.
    fn keep(&self, ground: &Ground, lsn: Lsn) {
        let kept = Kept::new(self.spec.ttid(), self.spec.pg_version, lsn);
        if let Err(error) = kept.and_then(|kept| kept.leave(&ground.paths.kept, &ground.paths.pgdata)) {
            tracing::warn!("the next start will begin with an empty cache: {error}");
        }
    }

    /// It has nothing that is not elsewhere.
    async fn stop_replica(&self, ground: &Ground, life: Life) -> Result<LifeEnd, ComputeError> {
        if tokio::time::timeout(self.stop_timeout, life.server.ended()).await.is_err() {
            tracing::warn!("the replica did not stop within {:?}: it is ended at once", self.stop_timeout);
            end_at_once(ground, &life.server).await?;
        }
        life.companion.abort();
        tracing::info!(ttid = %self.spec.ttid(), "stopped");
        Ok(LifeEnd::Stopped)
    }
}

/// The safekeepers that lack WAL which the server has handed over.
fn missing_safekeepers(walproposer: Option<&WalproposerStatus>) -> String {
    let Some(walproposer) = walproposer else { return "unknown".to_owned() };
    let behind = walproposer.safekeepers.iter().filter(|peer| peer.flush_lsn < walproposer.received_lsn);
    let described: Vec<String> = behind
        .map(|peer| format!("safekeeper {} at {} ({})", peer.id, peer.pg_connstr, peer.state))
        .collect();
    if described.is_empty() { "none".to_owned() } else { described.join(", ") }
}

/// Immediate shutdown, by force if need be, orphans included.
pub(super) async fn end_at_once(ground: &Ground, server: &ServerProcess) -> Result<(), ComputeError> {
    server.signal(Signal::SIGQUIT);
    if tokio::time::timeout(IMMEDIATE_PATIENCE, server.ended()).await.is_err() {
        server.signal(Signal::SIGKILL);
        server.ended().await;
    }
    let pgdata = ground.paths.pgdata.clone();
    blocking(move || predecessor::end_servers(&pgdata)).await
}

/// Whether a quorum has the shutdown checkpoint, and so all that comes before.
fn is_shut_down(pgdata: &Path, commit_lsn: Lsn) -> bool {
    shutdown_checkpoint(pgdata).is_some_and(|checkpoint| checkpoint < commit_lsn)
}

/// Where the shutdown checkpoint begins, if the server has written one: from its control file.
fn shutdown_checkpoint(pgdata: &Path) -> Option<Lsn> {
    let control = control_file(pgdata).ok()?;
    (control.state == DatabaseState::ShutDown).then_some(control.checkpoint)
}

#[cfg(test)]
mod tests {
    use pg_format::control_file::{Parameters, RecoveryPoints};
    use pg_format::version::catalog_version;
    use pg_format::{CheckPoint, ControlFile};
    use types::{PgVersion, WalSegmentSize};

    use super::*;

    fn control() -> ControlFile {
        ControlFile {
            version: PgVersion::V15,
            system_identifier: 7,
            catalog_version: catalog_version(PgVersion::V15),
            state: DatabaseState::Startup,
            time: 0,
            checkpoint: Lsn::INVALID,
            checkpoint_copy: CheckPoint::default(),
            unlogged_lsn: ControlFile::FIRST_UNLOGGED_LSN,
            recovery: RecoveryPoints::default(),
            parameters: Parameters {
                wal_level: 1,
                wal_log_hints: false,
                max_connections: 100,
                max_worker_processes: 8,
                max_wal_senders: 10,
                max_prepared_xacts: 0,
                max_locks_per_xact: 64,
                track_commit_timestamp: false,
            },
            wal_segment_size: WalSegmentSize::DEFAULT,
            data_checksum_version: 0,
            mock_authentication_nonce: [0; 32],
        }
    }

    #[test]
    fn only_a_server_that_was_shut_down_has_a_shutdown_checkpoint() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("global")).unwrap();
        let write = |state| {
            let control = ControlFile { state, checkpoint: Lsn(0x16B_9188), ..control() };
            std::fs::write(root.path().join("global/pg_control"), control.encode()).unwrap();
        };
        assert_eq!(shutdown_checkpoint(root.path()), None);
        write(DatabaseState::InProduction);
        assert_eq!(shutdown_checkpoint(root.path()), None);
        write(DatabaseState::ShutDown);
        assert_eq!(shutdown_checkpoint(root.path()), Some(Lsn(0x16B_9188)));
    }
}
