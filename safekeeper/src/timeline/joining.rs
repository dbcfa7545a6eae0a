//! Where a safekeeper begins that is to come in. What the members have in object storage it need not get from them: it
//! takes over what is committed there, its history, and the beginning of the segment in which that ends. The rest comes
//! to it as to anybody who was away ([`super::catch_up`]).

use std::time::Duration;

use auth::Credentials;
use consensus::TimelineIdentity;
use safekeeper_api::http::{Client, TimelineStatus};
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::TenantTimelineId;

use super::control_file::ControlFile;
use super::create::{TimelineSpec, fetch};

/// For the members' answers, and for the WAL of one segment.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// A segment that was just filled is about to be put into object storage. Longer than that nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);

/// The control file to begin with, and the bytes of the segment before its commit LSN, from the member that is furthest
/// on. None if object storage has nothing of the timeline yet, or nobody answers: then all of it comes from the members.
pub async fn snapshot(spec: &TimelineSpec, credentials: &Credentials) -> Option<(ControlFile, Vec<u8>)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let statuses = ask_members(spec, credentials).await;
        let offloaded = statuses.iter().any(|(_, status)| status.backup_lsn > spec.start_lsn);
        let usable = statuses.into_iter().filter(|(_, status)| is_usable(spec, status));
        if let Some((pg_connstr, status)) = usable.max_by_key(|(_, status)| status.commit_lsn) {
            return take(spec, &pg_connstr, &status, credentials).await;
        }
        if !offloaded || Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Those who answer, and where their WAL is read.
async fn ask_members(spec: &TimelineSpec, credentials: &Credentials) -> Vec<(String, TimelineStatus)> {
    let members = spec.configuration.all_members().into_iter();
    let whom = members.map(|member| (member.pg_connstr.clone(), member.http_connstr.clone()));
    let asking = ask_each(spec.identity.ttid, whom, credentials, ASK_TIMEOUT);
    asking.join_all().await.into_iter().flatten().collect()
}

/// All at once, each by the address of its HTTP API, what it has of a timeline. Whoever does not answer in time has nothing.
pub fn ask_each<K: Send + 'static>(
    ttid: TenantTimelineId,
    whom: impl IntoIterator<Item = (K, String)>,
    credentials: &Credentials,
    patience: Duration,
) -> JoinSet<Option<(K, TimelineStatus)>> {
    let mut asking = JoinSet::new();
    for (key, http_connstr) in whom {
        let client = Client::new(&http_connstr, credentials.clone());
        asking.spawn(async move {
            let answer = tokio::time::timeout(patience, client.timeline(ttid)).await.ok()?;
            Some((key, answer.ok()?))
        });
    }
    asking
}

/// It is that timeline, and what lies before the segment of its commit LSN is in object storage.
fn is_usable(spec: &TimelineSpec, status: &TimelineStatus) -> bool {
    let identity = TimelineIdentity {
        pg_version: status.pg_version,
        system_id: status.system_id,
        wal_seg_size: status.wal_seg_size,
        ..spec.identity
    };
    let start = status.commit_lsn.segment_start(spec.identity.wal_seg_size.bytes());
    identity == spec.identity
        && status.timeline_start_lsn == spec.start_lsn
        && start > spec.start_lsn
        && start <= status.backup_lsn
}

async fn take(
    spec: &TimelineSpec,
    pg_connstr: &str,
    status: &TimelineStatus,
    credentials: &Credentials,
) -> Option<(ControlFile, Vec<u8>)> {
    let commit_lsn = status.commit_lsn;
    let start = commit_lsn.segment_start(spec.identity.wal_seg_size.bytes());
    let fetching = fetch(pg_connstr, spec.identity.ttid, start, commit_lsn, credentials);
    let beginning = match tokio::time::timeout(FETCH_TIMEOUT, fetching).await {
        Ok(Ok(beginning)) => beginning,
        Ok(Err(error)) => {
            tracing::warn!(timeline = %spec.identity.ttid, %commit_lsn, %error, "cannot begin at a snapshot");
            return None;
        }
        Err(_) => return None,
    };
    let new = spec.control_file();
    let acceptor = new.acceptor.with_committed(&status.term_history, commit_lsn);
    Some((ControlFile { acceptor, backup_lsn: start, local_start_lsn: start, ..new }, beginning))
}
