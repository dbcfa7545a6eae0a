//! What the storage engine counts. Made once at start-up and passed in.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

#[derive(Clone)]
pub struct StorageMetrics {
    pub memory_layer_bytes: IntGauge,
    pub layers_written: IntCounter,
    pub layer_bytes_written: IntCounter,
    pub layer_bytes_uploaded: IntCounter,
    pub layer_bytes_downloaded: IntCounter,
    pub flush_errors: IntCounter,
    pub upload_errors: IntCounter,
    pub put_batch_waits: IntCounter,
    pub flush_seconds: Histogram,
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
        Ok(Self {
            memory_layer_bytes,
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
            flush_seconds: histogram(
                "flush_seconds",
                "Time to write one frozen layer to disk",
                vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
            )?,
        })
    }
}
