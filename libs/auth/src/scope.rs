//! What a token opens, and what a request needs.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use types::TenantId;

use crate::Refusal;

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything, everywhere.
    Admin,
    /// What the computes of one tenant need: its pages, its WAL in both directions, and looking at its timelines.
    /// Nothing can be created or deleted with it.
    Tenant,
    /// Everything on pageservers.
    Pageserver,
    /// Everything on safekeepers.
    Safekeeper,
    /// Publishing and hearing positions at the storage broker.
    Broker,
    /// Looking at every part and every tenant: metrics, status, timelines. Nothing can be changed with it, and
    /// nothing of what users wrote can be read.
    Monitor,
}

impl Scope {
    pub const ALL: [Scope; 6] =
        [Scope::Admin, Scope::Tenant, Scope::Pageserver, Scope::Safekeeper, Scope::Broker, Scope::Monitor];

    pub fn name(self) -> &'static str {
        match self {
            Scope::Admin => "admin",
            Scope::Tenant => "tenant",
            Scope::Pageserver => "pageserver",
            Scope::Safekeeper => "safekeeper",
            Scope::Broker => "broker",
            Scope::Monitor => "monitor",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a scope: admin, tenant, pageserver, safekeeper, broker and monitor are")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Scope, UnknownScope> {
        Scope::ALL
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| UnknownScope(text.chars().take(40).collect()))
    }
}

/// Several scopes; in a token their names with spaces between them, as OAuth writes them (RFC 8693 §4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Words that are not known open nothing: they may be of a later version.
    pub(crate) fn of_words(words: &str) -> Scopes {
        Scopes(words.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect())
    }
}

impl<const N: usize> From<[Scope; N]> for Scopes {
    fn from(scopes: [Scope; N]) -> Scopes {
        Scopes(scopes.into())
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Scopes {
        Scopes(scopes)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|scope| scope.name()).collect();
        f.write_str(&names.join(" "))
    }
}

/// What a request needs. `part` is the scope of the part that is asked: its tokens open all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It concerns this part as a whole, or changes something.
    Part(Scope),
    /// It is about pages or WAL of one tenant, whose own tokens are enough.
    Data { tenant: TenantId, part: Scope },
    /// It looks at how things are, of one tenant or of the part.
    Look { tenant: Option<TenantId>, part: Scope },
}

/// Somebody who has presented a token that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub scopes: Scopes,
    /// The only tenant that [`Scope::Tenant`] opens.
    pub tenant: Option<TenantId>,
    /// For people: whom the token was made for.
    pub subject: Option<String>,
    pub expires: Option<SystemTime>,
}

impl Identity {
    /// Whether the token opens what is needed.
    pub fn check(&self, need: Need) -> Result<(), Refusal> {
        let is_tenant = |tenant| self.scopes.contains(Scope::Tenant) && self.tenant == Some(tenant);
        let (part, also) = match need {
            Need::Part(part) => (part, false),
            Need::Data { tenant, part } => (part, is_tenant(tenant)),
            Need::Look { tenant, part } => {
                (part, self.scopes.contains(Scope::Monitor) || tenant.is_some_and(is_tenant))
            }
        };
        // A tenant's token is of one tenant: it never stands for the part.
        let of_part = part != Scope::Tenant && self.scopes.contains(part);
        if also || of_part || self.scopes.contains(Scope::Admin) {
            return Ok(());
        }
        Err(Refusal::NotPermitted { need })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: TenantId = TenantId([1; 16]);
    const THEIRS: TenantId = TenantId([2; 16]);

    fn identity(scope: Scope, tenant: Option<TenantId>) -> Identity {
        Identity { scopes: [scope].into(), tenant, subject: None, expires: None }
    }

    /// Every scope against everything that can be needed of a pageserver: opened is exactly this.
    #[test]
    fn what_each_scope_opens_of_a_pageserver() {
        let part = Scope::Pageserver;
        let needs = [
            Need::Part(part),
            Need::Data { tenant: OURS, part },
            Need::Data { tenant: THEIRS, part },
            Need::Look { tenant: Some(OURS), part },
            Need::Look { tenant: Some(THEIRS), part },
            Need::Look { tenant: None, part },
        ];
        for (scope, tenant, opened) in [
            (Scope::Admin, None, [true, true, true, true, true, true]),
            (Scope::Tenant, Some(OURS), [false, true, false, true, false, false]),
            (Scope::Tenant, None, [false, false, false, false, false, false]),
            (Scope::Pageserver, None, [true, true, true, true, true, true]),
            (Scope::Safekeeper, None, [false, false, false, false, false, false]),
            (Scope::Broker, None, [false, false, false, false, false, false]),
            (Scope::Monitor, None, [false, false, false, true, true, true]),
            // A tenant that is named beside another scope adds nothing.
            (Scope::Monitor, Some(OURS), [false, false, false, true, true, true]),
        ] {
            let identity = identity(scope, tenant);
            assert_eq!(needs.map(|need| identity.check(need).is_ok()), opened, "{scope} {tenant:?}");
        }
    }

    #[test]
    fn scopes_are_words() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert_eq!(Scopes::of_words("safekeeper  broker moon"), [Scope::Safekeeper, Scope::Broker].into());
        assert_eq!(Scopes::from([Scope::Safekeeper, Scope::Broker]).to_string(), "safekeeper broker");
        assert!("moon".parse::<Scope>().unwrap_err().to_string().contains("moon"));
    }
}
