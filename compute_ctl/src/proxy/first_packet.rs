//! What a client that has just connected wants, as far as eight bytes tell.
//!
//! ```text
//! 0  4  length of the packet, these bytes included, big endian
//! 4  4  major version << 16 | minor version, or a code whose "major version" is 1234
//! ```
//! Facts: `src/include/libpq/pqcomm.h`, `ProcessStartupPacket` in `postmaster.c` (15) or `backend_startup.c` (17).

/// Bytes that are read before a client is passed on.
pub const HEAD: usize = 8;

/// `MAX_STARTUP_PACKET_LENGTH`
const LONGEST: u32 = 10_000;
const CANCEL_REQUEST: u32 = 1234 << 16 | 5678;
const SSL_REQUEST: u32 = 1234 << 16 | 5679;
const GSSENC_REQUEST: u32 = 1234 << 16 | 5680;
/// The first byte of a TLS handshake: a client that does not ask before (`sslnegotiation=direct`).
const TLS_HANDSHAKE: u8 = 0x16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A session.
    Session,
    /// Something that only a server that runs can do, or refuse in its own words: a query is to be cancelled, or this is
    /// no client of PostgreSQL's.
    NothingWithoutServer,
}

/// Of at least so many bytes as [`HEAD`].
pub fn intent(packet: &[u8]) -> Intent {
    let Some((&[a, b, c, d, e, f, g, h], _)) = packet.split_first_chunk::<HEAD>() else {
        return Intent::NothingWithoutServer;
    };
    let (length, code) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    let is_start = match code {
        CANCEL_REQUEST => false,
        SSL_REQUEST | GSSENC_REQUEST => length == 8,
        version => version >> 16 == 3 && (9..=LONGEST).contains(&length),
    };
    if is_start || a == TLS_HANDSHAKE { Intent::Session } else { Intent::NothingWithoutServer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: u32, code: u32) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&length.to_be_bytes());
        head[4..].copy_from_slice(&code.to_be_bytes());
        head
    }

    #[test]
    fn sessions_are_told_from_everything_else() {
        for session in [head(8, 80_877_103), head(8, 80_877_104), head(41, 3 << 16), head(41, 3 << 16 | 2)] {
            assert_eq!(intent(&session), Intent::Session, "{session:?}");
        }
        let tls = [0x16, 3, 1, 2, 0, 1, 0, 1];
        assert_eq!(intent(&tls), Intent::Session);
        let long_tls = head(0x1603_0105, 0x2d01_0001);
        assert_eq!(intent(&long_tls), Intent::Session);
        for other in
            [head(16, 80_877_102), head(8, 3 << 16), head(10_001, 3 << 16), head(41, 2 << 16), *b"GET / HT"]
        {
            assert_eq!(intent(&other), Intent::NothingWithoutServer, "{other:?}");
        }
    }
}
