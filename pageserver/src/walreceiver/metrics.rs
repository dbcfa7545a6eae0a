//! What WAL receivers count, and how they stand.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge, Registry};

use super::WalReceivers;

#[derive(Clone)]
pub struct WalReceiverMetrics {
    pub connections: IntCounter,
    pub failures: IntCounter,
    pub switches: IntCounter,
    pub bytes: IntCounter,
}

impl WalReceiverMetrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(format!("pageserver_walreceiver_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        Ok(Self {
            connections: counter("connections_total", "Streams of WAL begun")?,
            failures: counter("failures_total", "Streams of WAL that ended with an error")?,
            switches: counter("switches_total", "Streams left for a better safekeeper")?,
            bytes: counter("bytes_total", "Bytes of WAL received")?,
        })
    }
}

/// How the receivers of all timelines stand together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) timelines: i64,
    pub(super) streams: i64,
    /// Timelines without a stream of which a safekeeper has more WAL.
    pub(super) waiting: i64,
    pub(super) broken: i64,
    /// In bytes, of the timeline that is farthest behind.
    pub(super) lag: u64,
}

/// Shows how they stand. Labels would name each timeline, and there may be thousands: `varve status` knows which it is.
pub fn watch(registry: &Registry, receivers: &Arc<WalReceivers>) -> prometheus::Result<()> {
    let gauge = |name: &str, help: &str| IntGauge::new(format!("pageserver_walreceiver_{name}"), help);
    let timelines = gauge("timelines", "Timelines whose WAL is received")?;
    let streams = gauge("streams", "Streams of WAL that are open; of an idle timeline there is none")?;
    let waiting = gauge(
        "waiting_timelines",
        "Timelines without a stream although a safekeeper has WAL that is not here",
    )?;
    let broken = gauge(
        "broken_timelines",
        "Timelines that stopped at WAL which they cannot take in, or that another pageserver owns",
    )?;
    let lag = gauge(
        "lag_bytes",
        "WAL that safekeepers have and the pageserver has not taken in, of the timeline that is farthest behind",
    )?;
    let all = [&timelines, &streams, &waiting, &broken, &lag];
    let metrics = all.map(|gauge| Box::new(gauge.clone()) as Box<dyn Collector>);
    let receivers = Arc::downgrade(receivers);
    telemetry::metrics::measured(registry, metrics.into(), move || {
        let now = receivers.upgrade().map(|receivers| receivers.standing()).unwrap_or_default();
        timelines.set(now.timelines);
        streams.set(now.streams);
        waiting.set(now.waiting);
        broken.set(now.broken);
        lag.set(i64::try_from(now.lag).unwrap_or(i64::MAX));
    })
}
