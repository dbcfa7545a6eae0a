//! Moments of time as people write them.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// `2026-11-22 10:00` in the time zone of this machine, `2026-11-22T10:00:00Z` in the one it names, or `2 hours ago`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl Moment {
    fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Self> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(Self(moment));
        }
        if let Ok(local) = text.parse::<DateTime>() {
            // In the hour that a clock shows twice, the first of the two.
            return zone.to_ambiguous_timestamp(local).compatible().ok().map(Self);
        }
        let span: Span = text.parse().ok()?;
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        // "ago" makes it negative.
        length.is_negative().then_some(())?;
        now.checked_add(length).ok().map(Self)
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Moment::parse(text.trim(), Timestamp::now(), &TimeZone::system()).ok_or_else(|| {
            "write \"2026-11-22 10:00\" (local time), \"2026-11-22T10:00:00Z\" or \"2 hours ago\"".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_understood() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let at = |text: &str| Moment::parse(text, now, &zone).map(|moment| moment.0.to_string());
        for (text, moment) in [
            ("2026-11-22 10:00", "2026-11-22T09:00:00Z"),
            ("2026-11-22 10:00:30.5", "2026-11-22T09:00:30.5Z"),
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
            ("2026-11-22T10:00:00+03:00", "2026-11-22T07:00:00Z"),
            ("2 hours ago", "2026-11-22T10:00:00Z"),
            ("1d 30m ago", "2026-11-21T11:30:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Some(moment), "{text}");
        }
        for bad in ["", "yesterday", "10:00", "2 hours", "2026-13-01 10:00", "0/1A2B3C8"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
