//! How long history is kept, and which LSN was when.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use types::{Lsn, TenantId};
use utoipa::ToSchema;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's `TimestampTz` begins.
pub const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A length of time as people write it: `7 days`, `12h`, `1h 30m`. Whole seconds; a day has 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, example = "7 days")]
pub struct Interval(pub Duration);

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no length of time: write \"7 days\", \"12h\" or \"1h 30m\"")]
pub struct ParseIntervalError(String);

impl FromStr for Interval {
    type Err = ParseIntervalError;

    fn from_str(text: &str) -> Result<Self, ParseIntervalError> {
        let error = || ParseIntervalError(text.to_owned());
        // As nothing else has a length of zero, zero needs no unit.
        if text.trim() == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let span: Span = text.trim().parse().map_err(|_| error())?;
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| error())?;
        let seconds = u64::try_from(length.as_secs()).map_err(|_| error())?;
        if length.subsec_nanos() != 0 {
            return Err(error());
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for Interval {
    /// In the largest unit that says it exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "d"), (3600, "h"), (60, "m")];
        let exact = units.iter().find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length));
        match exact {
            Some((length, unit)) => write!(f, "{}{unit}", seconds / length),
            None => write!(f, "{seconds}s"),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What is set for one tenant; what is not, is as the pageserver's configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// How far back any moment can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pitr_interval: Option<Interval>,
    /// Bytes of WAL that can be read back at least, however old they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64")]
    pub gc_horizon: Option<u64>,
}

/// `PUT /v1/tenant/config`: takes the place of all that was set before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantConfigRequest {
    pub tenant_id: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pitr_interval: Option<Interval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64")]
    pub gc_horizon: Option<u64>,
}

impl TenantConfigRequest {
    pub fn new(tenant_id: TenantId, config: TenantConfig) -> Self {
        let TenantConfig { pitr_interval, gc_horizon } = config;
        Self { tenant_id, pitr_interval, gc_horizon }
    }

    pub fn config(&self) -> TenantConfig {
        TenantConfig { pitr_interval: self.pitr_interval, gc_horizon: self.gc_horizon }
    }
}

/// `GET /v1/tenant/{t}/config`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantConfigResponse {
    pub tenant_specific_overrides: TenantConfig,
    pub effective_config: TenantConfig,
}

/// Of `PUT /v1/tenant/{t}/timeline/{tl}/replay_offloaded_wal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayResult {
    pub last_record_lsn: Lsn,
}

/// Of `PUT /v1/tenant/{t}/timeline/{tl}/do_gc`, whose body is a [`TenantConfig`] that counts this once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcResult {
    /// Below it only the beginnings of branches can be read.
    pub gc_cutoff: Lsn,
    pub layers_removed: usize,
}

/// `POST /v1/tenant/{t}/timeline/{tl}/lsn_lease`: what can be read at this LSN is to stay readable for a while. To be
/// asked again before that is over, also after the pageserver was restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LsnLeaseRequest {
    pub lsn: Lsn,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LsnLease {
    /// As in RFC 3339.
    pub valid_until: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LsnKind {
    /// The end of the last commit up to that time.
    Present,
    /// All commits are older: where the branch is now.
    Future,
    /// All commits that can be read are younger: where what can be read begins.
    Past,
    /// There is no commit at all.
    NoData,
}

/// `GET /v1/tenant/{t}/timeline/{tl}/get_lsn_by_timestamp?timestamp=2026-11-22T10:00:00Z`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LsnByTimestamp {
    pub lsn: Lsn,
    pub kind: LsnKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written() {
        for (text, seconds, written) in [
            ("7 days", 604_800, "7d"),
            ("7d", 604_800, "7d"),
            ("12h", 43_200, "12h"),
            ("1h 30m", 5_400, "90m"),
            ("90 seconds", 90, "90s"),
            ("0s", 0, "0s"),
            ("0", 0, "0s"),
        ] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!((interval.0.as_secs(), interval.to_string().as_str()), (seconds, written), "{text}");
            assert_eq!(written.parse::<Interval>().unwrap(), interval);
        }
        for bad in ["", "7", "-7d", "soon", "1.5", "3 lightyears", "500ms"] {
            assert!(bad.parse::<Interval>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_has_only_what_is_set() {
        let config: TenantConfig = serde_json::from_str(r#"{"pitr_interval":"7 days"}"#).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), r#"{"pitr_interval":"7d"}"#);
        assert!(serde_json::from_str::<TenantConfig>(r#"{"pitr":"7 days"}"#).is_err());
    }
}
