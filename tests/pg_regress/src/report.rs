//! What a driver says of each test, in words up to PostgreSQL 15 and as TAP from 16 on.

/// Tests that printed none of what PostgreSQL's sources expect.
pub fn failed(report: &str) -> Vec<String> {
    report.lines().filter_map(failed_in_line).map(str::to_owned).collect()
}

/// ```text
/// test copy                         ... FAILED      143 ms
///      boolean                      ... FAILED (test process exited with exit code 2)       12 ms
/// not ok 3     - copy                143 ms
/// not ok 4     + boolean              12 ms
/// ```
fn failed_in_line(line: &str) -> Option<&str> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["test", name, "...", "FAILED", ..] | [name, "...", "FAILED", ..] => Some(name),
        ["not", "ok", _, "-" | "+", name, ..] => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_from_the_drivers_report() {
        let words = "test copy                         ... FAILED      143 ms\n\
                     test copyselect                   ... ok           54 ms\n\
                     parallel group (2 tests):  name boolean\n     \
                     boolean                      ... FAILED (test process exited with exit code 2)       12 ms\n     \
                     name                         ... ok           17 ms\n\
                     2 of 3 tests failed. \n";
        assert_eq!(failed(words), ["copy", "boolean"]);
        let tap = "# using postmaster on /tmp, port 5432\nok 1         - setup          93 ms\n\
                   not ok 2     - copy          143 ms\nok 3         + name    3 ms\nnot ok 4     + boolean 12 ms\n\
                   # diag\n1..4\n";
        assert_eq!(failed(tap), ["copy", "boolean"]);
    }
}
