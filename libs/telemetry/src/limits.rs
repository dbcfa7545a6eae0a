//! What the system lets a process have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files: as many as are wanted, as far as the system allows; how many it may have then. Shells give few (1,024), for the sake
/// of programs that are older than a daemon with a thousand connections and its files.
pub fn raise_open_files(wanted: u64) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let aim = wanted.min(hard).max(soft);
    match setrlimit(Resource::RLIMIT_NOFILE, aim, hard) {
        Ok(()) => aim,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            soft
        }
    }
}
