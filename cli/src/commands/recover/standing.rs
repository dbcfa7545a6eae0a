//! Which timelines are lost, and which were left behind by an earlier recovery, whether or not it came to its end.

use std::collections::BTreeSet;

use anyhow::Context;
use http_client::absent_is_none;
use pageserver_api::models::TimelineInfo;
use safekeeper_api::http::TimelineStatus;
use types::{Lsn, TenantId, TenantTimelineId, TimelineId};

use crate::local_env::{Branches, LocalEnv};
use crate::storage::{on_all_safekeepers, pageserver_client};

/// Those of a tenant, each kind with roots first.
pub struct Timelines {
    /// No safekeeper has them, and nothing goes on from them yet.
    pub lost: Vec<TimelineInfo>,
    pub alive: Vec<TimelineInfo>,
    /// Those that are archived stay so, and are lost still.
    pub archived: usize,
    /// Those that have no ancestor, and what goes on from such that were lost.
    pub roots: BTreeSet<TimelineId>,
    /// Those that something went on from.
    left_behind: BTreeSet<TimelineId>,
}

/// A timeline of the pageserver, and what else is known of it.
struct Found {
    info: TimelineInfo,
    is_named: bool,
    on_safekeepers: Held,
}

/// Which safekeepers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nowhere,
    /// Some do, and none of them has any WAL of it.
    WithoutWal,
    /// All do, or some with WAL.
    Whole,
}

impl Held {
    fn of(answers: &[Option<TimelineStatus>]) -> Held {
        let holders = || answers.iter().flatten();
        match holders().count() {
            0 => Held::Nowhere,
            count if count == answers.len() => Held::Whole,
            _ if holders().any(|status| status.durable_lsn > status.timeline_start_lsn) => Held::Whole,
            _ => Held::WithoutWal,
        }
    }
}

impl Timelines {
    /// One that some safekeeper has is not lost, and one that does not answer may have it: then nothing is done.
    pub async fn of(env: &LocalEnv, branches: &Branches, tenant: TenantId) -> anyhow::Result<Timelines> {
        let pageserver = pageserver_client(env);
        let mut found = Vec::new();
        for mut info in pageserver.timelines(tenant).await? {
            let ttid = TenantTimelineId::new(tenant, info.timeline_id);
            let answers =
                on_all_safekeepers(env, async |safekeeper| absent_is_none(safekeeper.timeline(ttid).await));
            let answers =
                answers.await.context("whether a branch is lost is known when all safekeepers answer")?;
            let on_safekeepers = Held::of(&answers);
            let is_named = branches.name_of(tenant, info.timeline_id).is_some();
            // Whether it was written to is known when what safekeepers had put into object storage is in it.
            if on_safekeepers == Held::Nowhere
                && !is_named
                && !info.is_archived
                && goes_on_from(&info).is_some()
            {
                info.last_record_lsn =
                    pageserver.replay_offloaded_wal(tenant, info.timeline_id).await?.last_record_lsn;
            }
            found.push(Found { info, is_named, on_safekeepers });
        }
        Ok(sorted_out(found))
    }

    /// The lost timeline that an alive one takes the place of, if it does, and if no disk came back that has it.
    pub fn left_behind_by(&self, info: &TimelineInfo) -> Option<TimelineId> {
        let lost = previous_id(info.timeline_id);
        let is_of_it = goes_on_from(info).is_some() || self.left_behind.contains(&lost);
        (is_of_it && self.alive.iter().all(|it| it.timeline_id != lost)).then_some(lost)
    }
}

fn sorted_out(mut found: Vec<Found>) -> Timelines {
    let roots = roots(&found);
    found.sort_by_key(|it| (!roots.contains(&it.info.timeline_id), it.info.initdb_lsn, it.info.timeline_id));
    let held: BTreeSet<TimelineId> =
        found.iter().filter(|it| it.on_safekeepers != Held::Nowhere).map(|it| it.info.timeline_id).collect();
    // What an earlier recovery had begun to make when it failed: it makes it again, and goes on.
    let is_unfinished = |it: &Found| {
        let before = goes_on_from(&it.info).filter(|before| !held.contains(before));
        let is_empty = match it.on_safekeepers {
            Held::Nowhere => it.info.last_record_lsn <= it.info.ancestor_lsn.unwrap_or(Lsn::INVALID),
            Held::WithoutWal => true,
            Held::Whole => false,
        };
        before.is_some() && is_empty && !it.is_named && !it.info.is_archived
    };
    let finished: Vec<Found> = found.into_iter().filter(|it| !is_unfinished(it)).collect();
    // Its ancestor may have been forgotten since (`detach-ancestor`): no other timeline has such an id.
    let ids: BTreeSet<TimelineId> = finished.iter().map(|it| it.info.timeline_id).collect();
    let left_behind: BTreeSet<TimelineId> =
        ids.iter().copied().filter(|id| ids.contains(&next_id(*id))).collect();
    let (lost, alive): (Vec<_>, Vec<_>) =
        finished.into_iter().partition(|it| it.on_safekeepers == Held::Nowhere);
    let lost = lost.into_iter().map(|it| it.info).filter(|info| !left_behind.contains(&info.timeline_id));
    let (archived, lost): (Vec<_>, Vec<_>) = lost.partition(|info| info.is_archived);
    let alive = alive.into_iter().map(|it| it.info).collect();
    Timelines { lost, alive, archived: archived.len(), roots, left_behind }
}

fn roots(found: &[Found]) -> BTreeSet<TimelineId> {
    let mut roots = BTreeSet::new();
    let without_ancestor = found.iter().map(|it| &it.info).filter(|info| info.ancestor_timeline_id.is_none());
    let mut next: Vec<TimelineId> = without_ancestor.map(|info| info.timeline_id).collect();
    while let Some(root) = next.pop() {
        if roots.insert(root) {
            let goes_on = found.iter().map(|it| &it.info).filter(|info| goes_on_from(info) == Some(root));
            next.extend(goes_on.map(|info| info.timeline_id));
        }
    }
    roots
}

/// The lost timeline that this one takes the place of, if it does.
fn goes_on_from(info: &TimelineInfo) -> Option<TimelineId> {
    info.ancestor_timeline_id.filter(|before| next_id(*before) == info.timeline_id)
}

/// Of what goes on from it.
pub fn next_id(lost: TimelineId) -> TimelineId {
    TimelineId(u128::from_be_bytes(lost.0).wrapping_add(1).to_be_bytes())
}

fn previous_id(goes_on: TimelineId) -> TimelineId {
    TimelineId(u128::from_be_bytes(goes_on.0).wrapping_sub(1).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use pageserver_api::models::TimelineState;
    use types::{PgVersion, WalSegmentSize};

    use super::*;

    const NUMBER: u128 = 0xff;

    fn id(number: u128) -> TimelineId {
        TimelineId((NUMBER + number).to_be_bytes())
    }

    /// The first begins at 1 MiB; each further one goes on from the one before it, a MiB later.
    fn found(timelines: &[(Held, bool, u64)]) -> Vec<Found> {
        let found = timelines.iter().enumerate().map(|(position, &(on_safekeepers, is_named, written))| {
            let number = position as u128;
            let start_lsn = Lsn((1 + position as u64) << 20);
            let info = TimelineInfo {
                tenant_id: TenantId([1; 16]),
                timeline_id: id(number),
                ancestor_timeline_id: number.checked_sub(1).map(id),
                ancestor_lsn: (number > 0).then_some(start_lsn),
                last_record_lsn: Lsn(start_lsn.0 + written),
                prev_record_lsn: start_lsn,
                disk_consistent_lsn: start_lsn,
                remote_consistent_lsn: start_lsn,
                initdb_lsn: start_lsn,
                gc_cutoff_lsn: Lsn::INVALID,
                current_logical_size: None,
                current_physical_size: 0,
                pg_version: PgVersion::V15,
                system_identifier: "7345678901234567890".to_owned(),
                wal_seg_size: WalSegmentSize::DEFAULT,
                is_archived: false,
                walreceiver_status: String::new(),
                state: TimelineState::Active,
            };
            Found { info, is_named, on_safekeepers }
        });
        found.collect()
    }

    /// Numbers of those that are lost, and of those that are alive.
    fn numbers(timelines: &Timelines) -> (Vec<u128>, Vec<u128>) {
        let of = |infos: &[TimelineInfo]| {
            infos.iter().map(|info| u128::from_be_bytes(info.timeline_id.0) - NUMBER).collect()
        };
        (of(&timelines.lost), of(&timelines.alive))
    }

    #[test]
    fn what_goes_on_is_found_again_by_its_id() {
        assert_eq!(next_id(id(0)).to_string(), "00000000000000000000000000000100");
        assert_eq!(next_id(TimelineId([0xff; 16])), TimelineId([0; 16]));
    }

    #[test]
    fn what_was_detached_still_goes_on_from_what_was_lost() {
        let mut found = found(&[(Held::Nowhere, true, 8), (Held::Whole, true, 8)]);
        (found[1].info.ancestor_timeline_id, found[1].info.ancestor_lsn) = (None, None);
        let timelines = sorted_out(found);
        assert_eq!(numbers(&timelines), (vec![], vec![1]));
        assert_eq!(timelines.left_behind_by(&timelines.alive[0]), Some(id(0)));
    }

    #[test]
    fn what_goes_on_from_a_root_is_one() {
        let mut found = found(&[(Held::Nowhere, true, 8), (Held::Nowhere, true, 8), (Held::Whole, true, 8)]);
        assert_eq!(roots(&found), [id(0), id(1), id(2)].into());
        // It left another timeline where it ends, and took the place of none.
        found[1].info.timeline_id = id(7);
        assert_eq!(roots(&found), [id(0)].into());
    }

    #[test]
    fn a_timeline_is_lost_until_something_goes_on_from_it() {
        use Held::{Nowhere, Whole, WithoutWal};
        let cases = [
            (vec![(Whole, true, 8)], (vec![], vec![0])),
            (vec![(Nowhere, true, 8)], (vec![0], vec![])),
            (vec![(Nowhere, true, 8), (Whole, true, 0)], (vec![], vec![1])),
            // A name that is lost changes nothing.
            (vec![(Nowhere, true, 8), (Whole, false, 0)], (vec![], vec![1])),
            // It failed on its way to the safekeepers, or among them: from the beginning, with the same ids.
            (vec![(Nowhere, true, 8), (Nowhere, false, 0)], (vec![0], vec![])),
            (vec![(Nowhere, true, 8), (WithoutWal, false, 0)], (vec![0], vec![])),
            // A second disaster: the first timeline is not lost once more.
            (vec![(Nowhere, true, 8), (Nowhere, true, 8)], (vec![1], vec![])),
            (vec![(Nowhere, false, 8), (Nowhere, false, 8)], (vec![1], vec![])),
            (vec![(Nowhere, true, 8), (Nowhere, true, 0)], (vec![1], vec![])),
            (vec![(Nowhere, false, 8), (Nowhere, false, 8), (Whole, true, 0)], (vec![], vec![2])),
            // A disk came back that was thought to be lost.
            (vec![(Whole, true, 8), (Whole, false, 8)], (vec![], vec![0, 1])),
        ];
        for (timelines, expected) in cases {
            assert_eq!(numbers(&sorted_out(found(&timelines))), expected, "{timelines:?}");
        }
    }
}
