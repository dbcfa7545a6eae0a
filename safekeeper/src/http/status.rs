//! A timeline as the HTTP API shows it.

use consensus::AcceptorState;
use safekeeper_api::control_file::ControlFile;
use safekeeper_api::http::{TimelineListEntry, TimelineStatus, WalReceiverStatus, WalSenderStatus};
use types::{Generation, TimelineId};

use crate::timeline::{Summary, Timeline};

/// `pageserver_generation` is the tenant's.
pub fn of(timeline: &Timeline, pageserver_generation: Generation) -> TimelineStatus {
    let sender = |state: crate::timeline::SenderState| WalSenderStatus {
        application_name: state.application_name,
        peer_addr: state.peer.to_string(),
        sent_lsn: state.sent_lsn,
        confirmed_lsn: state.confirmed_lsn,
    };
    TimelineStatus {
        evicted: false,
        walsenders: timeline.senders().into_iter().map(sender).collect(),
        walreceivers: timeline.proposers().into_iter().map(receiver).collect(),
        ..at_rest(
            &timeline.summary(),
            &timeline.persisted_state(),
            timeline.ancestor(),
            pageserver_generation,
        )
    }
}

fn receiver((peer, leads): (std::net::SocketAddr, bool)) -> WalReceiverStatus {
    WalReceiverStatus { peer_addr: peer.to_string(), leads }
}

pub fn of_evicted(control: &ControlFile, pageserver_generation: Generation) -> TimelineStatus {
    at_rest(&Summary::at_rest(control), &control.acceptor, control.ancestor, pageserver_generation)
}

fn at_rest(
    summary: &Summary,
    state: &AcceptorState,
    ancestor: Option<TimelineId>,
    pageserver_generation: Generation,
) -> TimelineStatus {
    let (identity, positions) = (&state.identity, &summary.positions);
    TimelineStatus {
        tenant_id: identity.ttid.tenant_id,
        timeline_id: identity.ttid.timeline_id,
        term: positions.term,
        term_history: state.history.clone(),
        configuration: state.configuration.clone(),
        flush_lsn: positions.flush_lsn,
        durable_lsn: positions.durable_lsn,
        commit_lsn: positions.commit_lsn,
        timeline_start_lsn: summary.start_lsn,
        remote_consistent_lsn: positions.remote_consistent_lsn,
        backup_lsn: positions.backup_lsn,
        local_start_lsn: positions.local_start_lsn,
        pageserver_generation,
        evicted: true,
        pg_version: identity.pg_version,
        system_id: identity.system_id,
        wal_seg_size: identity.wal_seg_size,
        ancestor,
        walsenders: Vec::new(),
        walreceivers: Vec::new(),
    }
}

pub fn entry(summary: &Summary) -> TimelineListEntry {
    TimelineListEntry {
        tenant_id: summary.ttid.tenant_id,
        timeline_id: summary.ttid.timeline_id,
        commit_lsn: summary.positions.commit_lsn,
        flush_lsn: summary.positions.flush_lsn,
    }
}
