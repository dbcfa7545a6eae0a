//! Ranges of ports, one per running cluster, across all test processes of the machine.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;
/// As many as `varve --port-base` may use.
const SPAN: u16 = 200;

/// A range of ports that is this process's while the value lives.
pub struct PortRange {
    pub base: u16,
    _lock: Flock<File>,
}

impl PortRange {
    pub fn reserve() -> PortRange {
        let directory: PathBuf = std::env::temp_dir().join("varve-test-ports");
        std::fs::create_dir_all(&directory).expect("a directory for port locks");
        for base in (FIRST..LAST).step_by(usize::from(SPAN)) {
            let file = File::create(directory.join(base.to_string())).expect("a port lock file");
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
                && (base..base + SPAN).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
            {
                return PortRange { base, _lock: lock };
            }
        }
        panic!("no free range of {SPAN} ports between {FIRST} and {LAST}");
    }
}
