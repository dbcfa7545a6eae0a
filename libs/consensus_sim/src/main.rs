//! `make sim`: many worlds, and what is left of one in which a rule was broken.
#![allow(clippy::print_stdout, reason = "the output of a command")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use consensus_sim::{Counts, Schedule, Violation, run, run_schedule, shrink};

/// Failures that are told in full; of the others only the seed.
const TOLD: usize = 3;
/// Lines of a trace that are printed.
const LINES: usize = 60;

/// Simulates safekeepers and computes with faults, world after world.
#[derive(Parser)]
struct Arguments {
    /// Worlds to simulate
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The seed of the first
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// One world only, with all that happened at its end
    #[arg(long, conflicts_with_all = ["seeds", "start"])]
    seed: Option<u64>,
    /// Ends at the first broken rule, without making it smaller
    #[arg(long)]
    first: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (start, seeds) = match arguments.seed {
        Some(seed) => (seed, 1),
        None => (arguments.start, arguments.seeds),
    };
    let mut violations = 0;
    let mut sum = Counts::default();
    let mut begun = Instant::now();
    for number in 0..seeds {
        let seed = start + number;
        let outcome = run(seed, false);
        sum.add(&outcome.counts);
        if let Some(violation) = outcome.violation {
            violations += 1;
            tell(seed, &violation, violations > TOLD || arguments.first);
            if arguments.first {
                return ExitCode::FAILURE;
            }
        } else if arguments.seed.is_some() {
            println!("{}", Schedule::of_seed(seed));
            run(seed, true).trace.lines().for_each(|line| println!("{line}"));
        }
        let worlds = number % 1000 + 1;
        if worlds == 1000 || number + 1 == seeds {
            println!("seeds {}..={seed}: {sum} ({:.0} s)", seed + 1 - worlds, begun.elapsed().as_secs_f64());
            if worlds == 1000 && !sum.is_lively() {
                println!("sim: an idle world: something never happened in 1,000 seeds");
                return ExitCode::FAILURE;
            }
            (sum, begun) = (Counts::default(), Instant::now());
        }
    }
    println!("sim: {seeds} seeds, {violations} violations");
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(seed: u64, violation: &Violation, briefly: bool) {
    println!("seed {seed}: {violation}");
    if briefly {
        return;
    }
    let smaller = shrink(seed, &Schedule::of_seed(seed));
    let outcome = run_schedule(seed, &smaller, true);
    println!("with as few faults as it takes: {smaller}");
    let lines: Vec<&str> = outcome.trace.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().for_each(|line| println!("{line}"));
    println!("again: make sim SEED={seed}");
}
