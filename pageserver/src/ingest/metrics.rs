//! What ingest counts.

use prometheus::{IntCounter, Registry};

#[derive(Clone)]
pub struct IngestMetrics {
    pub records: IntCounter,
    pub bytes: IntCounter,
    pub entries: IntCounter,
    pub gap_blocks: IntCounter,
}

impl IngestMetrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(format!("pageserver_ingest_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        Ok(Self {
            records: counter("records_total", "WAL records taken in")?,
            bytes: counter("bytes_total", "Bytes of WAL records taken in")?,
            entries: counter("entries_total", "Versions of keys made of WAL records")?,
            gap_blocks: counter(
                "gap_blocks_total",
                "Blocks that begin anew as zeros since a relation grew past them",
            )?,
        })
    }
}
