//! Lets the compiler check what `layout/v15` says of structs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::compiler;

/// Needs to be run, since no compiler tells where fields of bits are.
const PROGRAM: &str = "bits.c";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("layout/v15")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the layout's directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "c"));
    files.sort();
    files
}

/// How many assertions hold, or what the compiler says of those that do not.
fn check(directory: &Path) -> Result<usize, String> {
    let mut assertions = 0;
    for file in files(directory) {
        compiler::check(&file)?;
        if file.ends_with(PROGRAM) {
            compiler::run_program(&file)?;
        }
        let text = fs::read_to_string(&file).expect("a layout");
        assertions += text.lines().filter(|line| is_assertion(line)).count();
    }
    Ok(assertions)
}

fn is_assertion(line: &str) -> bool {
    ["FIELD(", "ARRAY(", "NUMBER(", "BITS(", "HOLDS("].iter().any(|word| line.trim_start().starts_with(word))
}

/// Named so that `make test T=headers` finds it.
mod headers {
    use std::fs;

    use super::{check, directory, files};

    /// As many as there are.
    const LEAST: usize = 573;

    #[test]
    fn every_field_is_where_we_read_it() {
        let assertions = check(&directory()).unwrap_or_else(|error| panic!("\n{error}"));
        assert!(assertions >= LEAST, "only {assertions} assertions, {LEAST} before");
    }

    /// What the check says of layouts in which one place was changed.
    fn problems_of(file: &str, before: &str, after: &str) -> String {
        let scratch = tempfile::tempdir().expect("a directory for layouts");
        for original in files(&directory()).into_iter().chain([directory().join("assertions.h")]) {
            let name = original.file_name().expect("a file's name");
            fs::copy(&original, scratch.path().join(name)).expect("a copy");
        }
        let path = scratch.path().join(file);
        let text = fs::read_to_string(&path).expect(file);
        assert_eq!(text.matches(before).count(), 1, "{file} has {before} once");
        fs::write(&path, text.replace(before, after)).expect("a changed layout");
        check(scratch.path()).expect_err("a change is found")
    }

    #[test]
    fn a_wrong_place_is_named() {
        let problems =
            problems_of("heap.c", "(xl_heap_update, new_xmax, 8, 4)", "(xl_heap_update, new_xmax, 6, 4)");
        assert!(problems.contains("xl_heap_update.new_xmax: we assume 4 bytes at 6"), "{problems}");
        let problems = problems_of("spgist.c", "NUMBER(SGDTSIZE, 16)", "NUMBER(SGDTSIZE, 12)");
        assert!(problems.contains("SGDTSIZE: we assume 12"), "{problems}");
        let problems = problems_of("bits.c", "lp_flags, 3, 3 << 15", "lp_flags, 3, 3 << 16");
        assert!(problems.contains("ItemIdData.lp_flags = 3"), "{problems}");
    }
}
