//! One request of a page stream.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pageserver_api::pagestream::{Request, RequestBody, Response, ResponseBody};
use telemetry::child_span;
use tracing::Instrument;
use types::{BLCKSZ, Key, KeyKind, Lsn, Oid, RelTag, SlruKind};

use super::lsn::{ReadAt, read_at};
use super::{PageService, error, spans};
use crate::ingest::{RelSize, relation_size, size_of};
use crate::pages::{PageError, zero_page};
use crate::storage::{StorageError, Timeline};

/// Why a request gets an error for an answer; the connection goes on.
enum Refusal {
    Page(PageError),
    /// The request itself is wrong.
    Request(String),
    Missing(String),
}

impl<E: Into<PageError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Refusal::Page(error.into())
    }
}

impl Refusal {
    fn message(self) -> String {
        match self {
            Refusal::Page(error) => format!("{}: {error}", error::page_sqlstate(&error)),
            Refusal::Request(reason) => format!("22023: {reason}"),
            Refusal::Missing(what) => format!("42704: {what}"),
        }
    }
}

/// The encoded response.
pub(super) async fn answer(service: &PageService, timeline: &Timeline, request: Request) -> Bytes {
    let _timer = service.metrics.request_seconds.with_label_values(&[request.body.name()]).start_timer();
    let body = respond(service, timeline, &request).await.unwrap_or_else(|refusal| {
        service.metrics.errors.inc();
        let message = refusal.message();
        spans::note_failure();
        tracing::warn!(timeline = %timeline.id(), request = ?request.body, "{message}");
        ResponseBody::Error { message }
    });
    Response { header: request.header, body }.encode()
}

async fn respond(
    service: &PageService,
    timeline: &Timeline,
    request: &Request,
) -> Result<ResponseBody, Refusal> {
    let lsn = effective_lsn(service, timeline, request).await?;
    spans::note_lsn(lsn);
    match request.body {
        RequestBody::Exists { rel } => {
            Ok(ResponseBody::Exists { rel, exists: size(timeline, rel, lsn).await?.is_some() })
        }
        RequestBody::Nblocks { rel } => match size(timeline, rel, lsn).await? {
            Some(size) => Ok(ResponseBody::Nblocks { rel, blocks: size.blocks }),
            None => Err(Refusal::Missing(format!("relation {rel} does not exist at {lsn}"))),
        },
        RequestBody::GetPage { rel, block } => {
            let began = Instant::now();
            let page = if size(timeline, rel, lsn).await?.is_some_and(|size| size.is_written(block)) {
                service.pages.page(timeline, Key::rel_block(rel, block), lsn).await?
            } else {
                zero_page()
            };
            service.metrics.pages_sent.inc();
            service.slow_reads.note(timeline, Key::rel_block(rel, block), lsn, began).await;
            Ok(ResponseBody::Page { rel, block, page })
        }
        RequestBody::GetPageRun { rel, block, count } => {
            let began = Instant::now();
            let pages = page_run(service, timeline, rel, block..block + count, lsn).await?;
            service.slow_reads.note(timeline, Key::rel_block(rel, block), lsn, began).await;
            Ok(ResponseBody::PageRun { rel, block, count, pages })
        }
        RequestBody::DbSize { database } => {
            let bytes = database_size(timeline, database, lsn).await?;
            Ok(ResponseBody::DbSize { database, bytes })
        }
        RequestBody::SlruSegment { slru, segment } => {
            let pages = slru_segment(service, timeline, slru, segment, lsn).await?;
            Ok(ResponseBody::SlruSegment { slru, segment, pages })
        }
    }
}

async fn effective_lsn(
    service: &PageService,
    timeline: &Timeline,
    request: &Request,
) -> Result<Lsn, Refusal> {
    let header = &request.header;
    let at = read_at(header.request_lsn, header.not_modified_since, timeline.last_record_lsn());
    match at.map_err(Refusal::Request)? {
        ReadAt::Now(lsn) => Ok(lsn),
        ReadAt::After(lsn) => {
            let _timer = service.metrics.wait_lsn_seconds.start_timer();
            let span = child_span!("wait for WAL", varve.lsn = %lsn);
            timeline.wait_lsn(lsn, service.wait_lsn_timeout).instrument(span).await?;
            Ok(lsn)
        }
    }
}

/// None if the relation is not there.
async fn size(timeline: &Timeline, rel: RelTag, lsn: Lsn) -> Result<Option<RelSize>, StorageError> {
    let found = timeline.get_reconstruct(Key::rel_size(rel), lsn).await?;
    Ok(found.image.and_then(|(_, image)| RelSize::decode(&image)))
}

async fn page_run(
    service: &PageService,
    timeline: &Timeline,
    rel: RelTag,
    blocks: std::ops::Range<u32>,
    lsn: Lsn,
) -> Result<Bytes, Refusal> {
    let mut pages = BytesMut::with_capacity(blocks.len() * BLCKSZ);
    service.metrics.pages_sent.inc_by(blocks.len() as u64);
    let size = size(timeline, rel, lsn).await?.unwrap_or_default();
    for page in service.pages.relation(timeline, rel, &size, blocks, lsn).await? {
        pages.extend_from_slice(&page);
    }
    Ok(pages.freeze())
}

/// All forks of all relations, in all tablespaces that the database has files in.
async fn database_size(timeline: &Timeline, database: Oid, lsn: Lsn) -> Result<i64, StorageError> {
    let mut blocks = 0;
    for (key, _) in timeline.scan(Key::kind_range(KeyKind::Database), lsn).await? {
        let [spc, db, _] = key.fields();
        if db == database {
            let sizes = timeline.scan(Key::rel_sizes_of_database(spc, db), lsn).await?;
            blocks += sizes
                .iter()
                .filter_map(|(key, image)| relation_size(key, image))
                .map(|(_, size)| i64::from(size.blocks))
                .sum::<i64>();
        }
    }
    Ok(blocks * BLCKSZ as i64)
}

async fn slru_segment(
    service: &PageService,
    timeline: &Timeline,
    slru: SlruKind,
    segment: u32,
    lsn: Lsn,
) -> Result<Bytes, Refusal> {
    let found = timeline.get_reconstruct(Key::slru_seg_size(slru, segment), lsn).await?;
    let Some(blocks) = found.image.and_then(|(_, image)| size_of(&image)) else {
        return Err(Refusal::Missing(format!(
            "segment {segment:04X} of {} does not exist at {lsn}",
            slru.directory()
        )));
    };
    let mut pages = BytesMut::with_capacity(blocks as usize * BLCKSZ);
    for page in service.pages.run(timeline, Key::slru_block(slru, segment, 0), blocks, lsn).await? {
        pages.extend_from_slice(&page);
    }
    Ok(pages.freeze())
}
