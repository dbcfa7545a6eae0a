//! Whose tenants these are. A generation is the number of this pageserver's ownership of a tenant; it is part of the
//! name of every object that is written for it. Who grants it is somebody else's business.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use types::{Generation, TenantId, TenantTimelineId, TimelineId};

use super::StorageError;
use super::environment::Environment;

/// What is known of a tenant that is to be claimed.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    pub timelines: Vec<TimelineId>,
    /// The highest generation that has written to object storage. Whoever grants knows of it, unless it has lost its
    /// disks: then an older one would find less than there is.
    pub above: Generation,
}

/// Who grants generations, and knows whether there is a higher one by now.
#[async_trait]
pub trait Owners: Send + Sync + Debug + 'static {
    /// Generations that nobody else has, higher than all before. Waits until they are granted.
    async fn claim(
        &self,
        tenants: BTreeMap<TenantId, Claim>,
    ) -> Result<BTreeMap<TenantId, Generation>, StorageError>;

    /// The same of some of them: of all, unless that takes longer. Waits until one is granted, however long that takes.
    async fn claim_some(
        &self,
        tenants: BTreeMap<TenantId, Claim>,
        patience: Duration,
    ) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
        let _ = patience;
        self.claim(tenants).await
    }

    /// Succeeds if no higher one had been granted when this began.
    async fn confirm(&self, timeline: TenantTimelineId, generation: Generation) -> Result<(), StorageError>;
}

/// Of a pageserver that is alone, because somebody has made sure of it.
#[derive(Clone, Copy, Debug)]
pub struct FixedGeneration(pub Generation);

#[async_trait]
impl Owners for FixedGeneration {
    async fn claim(
        &self,
        tenants: BTreeMap<TenantId, Claim>,
    ) -> Result<BTreeMap<TenantId, Generation>, StorageError> {
        Ok(tenants.into_keys().map(|tenant| (tenant, self.0)).collect())
    }

    async fn confirm(&self, _: TenantTimelineId, _: Generation) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Of one tenant.
#[derive(Debug)]
pub(super) struct Ownership {
    pub(super) tenant: TenantId,
    pub(super) generation: Generation,
    /// Another pageserver came after this one.
    pub(super) lost: CancellationToken,
}

impl Ownership {
    pub(super) fn new(tenant: TenantId, generation: Generation) -> Self {
        Self { tenant, generation, lost: CancellationToken::new() }
    }

    /// Succeeds if no other pageserver had come after this one when it began. If one had, it is lost from now on.
    ///
    /// Those who grant are asked, and object storage: a pageserver of another cluster was granted its generation by others,
    /// and said so there before it looked at anything else.
    pub(super) async fn confirm(
        &self,
        environment: &Environment,
        timeline: TenantTimelineId,
    ) -> Result<(), StorageError> {
        let mut confirmed = environment.owners.confirm(timeline, self.generation).await;
        if confirmed.is_ok() {
            let newest = environment.newest_generation(self.tenant).await?;
            if newest > self.generation {
                confirmed = Err(self.error());
            }
        }
        if let Err(StorageError::Superseded { .. }) = &confirmed {
            self.lost.cancel();
        }
        confirmed
    }

    pub(super) fn check(&self) -> Result<(), StorageError> {
        if self.lost.is_cancelled() { Err(self.error()) } else { Ok(()) }
    }

    pub(super) fn error(&self) -> StorageError {
        StorageError::Superseded { tenant: self.tenant, generation: self.generation }
    }
}
