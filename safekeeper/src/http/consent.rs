//! What safekeepers consent to, or not: other members, a pageserver's claims; and the log that consent is about. What
//! decides is in the consensus crate.

use std::sync::Arc;

use axum::extract::State;
use consensus::{MembershipQuestion, MembershipReply, PeerLog};
use http_server::extract::{Json, Path};
use http_server::{ApiError, TimelinePath};
use safekeeper_api::http::{OwnershipQuestion, OwnershipReply};

use super::{Api, error};

/// Claim tenants for a pageserver, or ask whose they are
#[utoipa::path(post, path = "/v1/ownership", tag = "Consensus", request_body = OwnershipQuestion,
    responses((status = 200, description = "An answer for each tenant.", body = OwnershipReply), ApiError))]
pub(super) async fn ownership(
    State(api): State<Arc<Api>>,
    Json(question): Json<OwnershipQuestion>,
) -> Result<Json<OwnershipReply>, ApiError> {
    let tenants = api.manager.ownership(question.tenants).await.map_err(error::ownership)?;
    Ok(Json(OwnershipReply { id: api.node_id, tenants }))
}

/// One step of a change of members
#[utoipa::path(post, path = "/membership", tag = "Consensus", params(TimelinePath),
    request_body = MembershipQuestion,
    responses((status = 200, description = "The acceptor's answer.", body = MembershipReply), ApiError))]
pub(super) async fn membership(
    State(api): State<Arc<Api>>,
    Path(path): Path<TimelinePath>,
    Json(question): Json<MembershipQuestion>,
) -> Result<Json<MembershipReply>, ApiError> {
    Ok(Json(api.manager.membership(path.id(), question).await.map_err(error::ownership)?))
}

/// Which terms wrote the WAL, and how far it goes
///
/// Another safekeeper asks this before it reads WAL here.
#[utoipa::path(get, path = "/log", tag = "Consensus", params(TimelinePath),
    responses((status = 200, description = "As of one moment.", body = PeerLog), ApiError))]
pub(super) async fn log(
    State(api): State<Arc<Api>>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<PeerLog>, ApiError> {
    let timeline = api.manager.get(path.id()).await.map_err(error::lookup)?;
    Ok(Json(timeline.log().await.map_err(error::stopped)?))
}
