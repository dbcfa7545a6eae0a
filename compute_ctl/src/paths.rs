//! Where a compute keeps what. The parent of the data directory belongs to one compute alone:
//!
//! ```text
//! <home>/pgdata/            made anew at nearly every start (the name is the caller's, --pgdata)
//!        compute_ctl.pid    locked while a compute_ctl lives
//!        kept.json          where a server stopped whose data directory can be gone on with
//!        postgres.log
//!        token, passfile    the token of this compute, readable by the server's user
//!        server.crt, .key   what the server shows to clients, if it shows anything
//!        ca.crt             whom the server believes as a client of storage, if that speaks TLS
//!        socket/            mode 0700: who is in here is the bootstrap superuser
//!        socket/spans       where the server's processes report spans of traces, if somebody wants them
//!        varve_tblspc/<oid> tablespaces of the timeline, made anew too
//! ```

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::ComputeError;
use crate::server_user::ServerUser;

#[derive(Clone, Debug)]
pub struct ComputePaths {
    pub pgdata: PathBuf,
    pub pid_file: PathBuf,
    pub kept: PathBuf,
    pub log: PathBuf,
    pub token: PathBuf,
    pub passfile: PathBuf,
    pub certificate: PathBuf,
    pub certificate_key: PathBuf,
    pub authority: PathBuf,
    pub socket: PathBuf,
    pub spans: PathBuf,
    pub tablespaces: PathBuf,
}

/// Removes a file. One that is not there is fine.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl ComputePaths {
    /// Makes the home if need be, and names everything in it by its real path.
    pub fn new(pgdata: &Path) -> Result<ComputePaths, ComputeError> {
        let absolute = std::path::absolute(pgdata).map_err(ComputeError::file("find", pgdata))?;
        let (Some(home), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(ComputeError::NotOurs { path: absolute });
        };
        std::fs::create_dir_all(home).map_err(ComputeError::file("create", home))?;
        let home = home.canonicalize().map_err(ComputeError::file("find", home))?;
        let socket = compute_api::socket_directory(&home);
        Ok(ComputePaths {
            pgdata: home.join(name),
            pid_file: home.join("compute_ctl.pid"),
            kept: home.join("kept.json"),
            log: home.join("postgres.log"),
            token: home.join("token"),
            passfile: home.join("passfile"),
            certificate: home.join("server.crt"),
            certificate_key: home.join("server.key"),
            authority: home.join("ca.crt"),
            tablespaces: home.join("varve_tblspc"),
            spans: socket.join("spans"),
            socket,
        })
    }

    /// What holds all of them.
    pub fn home(&self) -> &Path {
        self.pgdata.parent().expect("new() put it into one")
    }

    /// Makes what lies beside the data directory, for the server's user and nobody else.
    pub fn prepare(&self, user: ServerUser) -> Result<(), ComputeError> {
        for directory in [&self.pgdata, &self.socket, &self.tablespaces] {
            private_directory(directory, user)?;
        }
        user.check_reachable(&self.pgdata)
    }

    /// Removes what a server that has ended left in the socket directory. PostgreSQL believes in a lock file
    /// there whose process id is somebody's again: after a reboot, or at once in a new container, where
    /// the same few ids come back. What `keep` names is somebody else's.
    pub fn remove_sockets(&self, keep: Option<&str>) -> Result<(), ComputeError> {
        let failed = || ComputeError::file("clear", &self.socket);
        for entry in std::fs::read_dir(&self.socket).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".s.PGSQL.") && Some(&*name) != keep {
                std::fs::remove_file(entry.path()).map_err(failed())?;
            }
        }
        Ok(())
    }
}

/// What PostgreSQL calls the socket of a port (`UNIXSOCK_PATH` in pqcomm.h).
pub fn socket_name(port: u16) -> String {
    format!(".s.PGSQL.{port}")
}

/// A directory of mode 0700 that belongs to the server's user. One that somebody else made first, or a
/// link to elsewhere, is refused: the socket directory may lie in /tmp.
fn private_directory(path: &Path, user: ServerUser) -> Result<(), ComputeError> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => user.own(path).map_err(ComputeError::file("give away", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = std::fs::symlink_metadata(path).map_err(ComputeError::file("look at", path))?;
            let ours = metadata.uid() == user.uid() || metadata.uid() == nix::unistd::geteuid().as_raw();
            if !metadata.is_dir() || !ours {
                return Err(ComputeError::NotOurs { path: path.to_owned() });
            }
            let open = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(path, open).map_err(ComputeError::file("close", path))?;
            user.own(path).map_err(ComputeError::file("give away", path))
        }
        Err(error) => Err(ComputeError::file("create", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_dead_server_go_and_nothing_else_does() {
        let root = tempfile::tempdir().unwrap();
        let paths = ComputePaths::new(&root.path().join("pgdata")).unwrap();
        paths.prepare(ServerUser::find().unwrap()).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(paths.socket.join(".s.PGSQL.5432")).unwrap();
        // The lock of a postmaster whose process id somebody has again: ours.
        let lock = std::process::id().to_string();
        std::fs::write(paths.socket.join(".s.PGSQL.5432.lock"), lock).unwrap();
        std::fs::write(paths.socket.join("else"), "").unwrap();
        let _kept = std::os::unix::net::UnixListener::bind(paths.socket.join(".s.PGSQL.54320")).unwrap();
        paths.remove_sockets(Some(".s.PGSQL.54320")).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(&paths.socket).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".s.PGSQL.54320", "else"]);
    }

    #[test]
    fn everything_beside_the_data_directory_is_private() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let paths = ComputePaths::new(&root.path().join("pgdata")).unwrap();
        let user = ServerUser::find().unwrap();
        for _ in 0..2 {
            paths.prepare(user).unwrap();
        }
        for (path, mode) in [(&paths.socket, 0o700), (&paths.pgdata, 0o700), (&paths.tablespaces, 0o700)] {
            let metadata = std::fs::metadata(path).unwrap();
            assert_eq!((metadata.mode() & 0o777, metadata.uid()), (mode, user.uid()), "{path:?}");
        }
    }
}
