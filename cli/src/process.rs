//! Background processes: started apart from the terminal, found again by their pid file, ended in order.
//!
//! A pid file holds the pid and the start time of the process (field 22 of /proc/PID/stat), so that a pid
//! that was given to another process after a crash or a reboot is not mistaken for ours.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use durable_fs::DurableFs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::output::say;

/// How often something that is awaited is looked at.
const POLL: Duration = Duration::from_millis(10);

pub struct Process {
    name: String,
    directory: PathBuf,
}

/// What a pid file names.
#[derive(Clone, Copy)]
struct Running {
    pid: i32,
    start: u64,
}

impl Running {
    fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start)
    }
}

impl Process {
    /// `name` as in `varve logs NAME`; `directory` is the cluster's run directory.
    pub fn new(name: impl Into<String>, directory: PathBuf) -> Process {
        Process { name: name.into(), directory }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn log_file(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join(format!("{}.pid", self.name))
    }

    /// The pid, if it runs.
    pub fn pid(&self) -> Option<i32> {
        self.running().map(|running| running.pid)
    }

    fn running(&self) -> Option<Running> {
        let text = std::fs::read_to_string(self.pid_file()).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        let named = Running { pid: pid.parse().ok()?, start: start.parse().ok()? };
        named.is_alive().then_some(named)
    }

    /// Starts the program with its output appended to the log. It is not ready yet: see [`Process::wait_ready`].
    pub fn spawn(&self, mut command: Command) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let log = File::options().create(true).append(true).open(self.log_file())?;
        // A group of its own: Ctrl-C in the terminal is for the command line tool, not for the daemons.
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let program = command.get_program().to_owned();
        let child =
            command.spawn().with_context(|| format!("cannot start {}", Path::new(&program).display()))?;
        let pid = child.id().cast_signed();
        let start =
            start_time(pid).with_context(|| format!("{} ended at once{}", self.name, self.last_words()))?;
        DurableFs::default().write_atomically(&self.pid_file(), format!("{pid} {start}\n").as_bytes())?;
        Ok(())
    }

    /// Waits until `ready` answers yes; an early end of the process is an error with its last words.
    pub async fn wait_ready<F>(&self, timeout: Duration, ready: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = bool>,
    {
        if self.becomes_ready(timeout, ready).await? {
            return Ok(());
        }
        bail!("{} ended while it was starting{}", self.name, self.last_words());
    }

    /// Like [`Process::wait_ready`] for one that was found running and may be about to end: false if it ends.
    pub async fn becomes_ready<F>(
        &self,
        timeout: Duration,
        mut ready: impl FnMut() -> F,
    ) -> anyhow::Result<bool>
    where
        F: Future<Output = bool>,
    {
        let started = Instant::now();
        loop {
            if ready().await {
                return Ok(true);
            }
            if self.pid().is_none() {
                return Ok(false);
            }
            if started.elapsed() > timeout {
                bail!("{} is not ready after {} s{}", self.name, timeout.as_secs(), self.last_words());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for it to end by itself. False if it still runs after `timeout`.
    pub async fn ends(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        while self.pid().is_some() {
            if started.elapsed() > timeout {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// Ends it and waits for its end; SIGKILL when that takes longer than `timeout`. False if it did not run. One that another
    /// command starts in its place meanwhile stays.
    pub async fn stop(&self, signal: Signal, timeout: Duration) -> anyhow::Result<bool> {
        let Some(running) = self.running() else {
            self.forget()?;
            return Ok(false);
        };
        let started = Instant::now();
        let mut killed = signal == Signal::SIGKILL;
        // An error means that it is gone already, which the loop will see.
        let _ = kill(Pid::from_raw(running.pid), signal);
        while running.is_alive() {
            if !killed && started.elapsed() > timeout {
                say(&format!("{} did not end within {} s: killing it", self.name, timeout.as_secs()));
                let _ = kill(Pid::from_raw(running.pid), Signal::SIGKILL);
                killed = true;
            }
            tokio::time::sleep(POLL).await;
        }
        self.forget()?;
        Ok(true)
    }

    fn forget(&self) -> anyhow::Result<()> {
        if self.running().is_some() {
            return Ok(());
        }
        match std::fs::remove_file(self.pid_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The end of the log, to go behind an error message.
    pub fn last_words(&self) -> String {
        const LINES: usize = 8;
        let text = std::fs::read(self.log_file()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(LINES).collect();
        if lines.is_empty() {
            return String::new();
        }
        let last: Vec<String> = lines.iter().rev().map(|line| format!("\n  | {line}")).collect();
        format!("; the end of {}:{}", self.log_file().display(), last.concat())
    }
}

/// Start time of a process in clock ticks since boot; None if there is no such process, or only a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything, so count from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_found_again_and_ended() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::new("sleeper", directory.path().to_owned());
        assert_eq!(process.pid(), None);
        let mut command = Command::new("sleep");
        command.arg("600");
        process.spawn(command).unwrap();
        let pid = process.pid().unwrap();
        assert_eq!(Process::new("sleeper", directory.path().to_owned()).pid(), Some(pid));
        assert!(process.stop(Signal::SIGTERM, Duration::from_secs(10)).await.unwrap());
        assert_eq!(process.pid(), None);
        assert!(!process.stop(Signal::SIGTERM, Duration::from_secs(10)).await.unwrap());
    }

    #[tokio::test]
    async fn who_is_started_while_another_is_stopped_stays() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::new("sleeper", directory.path().to_owned());
        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("600");
            command
        };
        process.spawn(sleep()).unwrap();
        let first = process.pid().unwrap();
        let stopping = process.stop(Signal::SIGTERM, Duration::from_secs(10));
        // It has looked once when this begins.
        let starting = async {
            while start_time(first).is_some() {
                std::thread::sleep(Duration::from_millis(1));
            }
            process.spawn(sleep()).unwrap();
        };
        let (stopped, ()) = tokio::join!(stopping, starting);
        assert!(stopped.unwrap());
        let second = process.pid().expect("the second one runs");
        assert_ne!(second, first);
        process.stop(Signal::SIGKILL, Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn an_early_end_comes_with_the_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::new("brief", directory.path().to_owned());
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 0.1; echo port taken >&2; exit 1"]);
        process.spawn(command).unwrap();
        let error = process.wait_ready(Duration::from_secs(10), || async { false }).await.unwrap_err();
        assert!(error.to_string().contains("port taken"), "{error}");
    }

    #[tokio::test]
    async fn one_that_was_found_ending_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::new("fenced", directory.path().to_owned());
        let mut command = Command::new("sleep");
        command.arg("0.3");
        process.spawn(command).unwrap();
        assert!(!process.ends(Duration::ZERO).await);
        assert!(!process.becomes_ready(Duration::from_secs(10), || async { false }).await.unwrap());
        assert!(process.ends(Duration::ZERO).await);
    }

    #[test]
    fn a_reused_pid_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::new("old", directory.path().to_owned());
        std::fs::write(process.pid_file(), format!("{} 1\n", std::process::id())).unwrap();
        assert_eq!(process.pid(), None);
    }
}
