//! What WAL receivers count.

use prometheus::{IntCounter, Registry};

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
