//! Makes a failure smaller: leaves out faults as long as a rule is still broken.

use crate::schedule::Schedule;
use crate::world::run_schedule;

/// Runs are cheap, but not free.
const ATTEMPTS: usize = 300;

/// A schedule with fewer faults that fails as well; which rule is broken may change on the way.
pub fn shrink(seed: u64, schedule: &Schedule) -> Schedule {
    let mut best = schedule.clone();
    let mut attempts = 0;
    let mut size = best.faults.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let before = best.faults.len();
        while at < best.faults.len() && attempts < ATTEMPTS {
            let mut fewer = best.clone();
            fewer.faults.drain(at..(at + size).min(best.faults.len()));
            attempts += 1;
            if run_schedule(seed, &fewer, false).violation.is_some() {
                best = fewer;
            } else {
                at += size;
            }
        }
        // Once more with the same size if that helped, else with smaller pieces.
        if best.faults.len() == before || size > best.faults.len() {
            size /= 2;
        }
        if attempts == ATTEMPTS {
            break;
        }
    }
    best
}
