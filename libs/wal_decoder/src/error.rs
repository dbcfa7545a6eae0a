//! What can be wrong with WAL, and where.

use types::Lsn;

/// WAL that PostgreSQL's own reader would refuse too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid WAL at {lsn}: {what}")]
pub struct DecodeError {
    /// Start of the record or of the page that is wrong.
    pub lsn: Lsn,
    pub what: Malformation,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    #[error("page header has the magic number {got:#06X}, expected {expected:#06X}")]
    PageMagic { got: u16, expected: u16 },
    #[error("page header has the flags {0:#06X}")]
    PageFlags(u16),
    #[error("page header says that it is the page at {0}")]
    PageAddress(Lsn),
    #[error("page header has the PostgreSQL timeline {got} after {before}")]
    PageTimeline { got: u32, before: u32 },
    #[error("segment is of the database system {got}, expected {expected}")]
    SystemIdentifier { got: u64, expected: u64 },
    #[error("segment says that segments have {segment_size} bytes and pages {page_size}")]
    SegmentSize { segment_size: u32, page_size: u32 },
    #[error("page continues a record where one should begin")]
    UnexpectedContinuation,
    #[error("page should continue the record and does not")]
    MissingContinuation,
    #[error("page says that {got} bytes of the record are left, expected {expected}")]
    ContinuationLength { got: u32, expected: u32 },
    #[error("page was started over for the record at {expected}, its first record names {got:?}")]
    OverwrittenRecord { got: Option<Lsn>, expected: Lsn },
    /// Also where WAL ends in a file: the bytes behind the last record are zero.
    #[error("record length {0}")]
    RecordLength(u32),
    #[error("resource manager {0} does not exist")]
    ResourceManager(u8),
    #[error("record says that the one before it is at {got}, expected {expected}")]
    PreviousRecord { got: Lsn, expected: Lsn },
    #[error("wrong record checksum: computed {computed:#010X}, found {found:#010X}")]
    Checksum { computed: u32, found: u32 },
    #[error("record ends inside {0}")]
    Truncated(&'static str),
    #[error("{0}")]
    Contradiction(&'static str),
    #[error("{what} has the value {got}")]
    Field { what: &'static str, got: u64 },
}

impl Malformation {
    pub(crate) fn at(self, lsn: Lsn) -> DecodeError {
        DecodeError { lsn, what: self }
    }
}
