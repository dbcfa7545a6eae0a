//! [`ControlFile`]: `global/pg_control`, 8192 bytes of which 292 are used. The layout is the same in 15 and 17.
//!
//! ```text
//!   0 system identifier u64   8 control version u32  12 catalog version u32  16 state i32   24 time i64
//!  32 checkpoint record u64  40 CheckPoint (88)     128 unlogged LSN u64
//! 136 min recovery point u64 144 its tli u32  152 backup start u64  160 backup end u64  168 end required u8
//! 172 wal_level i32  176 wal_log_hints u8  180 max_connections i32  184 max_worker_processes
//! 188 max_wal_senders  192 max_prepared_xacts  196 max_locks_per_xact  200 track_commit_timestamp u8
//! 204 maxalign u32  208 float format f64  216 block size  220 relation segment size  224 WAL block size
//! 228 WAL segment size  232 name length  236 index keys  240 TOAST chunk  244 large object chunk
//! 248 float8 by value u8  252 checksum version u32  256 nonce (32)  288 CRC-32C of bytes 0..288
//! ```

use types::{BLCKSZ, Lsn, PgVersion, RELSEG_BLOCKS, WalSegmentSize};

use crate::field::{put, u32_at, u64_at};
use crate::{CheckPoint, FormatError, crc32c, version};

/// `DBState`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DatabaseState {
    Startup = 0,
    ShutDown = 1,
    ShutDownInRecovery = 2,
    ShuttingDown = 3,
    InCrashRecovery = 4,
    InArchiveRecovery = 5,
    InProduction = 6,
}

impl DatabaseState {
    pub fn from_number(number: u32) -> Option<DatabaseState> {
        use DatabaseState::*;
        let all = [
            Startup,
            ShutDown,
            ShutDownInRecovery,
            ShuttingDown,
            InCrashRecovery,
            InArchiveRecovery,
            InProduction,
        ];
        all.into_iter().find(|state| *state as u32 == number)
    }
}

/// The fields that differ between clusters. What is fixed when PostgreSQL is compiled is checked when a
/// file is read and written as our supported builds have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlFile {
    pub version: PgVersion,
    pub system_identifier: u64,
    pub catalog_version: u32,
    pub state: DatabaseState,
    /// Seconds since 1970 of the last change.
    pub time: i64,
    /// Where the last checkpoint's record begins: always behind a page header.
    pub checkpoint: Lsn,
    pub checkpoint_copy: CheckPoint,
    /// Counter that stands in for LSNs in unlogged relations; at least [`ControlFile::FIRST_UNLOGGED_LSN`].
    pub unlogged_lsn: u64,
    pub recovery: RecoveryPoints,
    pub parameters: Parameters,
    pub wal_segment_size: WalSegmentSize,
    /// 0: pages have no checksums.
    pub data_checksum_version: u32,
    pub mock_authentication_nonce: [u8; 32],
}

/// How far an interrupted recovery must go; all zero outside recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryPoints {
    pub min_recovery_point: Lsn,
    pub min_recovery_point_tli: u32,
    pub backup_start_point: Lsn,
    pub backup_end_point: Lsn,
    pub backup_end_required: bool,
}

/// Settings that recovery and standbys must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// 0 minimal, 1 replica, 2 logical.
    pub wal_level: i32,
    pub wal_log_hints: bool,
    pub max_connections: i32,
    pub max_worker_processes: i32,
    pub max_wal_senders: i32,
    pub max_prepared_xacts: i32,
    pub max_locks_per_xact: i32,
    pub track_commit_timestamp: bool,
}

impl ControlFile {
    pub const FILE_SIZE: usize = 8192;
    pub const FIRST_UNLOGGED_LSN: u64 = 1000;
    const CRC_AT: usize = 288;
    const FLOAT_FORMAT: f64 = 1234567.0;

    /// Fields that every build of PostgreSQL that we support has alike.
    const FIXED: [(usize, u32, &'static str); 9] = [
        (204, 8, "maximum alignment in pg_control"),
        (216, BLCKSZ as u32, "block size in pg_control"),
        (220, RELSEG_BLOCKS, "relation segment size in pg_control"),
        (224, BLCKSZ as u32, "WAL block size in pg_control"),
        (232, 64, "name length in pg_control"),
        (236, 32, "index keys in pg_control"),
        (240, 1996, "TOAST chunk size in pg_control"),
        (244, 2048, "large object chunk size in pg_control"),
        (248, 1, "passing of float8 in pg_control"),
    ];

    /// Reads a file of one of the supported versions, whichever it says it is.
    pub fn decode(bytes: &[u8]) -> Result<ControlFile, FormatError> {
        let length = FormatError::Length { what: "pg_control", expected: Self::FILE_SIZE, got: bytes.len() };
        let bytes: &[u8; Self::FILE_SIZE] = bytes.try_into().map_err(|_| length)?;
        let (computed, found) = (crc32c(&bytes[..Self::CRC_AT]), u32_at(bytes, Self::CRC_AT));
        if computed != found {
            return Err(FormatError::Checksum { what: "pg_control", computed, found });
        }
        let control_version = u32_at(bytes, 8);
        let version = [PgVersion::V15, PgVersion::V17]
            .into_iter()
            .find(|version| version::control_version(*version) == control_version)
            .ok_or_else(|| FormatError::value("version of pg_control", "1300 or 1700", control_version))?;
        Self::check_catalog_version(version, u32_at(bytes, 12))?;
        Self::check_fixed(bytes)?;
        Self::decode_fields(bytes, version)
    }

    /// 16 shares 15's control version; the catalog version tells them apart.
    fn check_catalog_version(version: PgVersion, got: u32) -> Result<(), FormatError> {
        let expected = version::catalog_version(version);
        if got == expected {
            Ok(())
        } else {
            Err(FormatError::value("catalog version in pg_control", expected, got))
        }
    }

    fn check_fixed(bytes: &[u8; Self::FILE_SIZE]) -> Result<(), FormatError> {
        for (at, expected, what) in Self::FIXED {
            let got = if at == 248 { bytes[at].into() } else { u32_at(bytes, at) };
            if got != expected {
                return Err(FormatError::value(what, expected, got));
            }
        }
        let float = f64::from_bits(u64_at(bytes, 208));
        if float != Self::FLOAT_FORMAT {
            return Err(FormatError::value("float format in pg_control", Self::FLOAT_FORMAT, float));
        }
        Ok(())
    }

    fn decode_fields(bytes: &[u8; Self::FILE_SIZE], version: PgVersion) -> Result<ControlFile, FormatError> {
        let int = |at| u32_at(bytes, at) as i32;
        let lsn = |at| Lsn(u64_at(bytes, at));
        let state = u32_at(bytes, 16);
        let mut checkpoint = [0; CheckPoint::SIZE];
        checkpoint.copy_from_slice(&bytes[40..128]);
        let mut mock_authentication_nonce = [0; 32];
        mock_authentication_nonce.copy_from_slice(&bytes[256..288]);
        Ok(ControlFile {
            version,
            system_identifier: u64_at(bytes, 0),
            catalog_version: u32_at(bytes, 12),
            state: DatabaseState::from_number(state)
                .ok_or_else(|| FormatError::value("state in pg_control", "0 to 6", state))?,
            time: u64_at(bytes, 24) as i64,
            checkpoint: lsn(32),
            checkpoint_copy: CheckPoint::decode(&checkpoint, version),
            unlogged_lsn: u64_at(bytes, 128),
            recovery: RecoveryPoints {
                min_recovery_point: lsn(136),
                min_recovery_point_tli: u32_at(bytes, 144),
                backup_start_point: lsn(152),
                backup_end_point: lsn(160),
                backup_end_required: bytes[168] != 0,
            },
            parameters: Parameters {
                wal_level: int(172),
                wal_log_hints: bytes[176] != 0,
                max_connections: int(180),
                max_worker_processes: int(184),
                max_wal_senders: int(188),
                max_prepared_xacts: int(192),
                max_locks_per_xact: int(196),
                track_commit_timestamp: bytes[200] != 0,
            },
            wal_segment_size: WalSegmentSize::try_from(u32_at(bytes, 228))
                .map_err(|got| FormatError::value("WAL segment size in pg_control", "a power of two", got))?,
            data_checksum_version: u32_at(bytes, 252),
            mock_authentication_nonce,
        })
    }

    /// The whole file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; Self::FILE_SIZE];
        let words = [
            (8, version::control_version(self.version)),
            (12, self.catalog_version),
            (16, self.state as u32),
            (144, self.recovery.min_recovery_point_tli),
            (172, self.parameters.wal_level as u32),
            (180, self.parameters.max_connections as u32),
            (184, self.parameters.max_worker_processes as u32),
            (188, self.parameters.max_wal_senders as u32),
            (192, self.parameters.max_prepared_xacts as u32),
            (196, self.parameters.max_locks_per_xact as u32),
            (228, u32::from(self.wal_segment_size)),
            (252, self.data_checksum_version),
        ];
        let long_words = [
            (0, self.system_identifier),
            (24, self.time as u64),
            (32, self.checkpoint.0),
            (128, self.unlogged_lsn),
            (136, self.recovery.min_recovery_point.0),
            (152, self.recovery.backup_start_point.0),
            (160, self.recovery.backup_end_point.0),
            (208, Self::FLOAT_FORMAT.to_bits()),
        ];
        let fixed = Self::FIXED.map(|(at, value, _)| (at, value));
        for (at, word) in words.into_iter().chain(fixed) {
            put(&mut bytes, at, &word.to_le_bytes());
        }
        for (at, long_word) in long_words {
            put(&mut bytes, at, &long_word.to_le_bytes());
        }
        put(&mut bytes, 40, &self.checkpoint_copy.encode(self.version));
        bytes[168] = self.recovery.backup_end_required as u8;
        bytes[176] = self.parameters.wal_log_hints as u8;
        bytes[200] = self.parameters.track_commit_timestamp as u8;
        put(&mut bytes, 256, &self.mock_authentication_nonce);
        let crc = crc32c(&bytes[..Self::CRC_AT]);
        put(&mut bytes, Self::CRC_AT, &crc.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ControlFile {
        ControlFile {
            version: PgVersion::V15,
            system_identifier: 0x1234_5678_9abc_def0,
            catalog_version: crate::v15::CATALOG_VERSION,
            state: DatabaseState::ShutDown,
            time: 1,
            checkpoint: Lsn(0x100_0028),
            checkpoint_copy: CheckPoint {
                redo: Lsn(0x100_0028),
                tli: 1,
                next_xid: 1 << 33 | 7,
                ..Default::default()
            },
            unlogged_lsn: ControlFile::FIRST_UNLOGGED_LSN,
            recovery: RecoveryPoints::default(),
            parameters: Parameters {
                wal_level: 1,
                wal_log_hints: false,
                max_connections: 100,
                max_worker_processes: 8,
                max_wal_senders: 10,
                max_prepared_xacts: 5,
                max_locks_per_xact: 64,
                track_commit_timestamp: true,
            },
            wal_segment_size: WalSegmentSize::DEFAULT,
            data_checksum_version: 0,
            mock_authentication_nonce: [9; 32],
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(ControlFile::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn every_flipped_bit_that_counts_is_noticed() {
        let bytes = example().encode();
        for at in 0..292 {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(matches!(ControlFile::decode(&bad), Err(FormatError::Checksum { .. })), "byte {at}");
        }
        assert!(matches!(ControlFile::decode(&bytes[..300]), Err(FormatError::Length { .. })));
    }
}
