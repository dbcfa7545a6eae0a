//! The task that owns a timeline: waits for inputs, takes what is there as one batch, and lets the core
//! process it. One batch is one fdatasync at most. Without inputs it does nothing, not even wake up.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::timeline::QUEUE;
use crate::timeline::core::{Core, FatalError, Input};

/// Runs until `shutdown`, until the timeline is at rest, or until the process must end.
pub async fn run(
    mut core: Core,
    mut inputs: mpsc::Receiver<Input>,
    shutdown: CancellationToken,
) -> Result<(), FatalError> {
    while !core.at_rest {
        let mut batch = Vec::new();
        let due = core.lazily_due();
        let (stopping, now) = tokio::select! {
            received = inputs.recv_many(&mut batch, QUEUE) => (received == 0, false),
            () = at(due) => (false, true),
            () = shutdown.cancelled() => (true, false),
        };
        core = durable_fs::run_blocking(move || {
            if !batch.is_empty() {
                core.process(batch)?;
            }
            if now {
                core.persist_lazily()?;
            }
            if stopping {
                core.finish()?;
            }
            Ok(core)
        })
        .await?;
        if stopping {
            break;
        }
    }
    Ok(())
}

async fn at(due: Option<std::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
