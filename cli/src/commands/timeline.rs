//! `timeline`: branches. A timeline is made on the pageserver first, which says where its WAL begins, and
//! then on every safekeeper.

mod archive;
mod at_rest;
mod delete;
mod detach_ancestor;
mod detail;
mod import;
mod restore;
mod tree;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use consensus::Member;
use futures_util::future::join_all;
use http_client::absent_is_none;
use jiff::Timestamp;
use pageserver_api::history::LsnKind;
use pageserver_api::models::{TimelineCreateRequest, TimelineInfo};
use safekeeper_api::http as safekeeper;
use serde_json::json;
use types::{Lsn, NodeId, PgVersion, TenantId, TenantTimelineId, TimelineId};

use super::{export, up};
use crate::arguments::{Moment, TimelineCommand};
use crate::local_env::{Branches, LocalEnv};
use crate::output::Output;
use crate::storage::{on_all_safekeepers, pageserver_client, safekeeper_client, safekeeper_statuses};
pub use at_rest::{FINDS_RESTORED, endpoints_at_rest, no_compute_writes};
pub use delete::delete;
pub use restore::{Restore, put_in_place, restore};
use tree::draw_tree;

/// How long the pageserver may take to catch up before a branch or an export at the head is given up.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long WAL that a compute has written may take to be on safekeepers.
const WRITTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a pageserver may take to be granted a tenant again; it asks every other second.
const GRANT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

pub const fn only_reads(command: &TimelineCommand) -> bool {
    matches!(
        command,
        TimelineCommand::List { .. } | TimelineCommand::Detail { .. } | TimelineCommand::Export { .. }
    )
}

pub async fn run(env: &LocalEnv, command: TimelineCommand, output: Output) -> anyhow::Result<()> {
    let mut branches = env.branches()?;
    match command {
        TimelineCommand::Create { branch_name, tenant_id, timeline_id, pg_version } => {
            let tenant = branches.tenant(tenant_id)?;
            branches.check_new_name(tenant, &branch_name)?;
            let timeline = new_timeline(&branches, tenant, timeline_id)?;
            let pg_version = pg_version.unwrap_or(env.config.pg_version);
            let info = create_root(env, tenant, timeline, pg_version, output).await?;
            branches.add_branch(tenant, &branch_name, timeline, pg_version)?;
            announce(&branch_name, &info, output)
        }
        TimelineCommand::Import { branch_name, base_tarfile, wal_tarfile, from, tenant_id, timeline_id } => {
            let tenant = branches.tenant(tenant_id)?;
            branches.check_new_name(tenant, &branch_name)?;
            let source = match (base_tarfile, from) {
                (Some(base), _) => import::Source::Archives { base, wal: wal_tarfile },
                (None, Some(connstr)) => import::Source::Server(connstr),
                (None, None) => bail!("name a base backup or a server"),
            };
            let timeline = timeline_id.unwrap_or_else(TimelineId::generate);
            branches.check_unnamed(tenant, timeline)?;
            let ttid = TenantTimelineId::new(tenant, timeline);
            let info = import::import(env, &mut branches, ttid, source, output).await?;
            branches.add_branch(tenant, &branch_name, info.timeline_id, info.pg_version)?;
            announce(&branch_name, &info, output)
        }
        TimelineCommand::Branch {
            branch_name,
            ancestor_branch_name,
            ancestor_start_lsn,
            ancestor_start_time,
            tenant_id,
            timeline_id,
        } => {
            let new = NewBranch {
                tenant: branches.tenant(tenant_id)?,
                name: branch_name,
                ancestor: ancestor_branch_name,
                lsn: ancestor_start_lsn,
                time: ancestor_start_time,
                timeline_id,
            };
            let info = branch(env, &mut branches, &new).await?;
            announce(&new.name, &info, output)
        }
        TimelineCommand::Restore { branch_name, to_time, to_lsn, keep_as, tenant_id } => {
            let tenant = branches.tenant(tenant_id)?;
            let wanted = Restore { tenant, branch: branch_name, to_time, to_lsn, keep_as };
            restore(env, &mut branches, wanted).await?.announce(output)
        }
        TimelineCommand::Archive { branch_name, tenant_id } => {
            let ttid = branches.find(tenant_id, &branch_name)?;
            archive::archive(env, &branches, &branch_name, ttid, output).await
        }
        TimelineCommand::Unarchive { branch_name, tenant_id } => {
            let ttid = branches.find(tenant_id, &branch_name)?;
            archive::unarchive(env, &branches, &branch_name, ttid, output).await
        }
        TimelineCommand::DetachAncestor { branch_name, tenant_id } => {
            let ttid = branches.find(tenant_id, &branch_name)?;
            detach_ancestor::detach_ancestor(env, &branches, &branch_name, ttid, output).await
        }
        TimelineCommand::Delete { branch_name, timeline_id, tenant_id } => {
            let tenant = branches.tenant(tenant_id)?;
            let timeline = match (branch_name, timeline_id) {
                (Some(branch), _) => branches.timeline(tenant, &branch)?,
                (None, Some(timeline)) => timeline,
                (None, None) => bail!("name a branch or a timeline"),
            };
            let deleted = delete(env, &mut branches, TenantTimelineId::new(tenant, timeline)).await?;
            output.result(&json!({ "deleted": timeline }), || format!("branch {deleted} is deleted"))
        }
        TimelineCommand::List { tenant_id, all } => {
            let tenants = match all {
                true => branches.tenants().map(|(tenant, _)| tenant).collect(),
                false => vec![branches.tenant(tenant_id)?],
            };
            list(env, &branches, &tenants, output).await
        }
        TimelineCommand::Detail { branch_name, tenant_id } => {
            detail::detail(env, &branch_name, branches.find(tenant_id, &branch_name)?, output).await
        }
        TimelineCommand::Export { branch_name, at_lsn, output: directory, tenant_id } => {
            let tenant = branches.tenant(tenant_id)?;
            let timeline = branches.timeline(tenant, &branch_name)?;
            let at_lsn = available_lsn(env, TenantTimelineId::new(tenant, timeline), at_lsn).await?;
            export::export(env, (tenant, timeline), branches.pg_version(timeline), at_lsn, &directory, output)
                .await
        }
    }
}

/// A branch that is to leave another: where that is at a time, at an LSN, or, for neither, at its head.
pub struct NewBranch {
    pub tenant: TenantId,
    pub name: String,
    pub ancestor: String,
    pub lsn: Option<Lsn>,
    pub time: Option<Moment>,
    pub timeline_id: Option<TimelineId>,
}

/// The id that was asked for, if it is no branch's, or any other.
fn new_timeline(
    branches: &Branches,
    tenant: TenantId,
    asked: Option<TimelineId>,
) -> anyhow::Result<TimelineId> {
    let timeline = asked.unwrap_or_else(TimelineId::generate);
    branches.check_new_timeline(tenant, timeline)?;
    Ok(timeline)
}

/// The caller holds the cluster's lock.
pub async fn branch(
    env: &LocalEnv,
    branches: &mut Branches,
    new: &NewBranch,
) -> anyhow::Result<TimelineInfo> {
    branches.check_new_name(new.tenant, &new.name)?;
    let timeline = new_timeline(branches, new.tenant, new.timeline_id)?;
    let ancestor = branches.timeline(new.tenant, &new.ancestor)?;
    storage_is_ready(env, TenantTimelineId::new(new.tenant, timeline)).await?;
    let start = start_of_branch(env, TenantTimelineId::new(new.tenant, ancestor), new.lsn, new.time).await?;
    let info = create(env, new.tenant, TimelineCreateRequest::branch(timeline, ancestor, start)).await?;
    branches.add_branch(new.tenant, &new.name, timeline, info.pg_version)?;
    Ok(info)
}

/// Where a reader who is to see the branch as it was then has to be: at a time, at an LSN, or, for neither, at its head.
/// What can be read there stays readable for a while.
pub async fn lsn_to_read(
    env: &LocalEnv,
    ttid: TenantTimelineId,
    lsn: Option<Lsn>,
    time: Option<Moment>,
) -> anyhow::Result<Lsn> {
    let pageserver = pageserver_client(env);
    let lsn = match start_of_branch(env, ttid, lsn, time).await? {
        Some(lsn) => lsn,
        None => pageserver.timeline(ttid.tenant_id, ttid.timeline_id).await?.last_record_lsn,
    };
    pageserver.lease_lsn(ttid.tenant_id, ttid.timeline_id, lsn).await?;
    Ok(lsn)
}

fn announce(branch: &str, info: &TimelineInfo, output: Output) -> anyhow::Result<()> {
    let value = json!({
        "branch_name": branch,
        "timeline_id": info.timeline_id,
        "ancestor_timeline_id": info.ancestor_timeline_id,
        "ancestor_lsn": info.ancestor_lsn,
        "start_lsn": info.initdb_lsn,
    });
    output
        .result(&value, || format!("branch {branch:?}: timeline {} at {}", info.timeline_id, info.initdb_lsn))
}

pub async fn create_root(
    env: &LocalEnv,
    tenant: TenantId,
    timeline: TimelineId,
    pg_version: PgVersion,
    output: Output,
) -> anyhow::Result<TimelineInfo> {
    storage_is_ready(env, TenantTimelineId::new(tenant, timeline)).await?;
    up::put_template(env, pg_version, output).await?;
    create(env, tenant, TimelineCreateRequest::root(timeline, pg_version)).await
}

/// `asked`, or the head of the branch for None, once the pageserver has it. The head is what was committed when
/// the command came: the pageserver, which is asked for it, may be a few milliseconds behind.
///
/// An LSN in the middle of a record that nobody has finished, as `pg_current_wal_lsn()` may be, means the end of
/// the record before it: no other record can end there first.
async fn available_lsn(
    env: &LocalEnv,
    ttid: TenantTimelineId,
    asked: Option<Lsn>,
) -> anyhow::Result<Option<Lsn>> {
    let (committed, at) = committed_lsn(env, ttid, asked).await;
    let pageserver = pageserver_client(env);
    let started = Instant::now();
    loop {
        let ingested = pageserver.timeline(ttid.tenant_id, ttid.timeline_id).await?.last_record_lsn;
        if ingested >= committed {
            return Ok(at);
        }
        if started.elapsed() > HEAD_TIMEOUT {
            bail!(
                "the pageserver has the branch up to {ingested}, safekeepers up to {committed}: try again later"
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Where a new branch leaves another: where that was at a time, at an LSN, or, for neither, at its head.
pub async fn start_of_branch(
    env: &LocalEnv,
    ttid: TenantTimelineId,
    lsn: Option<Lsn>,
    time: Option<Moment>,
) -> anyhow::Result<Option<Lsn>> {
    match time {
        Some(time) => lsn_at(env, ttid, time).await.map(Some),
        None => available_lsn(env, ttid, lsn).await,
    }
}

/// Where a branch was at a time.
async fn lsn_at(env: &LocalEnv, ttid: TenantTimelineId, time: Moment) -> anyhow::Result<Lsn> {
    let text = time.0.to_string();
    if time.0 > Timestamp::now() {
        bail!("{text} is yet to come");
    }
    // What was committed until then may be on its way to the pageserver.
    available_lsn(env, ttid, None).await?;
    let found = pageserver_client(env).lsn_by_timestamp(ttid.tenant_id, ttid.timeline_id, &text).await?;
    match found.kind {
        // So that it is there when the branch is made.
        LsnKind::Present => {
            pageserver_client(env).lease_lsn(ttid.tenant_id, ttid.timeline_id, found.lsn).await?;
            Ok(found.lsn)
        }
        LsnKind::Future => Ok(found.lsn),
        LsnKind::Past => bail!(
            "what can be read of the branch begins after {text}: `varve tenant config` says how much history is kept"
        ),
        LsnKind::NoData => bail!("nothing was ever committed on the branch"),
    }
}

/// Up to where WAL is committed, `asked` at most, and the LSN to take for `asked`. What is not written at all within
/// a while is left for the pageserver to refuse.
async fn committed_lsn(env: &LocalEnv, ttid: TenantTimelineId, asked: Option<Lsn>) -> (Lsn, Option<Lsn>) {
    let started = Instant::now();
    loop {
        let statuses = safekeeper_statuses(env, ttid).await;
        let answers = statuses.into_iter().filter_map(|(id, answer)| Some((id, answer.ok()?)));
        let head = Head::of(&answers.collect());
        match asked {
            None => return (head.committed, None),
            Some(lsn) if lsn <= head.committed => return (lsn, asked),
            Some(lsn) if lsn <= head.unfinished => return (head.committed, Some(head.committed)),
            Some(_) if started.elapsed() > WRITTEN_TIMEOUT => return (head.committed, asked),
            Some(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// What the safekeepers have of a branch.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// What one of them knows to be committed, or what a majority has from one term's compute: they will find out.
    committed: Lsn,
    /// Up to here a compute has written more, which is a part of one record. The same as `committed` without any.
    unfinished: Lsn,
}

impl Head {
    fn of(statuses: &BTreeMap<NodeId, safekeeper::TimelineStatus>) -> Head {
        let known = statuses.values().map(|status| status.commit_lsn).max().unwrap_or(Lsn::INVALID);
        let term = statuses.values().map(|status| status.term).max().unwrap_or_default();
        let of_term = |status: &&safekeeper::TimelineStatus| {
            status.term == term && status.term_history.last_log_term(status.flush_lsn) == term
        };
        let held: Vec<&safekeeper::TimelineStatus> = statuses.values().filter(of_term).collect();
        let flushed = |id| statuses.get(&id).filter(of_term).map_or(Lsn::INVALID, |status| status.flush_lsn);
        let configuration = statuses
            .values()
            .map(|status| &status.configuration)
            .max_by_key(|configuration| configuration.generation);
        let committed = known.max(configuration.map_or(known, |it| it.quorum().lsn(flushed)));
        // Whoever has less than all records would take a whole one for the part of one.
        let no_more = held.iter().all(|status| status.flush_lsn <= committed);
        let written = held.iter().filter(|status| no_more && status.flush_lsn == committed);
        let unfinished =
            written.map(|status| status.durable_lsn).max().map_or(committed, |lsn| lsn.max(committed));
        Head { committed, unfinished }
    }
}

/// On the pageserver, then on all safekeepers, once [`storage_is_ready`]. Every step may be repeated, so after a failure the
/// same command with the same ids goes on where it ended.
async fn create(
    env: &LocalEnv,
    tenant: TenantId,
    request: TimelineCreateRequest,
) -> anyhow::Result<TimelineInfo> {
    let ancestor = request.ancestor_timeline_id;
    let info = pageserver_client(env).create_timeline(tenant, &request).await?;
    create_on_safekeepers(env, tenant, &info, ancestor).await?;
    Ok(info)
}

/// Before anything is made: a timeline that not all safekeepers have can keep the pageserver from being granted its tenant
/// again. Where a command that was killed has left this one so, the others get it now.
async fn storage_is_ready(env: &LocalEnv, ttid: TenantTimelineId) -> anyhow::Result<()> {
    let there = on_all_safekeepers(env, move |safekeeper: safekeeper::Client| async move {
        absent_is_none(safekeeper.timeline(ttid).await)
    });
    let there = there
        .await
        .context("a timeline is made on all safekeepers, and so all of them must run; nothing was made")?;
    let Some(status) = there.into_iter().flatten().next() else { return Ok(()) };
    if is_served(env, ttid.tenant_id).await {
        return Ok(());
    }
    let request = safekeeper::TimelineCreateRequest {
        tenant_id: status.tenant_id,
        timeline_id: status.timeline_id,
        pg_version: status.pg_version,
        system_id: status.system_id,
        wal_seg_size: status.wal_seg_size,
        start_lsn: status.timeline_start_lsn,
        members: members(env),
        configuration: None,
        ancestor: status.ancestor.map(|timeline_id| safekeeper::Ancestor { timeline_id }),
    };
    put_on_safekeepers(env, &request).await?;
    let started = Instant::now();
    while !is_served(env, ttid.tenant_id).await && started.elapsed() < GRANT_TIMEOUT {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A pageserver that waits for all its tenants does not answer at all.
async fn is_served(env: &LocalEnv, tenant: TenantId) -> bool {
    pageserver_client(env).tenant_config(tenant).await.is_ok()
}

pub async fn create_on_safekeepers(
    env: &LocalEnv,
    tenant: TenantId,
    info: &TimelineInfo,
    ancestor: Option<TimelineId>,
) -> anyhow::Result<()> {
    let request = safekeeper::TimelineCreateRequest {
        tenant_id: tenant,
        timeline_id: info.timeline_id,
        pg_version: info.pg_version,
        system_id: info
            .system_identifier
            .parse()
            .context("the pageserver's system identifier is no number")?,
        wal_seg_size: info.wal_seg_size,
        start_lsn: info.initdb_lsn,
        members: members(env),
        configuration: None,
        ancestor: ancestor.map(|timeline_id| safekeeper::Ancestor { timeline_id }),
    };
    put_on_safekeepers(env, &request).await
}

async fn put_on_safekeepers(
    env: &LocalEnv,
    request: &safekeeper::TimelineCreateRequest,
) -> anyhow::Result<()> {
    // All of them, whoever fails: a timeline that a quorum lacks is one that nobody can own.
    let made = join_all(env.config.safekeeper_ids().into_iter().map(async |id| {
        safekeeper_client(env, id).create_timeline(request).await.with_context(|| {
            format!(
                "safekeeper {id} did not make timeline {0} (all of them must run for that); `varve start` starts them, and \
                 the same command with --timeline-id {0} goes on",
                request.timeline_id
            )
        })
    }));
    made.await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

/// All safekeepers of the cluster.
pub fn members(env: &LocalEnv) -> Vec<Member> {
    let member = |id| Member {
        id,
        pg_connstr: env.config.safekeeper_pg_address(id),
        http_connstr: env.config.safekeeper_http_address(id),
    };
    env.config.safekeeper_ids().into_iter().map(member).collect()
}

/// A tree for each of the tenants.
async fn list(
    env: &LocalEnv,
    branches: &Branches,
    tenants: &[TenantId],
    output: Output,
) -> anyhow::Result<()> {
    let several = branches.tenants().count() > 1;
    let (mut values, mut trees) = (Vec::new(), Vec::new());
    for tenant in tenants {
        let infos = pageserver_client(env).timelines(*tenant).await?;
        for info in &infos {
            let mut value = serde_json::to_value(info)?;
            value["branch_name"] = json!(branches.name_of(*tenant, info.timeline_id));
            values.push(value);
        }
        let is_default = branches.default_tenant() == Some(*tenant);
        let heading = format!("Tenant {tenant}{}\n", if is_default { ", the default" } else { "" });
        let tree = draw_tree(&infos, &branches.names(*tenant));
        trees.push(if several { heading + &tree } else { tree });
    }
    if several && tenants.len() == 1 {
        trees.push("There are other tenants: --all shows theirs too.".to_owned());
    }
    output.result(&values, || trees.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use consensus::{Configuration, TermHistory, TermStart};
    use types::{Generation, Term, WalSegmentSize};

    use super::*;

    fn member(id: u64) -> Member {
        Member { id: NodeId(id), pg_connstr: String::new(), http_connstr: String::new() }
    }

    /// Of a safekeeper that has a compute's WAL of term 2 from 100 on.
    fn status(flush: u64, durable: u64, commit: u64) -> safekeeper::TimelineStatus {
        safekeeper::TimelineStatus {
            tenant_id: TenantId::generate(),
            timeline_id: TimelineId::generate(),
            term: Term(2),
            term_history: TermHistory::new(vec![TermStart { term: Term(2), lsn: Lsn(100) }]).unwrap(),
            configuration: Configuration::initial(Vec::from([1, 2, 3].map(member))).unwrap(),
            ancestor: None,
            flush_lsn: Lsn(flush),
            durable_lsn: Lsn(durable),
            commit_lsn: Lsn(commit),
            timeline_start_lsn: Lsn(100),
            remote_consistent_lsn: Lsn::INVALID,
            pg_version: PgVersion::V15,
            system_id: 1,
            wal_seg_size: WalSegmentSize::DEFAULT,
            walsenders: Vec::new(),
            walreceivers: Vec::new(),
            backup_lsn: Lsn::INVALID,
            local_start_lsn: Lsn::INVALID,
            pageserver_generation: Generation(0),
            evicted: false,
        }
    }

    fn head(statuses: &[(u64, u64, u64)]) -> (u64, u64) {
        let of = |(flush, durable, commit): &(u64, u64, u64)| status(*flush, *durable, *commit);
        let head = Head::of(&(1..).map(NodeId).zip(statuses.iter().map(of)).collect());
        (head.committed.0, head.unfinished.0)
    }

    #[test]
    fn what_a_majority_has_is_committed_also_before_anybody_knows() {
        assert_eq!(head(&[(300, 300, 200), (300, 300, 200), (200, 200, 200)]), (300, 300));
        assert_eq!(head(&[(300, 300, 200), (200, 200, 200)]), (200, 200));
        assert_eq!(head(&[]), (0, 0));
    }

    #[test]
    fn a_part_of_a_record_is_behind_the_last_one() {
        assert_eq!(head(&[(300, 380, 300), (300, 340, 300), (200, 390, 200)]), (300, 380));
        // One has a record more: what the others have is perhaps the whole of it.
        assert_eq!(head(&[(350, 380, 300), (300, 340, 300), (300, 350, 300)]), (300, 300));
    }
}
