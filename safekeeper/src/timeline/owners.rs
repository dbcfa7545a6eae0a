//! Which pageservers own the tenants, as far as this safekeeper has a say: [`Ownership`] of each, in one file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use anyhow::Context;
use consensus::{
    Configuration, MembershipQuestion, MembershipReply, Ownership, OwnershipAnswer, OwnershipRequest,
};
use durable_fs::{DurableFs, DurableFsError, run_blocking};
use safekeeper_api::framed::Framed;
use safekeeper_api::owners::{FILE_NAME, Owners};
use types::{Generation, TenantId, TenantTimelineId, TimelineId};

use crate::timeline::core::FatalError;
use crate::timeline::manager::{Manager, to_its_end};
use crate::timeline::{LookupError, Stopped};

/// The file, and what is in it.
pub struct OwnersFile {
    path: PathBuf,
    fs: DurableFs,
    /// As it is on disk.
    durable: RwLock<Owners>,
    /// Held from reading what is there until the new file is in its place.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("cannot remember a pageserver's generation: {0}")]
    Disk(#[from] DurableFsError),
}

impl OwnersFile {
    /// A file that cannot be read stops the start: who forgets what it granted could grant it again.
    pub fn open(fs: DurableFs, datadir: &Path) -> anyhow::Result<Self> {
        let path = datadir.join(FILE_NAME);
        let durable = match std::fs::read(&path) {
            Ok(bytes) => Owners::decode(&bytes).with_context(|| {
                format!(
                    "{}: this safekeeper may have promised what it does not know any more; take another in its place \
                     (`varve safekeeper add`, `varve safekeeper remove`)",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Owners::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { path, fs, durable: RwLock::new(durable), writing: tokio::sync::Mutex::default() })
    }

    fn durable(&self) -> RwLockReadGuard<'_, Owners> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered. It is durable when this returns, and on an error it is as it was.
    async fn change<T>(&self, change: impl FnOnce(&mut Owners) -> T) -> Result<T, DurableFsError> {
        let _alone = self.writing.lock().await;
        let mut owners = self.durable().clone();
        let outcome = change(&mut owners);
        if owners != *self.durable() {
            let (fs, path, bytes) = (self.fs.clone(), self.path.clone(), owners.encode());
            run_blocking(move || fs.write_atomically(&path, &bytes)).await?;
            *self.durable.write().unwrap_or_else(PoisonError::into_inner) = owners;
        }
        Ok(outcome)
    }
}

impl Manager {
    /// The highest generation that this safekeeper has heard of.
    pub fn pageserver_generation(&self, tenant: TenantId) -> Generation {
        self.owners_file.durable().of(tenant).highest()
    }

    /// A pageserver asks. A tenant whose timelines change their members at this very moment gets no answer: in which
    /// configuration it would count is not known. What was granted by then stays granted to nobody.
    pub async fn ownership(
        self: &Arc<Self>,
        requests: BTreeMap<TenantId, OwnershipRequest>,
    ) -> Result<BTreeMap<TenantId, OwnershipAnswer>, OwnershipError> {
        let manager = Arc::clone(self);
        to_its_end(async move {
            let mut before = BTreeMap::new();
            for tenant in requests.keys() {
                before.insert(*tenant, manager.configurations(*tenant).await);
            }
            let agreed = manager
                .change_owners(|owners| {
                    let ask = |(tenant, request): (&TenantId, &OwnershipRequest)| {
                        let mut ownership = owners.of(*tenant);
                        let agrees = ownership.ask(*request);
                        if ownership != Ownership::default() {
                            owners.tenants.insert(*tenant, ownership);
                        }
                        (*tenant, (agrees, ownership.highest()))
                    };
                    requests.iter().map(ask).collect::<BTreeMap<TenantId, (bool, Generation)>>()
                })
                .await?;
            let mut answers = BTreeMap::new();
            for (tenant, (agrees, highest)) in agreed {
                let configurations = manager.configurations(tenant).await;
                if before.get(&tenant) == Some(&configurations) {
                    answers.insert(tenant, OwnershipAnswer { agrees, highest, configurations });
                }
            }
            Ok(answers)
        })
        .await
    }

    /// An administrator asks; what it has heard of pageservers is remembered first, and told last.
    pub async fn membership(
        self: &Arc<Self>,
        ttid: TenantTimelineId,
        question: MembershipQuestion,
    ) -> Result<MembershipReply, OwnershipError> {
        let timeline = self.get(ttid).await?;
        let MembershipQuestion { request, pageserver_generation } = question;
        if pageserver_generation > self.pageserver_generation(ttid.tenant_id) {
            let manager = Arc::clone(self);
            to_its_end(async move {
                let raise = |owners: &mut Owners| {
                    owners.tenants.entry(ttid.tenant_id).or_default().raise(pageserver_generation)
                };
                manager.change_owners(raise).await
            })
            .await?;
        }
        let answer = timeline.membership(request).await?;
        // It is the one that is told last that counts: see `MembershipReply`.
        Ok(MembershipReply { answer, pageserver_generation: self.pageserver_generation(ttid.tenant_id) })
    }

    async fn change_owners<T>(&self, change: impl FnOnce(&mut Owners) -> T) -> Result<T, DurableFsError> {
        let outcome = self.owners_file.change(change).await;
        if let Err(error) = &outcome
            && error.is_sync_failure()
        {
            self.stop(FatalError::Owners { reason: error.to_string() });
        }
        outcome
    }

    /// As they are persisted.
    async fn configurations(&self, tenant: TenantId) -> BTreeMap<TimelineId, Option<Configuration>> {
        let mut configurations = BTreeMap::new();
        for timeline_id in self.timelines_of(tenant) {
            let ttid = TenantTimelineId::new(tenant, timeline_id);
            let configuration = match self.resident(ttid) {
                Ok(Some(timeline)) => Some(timeline.persisted_state().configuration.clone()),
                Ok(None) | Err(_) => {
                    self.control_file(ttid).await.ok().map(|control| control.acceptor.configuration)
                }
            };
            configurations.insert(timeline_id, configuration);
        }
        configurations
    }
}
