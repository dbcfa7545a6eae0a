//! The variables of routes that more than one daemon has.

use serde::Deserialize;
use types::{TenantId, TenantTimelineId, TimelineId};
use utoipa::IntoParams;

#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TenantPath {
    pub tenant: TenantId,
}

#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TimelinePath {
    tenant: TenantId,
    timeline: TimelineId,
}

impl TimelinePath {
    pub fn id(self) -> TenantTimelineId {
        TenantTimelineId::new(self.tenant, self.timeline)
    }
}
