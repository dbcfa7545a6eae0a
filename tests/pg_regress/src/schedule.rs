//! PostgreSQL's lists of tests, and the same one after the other: what tests that run side by side print depends on
//! who is first.

/// The names in a schedule file, in its order. Tests that share a line do not depend on one another.
pub fn names(schedule: &str) -> Vec<String> {
    let lists = schedule.lines().filter_map(|line| line.strip_prefix("test:"));
    lists.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// A schedule of one test a line.
pub fn serial(names: &[String]) -> String {
    names.iter().map(|name| format!("test: {name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_gets_a_line_of_its_own() {
        let parallel =
            "# a comment\ntest: setup\n\n# test: not_this\ntest: one  two\ttwo_and_a_half \ntest: last";
        assert_eq!(names(parallel), ["setup", "one", "two", "two_and_a_half", "last"]);
        assert_eq!(serial(&names(parallel)[..2]), "test: setup\ntest: one\n");
    }
}
