//! `tenant.json`: the object whose presence makes a tenant exist, and what is set for it.

use bytes::Bytes;
use pageserver_api::history::TenantConfig;
use serde::{Deserialize, Serialize};
use types::TenantId;

use crate::storage::StorageError;

pub(super) const TENANT_STEM: &str = "tenant.json";
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantObject {
    format_version: u32,
    tenant_id: TenantId,
    #[serde(default)]
    config: TenantConfig,
}

impl TenantObject {
    pub(super) fn encode(tenant_id: TenantId, config: TenantConfig) -> Bytes {
        let object = TenantObject { format_version: FORMAT_VERSION, tenant_id, config };
        serde_json::to_vec_pretty(&object).expect("strings and numbers make JSON").into()
    }

    pub(super) fn decode(key: &str, bytes: &[u8], tenant_id: TenantId) -> Result<TenantConfig, StorageError> {
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
        Ok(object.config)
    }
}
