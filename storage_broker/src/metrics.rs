//! What the broker counts.

use prometheus::{IntCounter, IntGauge, Registry};

#[derive(Clone)]
pub struct Metrics {
    pub published: IntCounter,
    pub superseded: IntCounter,
    pub publishers: IntGauge,
    pub subscribers: IntGauge,
}

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let metrics = Metrics {
            published: IntCounter::new(
                "broker_published_messages_total",
                "Positions received from safekeepers",
            )?,
            superseded: IntCounter::new(
                "broker_superseded_messages_total",
                "Positions that a slow subscriber never saw because a newer one replaced them",
            )?,
            publishers: IntGauge::new("broker_publishers", "Open publish streams")?,
            subscribers: IntGauge::new("broker_subscribers", "Open subscriptions")?,
        };
        registry.register(Box::new(metrics.published.clone()))?;
        registry.register(Box::new(metrics.superseded.clone()))?;
        registry.register(Box::new(metrics.publishers.clone()))?;
        registry.register(Box::new(metrics.subscribers.clone()))?;
        Ok(metrics)
    }
}
