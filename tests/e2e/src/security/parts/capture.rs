//! [`Capture`]: what goes over the loop-back interface to and from some ports, as a packet socket sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// All that was captured of each port, in the order in which it came.
type Bytes = BTreeMap<u16, Vec<u8>>;

pub struct Capture {
    stop: Arc<AtomicBool>,
    capturing: JoinHandle<Bytes>,
}

pub struct Seen {
    bytes: BTreeMap<u16, usize>,
    /// The ports where each of the patterns was.
    ports: Vec<BTreeSet<u16>>,
}

impl Capture {
    /// Of packets that go to one of these ports or come from it.
    pub fn start(ports: &[u16]) -> Capture {
        let flags = SockFlag::SOCK_CLOEXEC;
        let packets = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)
            .expect("a packet socket, which takes root");
        setsockopt(&packets, sockopt::RcvBufForce, &(256 << 20)).expect("room for packets");
        setsockopt(&packets, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100)).expect("a time-out");
        let stop = Arc::new(AtomicBool::new(false));
        let (told, ports) = (stop.clone(), ports.iter().copied().collect::<BTreeSet<_>>());
        let capturing = std::thread::spawn(move || {
            let (mut captured, mut packet) = (Bytes::new(), vec![0; 1 << 17]);
            while !told.load(Ordering::Relaxed) {
                if let Ok(length) = recv(packets.as_raw_fd(), &mut packet, MsgFlags::empty())
                    && let Some((ends, payload)) = take_apart(&packet[..length])
                    && let Some(port) = ends.into_iter().find(|port| ports.contains(port))
                {
                    captured.entry(port).or_default().extend_from_slice(payload);
                }
            }
            captured
        });
        Capture { stop, capturing }
    }

    pub fn stop(self, patterns: &[&[u8]]) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let captured = self.capturing.join().expect("no panic");
        let has = |pattern: &[u8]| {
            let ports = captured.iter().filter(|(_, bytes)| memchr::memmem::find(bytes, pattern).is_some());
            ports.map(|(port, _)| *port).collect()
        };
        Seen {
            ports: patterns.iter().map(|pattern| has(pattern)).collect(),
            bytes: captured.iter().map(|(port, bytes)| (*port, bytes.len())).collect(),
        }
    }
}

impl Seen {
    /// Payload to and from a port.
    pub fn bytes(&self, port: u16) -> usize {
        self.bytes.get(&port).copied().unwrap_or_default()
    }

    /// Where the pattern of that number was.
    pub fn of(&self, pattern: usize) -> &BTreeSet<u16> {
        &self.ports[pattern]
    }
}

/// Ports and payload of a packet of TCP over IPv4.
fn take_apart(packet: &[u8]) -> Option<([u16; 2], &[u8])> {
    const TCP: u8 = 6;
    let header = usize::from(packet.first()? & 0xf) * 4;
    if packet[0] >> 4 != 4 || *packet.get(9)? != TCP {
        return None;
    }
    let segment = packet.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]));
    let payload = segment.get(usize::from(*segment.get(12)? >> 4) * 4..)?;
    Some(([port(0)?, port(2)?], payload))
}
