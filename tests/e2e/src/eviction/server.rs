//! A server whose cache is never large enough, and what tests ask of it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;
use std::time::{Duration, Instant};

use harness::{Cluster, connect};

use super::{Outcome, Session};

/// Settings of a server, and the time in which each of its statements must end.
#[derive(Clone, Copy)]
pub struct Mode {
    name: &'static str,
    /// All that any mode sets, so that nothing of the mode before is left.
    settings: [&'static str; 6],
    patience: Duration,
}

const COMMON: [&str; 4] =
    ["shared_buffers=1MB", "varve.debug=on", "varve.test_shadow=on", "max_prepared_transactions=10"];

/// All that may be dropped goes at once.
pub const HARD: Mode = Mode {
    name: "hard",
    settings: [
        "varve.cache_size=0",
        "varve.cache_hard_limit=-1",
        "varve.chunk_blocks=16",
        "varve.grace_interval=1",
        "varve.test_sabotage=off",
        "varve.log_cache_interval=1",
    ],
    patience: Duration::from_secs(90),
};

/// As in earnest, but small.
pub const SMALL: Mode = Mode {
    name: "small",
    settings: [
        "varve.cache_size=4MB",
        "varve.cache_hard_limit=-1",
        "varve.chunk_blocks=128",
        "varve.grace_interval=1000",
        "varve.test_sabotage=off",
        "varve.log_cache_interval=1",
    ],
    patience: Duration::from_secs(90),
};

/// Over its limits at once: what may not be dropped is logged whole.
pub const FULL: Mode = Mode {
    name: "full",
    settings: [
        "varve.cache_size=1MB",
        "varve.cache_hard_limit=2MB",
        "varve.chunk_blocks=16",
        "varve.grace_interval=1",
        "varve.test_sabotage=off",
        "varve.log_cache_interval=1",
    ],
    patience: Duration::from_secs(90),
};

/// Pages go although transactions run that wrote them.
pub const BROKEN_GRACE: Mode = broken("broken grace", "varve.test_sabotage=grace");
/// Pages of sequences go.
pub const BROKEN_SEQUENCES: Mode = broken("broken sequences", "varve.test_sabotage=sequences");
/// Pages are asked for at their own LSN.
pub const BROKEN_PAGE_LSN: Mode = broken("broken page LSN", "varve.test_sabotage=page_lsn");

/// Like `HARD`. It logs nothing of its cache, which would be held against the cluster in the end.
const fn broken(name: &'static str, sabotage: &'static str) -> Mode {
    let mut settings = HARD.settings;
    settings[4] = sabotage;
    settings[5] = "varve.log_cache_interval=0";
    Mode { name, settings, patience: Duration::from_secs(8) }
}

pub struct Server {
    pub cluster: Cluster,
    mode: Mode,
}

impl Server {
    /// In `HARD`.
    pub fn start(test: &str) -> Server {
        Server::start_with(test, &[])
    }

    /// With more settings, in all modes.
    pub fn start_with(test: &str, more: &[&str]) -> Server {
        let settings = [&COMMON, &HARD.settings[..], more].concat();
        Server { cluster: Cluster::up_with(&format!("eviction-{test}"), &settings), mode: HARD }
    }

    /// From here on in another mode: a new life, whose cache begins empty.
    pub fn enter(&mut self, mode: Mode) {
        if mode.name == self.mode.name {
            return;
        }
        let settings = mode.settings.iter().flat_map(|pair| ["--set", pair]);
        let reconfigure: Vec<&str> =
            ["endpoint", "reconfigure", "main"].into_iter().chain(settings).collect();
        self.cluster.varve(&["endpoint", "stop", "main"]);
        self.cluster.varve(&reconfigure);
        self.cluster.varve(&["endpoint", "start", "main"]);
        self.mode = mode;
    }

    pub async fn session(&self) -> Session {
        self.session_in("postgres").await
    }

    pub async fn session_in(&self, database: &str) -> Session {
        let connstr = self.cluster.varve(&["connstr", "main", "--database", database]);
        let client = connect(connstr.trim()).await.unwrap_or_else(|error| panic!("{database}: {error:?}"));
        Session::new(client, self.mode.patience).await
    }

    /// The workload comes out right, while at least so many chunks are evicted and blocks fetched again.
    pub async fn survives(
        &self,
        what: &str,
        least: u64,
        workload: impl Future<Output = Outcome>,
    ) -> Activity {
        self.survives_but(&[], what, least, workload).await
    }

    /// Where some of what the shadow counts as lost is none.
    pub async fn survives_but(
        &self,
        no_loss: &[&str],
        what: &str,
        least: u64,
        workload: impl Future<Output = Outcome>,
    ) -> Activity {
        let (outcome, activity) = self.watch(what, workload).await;
        if let Err(error) = outcome {
            panic!("{what}, {}: {error}; {activity}", self.mode.name);
        }
        for loss in LOSSES.iter().filter(|loss| !no_loss.contains(loss)) {
            assert_eq!(activity[loss], 0, "{loss} in {what}, {}: {activity}", self.mode.name);
        }
        let used = activity["evicted_chunks"].min(activity["refetched_blocks"]);
        assert!(used >= least, "{what}, {}: the cache was hardly used: {activity}", self.mode.name);
        activity
    }

    /// Runs it for whatever comes out.
    pub async fn watch(&self, what: &str, workload: impl Future<Output = Outcome>) -> (Outcome, Activity) {
        let before = self.activity().await;
        let started = Instant::now();
        let outcome = workload.await;
        let activity = self.activity().await.since(&before);
        let seconds = started.elapsed().as_secs_f32();
        eprintln!("{what}, {}: {seconds:.1} s, {outcome:?}, {activity}", self.mode.name);
        (outcome, activity)
    }

    async fn activity(&self) -> Activity {
        let session = self.session().await;
        session.run("CREATE EXTENSION IF NOT EXISTS varve").await.expect("the extension");
        let views = "SELECT to_jsonb(c) || to_jsonb(s) || to_jsonb(p) FROM varve.cache c, varve.shadow s, varve.pageserver p";
        let text = session.answer(views).await.expect("the views");
        Activity(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}")))
    }
}

/// What the shadow sees only if something went wrong.
const LOSSES: [&str; 6] = [
    "mismatches",
    "zero_pages_suspect",
    "all_visible_lost",
    "live_cids_lost",
    "live_tokens_lost",
    "live_cycle_ids_lost",
];

/// What the views of the extension counted.
pub struct Activity(BTreeMap<String, u64>);

impl Activity {
    fn since(&self, before: &Activity) -> Activity {
        let since = |(name, now): (&String, &u64)| (name.clone(), now.saturating_sub(before[name]));
        Activity(self.0.iter().map(since).collect())
    }
}

impl Index<&str> for Activity {
    type Output = u64;

    fn index(&self, counter: &str) -> &u64 {
        self.0.get(counter).unwrap_or_else(|| panic!("no counter {counter} in {self}"))
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for counter in ["evicted_chunks", "refetched_blocks", "compared", "page_images", "recycled_entries"] {
            write!(f, "{counter}={} ", self.0.get(counter).copied().unwrap_or_default())?;
        }
        let losses = LOSSES.iter().filter(|loss| self.0.get(**loss).is_some_and(|count| *count > 0));
        losses.map(|loss| format!("{loss}={} ", self.0[*loss])).try_for_each(|loss| f.write_str(&loss))
    }
}
