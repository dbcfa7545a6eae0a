//! A configuration that a proposer brings and this safekeeper does not know yet.
//!
//! A compute's token can be read by superusers of its database, and a configuration says who is trusted with other tokens than
//! theirs: a safekeeper that followed any of them would have the other parts show their tokens wherever it points. So what
//! a compute brings counts if another safekeeper says the same, one that was known before, as a member or from the broker.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::Configuration;
use pg_backend::{QueryError, sqlstate};
use types::NodeId;

use crate::timeline::{Manager, Timeline, ask_each};

/// For one of the others to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Refuses one that nobody else knows. The proposer comes again.
pub async fn check(
    manager: &Manager,
    timeline: &Timeline,
    brought: &Configuration,
) -> Result<(), QueryError> {
    let state = timeline.persisted_state();
    let ours = &state.configuration;
    if brought.generation <= ours.generation {
        return Ok(());
    }
    let ttid = timeline.ttid();
    let mut asked = ask_each(ttid, others(manager, ours), manager.credentials(), PATIENCE);
    // The first that has it is enough.
    while let Some(answer) = asked.join_next().await {
        if let Ok(Some((node, status))) = answer
            && status.configuration == *brought
        {
            let generation = brought.generation.0;
            tracing::info!(timeline = %ttid, generation, "safekeeper {node} has the configuration that a compute brings");
            return Ok(());
        }
    }
    let message = format!(
        "configuration {} of timeline {ttid} is brought by a compute, and no other safekeeper that answers has it: safekeeper {} \
         stays in configuration {}",
        brought.generation.0,
        manager.node_id(),
        ours.generation.0
    );
    tracing::warn!(timeline = %ttid, "{message}");
    Err(QueryError::fatal(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint(
        "it hears of a new configuration from the other members, or where the broker says that they are",
    ))
}

/// Whom this safekeeper knew before, and where they are: where the broker says so, since a node may have moved.
fn others(manager: &Manager, ours: &Configuration) -> BTreeMap<NodeId, String> {
    let members = ours.all_members().into_iter().map(|member| (member.id, member.http_connstr.clone()));
    let mut others: BTreeMap<NodeId, String> = members.collect();
    others.extend(manager.addresses());
    others.remove(&manager.node_id());
    others
}
