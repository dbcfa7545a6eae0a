//! The operating-system user that PostgreSQL runs as.
//!
//! PostgreSQL refuses to run as root. When compute_ctl is root, the server becomes user `postgres`, and
//! everything in its data directory is made with that user's file-system identity: files get the right
//! owner as they are created, and a base backup can reach no file that the server could not reach itself.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, geteuid, setfsgid, setfsuid};

use crate::error::ComputeError;

const SERVER_USER: &str = "postgres";

#[derive(Clone, Copy, Debug)]
pub struct ServerUser {
    /// None: the server runs as whoever runs compute_ctl.
    switch_to: Option<(Uid, Gid)>,
}

impl ServerUser {
    pub fn find() -> Result<ServerUser, ComputeError> {
        if !geteuid().is_root() {
            return Ok(ServerUser { switch_to: None });
        }
        let user = User::from_name(SERVER_USER).ok().flatten().ok_or(ComputeError::NoServerUser)?;
        Ok(ServerUser { switch_to: Some((user.uid, user.gid)) })
    }

    /// Uid and gid that the server process has to take on.
    pub fn ids(self) -> Option<(u32, u32)> {
        self.switch_to.map(|(uid, gid)| (uid.as_raw(), gid.as_raw()))
    }

    pub fn uid(self) -> u32 {
        self.switch_to.map_or_else(geteuid, |(uid, _)| uid).as_raw()
    }

    /// Gives one file or directory to the server.
    pub fn own(self, path: &Path) -> std::io::Result<()> {
        match self.switch_to {
            Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid.as_raw()), Some(gid.as_raw())),
            None => Ok(()),
        }
    }

    /// Does file-system work as the server would do it. Blocks; the identity belongs to a thread that
    /// ends with the work, so that it cannot leak to anything else.
    pub fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        let Some((uid, gid)) = self.switch_to else { return work() };
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setfsgid(gid);
                setfsuid(uid);
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The server must be able to walk to its data directory. A home directory of root's is the usual
    /// reason why it cannot, and PostgreSQL's own message does not name the directory that is in the way.
    pub fn check_reachable(self, path: &Path) -> Result<(), ComputeError> {
        let blocked: Option<PathBuf> = self.run(|| {
            let mut ancestors: Vec<&Path> = path.ancestors().collect();
            ancestors.reverse();
            // Resolving a name inside a directory is what needs the permission to enter it.
            ancestors
                .into_iter()
                .find(|directory| {
                    let inside = std::fs::symlink_metadata(directory.join("."));
                    inside.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
                })
                .map(Path::to_owned)
        });
        blocked.map_or(Ok(()), |directory| Err(ComputeError::NotReachable { directory, user: SERVER_USER }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_in_the_way_is_named() {
        let user = ServerUser::find().unwrap();
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().join("closed");
        std::fs::create_dir_all(closed.join("data")).unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(user.check_reachable(&closed.join("data")).is_ok());
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = user.check_reachable(&closed.join("data")).unwrap_err().to_string();
        assert!(error.contains("closed"), "{error}");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}
