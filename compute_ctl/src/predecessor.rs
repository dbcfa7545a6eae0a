//! Ending what an earlier compute_ctl left behind in the same place, before the election.
//!
//! Two servers over one data directory, one being wiped under the other, must never be. The lock on
//! `compute_ctl.pid` says whether a predecessor lives; a process is only ever ended after /proc has shown
//! that it is what the file says. Servers are found by their working directory, which PostgreSQL sets to
//! its data directory: that finds the orphans of a killed postmaster too. It has to be this very directory: a machine
//! sees the processes of its containers as well, and each of them may have another one under the same name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::ComputeError;
use crate::paths::ComputePaths;

/// How long the server of a predecessor gets for an immediate shutdown. PostgreSQL itself kills what
/// has not ended after five seconds.
const SERVER_PATIENCE: Duration = Duration::from_secs(7);
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// Held for the life of this process: nobody else works on this compute's directories.
#[derive(Debug)]
pub struct PidFile {
    _lock: Flock<File>,
}

/// Ends a predecessor and its server, if any, and takes the place. Blocks.
pub fn take_over(paths: &ComputePaths) -> Result<PidFile, ComputeError> {
    let lock = lock_pid_file(paths)?;
    end_servers(&paths.pgdata)?;
    Ok(PidFile { _lock: lock })
}

fn lock_pid_file(paths: &ComputePaths) -> Result<Flock<File>, ComputeError> {
    let path = &paths.pid_file;
    let failed = || ComputeError::file("lock", path);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed())?;
    let deadline = Instant::now() + KILL_PATIENCE;
    let mut killed = None;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                let pid = std::process::id().to_string();
                lock.set_len(0).and_then(|()| lock.rewind()).map_err(failed())?;
                lock.write_all(pid.as_bytes()).map_err(failed())?;
                return Ok(lock);
            }
            Err((back, Errno::EWOULDBLOCK)) => file = back,
            Err((_, errno)) => return Err(failed()(errno.into())),
        }
        let pid = read_pid(&mut file);
        match pid {
            // A container that shares the directory may have written the number that is ours in this one.
            Some(pid) if pid.cast_unsigned() == std::process::id() => {}
            Some(pid) if killed != Some(pid) && is_compute_ctl_of(pid, &paths.pgdata) => {
                tracing::warn!(pid, "ending the compute_ctl that is still running here");
                end(pid, Signal::SIGKILL);
                killed = Some(pid);
            }
            Some(_) | None => {}
        }
        if Instant::now() > deadline {
            return Err(ComputeError::PredecessorHolds { pid: pid.unwrap_or_default(), path: path.clone() });
        }
        std::thread::sleep(POLL);
    }
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 1)
}

/// A compute_ctl with this data directory on its command line.
fn is_compute_ctl_of(pid: i32, pgdata: &Path) -> bool {
    let Ok(command_line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let mut names_pgdata = false;
    for argument in command_line.split(|byte| *byte == 0) {
        let argument = String::from_utf8_lossy(argument);
        let value = argument.strip_prefix("--pgdata=").unwrap_or(&argument);
        // The path may have been given relative to where it was started.
        let named = directory.join(value);
        let same_home = named.parent().and_then(|home| home.canonicalize().ok());
        names_pgdata |= same_home.as_deref() == pgdata.parent() && named.file_name() == pgdata.file_name();
    }
    names_pgdata && executable_name(pid).is_some_and(|name| name.starts_with("compute_ctl"))
}

/// Ends every server process that works in this data directory.
pub fn end_servers(pgdata: &Path) -> Result<(), ComputeError> {
    if server_processes(pgdata).is_empty() {
        return Ok(());
    }
    if let Some(postmaster) = running_postmaster(pgdata) {
        tracing::warn!(pid = postmaster, "ending the PostgreSQL that is still running here");
        end(postmaster, Signal::SIGQUIT);
        wait_until_gone(pgdata, SERVER_PATIENCE);
    }
    for pid in server_processes(pgdata) {
        end(pid, Signal::SIGKILL);
    }
    wait_until_gone(pgdata, KILL_PATIENCE);
    match server_processes(pgdata).first() {
        Some(&pid) => Err(ComputeError::PredecessorServer { pid, path: pgdata.to_owned() }),
        None => Ok(()),
    }
}

/// The server that works in this data directory, if one does.
pub fn running_postmaster(pgdata: &Path) -> Option<i32> {
    postmaster_pid(pgdata).filter(|pid| works_in(*pid, pgdata))
}

fn wait_until_gone(pgdata: &Path, patience: Duration) {
    let deadline = Instant::now() + patience;
    while !server_processes(pgdata).is_empty() && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
}

fn postmaster_pid(pgdata: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(pgdata.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok().filter(|pid| *pid > 1)
}

fn server_processes(pgdata: &Path) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| works_in(*pid, pgdata)).collect()
}

fn works_in(pid: i32, pgdata: &Path) -> bool {
    is_the_same(&Path::new("/proc").join(pid.to_string()).join("cwd"), pgdata)
        && executable_name(pid).as_deref() == Some("postgres")
}

fn is_the_same(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (one.metadata(), other.metadata()) else { return false };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn executable_name(pid: i32) -> Option<String> {
    let path: PathBuf = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // A binary that was replaced since is shown with a note behind its name.
    Some(path.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned())
}

fn end(pid: i32, signal: Signal) {
    if let Err(errno) = kill(Pid::from_raw(pid), signal) {
        tracing::debug!(pid, "it had ended already: {errno}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_pid_file_harms_nobody() {
        let root = tempfile::tempdir().unwrap();
        let paths = ComputePaths::new(&root.path().join("pgdata")).unwrap();
        // Our own pid is alive, but nobody holds the lock, and we are not a compute_ctl of that place.
        std::fs::write(&paths.pid_file, std::process::id().to_string()).unwrap();
        take_over(&paths).unwrap();
        assert!(!is_compute_ctl_of(std::process::id().cast_signed(), &paths.pgdata));
    }

    /// Something that runs as `postgres` and works in a directory, where the words before have put it.
    fn server(before: &str, place: &Path) -> std::process::Child {
        let binary = place.with_file_name("postgres");
        if !binary.exists() {
            std::fs::copy("/bin/sleep", &binary).unwrap();
        }
        let (place, binary) = (place.display(), binary.display());
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        let child = command.arg(format!("{before} cd {place} && exec {binary} 60")).spawn().unwrap();
        let deadline = Instant::now() + KILL_PATIENCE;
        let pid = child.id().cast_signed();
        while executable_name(pid).as_deref() != Some("postgres") {
            assert!(Instant::now() < deadline, "the server does not begin");
            std::thread::sleep(POLL);
        }
        child
    }

    #[test]
    fn a_server_in_this_very_directory_is_ended_and_one_in_a_namesake_is_not() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().canonicalize().unwrap().join("pgdata");
        std::fs::create_dir(&place).unwrap();
        // As in a container: what is mounted there is seen by that process alone.
        let mut elsewhere = server(&format!("mount -t tmpfs none {} &&", place.display()), &place);
        let link = std::fs::read_link(format!("/proc/{}/cwd", elsewhere.id())).unwrap();
        assert_eq!(link, place, "it bears the same name");
        let mut here = server("", &place);
        end_servers(&place).unwrap();
        assert!(!here.wait().unwrap().success());
        assert!(elsewhere.try_wait().unwrap().is_none(), "it is somebody else's");
        elsewhere.kill().unwrap();
        elsewhere.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_no_server_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().canonicalize().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").current_dir(&place).spawn().unwrap();
        std::fs::write(place.join("postmaster.pid"), child.id().to_string()).unwrap();
        end_servers(&place).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
