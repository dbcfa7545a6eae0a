//! What asks a process to stop: SIGTERM, which service managers send, and Ctrl-C.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels the token when a signal asks for it. Until it is called the first one ends the process on the spot, so it comes when
/// there is something to end in order, and not before what may take for ever.
pub fn stop_on_signals(stop: &CancellationToken) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("asked by a signal to stop");
        stop.cancel();
    });
    Ok(())
}
