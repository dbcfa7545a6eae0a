//! Where an import has its copy: a directory among temporary files, to which a link in the cluster's directory leads, and from
//! which another leads back. It goes with the import; that of one that was killed, when the next one begins.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::commands::endpoint::remove_directory;
use crate::local_env::LocalEnv;
use crate::output::say;

const LINK: &str = "import";
/// The way back: a copy of the cluster's directory has the link as well, and must not remove what the cluster works on.
const OWNER: &str = "cluster";
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
            let owner = left.join(OWNER).read_link();
            if owner.is_ok_and(|owner| owner == env.directory) {
                remove_left(&left);
            } else if left.exists() {
                say(&format!("{} is left as it is: it is no import's of this cluster", left.display()));
            }
            std::fs::remove_file(&link)?;
        }
        // PostgreSQL may have to run as a user who cannot get to the cluster's directory.
        let directory = tempfile::Builder::new().prefix("varve-import-").tempdir()?.keep().canonicalize()?;
        let scratch = Scratch { directory, link };
        for (to, link) in
            [(&env.directory, &scratch.directory.join(OWNER)), (&scratch.directory, &scratch.link)]
        {
            symlink(to, link).with_context(|| format!("cannot make {}", link.display()))?;
        }
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

    fn cluster(place: &Path) -> LocalEnv {
        let config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        LocalEnv::create(place, config).unwrap()
    }

    #[test]
    fn what_a_killed_import_has_left_goes_with_the_next_one() {
        let place = tempfile::tempdir().unwrap();
        let env = cluster(place.path());
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

    #[test]
    fn what_a_copied_link_leads_to_stays() {
        let (place, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at_work = Scratch::new(&cluster(place.path())).unwrap();
        let copy = cluster(copy.path());
        symlink(at_work.path(), copy.directory.join(LINK)).unwrap();
        let other = Scratch::new(&copy).unwrap();
        assert!(at_work.path().is_dir());
        assert_ne!(other.path(), at_work.path());
    }
}
