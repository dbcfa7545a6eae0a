//! Which suites there are, on servers with which settings, and which are left out and why.
//!
//! Left out beside those in [`LEFT_OUT`] are all that are written as TAP scripts (`t/*.pl`): they make servers of their
//! own, and would not see an endpoint.

use std::fs;
use std::path::{Path, PathBuf};

use harness::pg_version;
use types::PgVersion;

use crate::schedule;
use crate::source::{Makefile, pg_config, source};
use crate::suite::{Driver, Suite, Tests};

/// Modules of contrib whose tests are not run.
const LEFT_OUT: [(&str, &str); 2] = [
    ("basic_archive", "archive_mode is off: safekeepers hold all WAL"),
    ("sepgsql", "it needs SELinux in the kernel, and Debian does not build it"),
];
/// Modules that need a language which has a package of its own: run where it is installed.
const LANGUAGES: [(&str, &str); 2] = [("plperl", "postgresql-plperl"), ("plpython", "postgresql-plpython3")];

/// Of src/test/modules: those that need no library but what is in packages.
const TEST_MODULES: [&str; 3] = ["brin", "snapshot_too_old", "unsafe_tests"];

/// Suites that run on servers with the same settings, one after the other.
pub struct Group {
    pub name: &'static str,
    /// As NAME=VALUE, from the files that the modules bring.
    pub settings: Vec<String>,
    pub suites: Vec<Suite>,
}

/// Modules that bring settings, by the group that they are in. All others are in the first one.
const GROUPS: [(&str, &[&str]); 4] = [
    ("plain", &[]),
    ("logical", &["test_decoding"]),
    ("preloaded", &["pg_stat_statements", "pg_freespacemap", "pg_walinspect"]),
    ("old-snapshots", &["snapshot_too_old"]),
];

/// All groups. `is_serial`: no two tests at the same time. Tests find the libraries of the regression suite in `libraries`.
pub fn groups(is_serial: bool, libraries: &Path) -> (Vec<Group>, Vec<String>) {
    let root = source();
    let mut left_out = vec![];
    let mut groups = GROUPS.map(|(name, _)| Group { name, settings: vec![], suites: vec![] });
    groups[0].suites = vec![regression(&root, is_serial, libraries), isolation(&root, libraries)];
    for (kind, name, path) in modules(&root) {
        if let Some(reason) = reason_to_leave_out(&name) {
            left_out.push(format!("{name}: {reason}"));
            continue;
        }
        let makefile = Makefile::read(&path);
        let at = GROUPS.iter().position(|(_, members)| members.contains(&name.as_str())).unwrap_or(0);
        assert_eq!(
            makefile.settings.is_some(),
            at != 0,
            "{name} brings settings, and is in no group for them"
        );
        if let Some(file) = &makefile.settings {
            let file = Path::new(file).file_name().expect("a file of settings");
            let text = fs::read_to_string(path.join(file)).expect("settings of a module");
            groups[at].settings.extend(settings(&text));
        }
        let suite = |driver, tests, suffix: &str| Suite {
            name: format!("{kind}{name}{suffix}"),
            driver,
            source: path.clone(),
            tests: Tests::OneByOne(tests),
            options: makefile.options.clone(),
            database: format!("contrib_regression_{name}{suffix}").replace(['-', ' '], "_"),
            libraries: libraries.to_owned(),
        };
        if !makefile.regress.is_empty() {
            groups[at].suites.push(suite(Driver::Regress, makefile.regress.clone(), ""));
        }
        if !makefile.isolation.is_empty() {
            groups[at].suites.push(suite(Driver::Isolation, makefile.isolation.clone(), " isolation"));
        }
    }
    (groups.into_iter().filter(|group| !group.suites.is_empty()).collect(), left_out)
}

fn reason_to_leave_out(name: &str) -> Option<String> {
    if let Some((_, reason)) = LEFT_OUT.iter().find(|(module, _)| *module == name) {
        return Some((*reason).to_owned());
    }
    if name == "snapshot_too_old" && pg_version() != PgVersion::V15 {
        return Some("old_snapshot_threshold is gone from PostgreSQL".to_owned());
    }
    let (_, package) = LANGUAGES.iter().find(|(language, _)| name.contains(language))?;
    let library = package.trim_start_matches("postgresql-");
    let is_installed = pg_config("--pkglibdir").join(format!("{library}.so")).exists();
    (!is_installed).then(|| format!("{package}-{} is not installed", pg_version()))
}

/// What each is told as, before its name; its name and its directory.
fn modules(root: &Path) -> Vec<(&'static str, String, PathBuf)> {
    let entries = fs::read_dir(root.join("contrib")).expect("contrib").flatten();
    let of_contrib =
        entries.map(|entry| ("contrib/", entry.file_name().to_string_lossy().into_owned(), entry.path()));
    let mut modules: Vec<_> = of_contrib.filter(|(_, _, path)| path.join("Makefile").exists()).collect();
    modules.sort();
    modules.push(("pl/", "plpgsql".to_owned(), root.join("src/pl/plpgsql/src")));
    let of_tests =
        TEST_MODULES.map(|name| ("modules/", name.to_owned(), root.join("src/test/modules").join(name)));
    modules.extend(of_tests.into_iter().filter(|(_, _, path)| path.exists()));
    modules
}

pub fn regression(root: &Path, is_serial: bool, libraries: &Path) -> Suite {
    let source = root.join("src/test/regress");
    let parallel = fs::read_to_string(source.join("parallel_schedule")).expect("PostgreSQL's schedule");
    let tests =
        if is_serial { Tests::OneByOne(schedule::names(&parallel)) } else { Tests::Schedule(parallel) };
    Suite {
        name: "regress".into(),
        driver: Driver::Regress,
        source,
        tests,
        options: vec![],
        database: "regression".into(),
        libraries: libraries.to_owned(),
    }
}

fn isolation(root: &Path, libraries: &Path) -> Suite {
    let source = root.join("src/test/isolation");
    let schedule_file = fs::read_to_string(source.join("isolation_schedule")).expect("PostgreSQL's schedule");
    let mut tests = schedule::names(&schedule_file);
    // Not in the schedule: by default no transaction can be prepared.
    let prepared = fs::read_dir(source.join("specs")).expect("specs").flatten();
    let prepared =
        prepared.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".spec").map(str::to_owned));
    let mut prepared: Vec<String> =
        prepared.filter(|name| name.starts_with("prepared-transactions")).collect();
    prepared.sort();
    tests.extend(prepared.into_iter().filter(|name| !schedule::names(&schedule_file).contains(name)));
    Suite {
        name: "isolation".into(),
        driver: Driver::Isolation,
        source,
        tests: Tests::OneByOne(tests),
        options: vec![],
        database: "isolation_regression".into(),
        libraries: libraries.to_owned(),
    }
}

/// The lines of a configuration file as NAME=VALUE.
fn settings(text: &str) -> Vec<String> {
    let pair = |line: &str| {
        let (name, value) = line.split('#').next()?.split_once('=')?;
        Some(format!("{}={}", name.trim(), value.trim().trim_matches('\'')))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let text =
            "# a comment\nwal_level = logical\n\nshared_preload_libraries = 'pg_stat_statements' # this\n";
        assert_eq!(settings(text), ["wal_level=logical", "shared_preload_libraries=pg_stat_statements"]);
    }
}
