//! What the system lets a process have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files: as many as it may have at all. Shells give few (1,024), for the sake of programs that are older than a daemon with
/// a thousand connections and its files.
pub fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
