//! The numbers that every daemon shows, whatever it does: its version, what its process takes, how full its disk is.
//!
//! They are measured when somebody asks for them: no task is kept for that.

use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::statvfs::statvfs;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge, Opts, Registry};

/// The registry of a daemon, with what each of them shows.
pub fn registry(version: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let build = Opts::new("varve_build_info", "1; the version is a label").const_label("version", version);
    let build = IntGauge::with_opts(build)?;
    build.set(1);
    registry.register(Box::new(build))?;
    watch_process(&registry)?;
    Ok(registry)
}

/// Registers metrics that `measure` sets each time that somebody wants to see them.
pub fn measured(
    registry: &Registry,
    metrics: Vec<Box<dyn Collector>>,
    measure: impl FnMut() + Send + 'static,
) -> prometheus::Result<()> {
    registry.register(Box::new(Measured { metrics, measure: Mutex::new(Box::new(measure)) }))
}

/// The file system that holds `directory`.
pub fn watch_disk(registry: &Registry, directory: &Path) -> prometheus::Result<()> {
    let size = Gauge::new("data_disk_size_bytes", "Size of the file system that holds the data directory")?;
    let available = Gauge::new("data_disk_available_bytes", "What of it can still be written")?;
    let metrics: Vec<Box<dyn Collector>> = vec![Box::new(size.clone()), Box::new(available.clone())];
    let directory = directory.to_owned();
    measured(registry, metrics, move || {
        // A disk that cannot tell is a full one: whoever watches it must not go on with what was true once.
        let (total, left) = statvfs(&directory).map_or((0.0, 0.0), |found| {
            let bytes = |blocks| blocks as f64 * found.fragment_size() as f64;
            (bytes(found.blocks()), bytes(found.blocks_available()))
        });
        size.set(total);
        available.set(left);
    })
}

/// By the names that all of Prometheus' own clients give them.
fn watch_process(registry: &Registry) -> prometheus::Result<()> {
    let started = Gauge::new("process_start_time_seconds", "When the process began, since 1970")?;
    started.set(SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64()));
    let cpu = Counter::new("process_cpu_seconds_total", "Time that it has spent on processors")?;
    let memory = IntGauge::new("process_resident_memory_bytes", "Memory that it takes")?;
    let open = IntGauge::new("process_open_fds", "Files and connections that it has open")?;
    let most = Gauge::new("process_max_fds", "How many of them it may have")?;
    let metrics: Vec<Box<dyn Collector>> = vec![
        Box::new(started),
        Box::new(cpu.clone()),
        Box::new(memory.clone()),
        Box::new(open.clone()),
        Box::new(most.clone()),
    ];
    measured(registry, metrics, move || {
        if let Some(seconds) = cpu_seconds() {
            cpu.inc_by((seconds - cpu.get()).max(0.0));
        }
        memory.set(resident_memory().unwrap_or(0));
        open.set(std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as i64));
        most.set(getrlimit(Resource::RLIMIT_NOFILE).map_or(0.0, |(soft, _)| soft as f64));
    })
}

fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn resident_memory() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

struct Measured {
    metrics: Vec<Box<dyn Collector>>,
    /// Two who ask at once must not count the same twice.
    measure: Mutex<Box<dyn FnMut() + Send>>,
}

impl Collector for Measured {
    fn desc(&self) -> Vec<&Desc> {
        self.metrics.iter().flat_map(|metric| metric.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut measure = self.measure.lock().expect("a panic ends the process");
        measure();
        self.metrics.iter().flat_map(|metric| metric.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(registry: &Registry, name: &str) -> f64 {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect(name);
        let metric = &family.get_metric()[0];
        metric.get_gauge().get_value() + metric.get_counter().get_value()
    }

    #[test]
    fn a_process_and_its_disk_are_measured_when_somebody_asks() {
        let registry = registry("1.2.3").unwrap();
        watch_disk(&registry, Path::new("/")).unwrap();
        let before = value(&registry, "process_cpu_seconds_total");
        let mut sum = 0_u64;
        while cpu_seconds().unwrap() < before + 0.02 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(value(&registry, "process_cpu_seconds_total") >= before + 0.01);
        assert!(value(&registry, "process_resident_memory_bytes") > 1e6);
        assert!(value(&registry, "process_start_time_seconds") > 1.5e9);
        let open = value(&registry, "process_open_fds");
        let files: Vec<_> = (0..20).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(value(&registry, "process_open_fds") >= open + 10.0, "{} files are open", files.len());
        assert!(value(&registry, "process_max_fds") >= open);
        let size = value(&registry, "data_disk_size_bytes");
        assert!(size > 1e6 && value(&registry, "data_disk_available_bytes") <= size);
        let families = registry.gather();
        let build = families.iter().find(|family| family.name() == "varve_build_info").unwrap();
        assert_eq!(build.get_metric()[0].get_label()[0].value(), "1.2.3");
    }

    #[test]
    fn a_disk_that_is_not_there_is_full() {
        let registry = Registry::new();
        watch_disk(&registry, Path::new("/nowhere/at/all")).unwrap();
        assert_eq!(value(&registry, "data_disk_available_bytes"), 0.0);
    }
}
