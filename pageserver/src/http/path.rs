//! The variables of routes.

use serde::Deserialize;
use types::{PgVersion, TenantId, TenantTimelineId, TimelineId};
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TemplatePath {
    pub pg_version: PgVersion,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TenantPath {
    pub tenant: TenantId,
}

#[derive(Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TimelinePath {
    tenant: TenantId,
    timeline: TimelineId,
}

impl TimelinePath {
    pub fn id(self) -> TenantTimelineId {
        TenantTimelineId::new(self.tenant, self.timeline)
    }
}
