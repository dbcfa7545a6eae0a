//! A timeline as the HTTP API shows it.

use safekeeper_api::control_file::ControlFile;
use safekeeper_api::http::{TimelineListEntry, TimelineStatus, WalReceiverStatus, WalSenderStatus};

use crate::timeline::{Summary, Timeline};

pub fn of(timeline: &Timeline) -> TimelineStatus {
    let identity = timeline.identity();
    let (positions, state) = (timeline.positions(), timeline.persisted_state());
    let sender = |state: crate::timeline::SenderState| WalSenderStatus {
        application_name: state.application_name,
        peer_addr: state.peer.to_string(),
        sent_lsn: state.sent_lsn,
        confirmed_lsn: state.confirmed_lsn,
    };
    TimelineStatus {
        tenant_id: identity.ttid.tenant_id,
        timeline_id: identity.ttid.timeline_id,
        term: positions.term,
        term_history: state.history.clone(),
        configuration: state.configuration.clone(),
        flush_lsn: positions.flush_lsn,
        durable_lsn: positions.durable_lsn,
        commit_lsn: positions.commit_lsn,
        timeline_start_lsn: timeline.start_lsn(),
        remote_consistent_lsn: positions.remote_consistent_lsn,
        backup_lsn: positions.backup_lsn,
        local_start_lsn: positions.local_start_lsn,
        evicted: false,
        pg_version: identity.pg_version,
        system_id: identity.system_id,
        wal_seg_size: identity.wal_seg_size,
        ancestor: timeline.ancestor(),
        walsenders: timeline.senders().into_iter().map(sender).collect(),
        walreceivers: timeline.proposers().into_iter().map(receiver).collect(),
    }
}

fn receiver((peer, leads): (std::net::SocketAddr, bool)) -> WalReceiverStatus {
    WalReceiverStatus { peer_addr: peer.to_string(), leads }
}

pub fn of_evicted(control: &ControlFile) -> TimelineStatus {
    let (identity, acceptor) = (control.acceptor.identity, &control.acceptor);
    let positions = Summary::at_rest(control).positions;
    TimelineStatus {
        tenant_id: identity.ttid.tenant_id,
        timeline_id: identity.ttid.timeline_id,
        term: acceptor.term,
        term_history: acceptor.history.clone(),
        configuration: acceptor.configuration.clone(),
        flush_lsn: positions.flush_lsn,
        durable_lsn: positions.durable_lsn,
        commit_lsn: positions.commit_lsn,
        timeline_start_lsn: acceptor.timeline_start_lsn,
        remote_consistent_lsn: positions.remote_consistent_lsn,
        backup_lsn: positions.backup_lsn,
        local_start_lsn: positions.local_start_lsn,
        evicted: true,
        pg_version: identity.pg_version,
        system_id: identity.system_id,
        wal_seg_size: identity.wal_seg_size,
        ancestor: control.ancestor,
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
