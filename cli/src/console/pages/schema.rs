//! How the schema of a database differs between two branches, or two points of one.

use anyhow::bail;
use axum::extract::{Extension, Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::branches::POINT_HINT;
use crate::commands::tenant::MAIN_BRANCH;
use crate::console::Console;
use crate::console::cluster::Cluster;
use crate::console::dump::{Change, Differences, Line, differences};
use crate::console::guard::Posted;
use crate::console::layout::{Section, Shared, Shown, or_why_not};
use crate::console::moment::Point;
use crate::console::sessions::Visitor;

#[derive(Default, Deserialize)]
pub struct Pair {
    #[serde(default)]
    one: String,
    #[serde(default)]
    one_at: String,
    #[serde(default)]
    other: String,
    #[serde(default)]
    other_at: String,
    #[serde(default)]
    database: String,
    #[serde(default)]
    tenant: String,
}

pub async fn show(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(mut pair): Query<Pair>,
) -> Shown {
    let cluster = console.open(&pair.tenant)?;
    for branch in [&mut pair.one, &mut pair.other] {
        if branch.is_empty() {
            MAIN_BRANCH.clone_into(branch);
        }
    }
    if pair.database.is_empty() {
        "postgres".clone_into(&mut pair.database);
    }
    Ok(page(&console, &cluster, &visitor, &pair, &html! {}))
}

pub async fn compare(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(pair): Posted<Pair>,
) -> Shown {
    let cluster = console.open(&pair.tenant)?;
    let result = or_why_not(Box::pin(compared(&console, &cluster, &pair)).await);
    Ok(page(&console, &cluster, &visitor, &pair, &result))
}

async fn compared(console: &Console, cluster: &Cluster, pair: &Pair) -> anyhow::Result<Markup> {
    let (one_at, other_at) = (Point::parse(&pair.one_at)?, Point::parse(&pair.other_at)?);
    let one = console.looks.at(cluster, &pair.one, one_at).await?;
    let other = console.looks.at(cluster, &pair.other, other_at).await?;
    for (look, branch) in [(&one, &pair.one), (&other, &pair.other)] {
        let databases = look.databases().await?;
        if !databases.contains(&pair.database) {
            bail!(
                "branch {branch:?} has no database {:?} at {}; there are: {}",
                pair.database,
                look.lsn,
                databases.join(", ")
            );
        }
    }
    let (before, after) = tokio::try_join!(one.schema(&pair.database), other.schema(&pair.database))?;
    let found = tokio::task::spawn_blocking(move || differences(&before, &after)).await?;
    Ok(html! {
        section.card aria-labelledby="diff-title" {
            h2 #diff-title { "Differences" }
            p.hint {
                "From " strong { (pair.one) } " at " code { (one.lsn) } " to " strong { (pair.other) } " at " code { (other.lsn) } ": "
                "lines removed: " (found.removed) ", added: " (found.added) "."
            }
            (drawn(&found))
        }
    })
}

fn drawn(found: &Differences) -> Markup {
    html! {
        @if found.hunks.is_empty() { p { "The schemas are the same." } }
        @for (at, hunk) in found.hunks.iter().enumerate() {
            div.scroll tabindex="0" role="region" aria-label={ "Difference " (at + 1) } {
                table.diff {
                    thead.away { tr { th scope="col" { "Line before" } th scope="col" { "Line after" } th scope="col" { "Change" } th scope="col" { "Text" } } }
                    tbody { @for line in hunk { (row(line)) } }
                }
            }
        }
        @if found.cut { p.notice { strong { "There is more: " } "it is too long to be shown whole." } }
    }
}

fn row(line: &Line) -> Markup {
    let (class, sign, word) = match line.change {
        Change::Same => ("same", " ", ""),
        Change::Removed => ("removed", "−", "removed"),
        Change::Added => ("added", "+", "added"),
    };
    let number = |number: Option<usize>| number.map(|number| number.to_string()).unwrap_or_default();
    html! {
        tr class=(class) {
            td.number { (number(line.numbers[0])) }
            td.number { (number(line.numbers[1])) }
            td.sign { span aria-hidden="true" { (sign) } span.away { (word) } }
            td { code { (line.text) } }
        }
    }
}

fn page(console: &Console, cluster: &Cluster, visitor: &Visitor, pair: &Pair, result: &Markup) -> Markup {
    console.page(visitor, cluster, Section::Schema, "Schema diff", &html! {
        section.card aria-labelledby="pair-title" {
            h2 #pair-title { "Compare" }
            form method="post" action="/schema" {
                (cluster.hidden(visitor))
                (side(cluster, "one", "From", &pair.one, &pair.one_at))
                (side(cluster, "other", "To", &pair.other, &pair.other_at))
                p.hint #at-hint { (POINT_HINT) }
                div.fields { div { label for="database" { "Database" } input #database name="database" value=(pair.database) required autocomplete="off" spellcheck="false"; } }
                button.main type="submit" { "Compare" }
            }
        }
        (result)
    })
}

fn side(cluster: &Cluster, name: &str, title: &str, branch: &str, at: &str) -> Markup {
    let at_name = format!("{name}_at");
    html! {
        fieldset {
            legend { (title) }
            div.fields {
                div { label for=(name) { "Branch" } select id=(name) name=(name) { (cluster.branch_options(branch)) } }
                div { label for=(at_name) { "As it was" } input id=(at_name) name=(at_name) value=(at) placeholder="now" autocomplete="off" spellcheck="false" aria-describedby="at-hint"; }
            }
        }
    }
}
