//! Directories: whether there is room, whether they outlive the machine, what a flush costs, whether holes can be
//! punched where computes have their cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;

use super::finding::Finding;
use crate::local_env::LocalEnv;
use crate::output::bytes;
use crate::storage::Daemon;

/// What a file system has at least for all to be well.
const ENOUGH: u64 = 2 << 30;
const TOO_LITTLE: u64 = 256 << 20;
const FLUSHES: usize = 32;
/// A commit takes at least this long on two machines.
const SLOW_FLUSH: Duration = Duration::from_millis(20);
/// Control files are written within one sector of a disk, or of two halves of which one is whole.
const LARGEST_SECTOR: u64 = 4096;

/// A directory, what lies in it, and what would become of the cluster if that went.
struct Place {
    name: String,
    path: PathBuf,
    /// It is nobody's copy of anything: it must outlive the machine.
    is_data: bool,
}

pub fn examine(env: &LocalEnv) -> Vec<Finding> {
    let places = places(env);
    let mut findings = room(&places);
    for place in places.iter().filter(|place| place.is_data) {
        findings.extend(lasting(place));
    }
    if let Some(place) = places.iter().find(|place| place.name.starts_with("safekeeper")) {
        findings.extend(flushing(&place.path));
        findings.extend(sector(&place.path));
    }
    if let Some(place) = places.iter().find(|place| place.name == COMPUTES) {
        findings.push(holes(&place.path));
    }
    findings
}

const COMPUTES: &str = "computes";

fn places(env: &LocalEnv) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |name: String, path: PathBuf, is_data| {
        // What was never used is not there yet.
        if path.is_dir() {
            places.push(Place { name, path, is_data });
        }
    };
    for id in env.config.safekeeper_ids() {
        add(format!("safekeeper {id}"), Daemon::Safekeeper(id).directory(env), true);
    }
    if env.config.remote_storage.is_none() {
        add("object storage".to_owned(), env.directory.join("remote_storage"), true);
    }
    add("pageserver".to_owned(), Daemon::Pageserver.directory(env), false);
    let computes = env.config.compute_directory.clone().unwrap_or_else(|| env.directory.join("endpoints"));
    add(COMPUTES.to_owned(), computes, false);
    places
}

/// One finding for each file system.
fn room(places: &[Place]) -> Vec<Finding> {
    let mut systems: BTreeMap<u64, (Vec<&str>, &Path)> = BTreeMap::new();
    for place in places {
        if let Ok(metadata) = std::fs::metadata(&place.path) {
            systems.entry(metadata.dev()).or_insert_with(|| (Vec::new(), &place.path)).0.push(&place.name);
        }
    }
    systems
        .into_values()
        .map(|(names, path)| {
            let names = names.join(", ");
            match statvfs(path) {
                Ok(found) => {
                    let free = found.blocks_available() * found.fragment_size();
                    let size = found.blocks() * found.fragment_size();
                    judge_room(&names, free, size)
                }
                Err(error) => Finding::bad("disk", format!("{}: {error}", path.display()), "mount it again"),
            }
        })
        .collect()
}

fn judge_room(names: &str, free: u64, size: u64) -> Finding {
    let seen = format!("{} of {} are free for {names}", bytes(free), bytes(size));
    let advice = "A safekeeper without room refuses WAL, and commits wait; a compute without room fails statements. Nothing is \
                  lost. Make room, or move the directory to a larger disk while all is stopped.";
    if free < TOO_LITTLE {
        Finding::bad("disk", seen, advice)
    } else if free < ENOUGH && free < size / 10 {
        Finding::warning("disk", seen, advice)
    } else {
        Finding::good("disk", seen)
    }
}

fn lasting(place: &Place) -> Option<Finding> {
    let kind = statfs(&place.path).ok()?.filesystem_type();
    let gone_with = match kind {
        TMPFS_MAGIC => "memory (tmpfs), and is gone when this machine stops",
        OVERLAYFS_SUPER_MAGIC => "the layer of a container (overlayfs), and goes with the container",
        _ => return None,
    };
    Some(Finding::bad(
        "disk",
        format!("the data of {} is in {gone_with}", place.name),
        "Put it on a disk or a volume; `varve init --data-dir` chooses where.",
    ))
}

/// What a commit pays for on each safekeeper.
fn flushing(directory: &Path) -> Option<Finding> {
    let measured = || -> io::Result<Duration> {
        let mut file = tempfile::tempfile_in(directory)?;
        let mut times = Vec::with_capacity(FLUSHES);
        for _ in 0..FLUSHES {
            let began = Instant::now();
            file.write_all(&[0x5a; 8192])?;
            file.sync_data()?;
            times.push(began.elapsed());
        }
        times.sort();
        Ok(times[FLUSHES / 2])
    };
    match measured() {
        Ok(median) if median > SLOW_FLUSH => Some(Finding::warning(
            "flush",
            format!(
                "writing 8 KiB through to the disk of safekeepers takes {:.1} ms",
                median.as_secs_f64() * 1e3
            ),
            "Every commit takes at least as long. A disk with a cache that survives a power cut is faster.",
        )),
        Ok(median) => Some(Finding::good(
            "flush",
            format!(
                "writing 8 KiB through to the disk of safekeepers takes {:.2} ms",
                median.as_secs_f64() * 1e3
            ),
        )),
        Err(error) => Some(Finding::bad(
            "flush",
            format!("{}: {error}", directory.display()),
            "safekeepers cannot write there",
        )),
    }
}

/// Of the disk below a directory, as far as the kernel says.
fn sector(directory: &Path) -> Option<Finding> {
    let device = std::fs::metadata(directory).ok()?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let node = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    // A partition has its disk's.
    let size = [node.join("queue"), node.join("../queue")]
        .iter()
        .find_map(|queue| std::fs::read_to_string(queue.join("logical_block_size")).ok())?;
    let size: u64 = size.trim().parse().ok()?;
    let seen = format!("the disk of safekeepers has sectors of {}", bytes(size));
    Some(if size > LARGEST_SECTOR {
        Finding::warning(
            "sectors",
            seen,
            "Written for up to 4 KiB: a power cut may take more than was tested. Use another disk for safekeepers.",
        )
    } else {
        Finding::good("sectors", seen)
    })
}

/// The cache of a compute gives room back by punching holes into its files.
fn holes(directory: &Path) -> Finding {
    let punched = || -> io::Result<bool> {
        let mut file: File = tempfile::tempfile_in(directory)?;
        file.write_all(&vec![1; 1 << 20])?;
        file.sync_all()?;
        file.rewind()?;
        let before = file.metadata()?.blocks();
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, flags, 0, 1 << 20)?;
        Ok(file.metadata()?.blocks() < before)
    };
    let advice = "A compute's cache could not be bounded there: it would keep every page that it has read. Use ext4, XFS, btrfs or ZFS.";
    match punched() {
        Ok(true) => {
            Finding::good("holes", "the file system of computes gives back what is punched out of files")
        }
        Ok(false) => {
            Finding::bad("holes", "the file system of computes keeps what is punched out of files", advice)
        }
        Err(error) => {
            Finding::bad("holes", format!("holes cannot be punched into files of computes: {error}"), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn room_is_judged_by_bytes_and_by_share() {
        const GIB: u64 = 1 << 30;
        for (free, size, verdict) in [
            (100 * GIB, 1000 * GIB, Verdict::Good),
            // A small disk that is half empty, and a large one with little left.
            (GIB, 2 * GIB, Verdict::Good),
            (GIB, 100 * GIB, Verdict::Warning),
            (100 << 20, GIB, Verdict::Bad),
        ] {
            assert_eq!(judge_room("x", free, size).verdict, verdict, "{free} of {size}");
        }
    }

    #[test]
    fn places_are_really_tried() {
        let place = tempfile::tempdir().unwrap();
        assert!(flushing(place.path()).unwrap().seen.contains("ms"));
        assert!(flushing(Path::new("/nonexistent")).unwrap().is_bad());
        assert!(holes(Path::new("/nonexistent")).is_bad());
        assert!(!holes(place.path()).is_bad());
        // /dev/shm is memory.
        let memory = Place { name: "safekeeper 1".into(), path: "/dev/shm".into(), is_data: true };
        assert!(lasting(&memory).is_some_and(|found| found.seen.contains("tmpfs")));
        let disk = Place { name: "safekeeper 1".into(), path: "/etc".into(), is_data: true };
        assert!(lasting(&disk).is_none_or(|found| found.seen.contains("overlay")));
    }
}
