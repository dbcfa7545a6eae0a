//! What the storage engine counts. Made once at start-up and passed in.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

#[derive(Clone)]
pub struct StorageMetrics {
    pub memory_layer_bytes: IntGauge,
    pub local_layer_bytes: IntGauge,
    pub waiting_layer_bytes: IntGauge,
    pub evicted_layers: IntCounter,
    pub written_layers: IntCounter,
    pub layer_written_bytes: IntCounter,
    pub layer_uploaded_bytes: IntCounter,
    pub layer_downloaded_bytes: IntCounter,
    pub flush_errors: IntCounter,
    pub upload_errors: IntCounter,
    pub put_batch_waits: IntCounter,
    pub flush_seconds: Histogram,
    pub kept_images: IntCounter,
    pub compaction_errors: IntCounter,
    pub compaction_seconds: Histogram,
    pub compaction_bytes: IntCounter,
    pub dropped_versions: IntCounter,
    pub collected_layers: IntCounter,
    pub deleted_objects: IntCounter,
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
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(format!("pageserver_storage_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            memory_layer_bytes: gauge("memory_layer_bytes", "Bytes in open and frozen layers")?,
            local_layer_bytes: gauge("local_layer_bytes", "Bytes of layer files on the local disk")?,
            waiting_layer_bytes: gauge(
                "waiting_layer_bytes",
                "Bytes of layer files that object storage has not got yet",
            )?,
            evicted_layers: counter(
                "evicted_layers_total",
                "Layer files removed to make room on the local disk",
            )?,
            written_layers: counter("written_layers_total", "Layer files made")?,
            layer_written_bytes: counter("layer_written_bytes_total", "Bytes of layer files made")?,
            layer_uploaded_bytes: counter("layer_uploaded_bytes_total", "Bytes of layer files uploaded")?,
            layer_downloaded_bytes: counter(
                "layer_downloaded_bytes_total",
                "Bytes of layer files downloaded",
            )?,
            flush_errors: counter("flush_errors_total", "Failed attempts to write a layer file")?,
            upload_errors: counter("upload_errors_total", "Failed attempts to upload a layer or an index")?,
            put_batch_waits: counter(
                "put_batch_waits_total",
                "Times that ingest waited for layers to be written or merged",
            )?,
            kept_images: counter(
                "kept_images_total",
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
            dropped_versions: counter(
                "dropped_versions_total",
                "Versions that nobody could read any more, left out by compaction",
            )?,
            collected_layers: counter("collected_layers_total", "Layers that garbage collection removed")?,
            deleted_objects: counter("deleted_objects_total", "Objects deleted from remote storage")?,
            flush_seconds: histogram(
                "flush_seconds",
                "Time to write one frozen layer to disk",
                vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
            )?,
        })
    }
}
