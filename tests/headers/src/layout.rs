//! Lets the compiler check what `layout` says of structs: `both` for all versions, the others for one.

use std::fs;
use std::path::{Path, PathBuf};

use types::PgVersion;

use crate::compiler;

/// Needs to be run, since no compiler tells where fields of bits are.
const PROGRAM: &str = "bits.c";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("layout")
}

/// What holds for this version, below the layouts' directory.
fn files(directory: &Path, version: PgVersion) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for part in ["both".to_owned(), format!("v{version}")] {
        let entries = fs::read_dir(directory.join(part)).expect("the layout's directory");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    files.sort();
    files
}

/// How many assertions hold, or what the compiler says of those that do not.
fn check(directory: &Path, version: PgVersion) -> Result<usize, String> {
    let mut assertions = 0;
    for file in files(directory, version) {
        compiler::check(version, &file)?;
        if file.ends_with(PROGRAM) {
            compiler::run_program(version, &file)?;
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

    use types::PgVersion;

    use super::{check, directory, files};

    fn every_field_is_where_we_read_it(version: PgVersion, least: usize) {
        let assertions = check(&directory(), version).unwrap_or_else(|error| panic!("\n{error}"));
        assert!(assertions >= least, "only {assertions} assertions, {least} before");
    }

    // As many as there are.
    #[test]
    fn every_field_of_postgres_15_is_where_we_read_it() {
        every_field_is_where_we_read_it(PgVersion::V15, 595);
    }

    #[test]
    fn every_field_of_postgres_17_is_where_we_read_it() {
        every_field_is_where_we_read_it(PgVersion::V17, 603);
    }

    /// What the check says of layouts in which one place was changed.
    fn problems_of(version: PgVersion, file: &str, before: &str, after: &str) -> String {
        let scratch = tempfile::tempdir().expect("a directory for layouts");
        for original in files(&directory(), version).into_iter().chain([directory().join("assertions.h")]) {
            let place = scratch.path().join(original.strip_prefix(directory()).expect("a layout"));
            fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
            fs::copy(&original, place).expect("a copy");
        }
        let path = scratch.path().join(file);
        let text = fs::read_to_string(&path).expect(file);
        assert_eq!(text.matches(before).count(), 1, "{file} has {before} once");
        fs::write(&path, text.replace(before, after)).expect("a changed layout");
        check(scratch.path(), version).expect_err("a change is found")
    }

    #[test]
    fn a_wrong_place_is_named() {
        for (version, file, before, after, told) in [
            (
                PgVersion::V15,
                "both/heap.c",
                "(xl_heap_update, new_xmax, 8, 4)",
                "(xl_heap_update, new_xmax, 6, 4)",
                "xl_heap_update.new_xmax: we assume 4 bytes at 6",
            ),
            (
                PgVersion::V15,
                "both/spgist.c",
                "NUMBER(SGDTSIZE, 16)",
                "NUMBER(SGDTSIZE, 12)",
                "SGDTSIZE: we assume 12",
            ),
            (
                PgVersion::V17,
                "both/bits.c",
                "lp_flags, 3, 3 << 15",
                "lp_flags, 3, 3 << 16",
                "ItemIdData.lp_flags = 3",
            ),
            (
                PgVersion::V17,
                "v17/records.c",
                "(xlhp_freeze_plan, ntuples, 10, 2)",
                "(xlhp_freeze_plan, ntuples, 9, 2)",
                "xlhp_freeze_plan.ntuples: we assume 2 bytes at 9",
            ),
        ] {
            let problems = problems_of(version, file, before, after);
            assert!(problems.contains(told), "{file}: {problems}");
        }
    }
}
