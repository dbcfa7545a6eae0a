//! The first and the last bytes of a layer file: what it is, and where its index lies.
//!
//! ```text
//! header, 16 bytes at the start           footer, 196 bytes at the end
//!  0  8   "VarveLyr"                        0  8   "VarveLyr"
//!  8  u16 format version                    8  u16 format version
//! 10  u8  kind: 1 delta, 2 image           10  u8  kind
//! 11  5   zero                             11  u8  zero
//!                                          12  16  tenant        28  16  timeline
//!                                          44  18  first key     62  18  key after the last
//!                                          80  u64 first LSN     88  u64 LSN after the last
//!                                          96  u64 entries
//!                                         104  u64 data bytes before compression
//!                                         112  location of the index root
//!                                         128  location of the key filter, all zero if there is none
//!                                         144  32  zero
//!                                         176  u64 length of the file
//!                                         184  8   "LyrVarve"
//!                                         192  u32 CRC-32C of the footer before it
//! location, 16 bytes: u64 offset, u32 length, u32 the block's own checksum        integers little-endian
//! ```

use types::{Key, KeyRange, Lsn, TenantId, TenantTimelineId, TimelineId};

use crate::name::{LayerLsns, LayerName};

pub(crate) const VERSION: u16 = 1;
pub(crate) const HEADER_SIZE: usize = 16;
pub(crate) const FOOTER_SIZE: usize = 196;
const MAGIC: &[u8; 8] = b"VarveLyr";
const END_MAGIC: &[u8; 8] = b"LyrVarve";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    Delta,
    Image,
}

impl LayerKind {
    fn number(self) -> u8 {
        match self {
            LayerKind::Delta => 1,
            LayerKind::Image => 2,
        }
    }
}

/// Which layer of which timeline a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub timeline: TenantTimelineId,
    pub name: LayerName,
}

impl Identity {
    pub fn kind(&self) -> LayerKind {
        if self.name.is_image() { LayerKind::Image } else { LayerKind::Delta }
    }
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) identity: Identity,
    pub(crate) entries: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) root: Location,
    pub(crate) filter: Option<Location>,
    pub(crate) file_length: u64,
}

/// Why bytes are not a header or footer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FooterError {
    Damaged(&'static str),
    UnknownVersion(u16),
}

pub(crate) fn encode_header(kind: LayerKind) -> [u8; HEADER_SIZE] {
    let mut out = [0; HEADER_SIZE];
    out[..8].copy_from_slice(MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[10] = kind.number();
    out
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_SIZE] {
        let mut out = Vec::with_capacity(FOOTER_SIZE);
        let Identity { timeline, name } = &self.identity;
        let lsns = name.lsn_range();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[self.identity.kind().number(), 0]);
        out.extend_from_slice(timeline.tenant_id.as_bytes());
        out.extend_from_slice(timeline.timeline_id.as_bytes());
        out.extend_from_slice(name.keys.start.as_bytes());
        out.extend_from_slice(name.keys.end.as_bytes());
        for number in [lsns.start.0, lsns.end.0, self.entries, self.raw_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for location in [self.root, self.filter.unwrap_or_default()] {
            out.extend_from_slice(&location.offset.to_le_bytes());
            out.extend_from_slice(&location.length.to_le_bytes());
            out.extend_from_slice(&location.crc.to_le_bytes());
        }
        out.extend_from_slice(&[0; 32]);
        out.extend_from_slice(&self.file_length.to_le_bytes());
        out.extend_from_slice(END_MAGIC);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.try_into().expect("the fields above are 196 bytes")
    }

    pub(crate) fn decode(bytes: &[u8; FOOTER_SIZE]) -> Result<Footer, FooterError> {
        if &bytes[..8] != MAGIC || &bytes[184..192] != END_MAGIC {
            return Err(FooterError::Damaged("no layer ends here"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if crc32c::crc32c(&bytes[..192]).to_le_bytes() != bytes[192..] {
            return Err(FooterError::Damaged("its checksum is wrong"));
        }
        if version != VERSION {
            return Err(FooterError::UnknownVersion(version));
        }
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let id = |at: usize| -> [u8; 16] { bytes[at..at + 16].try_into().expect("sixteen bytes") };
        let key = |at: usize| Key::from_bytes(bytes[at..at + Key::SIZE].try_into().expect("a key's bytes"));
        let location = |at: usize| Location { offset: long(at), length: word(at + 8), crc: word(at + 12) };
        let (start, end) = (Lsn(long(80)), Lsn(long(88)));
        let lsns = match bytes[10] {
            1 => LayerLsns::Delta { start, end },
            2 => LayerLsns::Image { at: start },
            _ => return Err(FooterError::Damaged("it is neither a delta nor an image layer")),
        };
        let keys: KeyRange = key(44)..key(62);
        let filter = Some(location(128)).filter(|location| *location != Location::default());
        Ok(Footer {
            identity: Identity {
                timeline: TenantTimelineId::new(TenantId(id(12)), TimelineId(id(28))),
                name: LayerName { keys, lsns },
            },
            entries: long(96),
            raw_bytes: long(104),
            root: location(112),
            filter,
            file_length: long(176),
        })
    }
}
