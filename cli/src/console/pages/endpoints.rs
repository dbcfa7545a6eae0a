//! Endpoints: which there are, how one connects, and forms that make, start, stop and delete them.

use std::fs::File;

use anyhow::bail;
use axum::extract::{Extension, Query, State};
use axum::response::Response;
use compute_api::ComputeMode;
use futures_util::future::join_all;
use maud::{Markup, html};
use nix::fcntl::Flock;
use serde::Deserialize;

use super::OfTenant;
use super::branches::POINT_HINT;
use crate::arguments::StopMode;
use crate::commands::endpoint::{
    self as commands, NewEndpoint, Start, Wanted, delete_named, start_named, stop_named,
};
use crate::commands::status::endpoint_state;
use crate::commands::tenant::MAIN_BRANCH;
use crate::console::Console;
use crate::console::cluster::Cluster;
use crate::console::guard::Posted;
use crate::console::layout::{Failure, Section, Shared, Shown};
use crate::console::moment::Point;
use crate::console::sessions::Visitor;
use crate::endpoints::{Endpoint, Endpoints, Unreadable};
use crate::local_env::LocalEnv;

pub async fn show(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(OfTenant { tenant }): Query<OfTenant>,
) -> Shown {
    let cluster = console.open(&tenant)?;
    if !cluster.runs_here() {
        return Ok(console.page(&visitor, &cluster, Section::Endpoints, "Endpoints", &elsewhere()));
    }
    let Endpoints { readable: mut endpoints, unreadable } = Endpoints::load(&cluster.env)?;
    endpoints.retain(|endpoint| endpoint.tenant_id == cluster.tenant);
    let states = join_all(endpoints.iter().map(|endpoint| endpoint_state(&cluster.env, endpoint))).await;
    Ok(console.page(
        &visitor,
        &cluster,
        Section::Endpoints,
        "Endpoints",
        &html! {
            section.card aria-labelledby="list-title" {
                h2 #list-title { "All endpoints" }
                @for Unreadable { name, why } in &unreadable {
                    p.notice.bad { strong { (name) ": " } (format!("{why:#}")) }
                }
                @if endpoints.is_empty() && unreadable.is_empty() { p { "There are none yet." } }
                @for (endpoint, state) in endpoints.iter().zip(&states) {
                    (described(&cluster, &visitor, endpoint, state))
                }
            }
            (form(&cluster, &visitor))
        },
    ))
}

/// In a cluster of containers.
fn elsewhere() -> Markup {
    html! {
        section.card {
            h2 { "They are containers" }
            p { "The parts of this cluster have hosts of their own, and this console cannot start or stop them." }
            p { code { "docker compose up -d compute" } " and " code { "docker compose stop compute" } " do; docker/README.md says how clients connect." }
        }
    }
}

fn described(cluster: &Cluster, visitor: &Visitor, endpoint: &Endpoint, state: &str) -> Markup {
    let branch = cluster.branches.name_of(endpoint.tenant_id, endpoint.timeline_id).unwrap_or("(no name)");
    let runs = endpoint.process(&cluster.env).pid().is_some();
    let does = match endpoint.mode {
        ComputeMode::Primary => html! { "reads and writes" },
        ComputeMode::Replica => html! { "follows, read only" },
        ComputeMode::Static { lsn } => html! { "stands at " code { (lsn) } },
    };
    let connection = endpoint.connection_string(&cluster.env, "postgres");
    html! {
        article.item aria-labelledby={ "endpoint-" (endpoint.name) } {
            div {
                h3 id={ "endpoint-" (endpoint.name) } { (endpoint.name) " " span.state data-state=(state) { (state) } }
                p { "on " a href=(cluster.link("/branch", &[("branch", branch)])) { (branch) } ", " (does) ", port " span.digits { (endpoint.pg_port) } }
                details {
                    summary { "Connection string" span.away { " of " (endpoint.name) } }
                    p.hint { "It has a superuser's password in it." }
                    pre.copy tabindex="0" { code { (connection) } }
                }
            }
            div.actions {
                @if runs {
                    (button(cluster, visitor, "stop", &endpoint.name, "Stop", ""))
                } @else {
                    (button(cluster, visitor, "start", &endpoint.name, "Start", "main"))
                    (button(cluster, visitor, "delete", &endpoint.name, "Delete", "bad"))
                }
            }
        }
    }
}

fn button(cluster: &Cluster, visitor: &Visitor, verb: &str, name: &str, label: &str, kind: &str) -> Markup {
    html! {
        form method="post" action={ "/endpoints/" (verb) } {
            (cluster.hidden(visitor))
            input type="hidden" name="endpoint" value=(name);
            button type="submit" class=(kind) { (label) span.away { " " (name) } }
        }
    }
}

fn form(cluster: &Cluster, visitor: &Visitor) -> Markup {
    html! {
        section.card aria-labelledby="new-title" {
            h2 #new-title { "New endpoint" }
            form method="post" action="/endpoints" {
                (cluster.hidden(visitor))
                div.fields {
                    div { label for="name" { "Name" } input #name name="name" required maxlength="63" autocomplete="off" spellcheck="false"; }
                    div { label for="branch" { "On branch" } select #branch name="branch" { (cluster.branch_options(MAIN_BRANCH)) } }
                    div {
                        label for="does" { "What it does" }
                        select #does name="does" {
                            option value="writes" { "reads and writes" }
                            option value="follows" { "follows, read only" }
                            option value="stands" { "stands in the past, read only" }
                        }
                    }
                    div {
                        label for="at" { "Where in the past" }
                        input #at name="at" autocomplete="off" spellcheck="false" aria-describedby="at-hint";
                    }
                }
                p.hint #at-hint { "For one that stands in the past: " (POINT_HINT.replace("Nothing for now; an", "an")) }
                p { label.check { input type="checkbox" name="start" value="yes" checked; " Start it at once" } }
                button.main type="submit" { "Create endpoint" }
            }
        }
    }
}

#[derive(Deserialize)]
pub struct New {
    name: String,
    branch: String,
    does: String,
    #[serde(default)]
    at: String,
    #[serde(default)]
    start: String,
    #[serde(default)]
    tenant: String,
}

pub async fn create(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(new): Posted<New>,
) -> Result<Response, Failure> {
    let outcome = Box::pin(make(&console, &new)).await;
    back(&console, &visitor, &new.tenant, outcome)
}

async fn make(console: &Console, new: &New) -> anyhow::Result<String> {
    let (lock, cluster) = behind_others(console, &new.tenant).await?;
    let wanted = NewEndpoint {
        branch: new.branch.clone(),
        tenant_id: Some(cluster.tenant),
        mode: mode(&cluster, new).await?,
        ..NewEndpoint::named(new.name.trim())
    };
    let made = commands::create(&cluster.env, wanted, console.output)?;
    if new.start.is_empty() {
        return Ok(format!("endpoint {:?} has port {}", made.name, made.pg_port));
    }
    start_it(console, &cluster.env, lock, &made.name).await
}

/// Where endpoints are processes of this machine.
async fn behind_others(console: &Console, tenant: &str) -> anyhow::Result<(Flock<File>, Cluster)> {
    let (lock, cluster) = console.behind_others(tenant).await?;
    cluster.env.check_runs_here()?;
    Ok((lock, cluster))
}

async fn mode(cluster: &Cluster, new: &New) -> anyhow::Result<ComputeMode> {
    match new.does.as_str() {
        "writes" => Ok(ComputeMode::Primary),
        "follows" => Ok(ComputeMode::Replica),
        "stands" => {
            let point = Point::parse(&new.at)?;
            if point.is_now() {
                bail!("say where in the past it is to stand: an LSN or a time");
            }
            let wanted = Wanted { hot_standby: false, lsn: point.lsn, time: point.time };
            commands::mode(&cluster.env, Some(cluster.tenant), &new.branch, wanted).await
        }
        other => bail!("an endpoint writes, follows or stands; it does not {other:?}"),
    }
}

async fn start_it(
    console: &Console,
    env: &LocalEnv,
    lock: Flock<File>,
    name: &str,
) -> anyhow::Result<String> {
    Box::pin(start_named(env, Some(lock), name, Start::default(), false, console.output)).await?;
    Ok(format!("endpoint {name:?} is ready"))
}

#[derive(Deserialize)]
pub struct Named {
    endpoint: String,
    #[serde(default)]
    tenant: String,
}

pub async fn start(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(Named { endpoint, tenant }): Posted<Named>,
) -> Result<Response, Failure> {
    let outcome = async {
        let (lock, cluster) = behind_others(&console, &tenant).await?;
        start_it(&console, &cluster.env, lock, &endpoint).await
    };
    let outcome = outcome.await;
    back(&console, &visitor, &tenant, outcome)
}

pub async fn stop(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(Named { endpoint, tenant }): Posted<Named>,
) -> Result<Response, Failure> {
    let outcome = async {
        let (lock, Cluster { env, .. }) = behind_others(&console, &tenant).await?;
        let ran = stop_named(&env, Some(lock), &endpoint, StopMode::Fast, false, console.output).await?;
        let state = if ran { "is stopped" } else { "did not run" };
        Ok(format!("endpoint {endpoint:?} {state}"))
    };
    let outcome = outcome.await;
    back(&console, &visitor, &tenant, outcome)
}

pub async fn delete(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(Named { endpoint, tenant }): Posted<Named>,
) -> Result<Response, Failure> {
    let outcome = async {
        let (_lock, Cluster { env, .. }) = behind_others(&console, &tenant).await?;
        delete_named(&env, &endpoint)?;
        Ok(format!("endpoint {endpoint:?} is deleted; its branch stays"))
    };
    let outcome = outcome.await;
    back(&console, &visitor, &tenant, outcome)
}

fn back(
    console: &Console,
    visitor: &Visitor,
    tenant: &str,
    outcome: anyhow::Result<String>,
) -> Result<Response, Failure> {
    let then = console.open(tenant)?.link("/endpoints", &[]);
    Ok(console.done(visitor, outcome, &then))
}
