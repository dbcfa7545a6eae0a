//! `timeline detail`: what every part of storage knows of one branch, in words.

use std::collections::BTreeMap;

use pageserver_api::models::TimelineInfo;
use safekeeper_api::http::TimelineStatus;
use serde::Serialize;
use serde_json::{Value, json};
use types::{NodeId, TenantTimelineId};

use crate::local_env::LocalEnv;
use crate::output::Output;
use crate::output::table::{Cell, Look, table};
use crate::storage::{pageserver_client, safekeeper_statuses};

pub async fn detail(
    env: &LocalEnv,
    branch: &str,
    ttid: TenantTimelineId,
    output: Output,
) -> anyhow::Result<()> {
    let statuses = safekeeper_statuses(env, ttid).await.into_iter();
    let safekeepers: BTreeMap<NodeId, Result<TimelineStatus, String>> =
        statuses.map(|(id, answer)| (id, answer.map_err(|error| error.to_string()))).collect();
    let pageserver = pageserver_client(env)
        .timeline(ttid.tenant_id, ttid.timeline_id)
        .await
        .map_err(|error| error.to_string());
    let answers: BTreeMap<NodeId, Value> = safekeepers
        .iter()
        .map(|(id, answer)| Ok((*id, value(answer)?)))
        .collect::<serde_json::Result<_>>()?;
    let value = json!({
        "branch_name": branch,
        "tenant_id": ttid.tenant_id,
        "timeline_id": ttid.timeline_id,
        "safekeepers": answers,
        "pageserver": value(&pageserver)?,
    });
    output.result(&value, || in_words(branch, ttid, &safekeepers, &pageserver))
}

/// What was answered, or why nothing was.
fn value<T: Serialize>(answer: &Result<T, String>) -> serde_json::Result<Value> {
    match answer {
        Ok(answer) => serde_json::to_value(answer),
        Err(error) => Ok(json!({ "error": error })),
    }
}

fn in_words(
    branch: &str,
    ttid: TenantTimelineId,
    safekeepers: &BTreeMap<NodeId, Result<TimelineStatus, String>>,
    pageserver: &Result<TimelineInfo, String>,
) -> String {
    let mut text = format!("branch {branch:?}\ntenant   {}\ntimeline {}\n", ttid.tenant_id, ttid.timeline_id);
    let rows = safekeepers.iter().map(|(id, answer)| match answer {
        Ok(status) => row(*id, status),
        Err(_) => vec![Cell::from(id.to_string()), Cell::new("no answer", Look::Bad)],
    });
    text.push('\n');
    text.push_str(&table(
        &["SAFEKEEPER", "FOLLOWS", "HAS WAL UP TO", "KNOWS COMMITTED", "KEEPS", "COMPUTE"],
        rows,
    ));
    text.push('\n');
    for error in safekeepers.values().filter_map(|answer| answer.as_ref().err()) {
        text.push_str(&format!("{error}\n"));
    }
    let answers = || safekeepers.values().flatten();
    let generation = |status: &&TimelineStatus| status.configuration.generation;
    if let Some(newest) = answers().max_by_key(generation) {
        text.push_str(&format!("\nConfiguration {}\n", newest.configuration));
        for behind in answers().filter(|status| generation(status) < generation(&newest)) {
            text.push_str(&format!("One of them is still in configuration {}\n", behind.configuration));
        }
    }
    if let Some(longest) = answers().max_by_key(|status| (status.term_history.last().term, status.flush_lsn))
    {
        text.push_str("\nIts WAL was written by\n");
        for line in longest.term_history.lines() {
            text.push_str(&format!("  term {} from {} on\n", line.term, line.lsn));
        }
    }
    text.push('\n');
    match pageserver {
        Ok(info) => {
            let ancestor = match (info.ancestor_timeline_id, info.ancestor_lsn) {
                (Some(ancestor), Some(lsn)) => format!("left {ancestor} at {lsn}, "),
                _ => String::new(),
            };
            text.push_str(&format!(
                "Pageserver: {ancestor}ingested up to {}, on disk up to {}, in object storage up to {}\n  {}\n",
                info.last_record_lsn, info.disk_consistent_lsn, info.remote_consistent_lsn, info.walreceiver_status
            ));
            let generation = answers().map(|status| status.pageserver_generation).max();
            if let Some(generation) = generation {
                text.push_str(&format!("  safekeepers have granted generation {generation}\n"));
            }
        }
        Err(error) => text.push_str(&format!("Pageserver: {error}\n")),
    }
    text
}

/// From where on its WAL is on this safekeeper, and not in object storage only.
fn beginning(status: &TimelineStatus) -> String {
    match (status.evicted, status.local_start_lsn.is_valid()) {
        (true, true) => "nothing: object storage has it".to_owned(),
        (false, true) => format!("from {}", status.local_start_lsn),
        (_, false) => "all".to_owned(),
    }
}

fn row(id: NodeId, status: &TimelineStatus) -> Vec<Cell> {
    let compute = match status.walreceivers.iter().find(|receiver| receiver.leads) {
        Some(leader) => leader.peer_addr.clone(),
        None if status.evicted => "none; evicted".to_owned(),
        None => "none".to_owned(),
    };
    let unfinished = if status.durable_lsn > status.flush_lsn { " and a part of a record" } else { "" };
    vec![
        id.to_string().into(),
        format!("term {}", status.term).into(),
        format!("{}{unfinished}", status.flush_lsn).into(),
        status.commit_lsn.to_string().into(),
        beginning(status).into(),
        compute.into(),
    ]
}
