//! WAL that safekeepers have put into object storage, taken in without them: for when they have lost their disks.
//!
//! Whole segments are committed to their end, and any safekeeper's are the same. Beginnings of segments, which idle timelines
//! have there too, are left: what of them is committed only safekeepers knew.

use std::sync::Arc;

use remote_storage::{ObjectKey, RemoteError};
use safekeeper_api::offloaded::segment;
use types::Lsn;

use super::ReceiverContext;
use super::connection::{StreamError, WalIngest};
use crate::storage::Timeline;

/// Taken in at a time, so that what is decoded is put before more is.
const PIECE: usize = 128 << 10;

/// Where the timeline ends then.
pub(super) async fn replay(context: &ReceiverContext, timeline: &Arc<Timeline>) -> Result<Lsn, StreamError> {
    let mut ingest = WalIngest::new(context, timeline).await?;
    let metadata = timeline.metadata();
    let (size, tli) = (metadata.wal_seg_size, metadata.tli);
    loop {
        let at = ingest.fed_up_to();
        let (number, offset) = (at.0 / size.bytes(), at.0 % size.bytes());
        let key = ObjectKey::new(segment(timeline.id(), &size.file_name(tli, number)))?;
        let wal = match context.remote.get(&key).await {
            Ok(wal) => wal,
            Err(RemoteError::NotFound(_)) => return Ok(timeline.last_record_lsn()),
            Err(error) => return Err(error.into()),
        };
        if wal.len() as u64 != size.bytes() {
            return Err(StreamError::Segment { key, bytes: wal.len() as u64, expected: size.bytes() });
        }
        tracing::info!(timeline = %timeline.id(), lsn = %at, %key, "taking in WAL from object storage");
        for piece in wal[offset as usize..].chunks(PIECE) {
            ingest.take_in(piece).await?;
        }
    }
}
