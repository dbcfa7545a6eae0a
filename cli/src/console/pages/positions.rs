//! How far every part is on every branch, again and again. The script of the page asks for the live part of it; without
//! scripts there is a link that loads the page anew.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::extract::{Extension, Query, State};
use maud::{Markup, html};
use types::{Lsn, TenantTimelineId};

use super::OfTenant;
use crate::commands::status::{self, Part, Rates, Row, Rows, State as PartState};
use crate::commands::top::rates;
use crate::console::Console;
use crate::console::cluster::Cluster;
use crate::console::layout::{Section, Shared, Shown};
use crate::console::sessions::Visitor;
use crate::output::bytes;
use crate::storage::Daemon;

/// What is shown as a rate is of so long at least, however many browsers ask.
const SHORTEST: Duration = Duration::from_millis(1500);

/// Where branches were before: what rates are made of.
#[derive(Default)]
pub struct Samples(Mutex<SampleState>);

#[derive(Default)]
struct SampleState {
    last: Option<(Instant, BTreeMap<TenantTimelineId, Lsn>)>,
    rates: Rates,
}

impl Samples {
    fn rates(&self, heads: &BTreeMap<TenantTimelineId, Lsn>) -> Rates {
        let mut state = self.0.lock().expect("no holder panics");
        match &state.last {
            Some((then, _)) if then.elapsed() < SHORTEST => {}
            last => {
                let rates = last.as_ref().map(|(then, earlier)| rates(earlier, heads, then.elapsed()));
                state.rates = rates.unwrap_or_default();
                state.last = Some((Instant::now(), heads.clone()));
            }
        }
        state.rates.clone()
    }
}

pub async fn show(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(OfTenant { tenant }): Query<OfTenant>,
) -> Shown {
    let cluster = console.open(&tenant)?;
    let content = content(&console, &cluster).await?;
    Ok(console.page(&visitor, &cluster, Section::Positions, "WAL positions", &html! {
        p.hint {
            "A commit is durable when a majority of safekeepers has it. The pageserver takes it in from there. "
            a href=(cluster.link("/positions", &[])) { "Refresh" }
            " " button.plain #pause type="button" hidden { "Pause" }
        }
        div #live data-from=(cluster.link("/positions/live", &[])) { (content) }
    }))
}

/// The part that changes.
pub async fn live(State(console): Shared, Query(OfTenant { tenant }): Query<OfTenant>) -> Shown {
    Ok(content(&console, &console.open(&tenant)?).await?)
}

async fn content(console: &Console, cluster: &Cluster) -> anyhow::Result<Markup> {
    let rows = status::rows(&cluster.env).await?;
    let heads = rows.heads();
    let rates = console.samples.rates(&heads);
    Ok(html! {
        @for trouble in &rows.troubles { p.notice.bad { strong { "Trouble: " } (trouble) } }
        div.card {
            h2 #branches-title { "Branches" }
            (branches(cluster, &rows, &heads, &rates))
        }
        div.card {
            h2 #parts-title { "Parts" }
            (parts(&rows))
        }
    })
}

fn branches(
    cluster: &Cluster,
    rows: &Rows,
    heads: &BTreeMap<TenantTimelineId, Lsn>,
    rates: &Rates,
) -> Markup {
    let storage: Vec<(&Row, String)> = rows.rows.iter().filter_map(|row| Some((row, title(row)?))).collect();
    let name = |ttid: &TenantTimelineId| cluster.branches.name_of(ttid.tenant_id, ttid.timeline_id);
    let mut shown: Vec<_> = heads.iter().filter(|(ttid, _)| ttid.tenant_id == cluster.tenant).collect();
    shown.sort_by_key(|(ttid, _)| (name(ttid).is_none(), name(ttid)));
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="branches-title" {
            table {
                thead {
                    tr {
                        th scope="col" { "Branch" } th scope="col" { "Head" } th.number scope="col" { "WAL a second" }
                        @for (_, title) in &storage { th.number scope="col" { (title) } }
                    }
                }
                tbody {
                    @for (ttid, head) in shown {
                        tr {
                            th scope="row" { (name(ttid).unwrap_or("(no name)")) }
                            td { code { (head) } }
                            td.number { (rates.get(ttid).map_or_else(|| "…".to_owned(), |rate| bytes(*rate))) }
                            @for (row, _) in &storage { td.number { (behind(row, *ttid)) } }
                        }
                    }
                }
            }
        }
    }
}

fn title(row: &Row) -> Option<String> {
    match &row.part {
        Part::Daemon(Daemon::Safekeeper(id)) => Some(format!("Safekeeper {id}")),
        Part::Daemon(Daemon::Pageserver) => Some("Pageserver".to_owned()),
        Part::Daemon(Daemon::Broker) | Part::Endpoint { .. } => None,
    }
}

/// How far a part is, and how much that is behind the head.
fn behind(row: &Row, ttid: TenantTimelineId) -> Markup {
    let position = row.positions.iter().find(|position| position.timeline == ttid);
    html! {
        @match position {
            _ if row.state != PartState::Up => span.tag.bad { "does not answer" },
            None => span.tag.bad { "has none" },
            Some(position) => {
                code { (position.lsn) } br;
                @if position.broken { span.tag.bad { "cannot go on" } }
                @else if position.lag == 0 { span.faint { "at the head" } }
                @else { span { (bytes(position.lag)) " behind" } }
            }
        }
    }
}

fn parts(rows: &Rows) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="parts-title" {
            table {
                thead { tr { th scope="col" { "Part" } th scope="col" { "State" } th scope="col" { "Branch" } th.number scope="col" { "Pid" } th.number scope="col" { "Ports" } } }
                tbody {
                    @for row in &rows.rows {
                        tr {
                            th scope="row" { (row.name) }
                            td { span.state data-state=(row.state.name()) { (row.state.name()) } @if let Some(message) = &row.message { br; span.faint { (message) } } }
                            td { @if let Part::Endpoint { branch, .. } = &row.part { (branch) } @else { span.faint { "–" } } }
                            td.number { (row.pid.map_or_else(|| "–".to_owned(), |pid| pid.to_string())) }
                            td.number { (row.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")) }
                        }
                    }
                }
            }
        }
    }
}
