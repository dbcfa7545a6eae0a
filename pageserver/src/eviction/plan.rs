//! What is to go (pure): how many bytes, and which layers.

/// How much of the local disk layers may take. Whichever limit is passed first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the file system, used by whomever.
    pub max_usage_percent: u64,
    /// Bytes of the file system that are to stay free.
    pub min_available_bytes: u64,
    /// Bytes of layer files.
    pub max_layer_bytes: Option<u64>,
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub total: u64,
    pub available: u64,
    pub layers: u64,
}

/// A layer that may go: object storage has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// When it was read last; higher is later.
    pub last_access: u64,
    /// Bytes.
    pub size: u64,
}

/// Bytes by which a limit is passed.
pub fn excess(usage: Usage, limits: Limits) -> u64 {
    let Usage { total, available, layers } = usage;
    let used = total.saturating_sub(available);
    // In 128 bits, since a file system times a hundred may not fit.
    let allowed = u128::from(total) * u128::from(limits.max_usage_percent.min(100)) / 100;
    let over_percent = u64::try_from(u128::from(used).saturating_sub(allowed)).unwrap_or(u64::MAX);
    let too_little = limits.min_available_bytes.saturating_sub(available);
    let over_layers = limits.max_layer_bytes.map_or(0, |most| layers.saturating_sub(most));
    over_percent.max(too_little).max(over_layers)
}

/// Indexes of those that were not read for the longest time, so many that they have `bytes`; all, if they have less.
pub fn choose(candidates: &[Candidate], bytes: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|at| candidates[*at].last_access);
    let mut chosen = 0_u64;
    let enough = order.iter().position(|at| {
        let before = chosen;
        chosen = chosen.saturating_add(candidates[*at].size);
        before >= bytes
    });
    order.truncate(enough.unwrap_or(candidates.len()));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Limits = Limits { max_usage_percent: 100, min_available_bytes: 0, max_layer_bytes: None };

    #[test]
    fn the_limit_that_is_passed_most_counts() {
        let usage = Usage { total: 1000, available: 100, layers: 700 };
        assert_eq!(excess(usage, NONE), 0);
        assert_eq!(excess(usage, Limits { max_usage_percent: 85, ..NONE }), 50);
        assert_eq!(excess(usage, Limits { min_available_bytes: 160, ..NONE }), 60);
        assert_eq!(excess(usage, Limits { max_layer_bytes: Some(630), ..NONE }), 70);
        let all = Limits { max_usage_percent: 85, min_available_bytes: 160, max_layer_bytes: Some(630) };
        assert_eq!(excess(usage, all), 70);
        let huge = Usage { total: u64::MAX, available: 0, layers: u64::MAX };
        assert_eq!(excess(huge, Limits { max_usage_percent: 0, ..NONE }), u64::MAX);
    }

    #[test]
    fn the_oldest_go_and_no_more_than_need_be() {
        let of = |list: &[(u64, u64)]| -> Vec<Candidate> {
            list.iter()
                .map(|(last_access, size)| Candidate { last_access: *last_access, size: *size })
                .collect()
        };
        let candidates = of(&[(5, 10), (1, 10), (3, 10), (9, 10)]);
        assert_eq!(choose(&candidates, 0), [0; 0]);
        assert_eq!(choose(&candidates, 1), [1]);
        assert_eq!(choose(&candidates, 10), [1]);
        assert_eq!(choose(&candidates, 11), [1, 2]);
        assert_eq!(choose(&candidates, 1000), [1, 2, 0, 3]);
        assert_eq!(choose(&[], 5), [0; 0]);
        assert_eq!(choose(&of(&[(1, u64::MAX), (2, u64::MAX)]), u64::MAX), [0]);
    }
}
