//! The C compiler, with the server headers of a PostgreSQL; where that is not installed, in a place where it is
//! (`tests/scripts/with-postgres`), and what is compiled there runs there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::run;
use types::PgVersion;

/// What a program needs to know every header that we mirror.
const EVERYTHING: &str = include_str!("everything.h");

/// A command that runs where this version is.
fn with_postgres(version: PgVersion, program: impl AsRef<OsStr>) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/with-postgres");
    let mut command = Command::new(script);
    command.arg(version.to_string()).arg(program);
    command
}

fn compiler(version: PgVersion) -> Command {
    let pg_config = format!("/usr/lib/postgresql/{version}/bin/pg_config");
    let include = run(with_postgres(version, pg_config).arg("--includedir-server"));
    let mut command = with_postgres(version, "env");
    // System headers: their own warnings are none of our business. English, since errors are read below.
    command.args(["LC_ALL=C", "cc", "-isystem", include.trim()]);
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compiles a file for its assertions alone; what the compiler says if it fails.
pub fn check(version: PgVersion, file: &Path) -> Result<(), String> {
    let compiled = output(compiler(version).args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror"]).arg(file));
    if compiled.status.success() { Ok(()) } else { Err(errors(&compiled)) }
}

/// Runs a program; what it prints, as an error if it or its compilation fails.
pub fn run_program(version: PgVersion, file: &Path) -> Result<String, String> {
    let scratch = tempfile::tempdir().expect("a directory for a program");
    let program = scratch.path().join("program");
    let compiled = output(compiler(version).arg("-o").arg(&program).arg(file));
    if !compiled.status.success() {
        return Err(errors(&compiled));
    }
    let ran = output(&mut with_postgres(version, &program));
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.status.success() { Ok(printed) } else { Err(printed) }
}

/// Which of `names` the headers define: as macros without arguments, or else as constants of enums.
pub fn defined(version: PgVersion, names: &BTreeSet<String>) -> BTreeSet<String> {
    let scratch = tempfile::tempdir().expect("a directory for a program");
    let file = scratch.path().join("defined.c");
    fs::write(&file, EVERYTHING).expect("the program is written");
    let preprocessed = output(compiler(version).args(["-E", "-dM"]).arg(&file));
    assert!(preprocessed.status.success(), "{}", errors(&preprocessed));
    let listed = String::from_utf8_lossy(&preprocessed.stdout).into_owned();
    let macros = listed.lines().filter_map(|line| line.strip_prefix("#define ")?.split(' ').next());
    let mut found: BTreeSet<String> =
        macros.filter(|name| names.contains(*name)).map(str::to_owned).collect();

    let others: Vec<&String> = names.iter().filter(|name| !found.contains(*name)).collect();
    let mut source = EVERYTHING.to_owned();
    for name in &others {
        source.push_str(&format!("enum {{ probe_{name} = {name} }};\n"));
    }
    fs::write(&file, source).expect("the program is written");
    let compiled = output(compiler(version).arg("-fsyntax-only").arg(&file));
    let complaints = errors(&compiled);
    // Functions are declared, too.
    let is_number = |name: &String| {
        !complaints.contains(&format!("'{name}' undeclared"))
            && !complaints.contains(&format!("'probe_{name}' is not an integer constant"))
    };
    found.extend(others.into_iter().filter(|name| is_number(name)).cloned());
    found
}

/// The values of expressions that know every header.
pub fn values(version: PgVersion, expressions: &[String]) -> Result<Vec<i128>, String> {
    let mut source = format!("{EVERYTHING}\n#include <stdio.h>\nint\nmain(void)\n{{\n\tprepare();\n");
    for expression in expressions {
        // PostgreSQL has a printf of its own, which is not there outside of the server.
        source.push_str(&format!("\t(printf)(\"%lld\\n\", (long long) ({expression}));\n"));
    }
    source.push_str("\treturn 0;\n}\n");
    let scratch = tempfile::tempdir().expect("a directory for a program");
    let file = scratch.path().join("values.c");
    fs::write(&file, source).expect("the program is written");
    let printed = run_program(version, &file)?;
    let values: Vec<i128> = printed.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(values.len(), expressions.len(), "the program prints a line for each expression");
    Ok(values)
}

#[test]
fn macros_and_enums_are_told_from_what_is_not_there() {
    for version in [PgVersion::V15, PgVersion::V17] {
        let names = ["XLOG_HEAP_INSERT", "DB_SHUTDOWNED", "VARVE_IS_NOT_IN_POSTGRESQL", "PageGetPageSize"];
        let found = defined(version, &names.map(str::to_owned).into());
        assert_eq!(found, ["XLOG_HEAP_INSERT", "DB_SHUTDOWNED"].map(str::to_owned).into());
        assert_eq!(values(version, &["sizeof(CheckPoint)".to_owned(), "-3".to_owned()]), Ok(vec![88, -3]));
        let error = values(version, &["NOT_THERE".to_owned()]).expect_err("a name that nobody declares");
        assert!(error.contains("NOT_THERE"), "{error}");
        let magic = values(version, &["XLOG_PAGE_MAGIC".to_owned()]);
        assert_eq!(magic, Ok(vec![pg_format::version::wal_page_magic(version).into()]));
    }
}
