//! [`Guard`]: whom a daemon answers.

use auth::{Need, Refusal, Scope, Verifier};
use axum::extract::Request;
use axum::http::{Method, header};
use types::TenantId;

use crate::ApiError;

/// Whom a daemon answers. What a request needs is read off its method and its path, whose shape is the same
/// everywhere: a GET looks, and what is about a tenant lies under `/v1/tenant/ID/`. Everything else, what is added
/// without a thought for this included, needs a token of the daemon's own scope.
#[derive(Clone)]
pub struct Guard {
    pub verifier: Verifier,
    pub part: Scope,
}

impl Guard {
    pub(crate) fn check(&self, request: &Request) -> Result<(), ApiError> {
        let presented = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let need = need(self.part, request.method(), request.uri().path());
        let identity = self.verifier.verify_bearer(presented).map_err(|refusal| refused(&refusal))?;
        identity.check(need).map_err(|refusal| refused(&refusal))
    }
}

fn refused(refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::NotAuthenticated | Refusal::Expired => ApiError::unauthorized(refusal.to_string()),
        Refusal::NotPermitted { .. } => ApiError::forbidden(refusal.to_string()),
    }
}

fn need(part: Scope, method: &Method, path: &str) -> Need {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Need::Part(part);
    }
    Need::Look { tenant: tenant_in(path), part }
}

/// The tenant of `/v1/tenant/ID/…`.
fn tenant_in(path: &str) -> Option<TenantId> {
    let (tenant, _) = path.strip_prefix("/v1/tenant/")?.split_once('/')?;
    tenant.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_at_a_tenant_is_open_to_it() {
        let (part, tenant) = (Scope::Safekeeper, TenantId([0xab; 16]));
        let path = |rest: &str| format!("/v1/tenant/{tenant}{rest}");
        for (method, path, needed) in [
            (Method::GET, path("/timeline"), Need::Look { tenant: Some(tenant), part }),
            (Method::HEAD, path("/timeline/0123/log"), Need::Look { tenant: Some(tenant), part }),
            (Method::POST, path("/timeline"), Need::Part(part)),
            (Method::DELETE, path("/timeline/0123"), Need::Part(part)),
            (Method::GET, path(""), Need::Look { tenant: None, part }),
            (Method::GET, "/v1/tenant/timeline/x".into(), Need::Look { tenant: None, part }),
            (Method::GET, format!("/v2{}", path("/timeline")), Need::Look { tenant: None, part }),
            (Method::GET, format!("/{}", path("/timeline")), Need::Look { tenant: None, part }),
            (Method::GET, "/metrics".into(), Need::Look { tenant: None, part }),
            (Method::POST, "/v1/status".into(), Need::Part(part)),
            (Method::PUT, path("/config"), Need::Part(part)),
            (Method::OPTIONS, path("/timeline"), Need::Part(part)),
        ] {
            assert_eq!(need(part, &method, &path), needed, "{method} {path}");
        }
    }
}
