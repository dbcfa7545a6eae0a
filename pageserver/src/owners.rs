//! Generations from safekeepers: asks them over HTTP what [`consensus::Ownership`] knows, and counts their answers with
//! [`consensus::Canvass`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use auth::Credentials;
use consensus::{Canvass, OwnershipRequest, Verdict};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use safekeeper_api::http::{Client, OwnershipQuestion};
use tokio::time::Instant;
use types::{Generation, TenantId, TenantTimelineId, TimelineId};

use crate::storage::{Claim, Owners, StorageError};

/// What was written before there were grants has this one.
const UNGRANTED: Generation = Generation(1);
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Tenants in one request: an answer has the members of each of their timelines.
const TENANTS_AT_ONCE: usize = 500;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const TELL_EVERY: Duration = Duration::from_secs(10);

type Claims = BTreeMap<TenantId, Claim>;

#[derive(Debug)]
pub struct SafekeeperOwners {
    /// `host:port` of the HTTP API of those that the pageserver was told of.
    contacts: Vec<String>,
    credentials: Credentials,
}

/// One question to all, and what became of it.
struct Round<'a> {
    claims: &'a Claims,
    canvasses: BTreeMap<TenantId, Canvass>,
    errors: BTreeMap<String, String>,
}

impl Round<'_> {
    fn verdict(&self, tenant: TenantId) -> Verdict {
        self.canvasses.get(&tenant).map_or(Verdict::Open, |canvass| canvass.verdict(self.timelines(&tenant)))
    }

    fn timelines(&self, tenant: &TenantId) -> impl Iterator<Item = TimelineId> {
        self.claims.get(tenant).into_iter().flat_map(|claim| &claim.timelines).copied()
    }

    fn is_decided(&self) -> bool {
        self.canvasses.keys().all(|tenant| self.verdict(*tenant) != Verdict::Open)
    }

    /// Addresses of members that nobody named before.
    fn more_to_ask(&self, asked: &BTreeSet<String>) -> BTreeSet<String> {
        let of_tenant = |(tenant, canvass): (&TenantId, &Canvass)| canvass.missing(self.timelines(tenant));
        let addresses = self.canvasses.iter().flat_map(of_tenant).map(|member| member.http_connstr);
        addresses.filter(|address| !asked.contains(address)).collect()
    }
}

/// Why there was no quorum.
impl fmt::Display for Round<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errors.is_empty() {
            return f.write_str(
                "those that answer are no quorum of the timelines' members, or members just change",
            );
        }
        let errors: Vec<String> = self.errors.values().cloned().collect();
        f.write_str(&errors.join("; "))
    }
}

impl SafekeeperOwners {
    pub fn new(contacts: Vec<String>, credentials: Credentials) -> Self {
        Self { contacts, credentials }
    }

    /// Asks all contacts, and members that they name, until every tenant is decided or nobody is left to be asked.
    async fn ask<'a>(
        &self,
        requests: &BTreeMap<TenantId, OwnershipRequest>,
        claims: &'a Claims,
    ) -> Round<'a> {
        let canvass = |tenant: &TenantId| (*tenant, Canvass::new(self.contacts.len()));
        let canvasses = requests.keys().map(canvass).collect();
        let mut round = Round { claims, canvasses, errors: BTreeMap::new() };
        let mut asked: BTreeSet<String> = self.contacts.iter().cloned().collect();
        let question = OwnershipQuestion { tenants: requests.clone() };
        let ask_one = async |address: String, is_contact: bool| {
            let client = Client::new(&address, self.credentials.clone());
            let answer = match tokio::time::timeout(ASK_TIMEOUT, client.ownership(&question)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("the safekeeper at {address} does not answer within {ASK_TIMEOUT:?}")),
            };
            (address, is_contact, answer)
        };
        let mut asking: FuturesUnordered<_> =
            asked.iter().map(|address| ask_one(address.clone(), true)).collect();
        while !round.is_decided()
            && let Some((address, is_contact, answer)) = asking.next().await
        {
            match answer {
                Ok(reply) => {
                    for (tenant, answer) in reply.tenants {
                        if let Some(canvass) = round.canvasses.get_mut(&tenant) {
                            canvass.answered(reply.id, is_contact, answer);
                        }
                    }
                }
                Err(error) => drop(round.errors.insert(address, error)),
            }
            for address in round.more_to_ask(&asked) {
                asking.push(ask_one(address.clone(), false));
                asked.insert(address);
            }
        }
        round
    }

    /// Looks for the highest generations, and claims higher ones. Those that were granted, and why others were not.
    async fn claim_once(&self, claims: &Claims) -> (BTreeMap<TenantId, Generation>, Option<String>) {
        let look = claims.keys().map(|tenant| (*tenant, OwnershipRequest::Look)).collect();
        let seen = self.ask(&look, claims).await;
        let next = |(tenant, claim): (&TenantId, &Claim)| {
            let highest = seen.canvasses[tenant].highest().max(UNGRANTED).max(claim.above);
            let generation = Generation(highest.0.checked_add(1)?);
            (seen.verdict(*tenant) == Verdict::Agreed).then_some((*tenant, generation))
        };
        let claimed: BTreeMap<TenantId, Generation> = claims.iter().filter_map(next).collect();
        if claimed.is_empty() {
            return (BTreeMap::new(), Some(seen.to_string()));
        }
        let claim = |(tenant, generation): (&TenantId, &Generation)| {
            (*tenant, OwnershipRequest::Claim { generation: *generation })
        };
        let round = self.ask(&claimed.iter().map(claim).collect(), claims).await;
        let refused = claimed.keys().any(|tenant| round.verdict(*tenant) == Verdict::Refused);
        let granted: BTreeMap<TenantId, Generation> =
            claimed.into_iter().filter(|(tenant, _)| round.verdict(*tenant) == Verdict::Agreed).collect();
        let missing = granted.len() < claims.len();
        let reason = match refused {
            true => "another pageserver claims them as well".to_owned(),
            false => round.to_string(),
        };
        (granted, missing.then_some(reason))
    }

    /// Until all are granted; with patience, until some are and it has come to its end.
    async fn claim_until(
        &self,
        tenants: Claims,
        patience: Option<Duration>,
    ) -> BTreeMap<TenantId, Generation> {
        let mut granted = BTreeMap::new();
        let (begun, mut told) = (Instant::now(), Instant::now());
        let mut pause = SHORTEST_PAUSE;
        let mut tenants: VecDeque<(TenantId, Claim)> = tenants.into_iter().collect();
        while !tenants.is_empty() {
            if !granted.is_empty() && patience.is_some_and(|patience| begun.elapsed() >= patience) {
                break;
            }
            let some: Claims = tenants.drain(..tenants.len().min(TENANTS_AT_ONCE)).collect();
            let (new, reason) = self.claim_once(&some).await;
            for (tenant, generation) in &new {
                tracing::info!(%tenant, %generation, "granted a generation");
            }
            // Those that were not granted come last: they hold nobody up.
            tenants.extend(some.into_iter().filter(|(tenant, _)| !new.contains_key(tenant)));
            granted.extend(new);
            let Some(reason) = reason else { continue };
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let (waiting, reason) = (tenants.len(), reason.as_str());
                tracing::warn!(waiting, reason, "no quorum of safekeepers has granted a generation yet");
            }
            // Two that want the same tenant must not stay in step.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        granted
    }
}

#[async_trait]
impl Owners for SafekeeperOwners {
    async fn claim(&self, tenants: Claims) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
        Ok(self.claim_until(tenants, None).await)
    }

    async fn claim_some(
        &self,
        tenants: Claims,
        patience: Duration,
    ) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
        Ok(self.claim_until(tenants, Some(patience)).await)
    }

    async fn confirm(&self, timeline: TenantTimelineId, generation: Generation) -> Result<(), StorageError> {
        let tenant = timeline.tenant_id;
        let requests = BTreeMap::from([(tenant, OwnershipRequest::Confirm { generation })]);
        let timelines = vec![timeline.timeline_id];
        let claims = BTreeMap::from([(tenant, Claim { timelines, above: generation })]);
        let round = self.ask(&requests, &claims).await;
        match round.verdict(tenant) {
            Verdict::Agreed => Ok(()),
            Verdict::Refused => Err(StorageError::Superseded { tenant, generation }),
            Verdict::Open => {
                Err(StorageError::NotConfirmed { timeline, generation, reason: round.to_string() })
            }
        }
    }
}
