//! WAL from before the start, which replication slots still need: from the safekeepers into `pg_wal`.
//!
//! It goes there before the server starts, from the beginning of the segment that the oldest slot is in. So the segment
//! with the start's checkpoint, of which the base backup made up all that is before it, becomes what it really was.
//!
//! Only those safekeepers are asked who have acknowledged all WAL up to there in this compute's term: one that has merely
//! voted may have WAL of a compute that lost.
//!
//! A start does not fail for it: if the WAL cannot be had, the server tells each subscriber that it is gone, and the next
//! start tries again.

use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use compute_api::SafekeeperPeerStatus;
use pg_frontend::Address;
use safekeeper_api::replication::{ReplicationError, Until, WalRange, connect_params};
use types::{Lsn, Term, WalSegmentSize};

use super::{Compute, Ground, blocking};
use crate::data_dir::oldest_restart_lsn;
use crate::error::ComputeError;
use crate::server_user::ServerUser;
use crate::walproposer::Elected;

/// Safekeepers are asked so many times each.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Whether slots have what they need. The next start fetches it only into a new data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldWal {
    Here,
    Missing,
}

/// What is to be fetched.
#[derive(Clone, Copy)]
struct Wanted {
    begin: Lsn,
    end: Lsn,
    term: Term,
    segment_size: WalSegmentSize,
    tli: u32,
}

impl Compute {
    pub(super) async fn fetch_old_wal(
        &self,
        ground: &Ground,
        elected: &Elected,
        (segment_size, tli): (WalSegmentSize, u32),
    ) -> Result<OldWal, ComputeError> {
        let (end, term, walproposer) = (elected.start_lsn(), elected.term(), elected.status());
        let (root, user) = (ground.paths.pgdata.clone(), ground.user);
        let oldest = blocking(move || user.run(|| oldest_restart_lsn(&root))).await?;
        let Some(oldest) = oldest.filter(|oldest| *oldest < end) else { return Ok(OldWal::Here) };
        let begin = Lsn(oldest.0 - oldest.segment_offset(segment_size.bytes()));
        let mut wanted = Wanted { begin, end, term, segment_size, tli };
        let bytes = end.saturating_distance(begin);
        self.status.waiting(format!("fetching {bytes} bytes of WAL for replication slots"));
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let holders = holders(&walproposer.borrow().safekeepers, end);
            for peer in holders {
                let Ok(address) = Address::parse(&peer.pg_connstr) else { continue };
                match self.fetch_from(address, &mut wanted, ground).await? {
                    Ok(()) => {
                        tracing::info!(from = %begin, to = %end, "WAL for replication slots is here");
                        return Ok(OldWal::Here);
                    }
                    Err(error) => tracing::warn!(
                        safekeeper = %peer.id, lsn = %wanted.begin,
                        "WAL for replication slots could not be read: {error}"
                    ),
                }
            }
        }
        tracing::error!(
            from = %wanted.begin, to = %end,
            "WAL for replication slots is not to be had from any safekeeper: they cannot go on before the next start"
        );
        Ok(OldWal::Missing)
    }

    /// Whole segments, one after the other; `wanted` then begins with the first that is missing. The inner error is the
    /// safekeeper's.
    async fn fetch_from(
        &self,
        safekeeper: Address,
        wanted: &mut Wanted,
        ground: &Ground,
    ) -> Result<Result<(), ReplicationError>, ComputeError> {
        let params = connect_params(safekeeper, self.spec.ttid(), &self.credentials, "compute_ctl");
        let until = Until::Flushed(wanted.term);
        let mut range = match WalRange::open(&params, wanted.begin, wanted.end, until).await {
            Ok(range) => range,
            Err(error) => return Ok(Err(error)),
        };
        let mut segment: Vec<u8> = Vec::new();
        loop {
            let piece = match range.next().await {
                Ok(piece) => piece,
                Err(error) => return Ok(Err(error)),
            };
            let is_last = piece.is_none();
            let mut rest = piece.map(|(_, wal)| wal).unwrap_or_default();
            loop {
                let room = wanted.segment_size.bytes() as usize - segment.len();
                segment.extend_from_slice(&rest.split_to(room.min(rest.len())));
                if segment.len() as u64 == wanted.segment_size.bytes() || (is_last && !segment.is_empty()) {
                    let length = segment.len() as u64;
                    write_segment(wanted, ground, std::mem::take(&mut segment)).await?;
                    wanted.begin += length;
                }
                if rest.is_empty() {
                    break;
                }
            }
            if is_last {
                return Ok(Ok(()));
            }
        }
    }
}

/// Who has all of it, and of this term's compute.
fn holders(safekeepers: &[SafekeeperPeerStatus], end: Lsn) -> Vec<SafekeeperPeerStatus> {
    safekeepers.iter().filter(|peer| peer.flush_lsn >= end).cloned().collect()
}

/// The beginning of a segment, which may be there: its end stays.
async fn write_segment(wanted: &Wanted, ground: &Ground, bytes: Vec<u8>) -> Result<(), ComputeError> {
    let number = wanted.begin.0 / wanted.segment_size.bytes();
    let path = ground.paths.pgdata.join("pg_wal").join(wanted.segment_size.file_name(wanted.tli, number));
    let (user, size) = (ground.user, wanted.segment_size.bytes());
    blocking(move || write(user, path, size, &bytes)).await
}

fn write(user: ServerUser, path: PathBuf, size: u64, bytes: &[u8]) -> Result<(), ComputeError> {
    use std::os::unix::fs::OpenOptionsExt;
    user.run(|| {
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let written = opened.and_then(|mut file| {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(bytes)?;
            // PostgreSQL takes a shorter file for none.
            if file.metadata()?.len() < size { file.set_len(size) } else { Ok(()) }
        });
        written.map_err(ComputeError::file("write", &path))
    })
}

#[cfg(test)]
mod tests {
    use types::NodeId;

    use super::*;

    #[test]
    fn a_vote_makes_nobody_a_holder() {
        let peer = |id, state: &str, flush_lsn| SafekeeperPeerStatus {
            id: NodeId(id),
            pg_connstr: format!("sk{id}:5454"),
            state: state.to_owned(),
            flush_lsn: Lsn(flush_lsn),
        };
        let all = [
            peer(1, "streaming", 99),
            peer(2, "streaming", 100),
            peer(3, "voting", 0),
            peer(4, "connecting", 101),
        ];
        let asked = holders(&all, Lsn(100));
        assert_eq!(asked.iter().map(|peer| peer.id.0).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn what_is_behind_stays() {
        let root = tempfile::tempdir().unwrap();
        let user = ServerUser::find().unwrap();
        std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let path = root.path().join("000000010000000000000001");
        write(user, path.clone(), 8, b"abcdefgh").unwrap();
        write(user, path.clone(), 8, b"ABC").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"ABCdefgh");
        let path = root.path().join("000000010000000000000002");
        write(user, path.clone(), 8, b"ABC").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"ABC\0\0\0\0\0");
    }
}
