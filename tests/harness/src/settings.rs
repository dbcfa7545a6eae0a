//! Settings that a test run wants on every endpoint, whatever the tests are about: the same tests then run
//! on another kind of server.

/// `VARVE_TEST_SETTINGS="shared_buffers=1MB varve.cache_size=4MB"`
const VARIABLE: &str = "VARVE_TEST_SETTINGS";
const BLOCKS_PER_MEGABYTE: u64 = (1 << 20) / types::BLCKSZ as u64;

/// Each as NAME=VALUE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSettings(Vec<String>);

impl EndpointSettings {
    pub fn of_this_run() -> EndpointSettings {
        EndpointSettings::parse(&std::env::var(VARIABLE).unwrap_or_default())
    }

    fn parse(text: &str) -> EndpointSettings {
        let pairs: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        for pair in &pairs {
            assert!(pair.contains('='), "{VARIABLE}: {pair:?} is not NAME=VALUE");
        }
        EndpointSettings(pairs)
    }

    /// Those of one test, which win.
    pub fn and(mut self, of_test: &[&str]) -> EndpointSettings {
        self.0.extend(of_test.iter().map(|pair| (*pair).to_owned()));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Blocks that an endpoint's cache may hold, if it is bounded.
    pub fn cache_bound(&self) -> Option<u64> {
        let size = self.0.iter().rev().find_map(|pair| pair.strip_prefix("varve.cache_size="))?;
        let (number, unit) =
            size.strip_suffix("MB").map_or((size, 1), |number| (number, BLOCKS_PER_MEGABYTE));
        let number: u64 = number.parse().unwrap_or_else(|_| panic!("varve.cache_size={size}: blocks or MB"));
        Some(number * unit)
    }

    /// The arguments of a `varve` command with these settings in it if it makes an endpoint. They come before
    /// the command's own: of two values for one name the later one counts.
    pub fn added_to<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        let Some(at) = command.windows(2).position(|words| words == ["endpoint", "create"]) else {
            return command.to_vec();
        };
        let (verb, rest) = command.split_at(at + 2);
        let ours = self.0.iter().flat_map(|pair| ["--set", pair]);
        verb.iter().copied().chain(ours).chain(rest.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_is_made_gets_them_before_its_own() {
        let settings = EndpointSettings::parse(" a=1  varve.cache_size=4MB ").and(&["b=2"]);
        let create = ["--json", "endpoint", "create", "x", "--set", "a=3"];
        let expected = "--json endpoint create --set a=1 --set varve.cache_size=4MB --set b=2 x --set a=3";
        assert_eq!(settings.added_to(&create).join(" "), expected);
        for other in [vec!["up"], vec!["endpoint", "start", "create"], vec![]] {
            assert_eq!(settings.added_to(&other), other);
        }
        assert_eq!(EndpointSettings::default().added_to(&create), create);
    }

    #[test]
    fn the_last_cache_size_is_the_bound() {
        let settings = EndpointSettings::parse("a=1 varve.cache_size=4MB varve.log_cache_interval=1");
        assert_eq!(settings.cache_bound(), Some(512));
        assert_eq!(settings.and(&["varve.cache_size=16"]).cache_bound(), Some(16));
        assert_eq!(EndpointSettings::parse("varve.log_cache_interval=1").cache_bound(), None);
    }

    #[test]
    #[should_panic(expected = "NAME=VALUE")]
    fn a_setting_without_a_value_is_a_mistake() {
        EndpointSettings::parse("a=1 fsync");
    }
}
