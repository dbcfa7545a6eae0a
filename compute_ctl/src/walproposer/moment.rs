//! [`Moment`]: when something was, to be told as a time of day to who is on the same machine.

use std::time::{Instant, SystemTime};

/// By both clocks. The monotonic one stands still while the machine sleeps; the other may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    pub fn now() -> Moment {
        Moment { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The time of day that it was, or an earlier one if the clocks disagree: it is never told as later than it was.
    pub fn time_of_day(self, now: Moment) -> SystemTime {
        let elapsed = now.monotonic.saturating_duration_since(self.monotonic);
        now.wall.checked_sub(elapsed).map_or(self.wall, |counted| counted.min(self.wall))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_second_ago_is_a_second_ago() {
        let then = Moment::now();
        let now = Moment { monotonic: then.monotonic + SECOND, wall: then.wall + SECOND };
        assert_eq!(then.time_of_day(now), then.wall);
    }

    #[test]
    fn a_machine_that_slept_knows_that_time_went_by() {
        let then = Moment::now();
        let now = Moment { monotonic: then.monotonic + SECOND, wall: then.wall + HOUR };
        assert_eq!(then.time_of_day(now), now.wall - HOUR);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_newer() {
        let then = Moment::now();
        let now = Moment { monotonic: then.monotonic + SECOND, wall: then.wall - HOUR };
        assert_eq!(then.time_of_day(now), now.wall - SECOND);
    }
}
