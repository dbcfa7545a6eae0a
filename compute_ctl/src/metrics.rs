//! The numbers of `/metrics`, all taken from the status.

use std::collections::BTreeSet;
use std::sync::Mutex;

use compute_api::{ComputeMode, ComputeSpec, ComputeState, ComputeStatus, SafekeeperPeerStatus};
use prometheus::{Gauge, GaugeVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

const STATES: [(ComputeState, &str); 8] = [
    (ComputeState::Starting, "starting"),
    (ComputeState::Running, "running"),
    (ComputeState::Stopping, "stopping"),
    (ComputeState::Suspended, "suspended"),
    (ComputeState::Crashed, "crashed"),
    (ComputeState::Fenced, "fenced"),
    (ComputeState::Stopped, "stopped"),
    (ComputeState::Failed, "failed"),
];

/// How the walproposer calls what a safekeeper does that has all WAL or is getting it.
const STREAMING: &str = "streaming";

/// Whose compute this is, for whoever looks at many.
fn info(spec: &ComputeSpec) -> prometheus::Result<IntGauge> {
    let mode = match spec.mode {
        ComputeMode::Primary => "primary",
        ComputeMode::Replica => "replica",
        ComputeMode::Static { .. } => "static",
    };
    let options = Opts::new("compute_info", "1; what this compute is stands in the labels")
        .const_label("endpoint_id", &spec.endpoint_id)
        .const_label("tenant_id", spec.tenant_id.to_string())
        .const_label("timeline_id", spec.timeline_id.to_string())
        .const_label("pg_version", spec.pg_version.to_string())
        .const_label("mode", mode);
    let info = IntGauge::with_opts(options)?;
    info.set(1);
    Ok(info)
}

pub struct Metrics {
    state: IntGaugeVec,
    starts: IntCounter,
    crashes: IntCounter,
    step_seconds: GaugeVec,
    start_seconds: Gauge,
    term: IntGauge,
    positions: IntGaugeVec,
    safekeeper_flush: IntGaugeVec,
    safekeeper_streaming: IntGaugeVec,
    /// Safekeepers that have gauges: members come and go.
    shown: Mutex<BTreeSet<String>>,
}

impl Metrics {
    pub fn new(registry: &Registry, spec: &ComputeSpec) -> prometheus::Result<Metrics> {
        registry.register(Box::new(info(spec)?))?;
        let number = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let single = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let step_seconds = GaugeVec::new(
            Opts::new("compute_start_step_seconds", "Time that each step of the last start took"),
            &["step"],
        )?;
        registry.register(Box::new(step_seconds.clone()))?;
        let start_seconds = Gauge::new("compute_start_seconds", "Time that the last start took so far")?;
        registry.register(Box::new(start_seconds.clone()))?;
        Ok(Metrics {
            state: number("compute_state", "1 for the state that the compute is in", &["state"])?,
            starts: counter("compute_postgres_starts_total", "Starts of PostgreSQL by this process")?,
            crashes: counter(
                "compute_postgres_crashes_total",
                "Times that PostgreSQL or its WAL path ended without being asked to, or could not be started",
            )?,
            step_seconds,
            start_seconds,
            term: single("compute_term", "Term that this compute was elected with")?,
            positions: number("compute_wal_position_bytes", "Positions of the WAL path", &["position"])?,
            safekeeper_flush: number(
                "compute_safekeeper_flush_position_bytes",
                "Up to here each safekeeper has WAL on disk",
                &["safekeeper"],
            )?,
            safekeeper_streaming: number(
                "compute_safekeeper_streaming",
                "1 for a safekeeper that follows this compute, 0 for one that does not",
                &["safekeeper"],
            )?,
            shown: Mutex::default(),
        })
    }

    pub fn show(&self, status: &ComputeStatus) {
        for (state, name) in STATES {
            self.state.with_label_values(&[name]).set((state == status.state).into());
        }
        self.starts.inc_by(u64::from(status.starts).saturating_sub(self.starts.get()));
        self.start_seconds.set(status.start_steps.iter().map(|step| step.ms).sum::<f64>() / 1e3);
        for step in &status.start_steps {
            self.step_seconds.with_label_values(&[step.step.name()]).set(step.ms / 1e3);
        }
        if let Some(elected) = status.elected {
            self.term.set(elected.term.0.cast_signed());
            self.position("start", elected.start_lsn);
        }
        if let Some(walproposer) = &status.walproposer {
            self.position("received", walproposer.received_lsn);
            self.position("commit", walproposer.commit_lsn);
            self.position("pageserver", walproposer.pageserver_lsn);
        }
        // None while there is no walproposer: nobody waits for a quorum then.
        self.show_safekeepers(status.walproposer.as_ref().map_or(&[], |it| &it.safekeepers));
        if let Some(replica) = &status.replica {
            self.position("received", replica.received_lsn);
            self.position("replayed", replica.replayed_lsn);
        }
    }

    pub fn count_crash(&self) {
        self.crashes.inc();
    }

    fn show_safekeepers(&self, peers: &[SafekeeperPeerStatus]) {
        let mut shown = self.shown.lock().expect("a panic ends the process");
        let now: BTreeSet<String> = peers.iter().map(|peer| peer.id.to_string()).collect();
        for gone in shown.difference(&now) {
            for gauges in [&self.safekeeper_flush, &self.safekeeper_streaming] {
                // Not there is fine.
                let _ = gauges.remove_label_values(&[gone]);
            }
        }
        *shown = now;
        for peer in peers {
            let id = [peer.id.to_string()];
            self.safekeeper_flush.with_label_values(&id).set(peer.flush_lsn.0.cast_signed());
            self.safekeeper_streaming.with_label_values(&id).set((peer.state == STREAMING).into());
        }
    }

    fn position(&self, name: &str, lsn: types::Lsn) {
        self.positions.with_label_values(&[name]).set(lsn.0.cast_signed());
    }
}
