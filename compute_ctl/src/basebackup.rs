//! Fetching the base backup: pageserver → COPY OUT → zstd → tar → data directory.
//!
//! The pageserver may be away, or still catching up with X; a start waits for it, and says so. The tar is
//! unpacked while it arrives, by a blocking thread behind a bounded queue.

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use auth::Credentials;
use bytes::{Buf, Bytes};
use compute_api::{ComputeSpec, StartStep};
use pageserver_api::{BackupRequest, RequestedKind, TRACES_PARAMETER};
use pg_frontend::{Address, ConnectParams, CopyReader, PgClient, PgError};
use telemetry::child_span;
use tokio::sync::mpsc;
use tracing::Instrument;
use types::Lsn;

use crate::data_dir::{DataDir, DataLayout, Unpacked, Wanted, unpack};
use crate::error::ComputeError;
use crate::paths::ComputePaths;
use crate::server_user::ServerUser;
use crate::status::StatusBoard;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The pageserver answers when it has ingested X. Asking anew now and then costs nothing and survives
/// a pageserver that has silently gone.
const PATIENCE_FOR_FIRST_BYTE: Duration = Duration::from_secs(60);
const PATIENCE_FOR_NEXT_BYTE: Duration = Duration::from_secs(30);
/// A pageserver that has just started may not know its timelines yet: for so long a refusal is not believed.
const DOUBT: Duration = Duration::from_secs(20);
/// Messages between the socket and the unpacking thread.
const QUEUE: usize = 64;

pub struct Basebackup<'a> {
    pub spec: &'a ComputeSpec,
    pub credentials: &'a Credentials,
    pub paths: &'a ComputePaths,
    pub user: ServerUser,
    /// None: of a standby's beginning, which the pageserver chooses.
    pub lsn: Option<Lsn>,
}

impl Basebackup<'_> {
    /// Wipes the data directory and fills it with the base backup; tries until it is there.
    pub async fn fetch(&self, status: &StatusBoard, mut since: Instant) -> Result<Unpacked, ComputeError> {
        let mut pause = FIRST_PAUSE;
        let mut refused_since: Option<Instant> = None;
        loop {
            // Of one attempt: the pageserver's part in it hangs here.
            let span = child_span!(
                "base backup",
                otel.kind = "client",
                varve.tenant_id = %self.spec.tenant_id,
                varve.timeline_id = %self.spec.timeline_id,
                varve.lsn = self.lsn.map(tracing::field::display),
                server.address = self.spec.pageserver.pg_connstr,
            );
            let error = match self.open().instrument(span.clone()).await {
                Ok(source) => {
                    since = status.step_done(StartStep::BasebackupWait, since);
                    match self.receive(source).instrument(span).await? {
                        Ok(unpacked) => {
                            tracing::info!(
                                lsn = %unpacked.manifest.lsn,
                                files = unpacked.files,
                                bytes = unpacked.bytes,
                                relations = unpacked.relations.len(),
                                "base backup unpacked"
                            );
                            status.step_done(StartStep::BasebackupUnpack, since);
                            return Ok(unpacked);
                        }
                        Err(error) => {
                            since = status.step_undone();
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            refused_since = is_refusal(&error).then(|| refused_since.unwrap_or_else(Instant::now));
            if refused_since.is_some_and(|since| since.elapsed() > DOUBT) {
                return Err(ComputeError::BasebackupRefused { lsn: self.lsn, source: error });
            }
            let pageserver = &self.spec.pageserver.pg_connstr;
            status.waiting(format!("waiting for the pageserver at {pageserver}: {error}"));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks, and waits for the first bytes.
    async fn open(&self) -> Result<(Bytes, CopyReader), PgError> {
        let params = ConnectParams::new(Address::parse(&self.spec.pageserver.pg_connstr)?, "compute_ctl")
            .application_name(&format!("compute_ctl {}", self.spec.endpoint_id))
            .credentials(self.credentials);
        let client = PgClient::connect(&params).await?;
        let kind = if self.lsn.is_some() { RequestedKind::Sparse } else { RequestedKind::Standby };
        let takes_traces = client.parameter(TRACES_PARAMETER).is_some();
        let trace = telemetry::traces::span::current().filter(|_| takes_traces);
        let command = BackupRequest { kind, lsn: self.lsn, zstd: true, trace }.query(self.spec.ttid());
        let first = async {
            let mut reader = client.copy_out(&command).await?;
            let first = reader.next().await?.ok_or(PgError::Closed)?;
            Ok((first, reader))
        };
        let seconds = PATIENCE_FOR_FIRST_BYTE.as_secs();
        let address = self.spec.pageserver.pg_connstr.clone();
        let late = |_| Err(PgError::ConnectTimeout { address, seconds });
        tokio::time::timeout(PATIENCE_FOR_FIRST_BYTE, first).await.unwrap_or_else(late)
    }

    /// Unpacks one stream. The inner error is the connection's, after which another try makes sense.
    async fn receive(
        &self,
        (first, mut reader): (Bytes, CopyReader),
    ) -> Result<Result<Unpacked, PgError>, ComputeError> {
        let (queue, received) = mpsc::channel(QUEUE);
        let job = UnpackJob {
            pgdata: self.paths.pgdata.clone(),
            tablespaces: self.paths.tablespaces.clone(),
            user: self.user,
            wanted: Wanted { ttid: self.spec.ttid(), lsn: self.lsn, pg_version: self.spec.pg_version },
            layout: DataLayout::of(self.spec.pg_version),
        };
        let unpacking = tokio::task::spawn_blocking(move || job.run(received));
        let connection = async {
            let mut next = Some(first);
            while let Some(bytes) = next {
                if queue.send(Ok(bytes)).await.is_err() {
                    // The unpacker has given up, and says why below.
                    return Ok(());
                }
                next = match tokio::time::timeout(PATIENCE_FOR_NEXT_BYTE, reader.next()).await {
                    Ok(next) => next?,
                    Err(_) => return Err(PgError::Io(std::io::ErrorKind::TimedOut.into())),
                };
            }
            Ok(())
        };
        let connection: Result<(), PgError> = connection.await;
        if connection.is_err() {
            // Not the end of the data: the unpacker must not take it for one.
            let _ = queue.send(Err(std::io::ErrorKind::ConnectionAborted.into())).await;
        }
        drop(queue);
        let unpacked = unpacking.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        match connection {
            Err(error) => Ok(Err(error)),
            Ok(()) => unpacked.map(Ok),
        }
    }
}

/// Whether the pageserver says that this will never work: token refused, unknown timeline, nonsense. That it
/// is away, has not got so far yet, or has trouble with its own disk is no refusal, and waited for.
fn is_refusal(error: &PgError) -> bool {
    match error.sqlstate() {
        Some(sqlstate) => ["22", "28", "42", "XX"].iter().any(|class| sqlstate.starts_with(class)),
        None => !error.is_retryable(),
    }
}

struct UnpackJob {
    pgdata: PathBuf,
    tablespaces: PathBuf,
    user: ServerUser,
    wanted: Wanted,
    layout: DataLayout,
}

impl UnpackJob {
    fn run(self, received: mpsc::Receiver<std::io::Result<Bytes>>) -> Result<Unpacked, ComputeError> {
        let failed = |error| ComputeError::Basebackup(format!("it is not readable: {error}"));
        let source = ReceivedBytes { received, current: Bytes::new() };
        let work = move || {
            DataDir { root: &self.pgdata, tablespaces: &self.tablespaces, layout: self.layout }.wipe()?;
            let mut tar = zstd::stream::read::Decoder::new(source).map_err(failed)?;
            let unpacked = unpack(&mut tar, &self.pgdata, &self.wanted)?;
            // What follows the tar's end mark is padding; a torn stream shows only here.
            std::io::copy(&mut tar, &mut std::io::sink()).map_err(failed)?;
            Ok(unpacked)
        };
        self.user.run(work)
    }
}

/// The queue as something to read from.
struct ReceivedBytes {
    received: mpsc::Receiver<std::io::Result<Bytes>>,
    current: Bytes,
}

impl Read for ReceivedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.received.blocking_recv() {
                Some(next) => self.current = next?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
