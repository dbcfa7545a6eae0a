//! What the page service counts.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, Registry};

#[derive(Clone)]
pub struct PageServiceMetrics {
    pub request_seconds: HistogramVec,
    pub wait_lsn_seconds: Histogram,
    pub pages_sent: IntCounter,
    pub errors: IntCounter,
    pub backup_seconds: Histogram,
}

impl PageServiceMetrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let fast = vec![0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
        let options = |name: &str, help: &str| {
            HistogramOpts::new(format!("pageserver_page_service_{name}"), help).buckets(fast.clone())
        };
        let metrics = Self {
            request_seconds: HistogramVec::new(
                options("request_seconds", "Time from a request's arrival to its answer"),
                &["request"],
            )?,
            wait_lsn_seconds: Histogram::with_opts(options(
                "wait_lsn_seconds",
                "Time spent waiting for WAL",
            ))?,
            pages_sent: IntCounter::new("pageserver_page_service_pages_total", "Pages in answers")?,
            errors: IntCounter::new(
                "pageserver_page_service_errors_total",
                "Requests answered with an error",
            )?,
            backup_seconds: Histogram::with_opts(options("backup_seconds", "Time to make a base backup"))?,
        };
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.wait_lsn_seconds.clone()))?;
        registry.register(Box::new(metrics.pages_sent.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.backup_seconds.clone()))?;
        Ok(metrics)
    }
}
