//! Statements on a branch at a point of its history.

use axum::extract::{Extension, Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::OfBranch;
use super::branches::POINT_HINT;
use crate::commands::tenant::MAIN_BRANCH;
use crate::console::Console;
use crate::console::cluster::Cluster;
use crate::console::guard::Posted;
use crate::console::layout::{Failure, Section, Shared, Shown, or_why_not};
use crate::console::moment::Point;
use crate::console::sessions::Visitor;
use crate::console::sql::{Answer, Answers, Refusal};

#[derive(Deserialize)]
pub struct Asked {
    branch: String,
    #[serde(default)]
    database: String,
    #[serde(default)]
    at: String,
    sql: String,
    #[serde(default)]
    tenant: String,
}

pub async fn show(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(OfBranch { branch, tenant }): Query<OfBranch>,
) -> Shown {
    let branch = if branch.is_empty() { MAIN_BRANCH.to_owned() } else { branch };
    let cluster = console.open(&tenant)?;
    let asked = Asked { branch, database: "postgres".into(), at: String::new(), sql: String::new(), tenant };
    Ok(page(&console, &cluster, &visitor, &asked, &html! {}))
}

pub async fn run(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Posted(asked): Posted<Asked>,
) -> Result<Markup, Failure> {
    let cluster = console.open(&asked.tenant)?;
    let result = or_why_not(Box::pin(ask(&console, &cluster, &asked)).await);
    Ok(page(&console, &cluster, &visitor, &asked, &result))
}

async fn ask(console: &Console, cluster: &Cluster, asked: &Asked) -> anyhow::Result<Markup> {
    let point = Point::parse(&asked.at)?;
    let look = console.looks.at(cluster, &asked.branch, point).await?;
    let answers = look.run(&asked.database, &asked.sql).await;
    Ok(html! {
        section.card aria-labelledby="answer-title" {
            h2 #answer-title { "Answer" }
            p.hint { "Branch " strong { (asked.branch) } " as it was at " code { (look.lsn) } "." }
            (shown(&answers, &asked.sql))
        }
    })
}

fn page(console: &Console, cluster: &Cluster, visitor: &Visitor, asked: &Asked, result: &Markup) -> Markup {
    console.page(visitor, cluster, Section::Query, "Query", &html! {
        section.card aria-labelledby="ask-title" {
            h2 #ask-title { "Ask" }
            p.hint { "A PostgreSQL that only reads is started at that point, and stopped a minute after the last question. The running endpoints of the branch hear nothing of it." }
            form method="post" action="/query" {
                (cluster.hidden(visitor))
                div.fields {
                    div { label for="branch" { "Branch" } select #branch name="branch" { (cluster.branch_options(&asked.branch)) } }
                    div { label for="at" { "As it was" } input #at name="at" value=(asked.at) placeholder="now" autocomplete="off" spellcheck="false" aria-describedby="at-hint"; }
                    div { label for="database" { "Database" } input #database name="database" value=(asked.database) required autocomplete="off" spellcheck="false"; }
                }
                p.hint #at-hint { (POINT_HINT) }
                label for="sql" { "SQL" }
                textarea #sql name="sql" rows="6" required spellcheck="false" autocapitalize="off" { "\n" (asked.sql) }
                button.main type="submit" { "Run" }
            }
        }
        (result)
    })
}

fn shown(answers: &Answers, sql: &str) -> Markup {
    html! {
        @for (at, answer) in answers.all.iter().enumerate() { (table(answer, at + 1)) }
        @if let Some(cut) = &answers.cut { p.notice { strong { "There may be more: " } (cut) "." } }
        @if let Some(refusal) = &answers.refusal { (refused(refusal, sql)) }
    }
}

fn table(answer: &Answer, number: usize) -> Markup {
    let count = answer.count.unwrap_or(answer.rows.len() as u64);
    html! {
        @if answer.columns.is_empty() { p { "Done: " (count) " rows." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label={ "Answer " (number) } {
                table.data {
                    caption { (answer.rows.len()) " rows" }
                    thead { tr { @for column in &answer.columns { th scope="col" { (column) } } } }
                    tbody {
                        @for row in &answer.rows {
                            tr { @for value in row { td { @match value { Some(value) => (value), None => span.faint { "NULL" } } } } }
                        }
                    }
                }
            }
        }
    }
}

fn refused(refusal: &Refusal, sql: &str) -> Markup {
    html! {
        div.notice.bad role="alert" {
            p { strong { (refusal.message) } @if let Some(code) = &refusal.sqlstate { " (SQLSTATE " code { (code) } ")" } }
            @if let Some(detail) = &refusal.detail { p { "Detail: " (detail) } }
            @if let Some(hint) = &refusal.hint { p { "Hint: " (hint) } }
            @if let Some((line, column, text)) = refusal.position.and_then(|position| place(sql, position)) {
                p { "Line " (line) ", column " (column) ": " code { (text) } }
            }
        }
    }
}

/// Line, column and what stands in that line, of a position that counts characters from 1 on.
fn place(sql: &str, position: u32) -> Option<(usize, usize, &str)> {
    let before = usize::try_from(position).ok()?.checked_sub(1)?;
    let (at, _) = sql.char_indices().nth(before)?;
    let begin = sql[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = sql[..at].matches('\n').count() + 1;
    let text = sql[begin..].lines().next().unwrap_or_default();
    Some((line, sql[begin..at].chars().count() + 1, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_line_and_a_column() {
        let sql = "SELECT 'ä',\n  nothing\nFROM x";
        assert_eq!(place(sql, 1), Some((1, 1, "SELECT 'ä',")));
        assert_eq!(place(sql, 15), Some((2, 3, "  nothing")));
        assert_eq!(place(sql, 0), None);
        assert_eq!(place(sql, 1000), None);
    }

    #[test]
    fn what_a_database_says_is_no_markup() {
        let answer = Answer {
            columns: vec!["<b>".into()],
            rows: vec![vec![Some("<script>alert(1)</script>".into()), None]],
            count: Some(1),
        };
        let text = table(&answer, 1).into_string();
        assert!(
            text.contains("&lt;script&gt;") && text.contains("&lt;b&gt;") && text.contains("NULL"),
            "{text}"
        );
        assert!(!text.contains("<script") && !text.contains("<b>"), "{text}");
    }
}
