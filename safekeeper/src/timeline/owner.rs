//! The task that owns a timeline: waits for inputs, takes what is there as one batch, and lets the core
//! process it. One batch is one fdatasync at most. Without inputs it does nothing, not even wake up.
//!
//! Batches block, so they are processed on a thread for that. To get there and back takes longer than the rest of a small
//! commit, so while inputs keep coming the owner stays there, and waits for the next ones on that thread. There are only
//! so many such threads ([`STAYING`]); owners beyond that go back after each batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::timeline::QUEUE;
use crate::timeline::core::{Core, FatalError, Input};

/// Owners that may stay on their threads. Far fewer than the threads for blocking work that there may be (512).
pub const STAYING: usize = 64;
/// Without inputs for so long, and up to as long again, an owner gives its thread back.
const LINGER: Duration = Duration::from_millis(200);

struct Owner {
    core: Core,
    inputs: mpsc::Receiver<Input>,
    shutdown: CancellationToken,
    stopping: bool,
}

/// What there is to do.
struct Work {
    batch: Vec<Input>,
    /// Positions are to be written down.
    is_due: bool,
}

/// Runs until `shutdown`, until the timeline is at rest or being deleted, or until the process must end.
pub async fn run(
    core: Core,
    inputs: mpsc::Receiver<Input>,
    staying: Arc<Semaphore>,
    shutdown: CancellationToken,
) -> Result<(), FatalError> {
    let mut owner = Owner { core, inputs, shutdown, stopping: false };
    while !owner.is_done() {
        let work = owner.wait().await;
        let permit = Arc::clone(&staying).try_acquire_owned().ok();
        let runtime = Handle::current();
        owner = durable_fs::run_blocking(move || {
            owner.process(work)?;
            if let Some(permit) = permit {
                runtime.block_on(owner.stay(permit))?;
            }
            Ok(owner)
        })
        .await?;
    }
    Ok(())
}

impl Owner {
    fn is_done(&self) -> bool {
        self.stopping || self.core.ended
    }

    async fn wait(&mut self) -> Work {
        let mut batch = Vec::new();
        let due = self.core.lazily_due();
        let (stopping, is_due) = tokio::select! {
            received = self.inputs.recv_many(&mut batch, QUEUE) => (received == 0, false),
            () = at(due) => (false, true),
            () = self.shutdown.cancelled() => (true, false),
        };
        self.stopping = stopping;
        Work { batch, is_due }
    }

    fn process(&mut self, work: Work) -> Result<(), FatalError> {
        if !work.batch.is_empty() {
            self.core.process(work.batch)?;
        }
        if work.is_due {
            self.core.persist_lazily()?;
        }
        if self.stopping {
            self.core.finish()?;
        }
        Ok(())
    }

    /// On a thread that may block.
    async fn stay(&mut self, _permit: OwnedSemaphorePermit) -> Result<(), FatalError> {
        let mut look = tokio::time::interval(LINGER);
        look.tick().await;
        let mut last = Instant::now();
        while !self.is_done() {
            tokio::select! {
                biased;
                work = self.wait() => {
                    self.process(work)?;
                    last = Instant::now();
                }
                _ = look.tick() => {
                    if last.elapsed() >= LINGER {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
