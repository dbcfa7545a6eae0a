//! A data directory that is kept over a clean stop, with all pages that are cached in it.
//!
//! It is as good as a new one if the timeline has not moved since: the election finds its end where the server stopped.
//! What the files hold is as the server left it as long as the system has not been booted anew, since nothing in there
//! is ever synced.
//!
//! The note of where it stopped lies beside the directory. It is read once, by the next start, whatever comes of that.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use types::{Lsn, PgVersion, TenantTimelineId};

use super::remove;
use crate::error::ComputeError;

/// Which blocks of the files are real: written by the extension when its server ends in order.
const CACHE_FILE: &str = "varve.kept";
/// The walproposer makes this slot when it connects, and finds none.
const WALPROPOSER_SLOT: &str = "pg_replslot/walproposer";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// See the head of this module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    tenant_timeline: TenantTimelineId,
    pg_version: PgVersion,
    /// End of the WAL that the server has written, the record of its last checkpoint included.
    lsn: Lsn,
    boot_id: String,
}

impl Kept {
    pub fn new(ttid: TenantTimelineId, pg_version: PgVersion, lsn: Lsn) -> std::io::Result<Kept> {
        let boot_id = std::fs::read_to_string(BOOT_ID)?.trim().to_owned();
        Ok(Kept { tenant_timeline: ttid, pg_version, lsn, boot_id })
    }

    /// Leaves the note, if there is anything to keep.
    pub fn leave(&self, note: &Path, pgdata: &Path) -> std::io::Result<()> {
        if !pgdata.join(CACHE_FILE).exists() {
            return Ok(());
        }
        let new = note.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(new, note)
    }

    /// The LSN at which the directory can be gone on with; and the note is gone. One that is not understood, or of another
    /// timeline, is as good as none.
    pub fn take(note: &Path, pgdata: &Path, ttid: TenantTimelineId, pg_version: PgVersion) -> Option<Lsn> {
        let bytes = std::fs::read(note).ok()?;
        std::fs::remove_file(note).ok()?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        let here = Kept::new(ttid, pg_version, kept.lsn).ok()?;
        (kept == here && pgdata.join(CACHE_FILE).is_file()).then_some(kept.lsn)
    }
}

/// What the last life left besides files that go on.
pub fn clear(pgdata: &Path) -> Result<(), ComputeError> {
    let slot: PathBuf = pgdata.join(WALPROPOSER_SLOT);
    if slot.exists() { remove(&slot) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use types::{TenantId, TimelineId};

    use super::*;

    const TTID: TenantTimelineId = TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16]));

    #[test]
    fn a_note_is_good_once_and_for_what_it_is_of() {
        let root = tempfile::tempdir().unwrap();
        let (note, pgdata) = (root.path().join("kept.json"), root.path().join("pgdata"));
        std::fs::create_dir(&pgdata).unwrap();
        let take = |ttid, version| Kept::take(&note, &pgdata, ttid, version);
        let kept = Kept::new(TTID, PgVersion::V15, Lsn(0x100)).unwrap();

        kept.leave(&note, &pgdata).unwrap();
        assert_eq!(take(TTID, PgVersion::V15), None, "the server left nothing");
        std::fs::write(pgdata.join(CACHE_FILE), "").unwrap();
        kept.leave(&note, &pgdata).unwrap();
        assert_eq!(take(TTID, PgVersion::V15), Some(Lsn(0x100)));
        assert_eq!(take(TTID, PgVersion::V15), None, "a second time");

        let other = TenantTimelineId::new(TTID.tenant_id, TimelineId([3; 16]));
        for (ttid, version) in [(other, PgVersion::V15), (TTID, PgVersion::V17)] {
            kept.leave(&note, &pgdata).unwrap();
            assert_eq!(take(ttid, version), None);
        }
        Kept { boot_id: "another".into(), ..kept }.leave(&note, &pgdata).unwrap();
        assert_eq!(take(TTID, PgVersion::V15), None, "the system was booted anew");
        std::fs::write(&note, "nonsense").unwrap();
        assert_eq!(take(TTID, PgVersion::V15), None);
        assert!(!note.exists());
    }
}
