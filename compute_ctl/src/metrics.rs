//! The numbers of `/metrics`, all taken from the status.

use compute_api::{ComputeState, ComputeStatus};
use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec, Opts, Registry};

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

pub struct Metrics {
    state: IntGaugeVec,
    starts: IntGauge,
    step_seconds: GaugeVec,
    start_seconds: Gauge,
    term: IntGauge,
    positions: IntGaugeVec,
    safekeeper_flush: IntGaugeVec,
}

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Metrics> {
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
        let step_seconds = GaugeVec::new(
            Opts::new("varve_compute_start_step_seconds", "Time that each step of the last start took"),
            &["step"],
        )?;
        registry.register(Box::new(step_seconds.clone()))?;
        let start_seconds =
            Gauge::new("varve_compute_start_seconds", "Time that the last start took so far")?;
        registry.register(Box::new(start_seconds.clone()))?;
        Ok(Metrics {
            state: number("varve_compute_state", "1 for the state that the compute is in", &["state"])?,
            starts: single("varve_compute_postgres_starts", "Starts of PostgreSQL by this process")?,
            step_seconds,
            start_seconds,
            term: single("varve_compute_term", "Term that this compute was elected with")?,
            positions: number(
                "varve_compute_wal_position_bytes",
                "Positions of the WAL path",
                &["position"],
            )?,
            safekeeper_flush: number(
                "varve_compute_safekeeper_flush_position_bytes",
                "Up to here each safekeeper has WAL on disk",
                &["safekeeper"],
            )?,
        })
    }

    pub fn show(&self, status: &ComputeStatus) {
        for (state, name) in STATES {
            self.state.with_label_values(&[name]).set((state == status.state).into());
        }
        self.starts.set(status.starts.into());
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
            for peer in &walproposer.safekeepers {
                let gauge = self.safekeeper_flush.with_label_values(&[peer.id.to_string()]);
                gauge.set(peer.flush_lsn.0.cast_signed());
            }
        }
    }

    fn position(&self, name: &str, lsn: types::Lsn) {
        self.positions.with_label_values(&[name]).set(lsn.0.cast_signed());
    }
}
