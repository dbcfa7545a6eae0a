//! A timeline as the HTTP API shows it.

use safekeeper_api::http::{TermStart, TimelineStatus, WalSenderStatus};

use crate::timeline::Timeline;

pub fn of(timeline: &Timeline) -> TimelineStatus {
    let identity = timeline.identity();
    let positions = timeline.positions();
    let history = &timeline.persisted_state().history;
    TimelineStatus {
        tenant_id: identity.ttid.tenant_id,
        timeline_id: identity.ttid.timeline_id,
        term: positions.term,
        term_history: history
            .lines()
            .iter()
            .map(|line| TermStart { term: line.term, lsn: line.lsn })
            .collect(),
        flush_lsn: positions.flush_lsn,
        commit_lsn: positions.commit_lsn,
        timeline_start_lsn: timeline.start_lsn(),
        remote_consistent_lsn: positions.remote_consistent_lsn,
        pg_version: identity.pg_version,
        system_id: identity.system_id.to_string(),
        wal_seg_size: identity.wal_seg_size,
        walsenders: timeline.senders().into_iter().map(sender).collect(),
        walreceivers: timeline.receivers(),
    }
}

fn sender(state: crate::timeline::SenderState) -> WalSenderStatus {
    let peer = match state.application_name.as_str() {
        "" => state.peer.to_string(),
        name => format!("{name} at {}", state.peer),
    };
    WalSenderStatus { peer, sent_lsn: state.sent_lsn, flush_lsn: state.flush_lsn }
}
