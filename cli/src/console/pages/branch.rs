//! One branch: what there is to know of it, and forms that take it back in time or delete it.

use anyhow::bail;
use axum::extract::{Extension, Query, State};
use axum::response::Response;
use maud::{Markup, html};
use pageserver_api::models::TimelineInfo;
use serde::Deserialize;
use types::{TenantId, TenantTimelineId};

use super::OfBranch;
use super::branches::POINT_HINT;
use crate::commands::timeline::{Restore, delete as delete_branch, restore as restore_branch};
use crate::console::Console;
use crate::console::cluster::Cluster;
use crate::console::guard::Posted;
use crate::console::layout::{Failure, Section, Shared, Shown};
use crate::console::moment::Point;
use crate::console::sessions::Visitor;
use crate::endpoints::{Endpoint, Endpoints};
use crate::output::bytes;
use crate::storage::pageserver_client;

pub async fn show(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(OfBranch { branch, tenant }): Query<OfBranch>,
) -> Shown {
    let cluster = console.open(&tenant)?;
    let ttid = cluster.branch(&branch)?;
    let info = pageserver_client(&cluster.env).timeline_with_size(ttid.tenant_id, ttid.timeline_id).await?;
    // What is done to the branch asks for itself whether it knows of all.
    let mut endpoints = Endpoints::load(&cluster.env)?.readable;
    endpoints.retain(|endpoint| endpoint.ttid() == ttid);
    let in_use: Vec<&str> =
        endpoints.iter().filter(|it| it.is_in_use(&cluster.env)).map(|it| it.name.as_str()).collect();
    Ok(console.page(
        &visitor,
        &cluster,
        Section::Branches,
        &format!("Branch {branch}"),
        &html! {
            p.links {
                a href=(cluster.link("/layers", &[("branch", &branch)])) { "Layers" }
                a href=(cluster.link("/query", &[("branch", &branch)])) { "Query it" }
                a href=(cluster.link("/schema", &[("one", &branch)])) { "Compare its schema" }
            }
            (facts(&cluster, ttid, &info, &endpoints))
            (restore_form(&cluster, &visitor, &branch, &in_use))
            (delete_form(&cluster, &visitor, &branch, &endpoints))
        },
    ))
}

fn facts(cluster: &Cluster, ttid: TenantTimelineId, info: &TimelineInfo, endpoints: &[Endpoint]) -> Markup {
    let ancestor = info.ancestor_timeline_id.zip(info.ancestor_lsn);
    let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    html! {
        section.card aria-labelledby="facts-title" {
            h2 #facts-title { "What it is" }
            dl {
                dt { "Timeline" } dd { code { (ttid.timeline_id) } }
                dt { "Tenant" } dd { code { (ttid.tenant_id) } }
                dt { "PostgreSQL" } dd { (info.pg_version) }
                @if let Some((ancestor, lsn)) = ancestor {
                    dt { "Left" } dd { (cluster.branches.quoted(ttid.tenant_id, ancestor)) " at " code { (lsn) } }
                }
                dt { "Head" } dd { code { (info.last_record_lsn) } }
                dt { "In object storage up to" } dd { code { (info.remote_consistent_lsn) } }
                dt { "Can be read from" } dd { code { (info.gc_cutoff_lsn.max(info.initdb_lsn)) } }
                dt { "Size" } dd { (info.current_logical_size.map_or_else(|| "unknown".to_owned(), bytes)) ", own layers " (bytes(info.current_physical_size)) }
                dt { "WAL comes" } dd { (info.walreceiver_status) }
                dt { "Endpoints" } dd { @if names.is_empty() { "none" } @else { a href=(cluster.link("/endpoints", &[])) { (names.join(", ")) } } }
            }
        }
    }
}

fn restore_form(cluster: &Cluster, visitor: &Visitor, branch: &str, in_use: &[&str]) -> Markup {
    html! {
        section.card aria-labelledby="restore-title" {
            h2 #restore-title { "Restore" }
            p.hint {
                "Takes the branch back to where it was. What it is now stays, under another name. "
                @if !in_use.is_empty() { "Stop first what runs on it: " (in_use.join(", ")) "." }
            }
            form method="post" action="/branch/restore" {
                (cluster.hidden(visitor))
                input type="hidden" name="branch" value=(branch);
                div.fields {
                    div {
                        label for="to" { "To" }
                        input #to name="to" required autocomplete="off" spellcheck="false" aria-describedby="to-hint";
                    }
                    div {
                        label for="keep-as" { "Keep what it is now as" }
                        input #keep-as name="keep_as" placeholder={ (branch) "-before-1" } maxlength="63" autocomplete="off" spellcheck="false";
                    }
                }
                p.hint #to-hint { (POINT_HINT.replace("Nothing for now; an", "An")) }
                button type="submit" disabled[!in_use.is_empty()] { "Restore" }
            }
        }
    }
}

fn delete_form(cluster: &Cluster, visitor: &Visitor, branch: &str, endpoints: &[Endpoint]) -> Markup {
    html! {
        section.card.danger aria-labelledby="delete-title" {
            h2 #delete-title { "Delete" }
            p.hint {
                "With all that it has in object storage: nothing brings it back. "
                @if !endpoints.is_empty() { "It has endpoints, which must be deleted before. " }
            }
            form method="post" action="/branch/delete" {
                (cluster.hidden(visitor))
                input type="hidden" name="branch" value=(branch);
                div.fields {
                    div {
                        label for="confirm" { "Type " strong { (branch) } " to say that you mean it" }
                        input #confirm name="confirm" required autocomplete="off" spellcheck="false";
                    }
                }
                button.bad type="submit" { "Delete branch" }
            }
        }
    }
}

#[derive(Deserialize)]
pub struct Back {
    branch: String,
    to: String,
    #[serde(default)]
    keep_as: String,
    #[serde(default)]
    tenant: String,
}

pub async fn restore(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(back): Posted<Back>,
) -> Result<Response, Failure> {
    let then = console.open(&back.tenant)?.link("/branch", &[("branch", &back.branch)]);
    let outcome = take_back(&console, back).await;
    Ok(console.done(&visitor, outcome, &then))
}

async fn take_back(console: &Console, back: Back) -> anyhow::Result<String> {
    let point = Point::parse(&back.to)?;
    if point.is_now() {
        bail!("say where to: an LSN or a time");
    }
    let (_lock, mut cluster) = console.behind_others(&back.tenant).await?;
    let restore = Restore {
        tenant: cluster.tenant,
        branch: back.branch,
        to_time: point.time,
        to_lsn: point.lsn,
        keep_as: Some(back.keep_as.trim().to_owned()).filter(|name| !name.is_empty()),
    };
    Ok(restore_branch(&cluster.env, &mut cluster.branches, restore).await?.in_words())
}

#[derive(Deserialize)]
pub struct Doomed {
    branch: String,
    #[serde(default)]
    confirm: String,
    #[serde(default)]
    tenant: String,
}

pub async fn delete(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(doomed): Posted<Doomed>,
) -> Result<Response, Failure> {
    let cluster = console.open(&doomed.tenant)?;
    let outcome = remove(&console, cluster.tenant, &doomed).await;
    let then = match &outcome {
        Ok(_) => cluster.link("/", &[]),
        Err(_) => cluster.link("/branch", &[("branch", &doomed.branch)]),
    };
    Ok(console.done(&visitor, outcome, &then))
}

async fn remove(console: &Console, tenant: TenantId, doomed: &Doomed) -> anyhow::Result<String> {
    if doomed.confirm.trim() != doomed.branch {
        bail!("{:?} is not the name of the branch: nothing was deleted", doomed.confirm);
    }
    let (_lock, mut cluster) = console.behind_others(&tenant.to_string()).await?;
    let ttid = cluster.branch(&doomed.branch)?;
    let name = delete_branch(&cluster.env, &mut cluster.branches, ttid).await?;
    Ok(format!("branch {name} is deleted"))
}
