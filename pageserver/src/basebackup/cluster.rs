//! What a timeline consists of at an LSN.

use bytes::Bytes;
use pg_format::origins::OriginProgress;
use pg_format::{CheckPoint, ControlFile};
use types::{Fork, Key, KeyKind, Lsn, Oid, RelTag, SlruKind};

use super::BackupError;
use crate::ingest::{RelSize, lsn_of, relation_size, size_of};
use crate::kept_file::KeptFile;
use crate::pages::PageReader;
use crate::storage::Timeline;

pub(super) struct Cluster<'a> {
    pub(super) timeline: &'a Timeline,
    pub(super) pages: &'a PageReader,
    pub(super) lsn: Lsn,
    /// Tablespace and database.
    pub(super) databases: Vec<(Oid, Oid)>,
    pub(super) tablespaces: Vec<(Oid, String)>,
    pub(super) relations: Vec<(RelTag, RelSize)>,
    /// Tablespace, database, file.
    pub(super) maps: Vec<(Oid, Oid, Bytes)>,
    pub(super) slru_segments: Vec<(SlruKind, u32, u32)>,
    pub(super) two_phase: Vec<(u64, Bytes)>,
    /// Of this timeline's own computes.
    pub(super) files: Vec<KeptFile>,
    pub(super) origins: Vec<OriginProgress>,
    pub(super) control: ControlFile,
    pub(super) checkpoint: CheckPoint,
}

impl<'a> Cluster<'a> {
    pub(super) async fn load(
        timeline: &'a Timeline,
        pages: &'a PageReader,
        lsn: Lsn,
    ) -> Result<Cluster<'a>, BackupError> {
        let scan = async |kind| timeline.scan(Key::kind_range(kind), lsn).await;
        let one = async |key: Key, what| {
            let image = timeline.get_reconstruct(key, lsn).await?.image;
            let missing = BackupError::Missing { timeline: timeline.id(), what, lsn };
            image.map(|(_, image)| image).filter(|image| !image.is_empty()).ok_or(missing)
        };
        let control = ControlFile::decode(&one(Key::control_file(), "control file").await?)?;
        let checkpoint = one(Key::checkpoint(), "checkpoint").await?;
        let checkpoint = <[u8; CheckPoint::SIZE]>::try_from(&checkpoint[..])
            .map_err(|_| BackupError::Missing { timeline: timeline.id(), what: "whole checkpoint", lsn })?;
        let sizes = scan(KeyKind::RelSize).await?;
        let segments = scan(KeyKind::SlruSegSize).await?;
        Ok(Cluster {
            timeline,
            pages,
            lsn,
            databases: scan(KeyKind::Database).await?.iter().map(|(key, _)| first_two(key)).collect(),
            tablespaces: tablespaces(scan(KeyKind::Tablespace).await?),
            relations: sizes.iter().filter_map(|(key, image)| relation_size(key, image)).collect(),
            maps: maps(scan(KeyKind::RelMap).await?),
            slru_segments: segments.iter().filter_map(|(key, image)| slru_segment(key, image)).collect(),
            two_phase: two_phase(scan(KeyKind::TwoPhase).await?),
            files: own_files(timeline, scan(KeyKind::AuxFile).await?),
            origins: origins(scan(KeyKind::ReplicationOrigin).await?),
            control,
            checkpoint: CheckPoint::decode(&checkpoint, timeline.metadata().pg_version),
        })
    }

    /// Unlogged relations are those that have an init fork; nothing of them but that fork is in WAL.
    pub(super) fn is_unlogged(&self, rel: RelTag) -> bool {
        // The list is in the order of keys, which is that of tags.
        self.relations.binary_search_by_key(&rel.with_fork(Fork::Init), |(rel, _)| *rel).is_ok()
    }
}

fn first_two(key: &Key) -> (Oid, Oid) {
    let [one, two, _] = key.fields();
    (one, two)
}

fn tablespaces(found: Vec<(Key, Bytes)>) -> Vec<(Oid, String)> {
    found.iter().map(|(key, path)| (key.fields()[0], String::from_utf8_lossy(path).into_owned())).collect()
}

fn maps(found: Vec<(Key, Bytes)>) -> Vec<(Oid, Oid, Bytes)> {
    found
        .into_iter()
        .map(|(key, map)| {
            let (spc, db) = first_two(&key);
            (spc, db, map)
        })
        .collect()
}

fn slru_segment(key: &Key, image: &[u8]) -> Option<(SlruKind, u32, u32)> {
    let (slru, segment) = key.slru_segment()?;
    Some((slru, segment, size_of(image)?))
}

/// A branch's compute has no slots of its ancestor's: nobody listens to it.
fn own_files(timeline: &Timeline, found: Vec<(Key, Bytes)>) -> Vec<KeptFile> {
    let files = found.iter().filter_map(|(_, value)| KeptFile::decode(value));
    files.filter(|file| file.timeline == timeline.id().timeline_id).collect()
}

/// They are the data's: what a branch has from its ancestor was replicated so far.
fn origins(found: Vec<(Key, Bytes)>) -> Vec<OriginProgress> {
    let progress = |(key, value): (Key, Bytes)| {
        Some(OriginProgress { origin: key.fields()[0].try_into().ok()?, remote_lsn: lsn_of(&value)? })
    };
    found.into_iter().filter_map(progress).collect()
}

fn two_phase(found: Vec<(Key, Bytes)>) -> Vec<(u64, Bytes)> {
    found
        .into_iter()
        .map(|(key, file)| {
            let (high, low) = first_two(&key);
            (u64::from(high) << 32 | u64::from(low), file)
        })
        .collect()
}
