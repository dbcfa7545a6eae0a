//! `logs --follow`: what is added to logs, until Ctrl-C or until nobody reads it any more.
//!
//! A log is followed by its name: when it is rotated, deleted and made again, or cut, the new content is what
//! follows. A log that does not exist yet is waited for.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::sync::oneshot;

use super::Log;
use super::tail::{Splitter, start_of_last};
use crate::arguments::Lines;

/// How often files are looked at.
const POLL: Duration = Duration::from_millis(100);

pub async fn follow(logs: Vec<Log>, labels: Vec<String>, lines: Lines) -> anyhow::Result<()> {
    let mut followed = Vec::new();
    for log in logs {
        followed.push(Follower::begin(log, lines)?);
    }
    let (failed, failure) = oneshot::channel();
    // Reading and writing block, and a writer that blocks must not keep Ctrl-C from being heard. The thread ends
    // with the process.
    std::thread::spawn(move || failed.send(pump(followed, &labels)));
    tokio::select! {
        outcome = failure => outcome?,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        () = reader_goes_away() => Ok(()),
    }
}

fn pump(mut followed: Vec<Follower>, labels: &[String]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    loop {
        for (follower, label) in followed.iter_mut().zip(labels) {
            let mut print = |line: &[u8]| Ok(stdout.write_all(&[label.as_bytes(), line].concat())?);
            let outcome = follower.poll(&mut print).and_then(|()| Ok(stdout.flush()?));
            match outcome {
                Err(error) if is_closed(&error) => return Ok(()),
                outcome => outcome?,
            }
        }
        std::thread::sleep(POLL);
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// So that `varve logs -f main | grep -m 1 ready` ends with grep and not with the next line. Does not return where
/// standard output is no pipe.
async fn reader_goes_away() {
    let watched = io::stdout().as_fd().try_clone_to_owned();
    // Nothing is written through it, so it need not be set to non-blocking. A file cannot be watched like that.
    if let Ok(stdout) = watched.and_then(Sender::from_owned_fd_unchecked)
        && stdout.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// A file as it was when it was opened.
struct Opened {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    position: u64,
}

struct Follower {
    log: Log,
    opened: Option<Opened>,
    splitter: Splitter,
}

impl Follower {
    /// From so many lines before the end of what there is now.
    fn begin(log: Log, lines: Lines) -> anyhow::Result<Follower> {
        let mut opened = open(&log)?;
        if let Some(opened) = &mut opened {
            opened.position = start_of_last(&mut opened.file, lines)?;
            opened.file.seek(SeekFrom::Start(opened.position))?;
        }
        Ok(Follower { log, opened, splitter: Splitter::default() })
    }

    /// Prints what came since the last time.
    fn poll(&mut self, print: &mut impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.read(print)?;
        // Looked at after the reading: what was written before the file was replaced is read once more below.
        let now = std::fs::metadata(&self.log.file).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let before = self.opened.as_ref().map(|opened| opened.identity);
        // A file that is gone may still be written to by whoever has it open.
        if now.is_none() || now == before {
            return Ok(());
        }
        self.read(print)?;
        self.splitter.finish(print)?;
        self.opened = open(&self.log)?;
        self.read(print)
    }

    fn read(&mut self, print: &mut impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let Some(opened) = &mut self.opened else { return Ok(()) };
        if opened.file.metadata()?.len() < opened.position {
            self.splitter.finish(print)?;
            opened.position = 0;
            opened.file.rewind()?;
        }
        opened.position += self.splitter.read(&mut opened.file, print)?;
        Ok(())
    }
}

fn open(log: &Log) -> anyhow::Result<Option<Opened>> {
    let Some(file) = super::open(log)? else { return Ok(None) };
    let metadata = file.metadata()?;
    Ok(Some(Opened { file, identity: (metadata.dev(), metadata.ino()), position: 0 }))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    struct World {
        place: tempfile::TempDir,
        follower: Follower,
    }

    impl World {
        fn new(content: Option<&str>, lines: Lines) -> World {
            let place = tempfile::tempdir().unwrap();
            let file = place.path().join("part.log");
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let follower = Follower::begin(Log { name: "part".into(), file }, lines).unwrap();
            World { place, follower }
        }

        fn file(&self) -> PathBuf {
            self.place.path().join("part.log")
        }

        fn add(&self, text: &str) {
            append(&self.file(), text);
        }

        fn printed(&mut self) -> String {
            let mut printed = Vec::new();
            self.follower
                .poll(&mut |line| {
                    printed.extend_from_slice(line);
                    Ok(())
                })
                .unwrap();
            String::from_utf8(printed).unwrap()
        }
    }

    fn append(file: &Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_added_follows_the_last_lines() {
        let mut world = World::new(Some("one\ntwo\nthree\n"), Lines::Last(2));
        assert_eq!(world.printed(), "two\nthree\n");
        assert_eq!(world.printed(), "");
        world.add("fo");
        assert_eq!(world.printed(), "");
        world.add("ur\nfive\n");
        assert_eq!(world.printed(), "four\nfive\n");
    }

    #[test]
    fn a_rotated_log_goes_on_and_loses_nothing() {
        let mut world = World::new(Some("one\n"), Lines::Last(0));
        let rotated = world.place.path().join("part.log.1");
        std::fs::rename(world.file(), &rotated).unwrap();
        append(&rotated, "two\n");
        assert_eq!(world.printed(), "two\n", "whoever has the old file open still writes to it");
        append(&rotated, "three\nhalf a line");
        world.add("four\n");
        assert_eq!(world.printed(), "three\nhalf a line\nfour\n");
        world.add("five\n");
        assert_eq!(world.printed(), "five\n");
    }

    #[test]
    fn a_log_that_is_cut_or_made_again_is_read_from_its_beginning() {
        let mut world = World::new(Some("one\ntwo\n"), Lines::All);
        assert_eq!(world.printed(), "one\ntwo\n");
        std::fs::write(world.file(), "new\n").unwrap();
        assert_eq!(world.printed(), "new\n");
        std::fs::remove_file(world.file()).unwrap();
        assert_eq!(world.printed(), "");
        world.add("newer\n");
        assert_eq!(world.printed(), "newer\n");
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_waited_for() {
        let mut world = World::new(None, Lines::Last(10));
        assert_eq!(world.printed(), "");
        world.add("first\n");
        assert_eq!(world.printed(), "first\n");
    }
}
