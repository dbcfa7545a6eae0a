//! The C compiler, with the server headers of PostgreSQL 15.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::{pg_program, run};

/// What a program needs to know every header that we mirror.
const EVERYTHING: &str = include_str!("everything.h");

fn compiler() -> Command {
    let include = run(Command::new(pg_program("pg_config")).arg("--includedir-server"));
    let mut command = Command::new("cc");
    // System headers: their own warnings are none of our business. English, since errors are read below.
    command.env("LC_ALL", "C").arg("-isystem").arg(include.trim());
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compiles a file for its assertions alone; what the compiler says if it fails.
pub fn check(file: &Path) -> Result<(), String> {
    let compiled = output(compiler().args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror"]).arg(file));
    if compiled.status.success() { Ok(()) } else { Err(errors(&compiled)) }
}

/// Runs a program; what it prints, as an error if it or its compilation fails.
pub fn run_program(file: &Path) -> Result<String, String> {
    let scratch = tempfile::tempdir().expect("a directory for a program");
    let program = scratch.path().join("program");
    let compiled = output(compiler().arg("-o").arg(&program).arg(file));
    if !compiled.status.success() {
        return Err(errors(&compiled));
    }
    let ran = output(&mut Command::new(&program));
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.status.success() { Ok(printed) } else { Err(printed) }
}

/// Which of `names` the headers define: as macros without arguments, or else as constants of enums.
pub fn defined(names: &BTreeSet<String>) -> BTreeSet<String> {
    let scratch = tempfile::tempdir().expect("a directory for a program");
    let file = scratch.path().join("defined.c");
    fs::write(&file, EVERYTHING).expect("the program is written");
    let preprocessed = output(compiler().args(["-E", "-dM"]).arg(&file));
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
    let compiled = output(compiler().arg("-fsyntax-only").arg(&file));
    let complaints = errors(&compiled);
    found.extend(
        others.into_iter().filter(|name| !complaints.contains(&format!("'{name}' undeclared"))).cloned(),
    );
    found
}

/// The values of expressions that know every header.
pub fn values(expressions: &[String]) -> Result<Vec<i128>, String> {
    let mut source = format!("{EVERYTHING}\n#include <stdio.h>\nint\nmain(void)\n{{\n\tprepare();\n");
    for expression in expressions {
        // PostgreSQL has a printf of its own, which is not there outside of the server.
        source.push_str(&format!("\t(printf)(\"%lld\\n\", (long long) ({expression}));\n"));
    }
    source.push_str("\treturn 0;\n}\n");
    let scratch = tempfile::tempdir().expect("a directory for a program");
    let file = scratch.path().join("values.c");
    fs::write(&file, source).expect("the program is written");
    let printed = run_program(&file)?;
    let values: Vec<i128> = printed.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(values.len(), expressions.len(), "the program prints a line for each expression");
    Ok(values)
}

#[test]
fn macros_and_enums_are_told_from_what_is_not_there() {
    let names = ["XLOG_HEAP_INSERT", "DB_SHUTDOWNED", "VARVE_IS_NOT_IN_POSTGRESQL", "PageGetPageSize"];
    let found = defined(&names.map(str::to_owned).into());
    assert_eq!(found, ["XLOG_HEAP_INSERT", "DB_SHUTDOWNED"].map(str::to_owned).into());
    assert_eq!(values(&["sizeof(CheckPoint)".to_owned(), "-3".to_owned()]), Ok(vec![88, -3]));
    let error = values(&["NOT_THERE".to_owned()]).expect_err("a name that nobody declares");
    assert!(error.contains("NOT_THERE"), "{error}");
}
