//! `safekeeper add` and `safekeeper remove`: timelines are brought to other safekeepers while computes write.
//!
//! What is safe when, [`consensus::MembershipChange`] knows; here its questions are asked over HTTP. Every step may be
//! repeated: the same command goes on where one that was interrupted ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use consensus::{
    ChangeEffect, ChangeEvent, Member, MembershipAnswer, MembershipChange, MembershipQuestion,
    MembershipReply, MembershipRequest,
};
use safekeeper_api::http::{self as safekeeper, Client};
use serde_json::json;
use tokio::task::JoinSet;
use types::{Lsn, NodeId, TenantTimelineId};

use super::timeline::members;
use crate::arguments::StopMode;
use crate::local_env::LocalEnv;
use crate::output::{Output, say};
use crate::storage::{Daemon, safekeeper_client, safekeeper_statuses};

/// For one timeline. A safekeeper that has to catch up may take long; progress is told meanwhile.
const TIMEOUT: Duration = Duration::from_secs(600);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// In which all copies are to be complete. What comes later comes as well.
const COPY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const TELL_AFTER: Duration = Duration::from_secs(10);
/// A cluster with fewer would not survive the loss of one.
const FEWEST: usize = 3;

pub async fn add(env: &mut LocalEnv, id: NodeId, host: Option<String>, output: Output) -> anyhow::Result<()> {
    env.config.add_safekeeper(id, host)?;
    if env.config.hosts.is_some() {
        check_runs(env, id).await?;
        env.save_config()?;
    } else {
        env.save_config()?;
        Daemon::Safekeeper(id).start(env, output).await?;
    }
    let changed = change_all(env, output).await?;
    output.result(&json!({ "safekeeper": id, "timelines": changed }), || {
        format!("safekeeper {id} keeps {}", timelines(changed))
    })
}

pub async fn remove(env: &mut LocalEnv, id: NodeId, output: Output) -> anyhow::Result<()> {
    let ids = env.config.safekeeper_ids();
    if !ids.contains(&id) {
        let known: Vec<String> = ids.iter().map(NodeId::to_string).collect();
        bail!("there is no safekeeper {id}; there are {}", known.join(", "));
    }
    if ids.len() <= FEWEST {
        bail!(
            "with fewer than {FEWEST} safekeepers the loss of one would stop all commits: add another first"
        );
    }
    env.config.remove_safekeeper(id);
    let changed = change_all(env, output).await?;
    // Only now: until then it is needed to go on if this command is interrupted.
    env.save_config()?;
    let is_here = env.config.hosts.is_none();
    if is_here {
        Daemon::Safekeeper(id).stop(env, StopMode::Fast, output).await?;
    }
    output.result(&json!({ "safekeeper": id, "timelines": changed }), || {
        let rest = match is_here {
            true => format!("its files are left in {}", Daemon::Safekeeper(id).directory(env).display()),
            false => "it may be stopped for good".to_owned(),
        };
        format!("safekeeper {id} keeps nothing any more ({}); {rest}", timelines(changed))
    })
}

/// On a host of its own somebody else starts it.
async fn check_runs(env: &LocalEnv, id: NodeId) -> anyhow::Result<()> {
    let status = safekeeper_client(env, id).status().await;
    let status = status.with_context(|| format!("safekeeper {id} has to be started before it is added"))?;
    if status.id != id {
        bail!("{} is safekeeper {}", env.config.safekeeper_http_address(id), status.id);
    }
    Ok(())
}

fn timelines(count: usize) -> String {
    if count == 1 { "1 timeline".to_owned() } else { format!("{count} timelines") }
}

/// Every timeline that any of them has is brought to those that the cluster shall have.
async fn change_all(env: &LocalEnv, output: Output) -> anyhow::Result<usize> {
    let mut found: BTreeMap<TenantTimelineId, Vec<safekeeper::TimelineStatus>> = BTreeMap::new();
    let mut failures = Vec::new();
    for id in env.config.safekeeper_ids() {
        let client = safekeeper_client(env, id);
        match client.timelines().await {
            Ok(entries) => {
                for entry in entries {
                    let ttid = TenantTimelineId::new(entry.tenant_id, entry.timeline_id);
                    found.entry(ttid).or_default().push(client.timeline(ttid).await?);
                }
            }
            Err(error) => failures.push(format!("safekeeper {id}: {error}")),
        }
    }
    // A quorum has every timeline, so a majority of answers names all of them.
    if failures.len() * 2 >= env.config.safekeeper_ids().len() {
        bail!("too few safekeepers answer: {}", failures.join("; "));
    }
    for (number, (ttid, statuses)) in found.iter().enumerate() {
        output.progress(format!("timeline {ttid} ({} of {})", number + 1, found.len()));
        change(env, *ttid, statuses).await.with_context(|| format!("timeline {ttid}"))?;
    }
    let deadline = Instant::now() + COPY_TIMEOUT;
    for (ttid, statuses) in &found {
        let committed = statuses.iter().map(|status| status.commit_lsn).max().unwrap_or_default();
        wait_for_copies(env, *ttid, committed, deadline).await;
    }
    Ok(found.len())
}

/// A majority of the members has everything when a change is done. Who expects another copy shall have it, unless
/// somebody does not answer.
async fn wait_for_copies(env: &LocalEnv, ttid: TenantTimelineId, committed: Lsn, deadline: Instant) {
    loop {
        let statuses = safekeeper_statuses(env, ttid).await.into_iter();
        let mut positions = statuses.filter_map(|(id, answer)| Some((id, answer.ok()?.flush_lsn)));
        let Some((id, lsn)) = positions.find(|(_, lsn)| *lsn < committed) else { return };
        if Instant::now() > deadline {
            say(&format!(
                "timeline {ttid}: safekeeper {id} has WAL up to {lsn} of {committed}; the rest comes by itself"
            ));
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn change(
    env: &LocalEnv,
    ttid: TenantTimelineId,
    statuses: &[safekeeper::TimelineStatus],
) -> anyhow::Result<()> {
    let newest = statuses.iter().max_by_key(|status| status.configuration.generation);
    let like = newest.context("nobody has it")?;
    let known = like.configuration.clone();
    // Who is in it already goes by the addresses that were decided.
    let target = members(env).into_iter().map(|member| {
        let known = known.all_members().into_iter().find(|known| known.id == member.id);
        known.cloned().unwrap_or(member)
    });
    let mut driver = Driver {
        env,
        ttid,
        like,
        change: MembershipChange::new(known.clone(), target.collect(), rand::random()),
        asking: JoinSet::new(),
        errors: BTreeMap::new(),
    };
    driver.run().await
}

struct Driver<'a> {
    env: &'a LocalEnv,
    ttid: TenantTimelineId,
    /// What those that do not have the timeline yet are to make.
    like: &'a safekeeper::TimelineStatus,
    change: MembershipChange,
    asking: JoinSet<(NodeId, Result<MembershipReply, String>)>,
    /// What each of them said last, if it was not an answer.
    errors: BTreeMap<NodeId, String>,
}

impl Driver<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut told = started;
        if self.step(ChangeEvent::AskAgain) {
            return Ok(());
        }
        loop {
            let pause = Duration::from_millis(rand::random_range(100..400));
            let done = tokio::select! {
                Some(answered) = self.asking.join_next() => match answered {
                    Ok((node, Ok(reply))) => {
                        self.errors.remove(&node);
                        if let MembershipAnswer::Refused { reason } = &reply.answer {
                            self.errors.insert(node, reason.clone());
                        }
                        self.step(ChangeEvent::Answer { node, reply })
                    }
                    Ok((node, Err(error))) => {
                        self.errors.insert(node, error);
                        false
                    }
                    Err(error) => return Err(error.into()),
                },
                () = tokio::time::sleep(pause) => self.step(ChangeEvent::AskAgain),
            };
            if done {
                return Ok(());
            }
            if started.elapsed() > TIMEOUT {
                bail!("{} after {} s; the same command goes on", self.state(), TIMEOUT.as_secs());
            }
            if told.elapsed() > TELL_AFTER {
                say(&self.state());
                told = Instant::now();
            }
        }
    }

    /// True at the end.
    fn step(&mut self, event: ChangeEvent) -> bool {
        let mut done = false;
        for effect in self.change.step(event) {
            match effect {
                ChangeEffect::Ask { node, question } => self.ask(node, question),
                ChangeEffect::Done { .. } => done = true,
            }
        }
        done
    }

    fn ask(&mut self, node: NodeId, question: MembershipQuestion) {
        let Some(member) = self.change.member(node) else { return };
        let client = Client::new(&member.http_connstr, self.env.credentials.clone());
        let (ttid, creation) = (self.ttid, creation(self.like, &question.request, member));
        self.asking.spawn(async move {
            let answer = async {
                match (client.membership(ttid, &question).await, creation) {
                    (Err(error), Some(creation)) if error.is_not_found() => {
                        client.create_timeline(&creation).await?;
                        client.membership(ttid, &question).await
                    }
                    (answer, _) => answer,
                }
            };
            let answer = match tokio::time::timeout(ASK_TIMEOUT, answer).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", ASK_TIMEOUT.as_secs())),
            };
            (node, answer)
        });
    }

    fn state(&self) -> String {
        let known = self.change.known();
        let mut text = format!("configuration {known}");
        let missing = self.change.missing();
        for node in &missing {
            let error = self.errors.get(node).map(|error| format!(": {error}")).unwrap_or_default();
            text.push_str(&format!("; safekeeper {node} does not answer{error}"));
        }
        if missing.is_empty() {
            text.push_str("; the new ones do not have all WAL yet");
        }
        text
    }
}

/// For one that is to come in and does not have the timeline: it gets its WAL from the others by itself. A member that
/// does not have it has lost it, and what it promised with it.
fn creation(
    like: &safekeeper::TimelineStatus,
    request: &MembershipRequest,
    member: &Member,
) -> Option<safekeeper::TimelineCreateRequest> {
    let MembershipRequest::Adopt { configuration, .. } = request else { return None };
    (!configuration.contains(member.id)).then(|| safekeeper::TimelineCreateRequest {
        tenant_id: like.tenant_id,
        timeline_id: like.timeline_id,
        pg_version: like.pg_version,
        system_id: like.system_id,
        wal_seg_size: like.wal_seg_size,
        start_lsn: like.timeline_start_lsn,
        members: Vec::new(),
        configuration: Some(configuration.clone()),
        ancestor: like.ancestor.map(|timeline_id| safekeeper::Ancestor { timeline_id }),
    })
}
