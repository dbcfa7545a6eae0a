//! What the storage engine counts. Made once at start-up and passed in.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

#[derive(Clone)]
pub struct StorageMetrics {
    pub memory_layer_bytes: IntGauge,
    pub local_layer_bytes: IntGauge,
    pub layers_evicted: IntCounter,
    pub layers_written: IntCounter,
    pub layer_bytes_written: IntCounter,
    pub layer_bytes_uploaded: IntCounter,
    pub layer_bytes_downloaded: IntCounter,
    pub flush_errors: IntCounter,
    pub upload_errors: IntCounter,
    pub put_batch_waits: IntCounter,
    pub flush_seconds: Histogram,
    pub images_kept: IntCounter,
    pub compaction_errors: IntCounter,
    pub compaction_seconds: Histogram,
    pub compaction_bytes: IntCounter,
    pub versions_dropped: IntCounter,
    pub layers_collected: IntCounter,
    pub objects_deleted: IntCounter,
}

impl StorageMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(format!("pageserver_storage_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| -> prometheus::Result<Histogram> {
            let options = HistogramOpts::new(format!("pageserver_storage_{name}"), help).buckets(buckets);
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let memory_layer_bytes =
            IntGauge::new("pageserver_storage_memory_layer_bytes", "Bytes in open and frozen layers")?;
        registry.register(Box::new(memory_layer_bytes.clone()))?;
        let local_layer_bytes =
            IntGauge::new("pageserver_storage_local_layer_bytes", "Bytes of layer files on the local disk")?;
        registry.register(Box::new(local_layer_bytes.clone()))?;
        Ok(Self {
            memory_layer_bytes,
            local_layer_bytes,
            layers_evicted: counter(
                "layers_evicted_total",
                "Layer files removed to make room on the local disk",
            )?,
            layers_written: counter("layers_written_total", "Layer files made")?,
            layer_bytes_written: counter("layer_bytes_written_total", "Bytes of layer files made")?,
            layer_bytes_uploaded: counter("layer_bytes_uploaded_total", "Bytes of layer files uploaded")?,
            layer_bytes_downloaded: counter(
                "layer_bytes_downloaded_total",
                "Bytes of layer files downloaded",
            )?,
            flush_errors: counter("flush_errors_total", "Failed attempts to write a layer file")?,
            upload_errors: counter("upload_errors_total", "Failed attempts to upload a layer or an index")?,
            put_batch_waits: counter(
                "put_batch_waits_total",
                "Times that ingest waited for layers to be written",
            )?,
            images_kept: counter(
                "images_kept_total",
                "Images that reads made of many changes in memory, kept for the next read",
            )?,
            compaction_errors: counter("compaction_errors_total", "Failed jobs of compaction")?,
            compaction_seconds: histogram(
                "compaction_seconds",
                "Time of one job of compaction",
                vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0],
            )?,
            compaction_bytes: counter(
                "compaction_bytes_total",
                "Bytes of the layers that jobs of compaction went through",
            )?,
            versions_dropped: counter(
                "versions_dropped_total",
                "Versions that nobody could read any more, left out by compaction",
            )?,
            layers_collected: counter("layers_collected_total", "Layers that garbage collection removed")?,
            objects_deleted: counter("objects_deleted_total", "Objects deleted from remote storage")?,
            flush_seconds: histogram(
                "flush_seconds",
                "Time to write one frozen layer to disk",
                vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
            )?,
        })
    }
}
