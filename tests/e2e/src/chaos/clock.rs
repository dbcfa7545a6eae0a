//! [`Clock`]: a daemon whose clock jumps while it runs. Its wall clock only: nothing in a kernel turns back what measures
//! durations.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use harness::{Cluster, lsn};
use pg_frontend::{Address, PgClient};
use safekeeper_api::replication::{SenderMessage, StartReplication, Until, connect_params, timestamp};
use types::TenantTimelineId;

/// What libfaketime reads how far off the clock is from.
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    pub fn right(cluster: &Cluster) -> Clock {
        let clock = Clock { file: cluster.directory().join("clock") };
        clock.set("+0");
        clock
    }

    /// As libfaketime writes it: `+400d`, `-3600`.
    pub fn set(&self, off: &str) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, off)
            .and_then(|()| std::fs::rename(&next, &self.file))
            .expect("a file for the clock");
    }

    /// The command, and what it starts, have this clock.
    pub fn give_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let library = Path::new("/usr/lib")
            .join(format!("{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH));
        assert!(library.exists(), "{} is missing: it is in Debian's package libfaketime", library.display());
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
    }
}

/// How many days a safekeeper believes to be ahead: what it streams is stamped.
pub async fn days_ahead(cluster: &Cluster, id: u16) -> i64 {
    const SECONDS_A_DAY: i64 = 86_400;
    let (tenant_id, timeline_id) = cluster.ids("main");
    let ttid = TenantTimelineId {
        tenant_id: tenant_id.parse().expect("an id"),
        timeline_id: timeline_id.parse().expect("an id"),
    };
    let address = Address::parse(&format!("127.0.0.1:{}", cluster.safekeeper_port(id))).expect("an address");
    let params = connect_params(address, ttid, &cluster.credentials(), "clock");
    let start_lsn = lsn(&cluster.safekeeper_timeline(id, "main")["commit_lsn"]);
    let client = PgClient::connect(&params).await.expect("the safekeeper");
    let start = StartReplication { slot: None, start_lsn, until: Until::Committed };
    let (mut reader, _writer) = start.begin(client).await.expect("a stream");
    let stamp = match reader.next().await.expect("a message").expect("a message") {
        SenderMessage::XLogData(data) => data.timestamp,
        SenderMessage::Keepalive(keepalive) => keepalive.timestamp,
    };
    let ahead = (stamp - timestamp(SystemTime::now())) / 1_000_000;
    (ahead + SECONDS_A_DAY / 2).div_euclid(SECONDS_A_DAY)
}
