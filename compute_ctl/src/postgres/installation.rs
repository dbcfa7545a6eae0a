//! The distribution's PostgreSQL, and our extension in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use types::PgVersion;

use crate::error::ComputeError;

const EXTENSION_LIBRARY: &str = "varve.so";

#[derive(Clone, Debug)]
pub struct Installation {
    pub postgres: PathBuf,
}

impl Installation {
    /// Looks at the programs in `bin`; the version and the extension must be right before anything is
    /// elected or wiped.
    pub fn find(bin: &Path, wanted: PgVersion) -> Result<Installation, ComputeError> {
        let version = output(&bin.join("postgres"), "--version")?;
        // postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)
        let number = version.split_whitespace().nth(2).unwrap_or_default();
        if number.split('.').next().and_then(|major| major.parse().ok()) != Some(wanted.major()) {
            return Err(ComputeError::WrongServer { path: bin.to_owned(), found: version, wanted });
        }
        let libraries = output(&bin.join("pg_config"), "--pkglibdir")?;
        let library = Path::new(&libraries).join(EXTENSION_LIBRARY);
        if !library.exists() {
            return Err(ComputeError::NoExtension { path: library });
        }
        Ok(Installation { postgres: bin.join("postgres") })
    }
}

fn output(program: &Path, argument: &str) -> Result<String, ComputeError> {
    let output = Command::new(program).arg(argument).output().map_err(ComputeError::file("run", program))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
