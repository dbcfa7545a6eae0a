//! All branches of a tenant: a picture of when each left which, a table of the same, and a form for another one.

use std::collections::BTreeMap;

use axum::extract::{Extension, Query, State};
use axum::response::Response;
use futures_util::future::join_all;
use maud::{Markup, html};
use pageserver_api::models::TimelineInfo;
use serde::Deserialize;
use types::{Lsn, TimelineId};

use super::OfTenant;
use crate::commands::tenant::MAIN_BRANCH;
use crate::commands::timeline::{NewBranch, branch};
use crate::console::Console;
use crate::console::cluster::Cluster;
use crate::console::guard::Posted;
use crate::console::layout::{Section, Shared, Shown};
use crate::console::moment::Point;
use crate::console::pictures::tree::{Twig, tree};
use crate::console::sessions::Visitor;
use crate::endpoints::{Endpoint, Endpoints};
use crate::output::bytes;
use crate::storage::pageserver_client;

/// Of so many branches, times are asked for.
const MOST_TIMES: usize = 100;

pub async fn show(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(OfTenant { tenant }): Query<OfTenant>,
) -> Shown {
    let cluster = console.open(&tenant)?;
    let infos = pageserver_client(&cluster.env).timelines(cluster.tenant).await?;
    let times = times(&cluster, &infos).await;
    let twigs = twigs(&cluster, infos, &times);
    let endpoints = Endpoints::load(&cluster.env)?.readable;
    Ok(console.page(&visitor, &cluster, Section::Branches, "Branches", &html! {
        section.card aria-labelledby="tree-title" {
            h2 #tree-title { "History" }
            p.hint { "From left to right: the WAL of each branch, from where it left another one to where it is now. The order is true, distances are stretched where much happens at one place." }
            (tree(&twigs, |twig| cluster.link("/branch", &[("branch", &twig.name)])))
        }
        div.card {
            h2 #table-title { "All branches" }
            (table(&cluster, &twigs, &endpoints))
        }
        (form(&cluster, &visitor))
    }))
}

/// When what happened: branch points, and heads.
async fn times(cluster: &Cluster, infos: &[TimelineInfo]) -> BTreeMap<(TimelineId, Lsn), String> {
    let pageserver = pageserver_client(&cluster.env);
    let heads = infos.iter().map(|info| (info.timeline_id, info.last_record_lsn));
    let points = infos.iter().filter_map(|info| Some((info.ancestor_timeline_id?, info.ancestor_lsn?)));
    let asked: Vec<_> = heads.take(MOST_TIMES).chain(points.take(MOST_TIMES)).collect();
    let answers = asked.iter().map(async |(timeline, lsn)| {
        // What is collected already, or was never committed to, has no time.
        let time = pageserver.timestamp_of_lsn(cluster.tenant, *timeline, *lsn).await.ok()??;
        Some(((*timeline, *lsn), in_seconds(&time)))
    });
    join_all(answers).await.into_iter().flatten().collect()
}

/// `2026-11-22 10:00:05 UTC`
fn in_seconds(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// Each below the one that it left.
fn twigs(
    cluster: &Cluster,
    infos: Vec<TimelineInfo>,
    times: &BTreeMap<(TimelineId, Lsn), String>,
) -> Vec<Twig> {
    let known: Vec<TimelineId> = infos.iter().map(|info| info.timeline_id).collect();
    let mut below: BTreeMap<Option<TimelineId>, Vec<TimelineInfo>> = BTreeMap::new();
    for info in infos {
        below.entry(info.ancestor_timeline_id.filter(|id| known.contains(id))).or_default().push(info);
    }
    let mut twigs = Vec::new();
    let mut stack: Vec<(TimelineInfo, Option<usize>)> = Vec::new();
    let push = |stack: &mut Vec<_>, mut infos: Vec<TimelineInfo>, parent| {
        // The last to leave comes first, so that no line that hangs crosses one that lies. The stack turns them round.
        infos.sort_by_key(|info| (info.ancestor_lsn, info.timeline_id));
        stack.extend(infos.into_iter().map(|info| (info, parent)));
    };
    push(&mut stack, below.remove(&None).unwrap_or_default(), None);
    while let Some((info, parent)) = stack.pop() {
        let id = info.timeline_id;
        let left = info.ancestor_timeline_id.zip(info.ancestor_lsn);
        push(&mut stack, below.remove(&Some(id)).unwrap_or_default(), Some(twigs.len()));
        twigs.push(Twig {
            name: cluster.branches.name_of(cluster.tenant, id).unwrap_or_default().to_owned(),
            id,
            parent,
            start: info.initdb_lsn,
            head: info.last_record_lsn,
            left_at: info.ancestor_lsn,
            left_time: left.and_then(|left| times.get(&left).cloned()),
            head_time: times.get(&(id, info.last_record_lsn)).cloned(),
            logical: info.current_logical_size,
            physical: info.current_physical_size,
            is_archived: info.is_archived,
        });
    }
    twigs
}

fn table(cluster: &Cluster, twigs: &[Twig], endpoints: &[Endpoint]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="table-title" {
            table {
                thead {
                    tr {
                        th scope="col" { "Branch" } th scope="col" { "Left" } th scope="col" { "At" }
                        th scope="col" { "Head" } th.number scope="col" { "Size" }
                        th.number scope="col" { "Own layers" } th scope="col" { "Endpoints" }
                    }
                }
                tbody {
                    @for twig in twigs {
                        tr {
                            th scope="row" {
                                a href=(cluster.link("/branch", &[("branch", &twig.name)])) { (twig.label()) }
                                @if twig.is_archived { " " span.tag { "archived" } }
                            }
                            td { @if let Some(parent) = twig.parent { (twigs[parent].label()) } @else { span.faint { "–" } } }
                            td { (position(twig.left_at, twig.left_time.as_deref())) }
                            td { (position(Some(twig.head), twig.head_time.as_deref())) }
                            td.number { (twig.logical.map_or_else(|| "–".to_owned(), bytes)) }
                            td.number { (bytes(twig.physical)) }
                            td {
                                @let names: Vec<_> = endpoints.iter()
                                    .filter(|endpoint| endpoint.tenant_id == cluster.tenant && endpoint.timeline_id == twig.id)
                                    .map(|endpoint| endpoint.name.as_str()).collect();
                                @if names.is_empty() { span.faint { "none" } } @else { (names.join(", ")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn position(lsn: Option<Lsn>, time: Option<&str>) -> Markup {
    html! {
        @match lsn {
            Some(lsn) => { code { (lsn) } @if let Some(time) = time { br; span.faint.time { (time) } } }
            None => span.faint { "–" }
        }
    }
}

fn form(cluster: &Cluster, visitor: &Visitor) -> Markup {
    html! {
        section.card aria-labelledby="new-title" {
            h2 #new-title { "New branch" }
            form method="post" action="/" {
                (cluster.hidden(visitor))
                div.fields {
                    div { label for="name" { "Name" } input #name name="name" required maxlength="63" autocomplete="off" spellcheck="false"; }
                    div { label for="of" { "Of" } select #of name="of" { (cluster.branch_options(MAIN_BRANCH)) } }
                    div {
                        label for="at" { "As it was" }
                        input #at name="at" placeholder="now" autocomplete="off" spellcheck="false" aria-describedby="at-hint";
                    }
                }
                p.hint #at-hint { (POINT_HINT) }
                button.main type="submit" { "Create branch" }
            }
        }
    }
}

/// What can be typed where a point of history is asked for.
pub const POINT_HINT: &str = "Nothing for now; an LSN as 0/1A2B3C8; a time as 2026-11-22 10:00 (of the machine that the console runs on), \
     2026-11-22T10:00:00Z, or 2 hours ago.";

#[derive(Deserialize)]
pub struct New {
    name: String,
    of: String,
    #[serde(default)]
    at: String,
    #[serde(default)]
    tenant: String,
}

pub async fn create(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(new): Posted<New>,
) -> Result<Response, crate::console::layout::Failure> {
    let cluster = console.open(&new.tenant)?;
    let outcome = make(&console, &new).await;
    Ok(console.done(&visitor, outcome, &cluster.link("/", &[])))
}

async fn make(console: &Console, new: &New) -> anyhow::Result<String> {
    let point = Point::parse(&new.at)?;
    let (_lock, mut cluster) = console.behind_others(&new.tenant).await?;
    let wanted = NewBranch {
        tenant: cluster.tenant,
        name: new.name.trim().to_owned(),
        ancestor: new.of.clone(),
        lsn: point.lsn,
        time: point.time,
        timeline_id: None,
    };
    let info = branch(&cluster.env, &mut cluster.branches, &wanted).await?;
    Ok(format!("branch {:?} begins at {}", wanted.name, info.initdb_lsn))
}
