//! Tokens of every kind, each by its name.

use std::time::{Duration, SystemTime};

use auth::{Claims, Scope, SigningKey};
use harness::Cluster;
use types::TenantId;

/// Who comes with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    Nobody,
    Nonsense,
    /// An administrator of another cluster.
    Stranger,
    /// An administrator whose time is over.
    Expired,
    OtherTenant,
    Tenant,
    Scope(Scope),
}

impl Bearer {
    pub fn all() -> Vec<Bearer> {
        let scopes = [Scope::Admin, Scope::Pageserver, Scope::Safekeeper, Scope::Broker, Scope::Monitor]
            .map(Bearer::Scope);
        let others = [
            Bearer::Nobody,
            Bearer::Nonsense,
            Bearer::Stranger,
            Bearer::Expired,
            Bearer::OtherTenant,
            Bearer::Tenant,
        ];
        others.into_iter().chain(scopes).collect()
    }

    /// Whether the token is believed at all.
    pub fn is_known(self) -> bool {
        !matches!(self, Bearer::Nobody | Bearer::Nonsense | Bearer::Stranger | Bearer::Expired)
    }

    pub fn is(self, scope: Scope) -> bool {
        self == Bearer::Scope(scope) || self == Bearer::Scope(Scope::Admin)
    }
}

/// The key of a cluster, and the tenant whose things are asked for.
pub struct Tokens {
    key: SigningKey,
    pub tenant: TenantId,
}

impl Tokens {
    pub fn of(cluster: &Cluster) -> Tokens {
        let key =
            SigningKey::load(&cluster.directory().join("auth/private/key.pem")).expect("the private key");
        Tokens { key, tenant: cluster.ids("main").0.parse().expect("an id") }
    }

    /// None of nobody.
    pub fn sign(&self, bearer: Bearer) -> Option<String> {
        let admin = Claims::new([Scope::Admin]);
        let sign = |claims: &Claims| self.key.sign(claims).expect("signed");
        match bearer {
            Bearer::Nobody => None,
            Bearer::Nonsense => Some("eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0.".to_owned()),
            Bearer::Stranger => Some(SigningKey::generate().sign(&admin).expect("signed")),
            Bearer::Expired => Some(sign(&admin.expires(SystemTime::now() - Duration::from_secs(60)))),
            Bearer::OtherTenant => Some(sign(&Claims::tenant(TenantId([0xee; 16])))),
            Bearer::Tenant => Some(sign(&Claims::tenant(self.tenant))),
            Bearer::Scope(scope) => Some(sign(&Claims::new([scope]))),
        }
    }
}
