//! A thin client of the page service: one request at a time over `pagestream_v3`, and base backups.

use std::fmt;
use std::time::Duration;

use auth::Credentials;
use bytes::Bytes;
use pg_frontend::{Address, ConnectParams, CopyReader, CopyWriter, PgClient, PgError};
use tokio::time::timeout;
use types::{Lsn, Oid, RelTag, SlruKind, TenantTimelineId, TraceParent};

use crate::pagestream::{Header, MessageError, Request, RequestBody, Response, ResponseBody};

#[derive(Debug, thiserror::Error)]
pub enum PageClientError {
    #[error("page service: {0}")]
    Connection(#[from] PgError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("the pageserver says {0}")]
    Refused(String),
    #[error("the pageserver says nothing for {} s", _0.as_secs())]
    Silent(Duration),
    #[error("the pageserver answered {got:?} to {asked:?}")]
    WrongAnswer { asked: Box<RequestBody>, got: String },
}

/// For the answer to a lease, which no disk and no object storage is asked for.
const LEASING: Duration = Duration::from_secs(10);

/// Where the page service is and whose pages are wanted.
#[derive(Clone)]
pub struct PageServiceAddress {
    pub address: Address,
    pub credentials: Credentials,
    pub timeline: TenantTimelineId,
}

impl PageServiceAddress {
    async fn connect(&self) -> Result<PgClient, PgError> {
        let params = ConnectParams::new(self.address.clone(), "varve").credentials(&self.credentials);
        PgClient::connect(&params).await
    }

    pub async fn page_stream(&self) -> Result<PageClient, PageClientError> {
        let TenantTimelineId { tenant_id, timeline_id } = self.timeline;
        let copy =
            self.connect().await?.copy_both(&format!("pagestream_v3 {tenant_id} {timeline_id}")).await?;
        let (reader, writer) = copy.split();
        Ok(PageClient { reader, writer, next_id: 1 })
    }

    /// What can be read at `lsn`, or there and behind, stays readable; for how long, that is to be asked again before.
    pub async fn lease(&self, lsn: Lsn, and_behind: bool) -> Result<Duration, PageClientError> {
        let TenantTimelineId { tenant_id, timeline_id } = self.timeline;
        let reach = if and_behind { "from" } else { "lsn" };
        let query = format!("lease {reach} {tenant_id} {timeline_id} {lsn}");
        let asking = async { self.connect().await?.simple_query(&query).await };
        let rows = timeout(LEASING, asking).await.map_err(|_| PageClientError::Silent(LEASING))??;
        let seconds = rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| PageClientError::Refused(format!("{rows:?} to {query}")))
    }

    /// The tar of a base backup, piece by piece.
    pub async fn backup(&self, backup: &BackupRequest) -> Result<CopyReader, PageClientError> {
        let query = backup.query(self.timeline);
        Ok(self.connect().await?.copy_out(&query).await?)
    }
}

/// Which backup, of when.
#[derive(Clone, Copy, Debug)]
pub struct BackupRequest {
    pub kind: RequestedKind,
    /// The last record's end if absent. For a standby: what it is to see at least.
    pub lsn: Option<Lsn>,
    pub zstd: bool,
    /// The trace that it is made for.
    pub trace: Option<TraceParent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedKind {
    /// Without the pages of relations: a compute begins with it.
    Sparse,
    /// The same, as of the redo of the last checkpoint: a standby begins with it, and fetches WAL from there on.
    Standby,
    /// With all pages of all relations: an export.
    Full,
}

impl RequestedKind {
    /// The word with which the command begins.
    pub const fn command(self) -> &'static str {
        match self {
            RequestedKind::Sparse | RequestedKind::Standby => "basebackup",
            RequestedKind::Full => "fullbackup",
        }
    }
}

impl BackupRequest {
    /// The command of the page service.
    pub fn query(&self, timeline: TenantTimelineId) -> String {
        let command = self.kind.command();
        let standby = if self.kind == RequestedKind::Standby { " --standby" } else { "" };
        let TenantTimelineId { tenant_id, timeline_id } = timeline;
        let lsn = self.lsn.map(|lsn| format!(" {lsn}")).unwrap_or_default();
        let zstd = if self.zstd { " --zstd" } else { "" };
        let trace = self.trace.map(|trace| format!(" --traceparent={trace}")).unwrap_or_default();
        format!("{command} {tenant_id} {timeline_id}{lsn}{standby}{zstd}{trace}")
    }
}

/// The moment that a request is about.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// The newest state, which includes all WAL up to this LSN.
    Latest(Lsn),
    /// Exactly the state at this LSN.
    Exactly(Lsn),
}

pub struct PageClient {
    reader: CopyReader,
    writer: CopyWriter,
    next_id: u64,
}

impl fmt::Debug for PageClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageClient").field("next_id", &self.next_id).finish_non_exhaustive()
    }
}

impl PageClient {
    pub async fn exists(&mut self, rel: RelTag, at: At) -> Result<bool, PageClientError> {
        let body = RequestBody::Exists { rel };
        match self.ask(body, at).await? {
            ResponseBody::Exists { exists, .. } => Ok(exists),
            other => Err(wrong(body, &other)),
        }
    }

    pub async fn nblocks(&mut self, rel: RelTag, at: At) -> Result<u32, PageClientError> {
        let body = RequestBody::Nblocks { rel };
        match self.ask(body, at).await? {
            ResponseBody::Nblocks { blocks, .. } => Ok(blocks),
            other => Err(wrong(body, &other)),
        }
    }

    pub async fn get_page(&mut self, rel: RelTag, block: u32, at: At) -> Result<Bytes, PageClientError> {
        let body = RequestBody::GetPage { rel, block };
        match self.ask(body, at).await? {
            ResponseBody::Page { page, .. } => Ok(page),
            other => Err(wrong(body, &other)),
        }
    }

    pub async fn get_page_run(
        &mut self,
        rel: RelTag,
        block: u32,
        count: u32,
        at: At,
    ) -> Result<Bytes, PageClientError> {
        let body = RequestBody::GetPageRun { rel, block, count };
        match self.ask(body, at).await? {
            ResponseBody::PageRun { pages, .. } => Ok(pages),
            other => Err(wrong(body, &other)),
        }
    }

    pub async fn database_size(&mut self, database: Oid, at: At) -> Result<i64, PageClientError> {
        let body = RequestBody::DbSize { database };
        match self.ask(body, at).await? {
            ResponseBody::DbSize { bytes, .. } => Ok(bytes),
            other => Err(wrong(body, &other)),
        }
    }

    pub async fn slru_segment(
        &mut self,
        slru: SlruKind,
        segment: u32,
        at: At,
    ) -> Result<Bytes, PageClientError> {
        let body = RequestBody::SlruSegment { slru, segment };
        match self.ask(body, at).await? {
            ResponseBody::SlruSegment { pages, .. } => Ok(pages),
            other => Err(wrong(body, &other)),
        }
    }

    async fn ask(&mut self, body: RequestBody, at: At) -> Result<ResponseBody, PageClientError> {
        let (request_lsn, not_modified_since) = match at {
            At::Latest(since) => (Lsn::MAX, since),
            At::Exactly(lsn) => (lsn, lsn),
        };
        let header = Header { request_id: self.next_id, request_lsn, not_modified_since };
        self.next_id += 1;
        self.writer.send(&Request { header, body, trace: None }.encode()).await?;
        let message = self.reader.next().await?.ok_or(PgError::Closed)?;
        let response = Response::decode(message)?;
        match response.body {
            ResponseBody::Error { message } => Err(PageClientError::Refused(message)),
            other if response.header == header => Ok(other),
            other => Err(wrong(body, &other)),
        }
    }
}

fn wrong(asked: RequestBody, got: &ResponseBody) -> PageClientError {
    let mut got = format!("{got:?}");
    got.truncate(120);
    PageClientError::WrongAnswer { asked: Box::new(asked), got }
}
