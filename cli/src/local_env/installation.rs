//! Which PostgreSQL is installed, and where.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use types::PgVersion;

use crate::arguments::VERSIONS_PAGE;

/// The programs of one major version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    pub version: PgVersion,
    pub bin_dir: PathBuf,
}

/// Where Debian's packages put the programs of a version.
pub fn package_bin_dir(version: PgVersion) -> PathBuf {
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}

impl Installation {
    /// For tests that run none of its programs.
    #[cfg(test)]
    pub fn of_a_test() -> Installation {
        Installation { version: PgVersion::V17, bin_dir: "/bin".into() }
    }

    /// What was asked for; else the first version that is installed from its package, the oldest first. Where none
    /// is, the error that names it comes when its programs are to be run.
    pub fn choose(version: Option<PgVersion>, bin_dir: Option<&Path>) -> anyhow::Result<Installation> {
        match (version, bin_dir) {
            (Some(version), Some(bin_dir)) => {
                check_version(bin_dir, version)?;
                Ok(Installation { version, bin_dir: bin_dir.to_owned() })
            }
            (None, Some(bin_dir)) => {
                Ok(Installation { version: version_of(bin_dir)?, bin_dir: bin_dir.to_owned() })
            }
            (version, None) => {
                let installed = |version: &PgVersion| package_bin_dir(*version).join("postgres").exists();
                let version = version
                    .or_else(|| PgVersion::ALL.into_iter().find(installed))
                    .unwrap_or(PgVersion::ALL[0]);
                Ok(Installation { version, bin_dir: package_bin_dir(version) })
            }
        }
    }
}

/// Refuses a directory whose programs are not of this version.
pub fn check_version(bin_dir: &Path, version: PgVersion) -> anyhow::Result<()> {
    let text = version_text(bin_dir, Some(version))?;
    if major_of(&text) != Some(version) {
        bail!("{} is {text:?}, but PostgreSQL {version} is needed", bin_dir.join("postgres").display());
    }
    Ok(())
}

fn version_of(bin_dir: &Path) -> anyhow::Result<PgVersion> {
    let text = version_text(bin_dir, None)?;
    major_of(&text).with_context(|| {
        let program = bin_dir.join("postgres");
        format!("{} is {text:?}, which is not supported: {VERSIONS_PAGE}", program.display())
    })
}

/// `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`
fn version_text(bin_dir: &Path, wanted: Option<PgVersion>) -> anyhow::Result<String> {
    let program = bin_dir.join("postgres");
    let output = Command::new(&program).arg("--version").output().with_context(|| {
        let package = wanted.map_or_else(|| "PostgreSQL".to_owned(), |version| format!("postgresql-{version}"));
        format!(
            "cannot run {}: is {package} installed? (Debian 12 has 15, Debian 13 has 17; `make up` installs the machine's)",
            program.display()
        )
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn major_of(text: &str) -> Option<PgVersion> {
    text.split_ascii_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_server_says() {
        for (text, expected) in [
            ("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", Some(PgVersion::V15)),
            ("postgres (PostgreSQL) 17rc1", None),
            ("postgres (PostgreSQL) 17.12", Some(PgVersion::V17)),
            ("postgres (PostgreSQL) 16.4", None),
            ("", None),
        ] {
            assert_eq!(major_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_directory_without_programs_is_named() {
        let error = Installation::choose(Some(PgVersion::V17), Some(Path::new("/nowhere"))).unwrap_err();
        assert!(error.to_string().contains("postgresql-17"), "{error}");
        assert!(Installation::choose(None, Some(Path::new("/nowhere"))).is_err());
    }
}
