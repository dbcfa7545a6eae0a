//! The distribution's PostgreSQL, and our extension in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use types::PgVersion;

use crate::error::ComputeError;

const EXTENSION_LIBRARY: &str = "varve.so";
/// What stands in the library before the version that it was compiled for: `compiled_for` of pgext/varve.c.
const COMPILED_FOR: &[u8] = b"varve: compiled for PostgreSQL ";

#[derive(Clone, Debug)]
pub struct Installation {
    pub postgres: PathBuf,
    bin: PathBuf,
    version: PgVersion,
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
        let bytes = std::fs::read(&library).map_err(ComputeError::file("read", &library))?;
        // Where it does not say so, it is older than this, and says so itself when the server loads it.
        if let Some(compiled_for) = compiled_for(&bytes).filter(|version| version != number) {
            let (bin, server) = (bin.to_owned(), number.to_owned());
            return Err(ComputeError::OtherExtension { path: library, compiled_for, bin, server });
        }
        Ok(Installation { postgres: bin.join("postgres"), bin: bin.to_owned(), version: wanted })
    }

    /// Whether what was found is still as it was: packages are upgraded while a compute runs.
    pub fn check(&self) -> Result<(), ComputeError> {
        Installation::find(&self.bin, self.version).map(drop)
    }
}

fn compiled_for(library: &[u8]) -> Option<String> {
    let at = library.windows(COMPILED_FOR.len()).position(|window| window == COMPILED_FOR)?;
    // 15.20 (Debian 15.20-0+deb12u1)
    let version = library[at + COMPILED_FOR.len()..].split(|byte| matches!(byte, 0 | b' ')).next()?;
    Some(String::from_utf8_lossy(version).into_owned())
}

fn output(program: &Path, argument: &str) -> Result<String, ComputeError> {
    let output = Command::new(program).arg(argument).output().map_err(ComputeError::file("run", program))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
