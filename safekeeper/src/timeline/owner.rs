//! The task that owns a timeline: waits for inputs, takes what is there as one batch, and lets the core
//! process it. One batch is one fdatasync at most.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::timeline::QUEUE;
use crate::timeline::core::{Core, FatalError, Input};

/// How often it is checked whether the control file is due.
const TICK: Duration = Duration::from_secs(1);

/// Runs until `shutdown`, or until the process must end.
pub async fn run(
    mut core: Core,
    mut inputs: mpsc::Receiver<Input>,
    shutdown: CancellationToken,
) -> Result<(), FatalError> {
    let mut tick = tokio::time::interval(TICK);
    loop {
        let mut batch = Vec::new();
        let stopping = tokio::select! {
            received = inputs.recv_many(&mut batch, QUEUE) => received == 0,
            _ = tick.tick() => false,
            () = shutdown.cancelled() => true,
        };
        core = durable_fs::run_blocking(move || {
            if !batch.is_empty() {
                core.process(batch)?;
            }
            core.persist_lazily(stopping)?;
            Ok(core)
        })
        .await?;
        if stopping {
            return Ok(());
        }
    }
}
