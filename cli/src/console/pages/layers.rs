//! The layers of a branch as a picture, and as a table of the same.

use axum::extract::{Extension, Query, State};
use maud::{Markup, html};
use pageserver_api::layers::{LayerInfo, LayerKind, LayerMapInfo, MemoryLayerKind};

use super::OfBranch;
use crate::commands::tenant::MAIN_BRANCH;
use crate::console::layout::{Section, Shared, Shown};
use crate::console::pictures::layers::{key_in_words, picture};
use crate::console::sessions::Visitor;
use crate::output::bytes;
use crate::storage::pageserver_client;

/// Rows of the table.
const MOST: usize = 500;

pub async fn show(
    State(console): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(OfBranch { branch, tenant }): Query<OfBranch>,
) -> Shown {
    let cluster = console.open(&tenant)?;
    let branch = if branch.is_empty() { MAIN_BRANCH.to_owned() } else { branch };
    let ttid = cluster.branch(&branch)?;
    let map = pageserver_client(&cluster.env).layers(ttid.tenant_id, ttid.timeline_id).await?;
    Ok(console.page(&visitor, &cluster, Section::Layers, &format!("Layers of {branch}"), &html! {
        form.inline method="get" action="/layers" {
            label for="branch" { "Branch" }
            select #branch name="branch" { (cluster.branch_options(&branch)) }
            @if !cluster.tenant_word().is_empty() { input type="hidden" name="tenant" value=(cluster.tenant_word()); }
            button type="submit" { "Show" }
        }
        section.card aria-labelledby="picture-title" {
            h2 #picture-title { "Key × LSN" }
            p.hint { (summary(&map)) " What a branch has from the one that it left is not here but there." }
            (picture(&map))
        }
        div.card {
            h2 #table-title { "All layers" }
            (table(&map))
        }
    }))
}

fn summary(map: &LayerMapInfo) -> String {
    let of = |kind| map.historic_layers.iter().filter(move |layer| layer.kind == kind);
    let size: u64 = map.historic_layers.iter().map(|layer| layer.layer_file_size).sum();
    let away = map.historic_layers.iter().filter(|layer| !layer.local).count();
    let away = if away == 0 { String::new() } else { format!(" {away} are in object storage alone.") };
    format!(
        "Delta layers: {}, image layers: {}, {} in all; in memory: {}.{away}",
        of(LayerKind::Delta).count(),
        of(LayerKind::Image).count(),
        bytes(size),
        bytes(map.in_memory_layers.iter().map(|layer| layer.bytes).sum()),
    )
}

fn table(map: &LayerMapInfo) -> Markup {
    let count = map.historic_layers.len();
    html! {
        @if count > MOST { p.hint { "The newest " (MOST) " of " (count) "." } }
        div.scroll tabindex="0" role="region" aria-labelledby="table-title" {
            table {
                thead {
                    tr {
                        th scope="col" { "Layer" } th scope="col" { "From LSN" } th scope="col" { "To" }
                        th scope="col" { "From key" } th scope="col" { "To" } th.number scope="col" { "Size" } th scope="col" { "Where" }
                    }
                }
                tbody {
                    @for layer in map.in_memory_layers.iter().rev() {
                        tr {
                            th scope="row" { @match layer.kind { MemoryLayerKind::Open => "open", MemoryLayerKind::Frozen => "frozen" } }
                            td { code { (layer.lsn_start) } }
                            td { @if let Some(end) = layer.lsn_end { code { (end) } } @else { "now" } }
                            td { "any" } td { "any" }
                            td.number { (bytes(layer.bytes)) } td { "memory" }
                        }
                    }
                    @for layer in map.historic_layers.iter().rev().take(MOST) { (row(layer)) }
                }
            }
        }
    }
}

fn row(layer: &LayerInfo) -> Markup {
    html! {
        tr {
            th scope="row" { @match layer.kind { LayerKind::Delta => "delta", LayerKind::Image => "image" } }
            td { code { (layer.lsn_start) } }
            td { @match layer.kind { LayerKind::Delta => code { (layer.lsn_end) }, LayerKind::Image => span.faint { "the same" } } }
            td { (key_in_words(&layer.key_start)) }
            td { (key_in_words(&layer.key_end)) }
            td.number { (bytes(layer.layer_file_size)) }
            td {
                @match (layer.local, layer.uploaded) {
                    (true, true) => "disk and object storage",
                    (true, false) => "disk, being uploaded",
                    (false, _) => "object storage",
                }
            }
        }
    }
}
