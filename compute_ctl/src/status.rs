//! What the compute says about itself: one snapshot, changed by the one task that runs the compute, read
//! by everybody else.

use std::time::Instant;

use compute_api::{
    ComputeSpec, ComputeState, ComputeStatus, ElectedStatus, STATUS_FORMAT_VERSION, StartStep, StepTime,
};
use tokio::sync::watch;

use crate::metrics::Metrics;

pub struct StatusBoard {
    sender: watch::Sender<ComputeStatus>,
    /// The port of a server that answers.
    server: watch::Sender<Option<u16>>,
    metrics: Metrics,
}

impl StatusBoard {
    pub fn new(spec: &ComputeSpec, metrics: Metrics) -> StatusBoard {
        let (sender, _) = watch::channel(ComputeStatus {
            format_version: STATUS_FORMAT_VERSION,
            tenant_id: spec.tenant_id,
            timeline_id: spec.timeline_id,
            endpoint_id: spec.endpoint_id.clone(),
            state: ComputeState::Starting,
            message: None,
            pg_listen_addr: spec.pg_listen_addr.clone(),
            pg_port: spec.pg_port,
            postgres_pid: None,
            starts: 0,
            start_steps: Vec::new(),
            elected: None,
            walproposer: None,
            replica: None,
        });
        StatusBoard { sender, server: watch::Sender::new(None), metrics }
    }

    pub fn subscribe(&self) -> watch::Receiver<ComputeStatus> {
        self.sender.subscribe()
    }

    /// The port of PostgreSQL on the private socket, while it answers.
    pub fn server(&self) -> watch::Receiver<Option<u16>> {
        self.server.subscribe()
    }

    pub fn server_opened(&self, port: u16) {
        self.server.send_replace(Some(port));
    }

    pub fn server_ended(&self) {
        self.server.send_replace(None);
    }

    pub fn change(&self, change: impl FnOnce(&mut ComputeStatus)) {
        self.sender.send_modify(change);
        self.metrics.show(&self.sender.borrow());
    }

    pub fn enter(&self, state: ComputeState, message: Option<String>) {
        if state == ComputeState::Crashed {
            self.metrics.count_crash();
        }
        self.change(|status| {
            status.state = state;
            status.message = message;
        });
    }

    /// What the present step is waiting for.
    pub fn waiting(&self, message: String) {
        tracing::info!("{message}");
        self.change(|status| status.message = Some(message));
    }

    pub fn begin_start(&self) {
        self.change(|status| {
            *status = ComputeStatus {
                state: ComputeState::Starting,
                message: None,
                postgres_pid: None,
                start_steps: Vec::new(),
                elected: None,
                walproposer: None,
                replica: None,
                ..status.clone()
            };
        });
    }

    pub fn elected(&self, elected: ElectedStatus) {
        self.change(|status| status.elected = Some(elected));
    }

    /// Takes back the last step: it has to be done again.
    pub fn step_undone(&self) -> Instant {
        self.change(|status| {
            status.start_steps.pop();
        });
        Instant::now()
    }

    /// Notes that a step is done which began at `since`, and returns when the next one begins.
    pub fn step_done(&self, step: StartStep, since: Instant) -> Instant {
        let now = Instant::now();
        let ms = (now - since).as_secs_f64() * 1e3;
        tracing::info!(step = step.name(), "done in {ms:.1} ms");
        self.change(|status| {
            status.start_steps.push(StepTime { step, ms });
            status.message = None;
        });
        now
    }
}
