//! `pageserver explain-read`: what a read of one block goes through.

use pageserver_api::models::{ExplainedLayer, ReadExplanation};
use types::TenantId;

use crate::arguments::BlockAt;
use crate::local_env::{Branches, LocalEnv};
use crate::output::table::{Cell, Look, table};
use crate::output::{Output, bytes};
use crate::storage::pageserver_client;

pub async fn explain(
    env: &LocalEnv,
    block: BlockAt,
    branch: &str,
    tenant: Option<TenantId>,
    output: Output,
) -> anyhow::Result<()> {
    let branches = env.branches()?;
    let ttid = branches.find(tenant, branch)?;
    let pageserver = pageserver_client(env);
    let lsn = match block.lsn {
        Some(lsn) => lsn,
        None => pageserver.timeline(ttid.tenant_id, ttid.timeline_id).await?.last_record_lsn,
    };
    let found = pageserver.explain_read(ttid.tenant_id, ttid.timeline_id, block.key, lsn).await?;
    output.result(&found, || in_words(&found, &branches, ttid.tenant_id))
}

fn in_words(found: &ReadExplanation, branches: &Branches, tenant: TenantId) -> String {
    let row = |layer: &ExplainedLayer| {
        let branch = branches.name_of(tenant, layer.timeline_id);
        vec![
            branch.map_or_else(|| layer.timeline_id.to_string(), str::to_owned).into(),
            format!("{} to {}", layer.start_lsn, layer.end_lsn).into(),
            layer.images.to_string().into(),
            layer.changes.to_string().into(),
            match &layer.file {
                Some(file) => Cell::new(file.clone(), Look::Faint),
                None => "in memory".into(),
            },
        ]
    };
    let layers = table(&["BRANCH", "LSNS", "IMAGES", "CHANGES", "LAYER"], found.layers.iter().map(row));
    let changes = format!("{} changes ({})", found.changes, bytes(found.change_bytes as u64));
    let made = match found.image_lsn {
        Some(lsn) if found.changes == 0 => format!("the image at {lsn}, as it is"),
        Some(lsn) => format!("the image at {lsn} with {changes}"),
        None if found.changes == 0 => "nothing: it was not written up to there".to_owned(),
        None => format!("{changes} alone, the first of which makes the page"),
    };
    format!("at {} it is made of {made}\n\n{layers}", found.lsn)
}
