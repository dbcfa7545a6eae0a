//! Code generated from the `.proto` files beside this crate, and the conversion of ids.
#![allow(clippy::all, rust_2018_idioms, unused_qualifications, reason = "generated code")]

pub mod broker {
    tonic::include_proto!("varve.broker.v1");

    impl From<types::TenantTimelineId> for TenantTimelineId {
        fn from(ttid: types::TenantTimelineId) -> Self {
            TenantTimelineId {
                tenant_id: ttid.tenant_id.as_bytes().to_vec(),
                timeline_id: ttid.timeline_id.as_bytes().to_vec(),
            }
        }
    }
}
