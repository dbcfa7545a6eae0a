//! Where an import has its copy: a directory among temporary files, to which a link in the cluster's directory leads. It goes
//! with the import; that of one that was killed, when the next one begins.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::commands::endpoint::remove_directory;
use crate::local_env::LocalEnv;
use crate::output::say;

const LINK: &str = "import";
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

pub struct Scratch {
    directory: PathBuf,
    link: PathBuf,
}

impl Scratch {
    /// The caller holds the cluster's lock: there is one at a time.
    pub fn new(env: &LocalEnv) -> anyhow::Result<Scratch> {
        let link = env.directory.join(LINK);
        if let Ok(left) = link.read_link() {
            remove_left(&left);
            std::fs::remove_file(&link)?;
        }
        // PostgreSQL may have to run as a user who cannot get to the cluster's directory.
        let directory = tempfile::Builder::new().prefix("varve-import-").tempdir()?.keep().canonicalize()?;
        let scratch = Scratch { directory, link };
        symlink(&scratch.directory, &scratch.link)
            .with_context(|| format!("cannot make {}", scratch.link.display()))?;
        std::fs::set_permissions(&scratch.directory, PermissionsExt::from_mode(0o755))?;
        Ok(scratch)
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }
}

/// A PostgreSQL that is still at work there may make files while others go, and ends by itself for want of them.
fn remove_left(directory: &Path) {
    let started = Instant::now();
    while let Err(error) = remove_directory(directory) {
        if started.elapsed() > PATIENCE {
            return say(&format!("{error:#}; an import that was killed has left it"));
        }
        std::thread::sleep(POLL);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: the next import tries again.
        if remove_directory(&self.directory).is_ok() {
            let _ = std::fs::remove_file(&self.link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_env::{Config, Installation};

    #[test]
    fn what_a_killed_import_has_left_goes_with_the_next_one() {
        let place = tempfile::tempdir().unwrap();
        let config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        let env = LocalEnv::create(place.path(), config).unwrap();
        let killed = Scratch::new(&env).unwrap();
        let left = killed.path().to_owned();
        std::fs::create_dir_all(left.join("data/base")).unwrap();
        std::mem::forget(killed);
        let next = Scratch::new(&env).unwrap();
        let (directory, link) = (next.path().to_owned(), env.directory.join(LINK));
        assert!(!left.exists() && directory.is_dir() && link.read_link().unwrap() == directory);
        drop(next);
        assert!(!directory.exists() && link.read_link().is_err());
    }
}
