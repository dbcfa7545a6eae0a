//! The simulator in `make test`: 2,000 worlds, and all that ever failed.

use consensus_sim::{Counts, run};

/// One a line, with what it was; failures that were mended stay here.
const FAILED: &str = include_str!("seeds.txt");
const SEEDS: u64 = 2000;

#[test]
fn rules_hold_in_two_thousand_worlds() {
    let mut sum = Counts::default();
    for seed in 0..SEEDS {
        let outcome = run(seed, false);
        assert_eq!(outcome.violation, None, "again: make sim SEED={seed}");
        sum.add(&outcome.counts);
    }
    assert!(sum.is_lively(), "an idle world: {sum}");
    for (what, count) in
        [("elections", sum.elections), ("crashes", sum.crashes), ("truncations", sum.truncations)]
    {
        assert!(count > SEEDS, "only {count} {what} in {SEEDS} worlds");
    }
    assert!(sum.commits > 100 * SEEDS, "only {} commits", sum.commits);
}

#[test]
fn rules_hold_where_they_were_broken_once() {
    let seeds = FAILED.lines().filter(|line| !line.starts_with('#'));
    for seed in seeds.filter_map(|line| line.split(' ').next()?.parse().ok()) {
        assert_eq!(run(seed, false).violation, None, "again: make sim SEED={seed}");
    }
}

#[test]
fn one_seed_makes_one_world() {
    for seed in [1, 77, 4711] {
        let (one, again) = (run(seed, true), run(seed, true));
        assert_eq!(one.trace.fingerprint(), again.trace.fingerprint());
        assert_eq!(one.counts, again.counts);
        assert!(one.trace.lines().eq(again.trace.lines()));
        assert!(one.trace.lines().count() > 100);
    }
    assert_ne!(run(1, false).trace.fingerprint(), run(2, false).trace.fingerprint());
}
