//! What a safekeeper remembers of all tenants' pageservers; see [`consensus::Ownership`]. One file for all of them, so
//! that a pageserver with many tenants costs one write.

use std::collections::BTreeMap;

use consensus::Ownership;
use serde::{Deserialize, Serialize};
use types::TenantId;

use crate::framed::Framed;

/// Its name in the safekeeper's data directory.
pub const FILE_NAME: &str = "owners";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owners {
    pub tenants: BTreeMap<TenantId, Ownership>,
}

impl Owners {
    /// Of a tenant, whether there is anything to remember or not.
    pub fn of(&self, tenant: TenantId) -> Ownership {
        self.tenants.get(&tenant).copied().unwrap_or_default()
    }
}

impl Framed for Owners {
    const MAGIC: &[u8; 4] = b"VSKO";
    const WHAT: &str = "a file of owners";
}

#[cfg(test)]
mod tests {
    use types::Generation;

    use super::*;

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let mut owners = Owners::default();
        owners.tenants.entry(TenantId([7; 16])).or_default().raise(Generation(3));
        let good = owners.encode();
        assert_eq!(Owners::decode(&good), Ok(owners));
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            assert!(Owners::decode(&bytes).is_err(), "byte {at}");
        }
    }
}
