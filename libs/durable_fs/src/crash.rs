//! Crash points: a process that ends in the midst of its work, at a point that was chosen beforehand, as if it had been
//! killed. For tests of whole daemons; others play crashes with [`Faults`](crate::Faults).

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Faults, Step};

/// `NAME[:TEXT[:N]]`: the Nth time (by default the first) that something of this name is about to happen to a file or
/// an object whose name contains the text. Clones count together.
#[derive(Clone, Debug)]
pub struct CrashPoint {
    name: String,
    text: String,
    nth: u64,
    passed: Arc<AtomicU64>,
}

/// Steps of files.
const STEPS: [(&str, Step); 9] = [
    ("create-file", Step::CreateFile),
    ("open", Step::Open),
    ("write", Step::Write),
    ("set-length", Step::SetLength),
    ("sync-file", Step::SyncFile),
    ("rename", Step::Rename),
    ("remove", Step::Remove),
    ("create-directory", Step::CreateDirectory),
    ("sync-directory", Step::SyncDirectory),
];
/// Of objects, by whoever wraps their store.
const OBJECTS: [&str; 6] =
    ["before-put", "after-put", "before-get", "after-get", "before-delete", "after-delete"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseCrashPointError(String);

impl fmt::Display for ParseCrashPointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = CrashPoint::names().collect();
        write!(
            f,
            "{:?} is no crash point: write NAME, NAME:TEXT or NAME:TEXT:N with a name of {}",
            self.0,
            known.join(", ")
        )
    }
}

impl std::error::Error for ParseCrashPointError {}

impl FromStr for CrashPoint {
    type Err = ParseCrashPointError;

    fn from_str(text: &str) -> Result<Self, ParseCrashPointError> {
        let error = || ParseCrashPointError(text.to_owned());
        let mut parts = text.splitn(3, ':');
        let name = parts.next().filter(|name| Self::names().any(|known| known == *name)).ok_or_else(error)?;
        let contains = parts.next().unwrap_or_default();
        let nth = parts.next().map_or(Ok(1), str::parse).map_err(|_| error())?;
        if nth == 0 {
            return Err(error());
        }
        Ok(Self { name: name.to_owned(), text: contains.to_owned(), nth, passed: Arc::default() })
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.name, self.text, self.nth)
    }
}

impl CrashPoint {
    /// All that there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        STEPS.into_iter().map(|(name, _)| name).chain(OBJECTS)
    }

    /// Something is about to happen. Does not return if this is the point.
    pub fn pass(&self, name: &str, what: &str) {
        if self.is_at(name, what) {
            // Not by the log, which may have a writer that is never heard from again.
            eprintln!("crash point {self} is reached at {what}");
            std::process::abort();
        }
    }

    fn is_at(&self, name: &str, what: &str) -> bool {
        name == self.name
            && what.contains(&self.text)
            && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == self.nth
    }
}

impl Faults for CrashPoint {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        for (name, _) in STEPS.iter().filter(|(_, known)| *known == step) {
            self.pass(name, &path.to_string_lossy());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_of_its_name_and_text_is_the_point() {
        let point: CrashPoint = "rename:index:2".parse().unwrap();
        assert!(!point.is_at("rename", "an index"));
        assert!(!point.is_at("rename", "a layer"));
        assert!(!point.is_at("remove", "an index"));
        assert!(point.is_at("rename", "an index"));
        assert!(!point.is_at("rename", "an index"), "once is enough");
        assert_eq!(point.to_string(), "rename:index:2");
        let first: CrashPoint = "after-put".parse().unwrap();
        assert!(first.is_at("after-put", "anything"));
    }

    #[test]
    fn mistakes_name_what_there_is() {
        for bad in ["", "renam", "rename:x:0", "rename:x:y", "rename:x:1:2"] {
            let error = bad.parse::<CrashPoint>().unwrap_err().to_string();
            assert!(error.contains("sync-directory, before-put"), "{error}");
        }
    }
}
