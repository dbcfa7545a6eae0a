//! What stands in a token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use types::TenantId;

use crate::scope::{Identity, Scope, Scopes};

/// What a token is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    scopes: Scopes,
    tenant: Option<TenantId>,
    subject: Option<String>,
    expires: Option<SystemTime>,
}

impl Claims {
    /// Good for ever, as long as its key is believed.
    pub fn new(scopes: impl Into<Scopes>) -> Claims {
        Claims { scopes: scopes.into(), tenant: None, subject: None, expires: None }
    }

    pub fn tenant(tenant: TenantId) -> Claims {
        Claims { tenant: Some(tenant), ..Claims::new([Scope::Tenant]) }
    }

    /// Whom the token is made for, for people.
    pub fn subject(mut self, subject: impl Into<String>) -> Claims {
        self.subject = Some(subject.into());
        self
    }

    pub fn expires(mut self, at: SystemTime) -> Claims {
        self.expires = Some(at);
        self
    }

    pub(crate) fn to_wire(&self, now: SystemTime) -> WireClaims {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        WireClaims {
            scope: self.scopes.to_string(),
            tenant_id: self.tenant,
            sub: self.subject.clone(),
            iat: Some(seconds(now)),
            exp: self.expires.map(seconds),
        }
    }
}

/// The payload, as JSON. Names are those of RFC 7519 §4.1 and RFC 8693 §4.2; `tenant_id` is the field's. Claims that
/// are not known are passed over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireClaims {
    pub scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Seconds since 1970, as `exp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

impl WireClaims {
    pub fn identity(self) -> Identity {
        Identity {
            scopes: Scopes::of_words(&self.scope),
            tenant: self.tenant_id,
            subject: self.sub,
            expires: self.exp.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
        }
    }
}
