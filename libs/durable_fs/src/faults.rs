//! The seam for tests: each step asks first, and a test answers with an error.

use std::io;
use std::path::Path;

/// One system call's worth of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    CreateFile,
    Open,
    Write,
    SetLength,
    SyncFile,
    Rename,
    Remove,
    CreateDirectory,
    SyncDirectory,
}

impl Step {
    pub const fn verb(self) -> &'static str {
        match self {
            Step::CreateFile => "create",
            Step::Open => "open",
            Step::Write => "write",
            Step::SetLength => "set the length of",
            Step::SyncFile | Step::SyncDirectory => "fsync",
            Step::Rename => "rename",
            Step::Remove => "remove",
            Step::CreateDirectory => "create directory",
        }
    }
}

/// Asked before each step. An error is returned to the caller as if the system had given it, and the
/// step is not done: so a crash is played by failing everything from some step on.
pub trait Faults: Send + Sync {
    fn before(&self, step: Step, path: &Path) -> io::Result<()>;
}

/// The real world.
pub struct NoFaults;

impl Faults for NoFaults {
    fn before(&self, _step: Step, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}
