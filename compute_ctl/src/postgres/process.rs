//! The postmaster as our child.
//!
//! The kernel sends a parent-death signal when the *thread* that forked ends, not the process. So each
//! server has a thread of its own that starts it, waits for it, and ends after it.

use std::ffi::OsString;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

use crate::error::ComputeError;
use crate::server_user::ServerUser;

/// What the server gets when compute_ctl dies: an immediate shutdown. Nothing that was acknowledged is
/// lost with it, and unlike SIGKILL it takes the backends along.
const PARENT_DEATH_SIGNAL: Signal = Signal::SIGQUIT;

pub struct ServerCommand {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub directory: PathBuf,
    pub log: PathBuf,
    pub user: ServerUser,
}

pub struct ServerProcess {
    pid: u32,
    /// False as soon as the pid may name something else.
    alive: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl ServerProcess {
    pub async fn start(command: ServerCommand) -> Result<ServerProcess, ComputeError> {
        let program = command.program.clone();
        let (started, start) = oneshot::channel();
        let (exited, exit) = watch::channel(None);
        let alive = Arc::new(Mutex::new(true));
        let keeper = {
            let alive = Arc::clone(&alive);
            move || keep(command, started, &exited, &alive)
        };
        std::thread::Builder::new()
            .name("postgres-keeper".to_owned())
            .spawn(keeper)
            .map_err(ComputeError::file("run", &program))?;
        let gone = || std::io::Error::other("the thread that starts it ended");
        let pid = start.await.unwrap_or_else(|_| Err(gone())).map_err(ComputeError::file("run", &program))?;
        Ok(ServerProcess { pid, alive, exit })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Does nothing if the server has ended.
    pub fn signal(&self, signal: Signal) {
        // Under the lock the pid cannot be reaped and given to another process.
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive && let Err(errno) = kill(Pid::from_raw(self.pid.cast_signed()), signal) {
            tracing::warn!(pid = self.pid, "cannot send {signal} to PostgreSQL: {errno}");
        }
    }

    /// How the server ended, once it has. May be waited for any number of times.
    pub async fn ended(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let seen = exit.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        match seen {
            Some(status) => status,
            // The keeper ended without a status, which only happens if waiting itself is impossible.
            None => std::os::unix::process::ExitStatusExt::from_raw(1 << 8),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.signal(Signal::SIGQUIT);
    }
}

fn keep(
    command: ServerCommand,
    started: oneshot::Sender<std::io::Result<u32>>,
    exited: &watch::Sender<Option<ExitStatus>>,
    alive: &Mutex<bool>,
) {
    let mut child = match build(command).and_then(|mut command| command.spawn()) {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(child.id()));
    let pid = Pid::from_raw(child.id().cast_signed());
    // First only look, so that the pid stays taken until `alive` says that it is not.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {
    }
    let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
    *alive = false;
    if let Ok(status) = child.wait() {
        exited.send_replace(Some(status));
    }
}

fn build(server: ServerCommand) -> std::io::Result<Command> {
    let log = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(&server.log)?;
    server.user.own(&server.log)?;
    let mut command = Command::new(&server.program);
    command.args(&server.arguments).current_dir(&server.directory);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Nothing of the caller's environment may change what the server does.
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C.UTF-8");
    // libpq, which connects to storage, looks for certificates below it; the caller's may be closed to the server's user.
    command.env("HOME", &server.directory);
    // A group of its own: Ctrl-C at a terminal is for compute_ctl, which then stops the server in order.
    command.process_group(0);
    if let Some((uid, gid)) = server.user.ids() {
        command.uid(uid).gid(gid);
    }
    set_parent_death_signal(&mut command);
    Ok(command)
}

/// The one unsafe place of compute_ctl. Between fork and exec only async-signal-safe calls are allowed:
/// prctl and getppid are plain system calls that allocate nothing and take no lock.
#[allow(unsafe_code, reason = "pre_exec is the only way to run prctl in the child")]
fn set_parent_death_signal(command: &mut Command) {
    let parent = nix::unistd::getpid();
    // SAFETY: see above; the closure owns a Copy value and touches no shared state.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(PARENT_DEATH_SIGNAL)?;
            // The parent may have died before the line above, then the signal will never come.
            if nix::unistd::getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(root: &tempfile::TempDir, script: &str) -> ServerCommand {
        ServerCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: "/".into(),
            log: root.path().join("log"),
            user: ServerUser::find().unwrap(),
        }
    }

    #[tokio::test]
    async fn the_end_of_the_child_is_seen_and_its_output_kept() {
        let root = tempfile::tempdir().unwrap();
        let process = ServerProcess::start(command(&root, "echo words; exit 3")).await.unwrap();
        assert_eq!(process.ended().await.code(), Some(3));
        assert_eq!(process.ended().await.code(), Some(3));
        process.signal(Signal::SIGKILL);
        assert_eq!(std::fs::read_to_string(root.path().join("log")).unwrap(), "words\n");
    }

    #[tokio::test]
    async fn a_dropped_server_ends() {
        let root = tempfile::tempdir().unwrap();
        let process = ServerProcess::start(command(&root, "exec sleep 60")).await.unwrap();
        let mut exit = process.exit.clone();
        drop(process);
        let status = exit.wait_for(Option::is_some).await.unwrap().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGQUIT as i32));
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let missing = ServerCommand { program: "/nonexistent/postgres".into(), ..command(&root, "") };
        let error = ServerProcess::start(missing).await.err().unwrap().to_string();
        assert!(error.contains("/nonexistent/postgres"), "{error}");
    }
}
