//! PostgreSQL's sources, and what its Makefiles say of a module's tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{pg_program, pg_version, run};

/// PostgreSQL's sources; those of the newest release in the cache.
pub fn source() -> PathBuf {
    let cache = std::env::var_os("VARVE_CACHE").unwrap_or_else(|| "/var/cache/varve".into());
    let sources = Path::new(&cache).join("src");
    let major = pg_version();
    let prefix = format!("postgresql-{major}-{major}.");
    let minor = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(&prefix)?.parse::<u32>().ok();
    let present = std::fs::read_dir(&sources).into_iter().flatten().flatten().map(|entry| entry.path());
    present.filter(|path| minor(path).is_some()).max_by_key(minor).unwrap_or_else(|| {
        panic!(
            "PostgreSQL's sources are not in {}: `make pg-regress` or tests/scripts/postgres-source {major} fetches them",
            sources.display()
        )
    })
}

pub fn pg_config(what: &str) -> PathBuf {
    PathBuf::from(run(Command::new(pg_program("pg_config")).arg(what)).trim())
}

/// What a Makefile sets for its tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Makefile {
    pub regress: Vec<String>,
    pub isolation: Vec<String>,
    /// Of both drivers, without the name of the database and the file with settings.
    pub options: Vec<String>,
    /// The file with settings that the server needs.
    pub settings: Option<String>,
}

impl Makefile {
    /// Of a directory, as make understands it with PostgreSQL's own rules for extensions.
    pub fn read(directory: &Path) -> Makefile {
        let rules = pg_config("--pgxs");
        let root = rules.ancestors().nth(3).expect("pgxs/src/makefiles/pgxs.mk");
        let text = run(Command::new("make")
            .args(["--silent", "--no-print-directory", "USE_PGXS=1"])
            .arg(format!("PG_CONFIG={}", pg_program("pg_config").display()))
            .arg(format!("PGXS={}", rules.display()))
            .arg(format!("top_builddir={}", root.display()))
            .arg("--eval=varve-tests: ; @printf '%s\\n' '$(REGRESS)' '$(ISOLATION)' '$(REGRESS_OPTS) $(ISOLATION_OPTS)'")
            .arg("varve-tests")
            .current_dir(directory));
        Makefile::parse(&text)
    }

    fn parse(text: &str) -> Makefile {
        let words = |line: Option<&str>| -> Vec<String> {
            line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let mut lines = text.lines();
        let (regress, isolation) = (words(lines.next()), words(lines.next()));
        let mut makefile = Makefile { regress, isolation, ..Makefile::default() };
        let mut options = words(lines.next()).into_iter();
        while let Some(option) = options.next() {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option.as_str(), None),
            };
            match name {
                "--temp-config" => makefile.settings = value.or_else(|| options.next()),
                // It has ours; and there is one library of the regression suite, whose place we know.
                "--dbname" | "--dlpath" => {}
                _ if makefile.options.contains(&option) => {}
                _ => makefile.options.push(option),
            }
        }
        makefile
    }

    pub fn has_tests(&self) -> bool {
        !self.regress.is_empty() || !self.isolation.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_make_prints_is_read() {
        let printed = "ddl xact\n\n--temp-config /a/logical.conf --load-extension=hstore --dbname=contrib_regression \
                       --load-extension=hstore\n";
        let expected = Makefile {
            regress: vec!["ddl".into(), "xact".into()],
            isolation: vec![],
            options: vec!["--load-extension=hstore".into()],
            settings: Some("/a/logical.conf".into()),
        };
        assert_eq!(Makefile::parse(printed), expected);
        assert!(!Makefile::parse("\n\n --dbname=x\n").has_tests());
    }
}
