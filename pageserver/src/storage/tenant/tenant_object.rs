//! `tenant.json`: the object whose presence makes a tenant exist, and what is to be remembered of it as a whole.

use std::collections::BTreeSet;

use bytes::Bytes;
use pageserver_api::history::TenantConfig;
use serde::{Deserialize, Serialize};
use types::{TenantId, TimelineId};

use crate::storage::StorageError;

const FORMAT_VERSION: u32 = 1;

/// What is remembered of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TenantRecord {
    pub(super) config: TenantConfig,
    /// Timelines that were deleted. Whatever is found of them in remote storage, also if a pageserver that does not know
    /// put it there afterwards, is rubbish.
    pub(super) deleted_timelines: BTreeSet<TimelineId>,
    /// Timelines that are put away: see archive.rs.
    pub(super) archived_timelines: BTreeSet<TimelineId>,
    /// It was deleted with all its timelines: this object is all that is left.
    pub(super) deleted: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantObject {
    format_version: u32,
    tenant_id: TenantId,
    #[serde(default)]
    config: TenantConfig,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    deleted_timelines: BTreeSet<TimelineId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    archived_timelines: BTreeSet<TimelineId>,
    #[serde(default, skip_serializing_if = "is_false")]
    deleted: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl TenantRecord {
    pub(super) fn encode(&self, tenant_id: TenantId) -> Bytes {
        let TenantRecord { config, deleted_timelines, archived_timelines, deleted } = self.clone();
        let object = TenantObject {
            format_version: FORMAT_VERSION,
            tenant_id,
            config,
            deleted_timelines,
            archived_timelines,
            deleted,
        };
        serde_json::to_vec_pretty(&object).expect("strings and numbers make JSON").into()
    }

    pub(super) fn decode(key: &str, bytes: &[u8], tenant_id: TenantId) -> Result<Self, StorageError> {
        let damaged = |reason: String| StorageError::DamagedObject { key: key.to_owned(), reason };
        let object: TenantObject =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if object.format_version != FORMAT_VERSION {
            return Err(damaged(format!(
                "format version {}; this program reads {FORMAT_VERSION}",
                object.format_version
            )));
        }
        if object.tenant_id != tenant_id {
            return Err(damaged(format!("it belongs to tenant {}", object.tenant_id)));
        }
        let TenantObject { config, deleted_timelines, archived_timelines, deleted, .. } = object;
        Ok(Self { config, deleted_timelines, archived_timelines, deleted })
    }
}
