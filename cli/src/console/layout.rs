//! What all pages have in common: head, navigation, notices, and how errors are shown.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{DOCTYPE, Markup, html};
use types::TenantId;

use super::Console;
use super::cluster::Cluster;
use super::sessions::{Notice, Visitor};
use crate::failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Branches,
    Endpoints,
    Positions,
    Layers,
    Query,
    Schema,
}

impl Section {
    const ALL: [(Section, &str, &str); 6] = [
        (Section::Branches, "/", "Branches"),
        (Section::Endpoints, "/endpoints", "Endpoints"),
        (Section::Positions, "/positions", "WAL positions"),
        (Section::Layers, "/layers", "Layers"),
        (Section::Query, "/query", "Query"),
        (Section::Schema, "/schema", "Schema diff"),
    ];
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – Varve" }
                link rel="icon" href="/static/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/static/console.css";
                script src="/static/console.js" defer {}
            }
            body { (body) }
        }
    }
}

impl Console {
    pub fn page(
        &self,
        visitor: &Visitor,
        cluster: &Cluster,
        section: Section,
        title: &str,
        content: &Markup,
    ) -> Markup {
        let notices = self.sessions.take_notices(visitor);
        document(
            title,
            &html! {
                a.skip href="#content" { "Skip to the content" }
                header.top {
                    div.bar {
                        a.brand href=(cluster.link("/", &[])) { (mark()) span { "Varve" } }
                        nav aria-label="Main" {
                            ul {
                                @for (other, path, name) in Section::ALL {
                                    li {
                                        a href=(cluster.link(path, &[])) aria-current=[(other == section).then_some("page")] { (name) }
                                    }
                                }
                            }
                        }
                        form.quiet method="post" action="/logout" {
                            (cluster.hidden(visitor))
                            button.plain type="submit" { "Log out" }
                        }
                    }
                }
                main #content tabindex="-1" {
                    h1 { (title) }
                    @for notice in &notices { (self::notice(notice)) }
                    (tenants(cluster))
                    (content)
                }
                footer { p { (cluster.env.directory.display()) } }
            },
        )
    }

    /// Back to a page that says how it went.
    pub fn done(&self, visitor: &Visitor, outcome: anyhow::Result<String>, then: &str) -> Response {
        let notice = match outcome {
            Ok(text) => Notice { good: true, text },
            Err(error) => not_done(&error),
        };
        self.sessions.notify(visitor, notice);
        Redirect::to(then).into_response()
    }
}

/// Which tenant the page is about, where there are several.
fn tenants(cluster: &Cluster) -> Markup {
    let all: Vec<TenantId> = cluster.branches.tenants().map(|(tenant, _)| tenant).collect();
    html! {
        @if all.len() > 1 {
            form.inline method="get" action="/" {
                label for="tenant" { "Tenant" }
                select #tenant name="tenant" {
                    @for tenant in all { option value=(tenant) selected[tenant == cluster.tenant] { (tenant) } }
                }
                button type="submit" { "Show" }
            }
        }
    }
}

fn not_done(error: &anyhow::Error) -> Notice {
    Notice { good: false, text: failure::describe(error) }
}

/// What was asked for, or on the same page why there is nothing.
pub fn or_why_not(outcome: anyhow::Result<Markup>) -> Markup {
    outcome.unwrap_or_else(|error| notice(&not_done(&error)))
}

fn notice(notice: &Notice) -> Markup {
    let (kind, role, word) = match notice.good {
        true => ("notice good", "status", "Done"),
        false => ("notice bad", "alert", "Not done"),
    };
    html! { p class=(kind) role=(role) { strong { (word) ": " } (notice.text) } }
}

/// A layer of sediment upon another.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" focusable="false" {
            path d="M3 6c4-3 7 3 11 1s4-2 7-1" {}
            path d="M3 12c4-3 7 3 11 1s4-2 7-1" {}
            path d="M3 18c4-3 7 3 11 1s4-2 7-1" {}
        }
    }
}

/// For whoever is not logged in.
pub fn who_are_you() -> Markup {
    document(
        "Log in",
        &html! {
            main.alone #content {
                h1 { "Log in" }
                p { "Open the link that " code { "varve console" } " printed where it runs. It lets one browser in; for the next one it prints another." }
            }
        },
    )
}

/// An error in place of a page.
pub struct Failure {
    status: StatusCode,
    text: String,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { status: StatusCode::BAD_GATEWAY, text: failure::describe(&error.into()) }
    }
}

impl Failure {
    pub fn not_found(what: &str) -> Failure {
        Failure { status: StatusCode::NOT_FOUND, text: format!("there is no page {what}") }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let page = document(
            "Error",
            &html! {
                main.alone #content {
                    h1 { "This page cannot be shown" }
                    p.notice.bad role="alert" { (self.text) }
                    p { a href="/" { "Branches" } " · " a href="/positions" { "WAL positions" } }
                }
            },
        );
        (self.status, page).into_response()
    }
}

/// What handlers answer with.
pub type Shown = Result<Markup, Failure>;

/// What all handlers are given.
pub type Shared = axum::extract::State<Arc<Console>>;
