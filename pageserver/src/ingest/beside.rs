//! What lies beside the database: files that a compute keeps in WAL, and how far its subscriptions have got.

use bytes::{Bytes, BytesMut};
use types::{Key, Lsn};
use wal_decoder::DecodedRecord;
use wal_decoder::rmgr::logicalmsg;
use wal_decoder::rmgr::replorigin::{self, ReplicationOriginRecord};
use wal_decoder::rmgr::rewrite;

use super::{Ingest, IngestError};
use crate::kept_file::{KeptFile, is_path};
use crate::storage::{StorageError, Value};

/// As pgext/kept_files.c writes it.
const PREFIX: &[u8] = b"varve-file";
const WRITE: u8 = b'W';
const REMOVE: u8 = b'R';
/// A rewrite that goes on behind this is not kept any further: no catalog has so many rows.
const LONGEST_REWRITE: usize = 256 << 20;
/// `DoNotReplicateId`
const NO_ORIGIN: u16 = u16::MAX;

impl Ingest {
    /// Messages of others are for those who decode WAL. Any user may write one, but not for database 0.
    pub(super) fn logical_message(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        let message = logicalmsg::decode(record, self.version)?;
        if message.database != 0 || message.prefix != PREFIX {
            return Ok(());
        }
        if let Some((path, contents)) = file_of(&message.message) {
            self.put_file(&path, contents, record.end_lsn);
        }
        Ok(())
    }

    fn put_file(&mut self, path: &str, contents: Option<Bytes>, lsn: Lsn) {
        let timeline = self.timeline.id().timeline_id;
        let file = contents.map(|contents| KeptFile { timeline, path: path.to_owned(), contents });
        let value = file.map(|file| file.encode()).unwrap_or_default();
        self.put(Key::aux_file(path), lsn, Value::Image(value));
    }

    pub(super) async fn catalog_rewrite(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        let Some(piece) = rewrite::decode(record, self.version)? else { return Ok(()) };
        let path = piece.path();
        let before = self.latest(Key::aux_file(&path)).await?.and_then(|bytes| KeptFile::decode(&bytes));
        let before = before.map(|file| file.contents).unwrap_or_default();
        let Some(kept) = usize::try_from(piece.offset).ok().filter(|kept| *kept <= LONGEST_REWRITE) else {
            return Ok(());
        };
        let mut contents = BytesMut::from(&before[..before.len().min(kept)]);
        contents.resize(kept, 0);
        contents.extend_from_slice(&piece.rows);
        self.put_file(&path, Some(contents.freeze()), record.end_lsn);
        Ok(())
    }

    pub(super) async fn replication_origin(&mut self, record: &DecodedRecord) -> Result<(), IngestError> {
        match replorigin::decode(record, self.version)? {
            ReplicationOriginRecord::Set { origin, remote_lsn, force: true } => {
                self.put_origin(origin, remote_lsn, record.end_lsn);
                Ok(())
            }
            ReplicationOriginRecord::Set { origin, remote_lsn, force: false } => {
                self.advance_origin(origin, remote_lsn, record.end_lsn).await
            }
            ReplicationOriginRecord::Drop { origin } => {
                self.origins.insert(origin, Lsn::INVALID);
                self.put(Key::replication_origin(origin), record.end_lsn, Value::Image(Bytes::new()));
                Ok(())
            }
        }
    }

    /// Of a transaction that was replicated from elsewhere (`replorigin_advance`): it never goes back.
    pub(super) async fn advance_origin(
        &mut self,
        origin: u16,
        remote_lsn: Lsn,
        lsn: Lsn,
    ) -> Result<(), IngestError> {
        if origin == 0 || origin == NO_ORIGIN {
            return Ok(());
        }
        let known = match self.origins.get(&origin) {
            Some(known) => *known,
            None => {
                let stored = self.metadata.read(Key::replication_origin(origin)).await?;
                stored.and_then(|bytes| lsn_of(&bytes)).unwrap_or_default()
            }
        };
        if known < remote_lsn {
            self.put_origin(origin, remote_lsn, lsn);
        }
        Ok(())
    }

    fn put_origin(&mut self, origin: u16, remote_lsn: Lsn, lsn: Lsn) {
        self.origins.insert(origin, remote_lsn);
        let value = Bytes::copy_from_slice(&remote_lsn.0.to_le_bytes());
        self.put(Key::replication_origin(origin), lsn, Value::Image(value));
    }

    /// The newest image of a key whose values are images; it may wait in this very batch.
    async fn latest(&self, key: Key) -> Result<Option<Bytes>, StorageError> {
        let pending = self.entries.iter().rev().find(|(other, _, _)| *other == key);
        match pending {
            Some((_, _, Value::Image(bytes))) => Ok(Some(bytes.clone())),
            Some((_, _, Value::Delta { .. })) | None => self.metadata.read(key).await,
        }
    }
}

/// The value of [`Key::replication_origin`]; None if it was dropped.
pub fn lsn_of(value: &[u8]) -> Option<Lsn> {
    value.try_into().ok().map(|bytes| Lsn(u64::from_le_bytes(bytes)))
}

/// The file of a message, without contents if it is removed; None for one that is not kept.
fn file_of(message: &Bytes) -> Option<(String, Option<Bytes>)> {
    let (operation, rest) = message.split_first()?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let path = std::str::from_utf8(&rest[..end]).ok().filter(|path| is_path(path))?.to_owned();
    match *operation {
        WRITE => Some((path, Some(message.slice(end + 2..)))),
        REMOVE => Some((path, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_files_or_nothing() {
        let of = |bytes: &'static [u8]| file_of(&Bytes::from_static(bytes));
        let path = "pg_stat/pgstat.stat".to_owned();
        assert_eq!(of(b"Wpg_stat/pgstat.stat\0abc"), Some((path.clone(), Some(Bytes::from_static(b"abc")))));
        assert_eq!(of(b"Wpg_stat/pgstat.stat\0"), Some((path.clone(), Some(Bytes::new()))));
        assert_eq!(of(b"Rpg_stat/pgstat.stat\0"), Some((path, None)));
        for other in
            [&b""[..], b"W", b"Wpg_stat/pgstat.stat", b"Xpg_stat/pgstat.stat\0", b"Wpostgresql.conf\0abc"]
        {
            assert_eq!(of(other), None);
        }
    }
}
