//! [`WalStreamDecoder`]: bytes of WAL in, whole checked records out.
//!
//! Bytes may be fed in pieces of any size. Page headers are checked and taken out, records that
//! cross pages are put together again. A record is yielded when its last byte *and* its padding have been
//! fed, so `end_lsn` never lies beyond what was fed; a segment switch is yielded when the rest
//! of its segment has been fed, since the next byte of use is the next segment's first.
//!
//! An error is final: the stream cannot be trusted behind it, and every later call returns it again.

use bytes::{Buf, Bytes, BytesMut};
use pg_format::wal::{
    ALL_PAGE_FLAGS, FIRST_IS_CONTRECORD, FIRST_IS_OVERWRITE_CONTRECORD, LONG_HEADER, LONG_PAGE_HEADER_SIZE,
    LongPart, MAX_RECORD_SIZE, PageHeader, RECORD_HEADER_SIZE, RMGR_INFO_MASK, RecordHeader,
    SHORT_PAGE_HEADER_SIZE, page_header_size, record_crc,
};
use pg_format::{rmgr, version};
use types::{BLCKSZ, Lsn, PgVersion, WalSegmentSize};

use crate::error::{DecodeError, Malformation};
use crate::rmgr::xlog::{XLOG_OVERWRITE_CONTRECORD, XLOG_SWITCH};

/// One whole record with a right checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRecord {
    pub start_lsn: Lsn,
    /// PostgreSQL's `EndRecPtr`, which redo stamps on pages: the first multiple of 8 behind the record,
    /// or the end of the segment for a segment switch. If the record ends a page it is that page's end,
    /// before the next page's header.
    pub end_lsn: Lsn,
    /// From the record's header to its last byte, without page headers and padding.
    pub bytes: Bytes,
}

impl WalRecord {
    pub fn header(&self) -> RecordHeader {
        // The stream decoder never yields anything shorter.
        RecordHeader::decode(self.bytes.first_chunk().unwrap_or(&[0; RECORD_HEADER_SIZE]))
    }
}

/// See the head of this module.
#[derive(Clone, Debug)]
pub struct WalStreamDecoder {
    version: PgVersion,
    segment_size: WalSegmentSize,
    /// Checked against long headers once it is known: given by the owner, or seen in the first of them.
    system_identifier: Option<u64>,
    /// The PostgreSQL timeline of the last page; it never goes back.
    tli: u32,
    /// Bytes that were fed and not taken yet.
    input: BytesMut,
    /// Where the first byte of `input` is.
    position: Lsn,
    state: State,
    /// Start of the last record, which the next one must name. Unknown before the first.
    last_start: Option<Lsn>,
    last_end: Lsn,
    /// Start of a record that was never finished: the next one must be the record that says so.
    overwritten: Option<Lsn>,
    failed: Option<DecodeError>,
}

#[derive(Clone, Debug)]
enum State {
    /// A record begins here, or a page header with a record behind it.
    Between,
    /// Some bytes of a record have been taken, at least its length.
    Inside { start: Lsn, tot_len: usize, bytes: BytesMut },
    /// A record is complete but for bytes up to its `end_lsn`.
    Trailing { record: WalRecord },
}

impl WalStreamDecoder {
    /// `start` must be where a record begins, or the start of a page with a record right behind its header.
    pub fn new(start: Lsn, version: PgVersion, segment_size: WalSegmentSize) -> WalStreamDecoder {
        let failed = (!start.is_aligned()).then(|| {
            Malformation::Contradiction("decoding starts at a position that is not a multiple of 8").at(start)
        });
        WalStreamDecoder {
            version,
            segment_size,
            system_identifier: None,
            tli: 0,
            input: BytesMut::new(),
            position: start,
            state: State::Between,
            last_start: None,
            last_end: start,
            overwritten: None,
            failed,
        }
    }

    /// Refuses segments of any other database system.
    pub fn with_system_identifier(self, system_identifier: u64) -> WalStreamDecoder {
        WalStreamDecoder { system_identifier: Some(system_identifier), ..self }
    }

    /// Demands that the first record names the one that began at `prev` as the one before it.
    pub fn with_previous_record(self, prev: Lsn) -> WalStreamDecoder {
        WalStreamDecoder { last_start: Some(prev), ..self }
    }

    /// Appends the WAL that follows what was fed before.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Where the next byte to be fed belongs.
    pub fn fed_up_to(&self) -> Lsn {
        self.position + self.input.len() as u64
    }

    /// `end_lsn` of the last record that was yielded, at first the start position.
    pub fn last_record_end(&self) -> Lsn {
        self.last_end
    }

    /// `start_lsn` of the last record that was yielded.
    pub fn last_record_start(&self) -> Option<Lsn> {
        self.last_start
    }

    /// The next record, or None if more must be fed first.
    pub fn next_record(&mut self) -> Result<Option<WalRecord>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance().inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn advance(&mut self) -> Result<Option<WalRecord>, DecodeError> {
        loop {
            if let State::Trailing { record } = &self.state {
                if self.fed_up_to() < record.end_lsn {
                    return Ok(None);
                }
                self.input.advance((record.end_lsn - self.position) as usize);
                self.position = record.end_lsn;
                let State::Trailing { record } = std::mem::replace(&mut self.state, State::Between) else {
                    continue;
                };
                self.last_start = Some(record.start_lsn);
                self.last_end = record.end_lsn;
                return Ok(Some(record));
            }
            let progress = if self.position.page_offset() == 0 {
                self.take_page_header()?
            } else if matches!(self.state, State::Between) {
                self.begin_record()?
            } else {
                self.take_record_bytes()?
            };
            if !progress {
                return Ok(None);
            }
        }
    }

    fn take(&mut self, count: usize) -> BytesMut {
        self.position += count as u64;
        self.input.split_to(count)
    }

    /// Bytes from the position to the end of its page.
    fn left_on_page(&self) -> usize {
        BLCKSZ - self.position.page_offset() as usize
    }

    fn take_page_header(&mut self) -> Result<bool, DecodeError> {
        let size = page_header_size(self.position, self.segment_size);
        if self.input.len() < size {
            return Ok(false);
        }
        let page_start = self.position;
        let bytes = self.take(size);
        let header = self.check_page_header(page_start, &bytes).map_err(|what| what.at(page_start))?;
        self.continue_record(page_start, &header).map_err(|what| what.at(page_start))?;
        Ok(true)
    }

    fn check_page_header(&mut self, page_start: Lsn, bytes: &[u8]) -> Result<PageHeader, Malformation> {
        let short =
            bytes.first_chunk::<SHORT_PAGE_HEADER_SIZE>().ok_or(Malformation::Truncated("a page header"))?;
        let header = PageHeader::decode(short);
        let expected = version::wal_page_magic(self.version);
        if header.magic != expected {
            return Err(Malformation::PageMagic { got: header.magic, expected });
        }
        let long = bytes.len() == LONG_PAGE_HEADER_SIZE;
        if header.info & !ALL_PAGE_FLAGS != 0 || (header.info & LONG_HEADER != 0) != long {
            return Err(Malformation::PageFlags(header.info));
        }
        if header.page_address != page_start {
            return Err(Malformation::PageAddress(header.page_address));
        }
        if header.tli < self.tli {
            return Err(Malformation::PageTimeline { got: header.tli, before: self.tli });
        }
        self.tli = header.tli;
        if let Some(long_part) = bytes[SHORT_PAGE_HEADER_SIZE..].first_chunk() {
            self.check_long_part(&LongPart::decode(long_part))?;
        }
        Ok(header)
    }

    fn check_long_part(&mut self, part: &LongPart) -> Result<(), Malformation> {
        let expected = *self.system_identifier.get_or_insert(part.system_identifier);
        if part.system_identifier != expected {
            return Err(Malformation::SystemIdentifier { got: part.system_identifier, expected });
        }
        if part.segment_size != u32::from(self.segment_size) || part.page_size as usize != BLCKSZ {
            return Err(Malformation::SegmentSize {
                segment_size: part.segment_size,
                page_size: part.page_size,
            });
        }
        Ok(())
    }

    /// Holds what the page says of its first bytes against what the page before made us expect.
    fn continue_record(&mut self, page_start: Lsn, header: &PageHeader) -> Result<(), Malformation> {
        let continues = header.info & FIRST_IS_CONTRECORD != 0;
        match &self.state {
            State::Inside { start, tot_len, bytes } => {
                if header.info & FIRST_IS_OVERWRITE_CONTRECORD != 0 {
                    self.overwritten = Some(*start);
                    self.state = State::Between;
                    self.last_end = page_start;
                    return Ok(());
                }
                if !continues {
                    return Err(Malformation::MissingContinuation);
                }
                let expected = (tot_len - bytes.len()) as u32;
                if header.remaining_length != expected {
                    return Err(Malformation::ContinuationLength { got: header.remaining_length, expected });
                }
                Ok(())
            }
            State::Between | State::Trailing { .. } if continues => Err(Malformation::UnexpectedContinuation),
            State::Between | State::Trailing { .. } => Ok(()),
        }
    }

    /// Takes the length of the record that begins at the position; the rest of its header may be on the next page.
    fn begin_record(&mut self) -> Result<bool, DecodeError> {
        let start = self.position;
        let Some(length) = self.input.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
            return Ok(false);
        };
        let tot_len = length as usize;
        if !(RECORD_HEADER_SIZE..=MAX_RECORD_SIZE).contains(&tot_len) {
            return Err(Malformation::RecordLength(length).at(start));
        }
        // Room for what is surely coming; a length that was made up costs nothing.
        let bytes = BytesMut::new();
        self.state = State::Inside { start, tot_len, bytes };
        Ok(true)
    }

    fn take_record_bytes(&mut self) -> Result<bool, DecodeError> {
        let available = self.input.len().min(self.left_on_page());
        let State::Inside { start, tot_len, bytes } = &mut self.state else {
            return Ok(true);
        };
        let count = available.min(*tot_len - bytes.len());
        if count == 0 {
            return Ok(false);
        }
        let (start, tot_len, before) = (*start, *tot_len, bytes.len());
        self.position += count as u64;
        let taken = self.input.split_to(count);
        // A record that lies in one piece of the input is shared, others are put together.
        if before == 0 {
            *bytes = taken;
        } else {
            bytes.extend_from_slice(&taken);
        }
        let now = bytes.len();
        if before < RECORD_HEADER_SIZE
            && let Some(header) = bytes.first_chunk::<RECORD_HEADER_SIZE>()
        {
            let header = RecordHeader::decode(header);
            self.check_record_header(start, &header).map_err(|what| what.at(start))?;
        }
        if now == tot_len {
            self.complete_record(start).map_err(|what| what.at(start))?;
        }
        Ok(true)
    }

    fn check_record_header(&self, start: Lsn, header: &RecordHeader) -> Result<(), Malformation> {
        if !rmgr::is_valid(header.rmid) {
            return Err(Malformation::ResourceManager(header.rmid));
        }
        match self.last_start {
            Some(expected) if header.prev != expected => {
                Err(Malformation::PreviousRecord { got: header.prev, expected })
            }
            // Nothing better is known of the first record: it must at least point backwards.
            None if header.prev >= start => {
                Err(Malformation::PreviousRecord { got: header.prev, expected: start })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn complete_record(&mut self, start: Lsn) -> Result<(), Malformation> {
        let State::Inside { bytes, .. } = &mut self.state else {
            return Ok(());
        };
        let bytes = std::mem::take(bytes).freeze();
        let record = WalRecord { start_lsn: start, end_lsn: self.position.align(), bytes };
        let header = record.header();
        let computed = record_crc(&record.bytes).ok_or(Malformation::RecordLength(header.tot_len))?;
        if computed != header.crc {
            return Err(Malformation::Checksum { computed, found: header.crc });
        }
        self.check_overwrite(&record, &header)?;
        let is_switch = header.rmid == rmgr::XLOG && header.info & RMGR_INFO_MASK == XLOG_SWITCH;
        let end_lsn = if is_switch { self.segment_end(record.end_lsn) } else { record.end_lsn };
        self.state = State::Trailing { record: WalRecord { end_lsn, ..record } };
        Ok(())
    }

    /// Behind a record that was given up stands one that names it (`VerifyOverwriteContrecord`).
    fn check_overwrite(&mut self, record: &WalRecord, header: &RecordHeader) -> Result<(), Malformation> {
        let Some(expected) = self.overwritten.take() else {
            return Ok(());
        };
        let is_overwrite =
            header.rmid == rmgr::XLOG && header.info & RMGR_INFO_MASK == XLOG_OVERWRITE_CONTRECORD;
        // Record header, then the header of main data (id and length), then the LSN.
        let named = record.bytes.get(RECORD_HEADER_SIZE + 2..).and_then(|data| data.first_chunk());
        let got = named.filter(|_| is_overwrite).map(|lsn| Lsn(u64::from_le_bytes(*lsn)));
        if got == Some(expected) { Ok(()) } else { Err(Malformation::OverwrittenRecord { got, expected }) }
    }

    /// The first segment boundary at or behind `lsn`.
    fn segment_end(&self, lsn: Lsn) -> Lsn {
        Lsn(lsn.0.next_multiple_of(self.segment_size.bytes()))
    }
}
