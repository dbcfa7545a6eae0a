//! `make standby-oracle`: stops at random LSNs while a mixed load goes on, compute crashes among it.
//!
//! At each stop every page of the standby is compared with the page that the pageserver has for that LSN. `STOPS`
//! says how many of them, `SEED` which ones.

use std::time::Duration;

use harness::{Cluster, Comparison, Sides, Theirs, block_on, compare, connect, lsn, pg_version};
use tokio_postgres::Client;
use types::Lsn;

use super::mixed::Mixed;
use super::{PREPARED_TRANSACTIONS, Standby, export};

/// In it a record is looked for, by the server itself.
const KEEP_WAL: &str = "wal_keep_size=1GB";

/// Of these many stops one follows a compute that was killed.
const STOPS_PER_CRASH: u32 = 4;

fn from_environment(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// What is seen in all stops.
#[derive(Default)]
struct Verdict {
    stops: u32,
    pages: usize,
    changed: usize,
    mismatches: usize,
    kinds: std::collections::BTreeMap<String, usize>,
}

impl Verdict {
    fn add(&mut self, comparison: &Comparison) {
        self.stops += 1;
        for (kind, (all, changed)) in &comparison.pages {
            self.pages += all;
            self.changed += changed;
            *self.kinds.entry(kind.clone()).or_default() += changed;
        }
        self.mismatches += comparison.differences.len();
    }
}

/// Any record's beginning that the standby has not replayed. A checkpoint is before it: a standby writes its pages
/// only where it has seen one.
async fn random_stop(client: &Client, random: &mut u64) -> Lsn {
    client.batch_execute("CHECKPOINT").await.unwrap();
    let position = "SELECT pg_current_wal_insert_lsn()::text";
    let from: String = client.query_one(position, &[]).await.unwrap().get(0);
    tokio::time::sleep(Duration::from_millis(200 + next(random) % 1500)).await;
    // A commit: what is read back has been flushed.
    client.batch_execute("SELECT pg_logical_emit_message(true, 'standby', 'stop')").await.unwrap();
    let to: String = client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0);
    let records = format!("FROM pg_get_wal_records_info('{from}', '{to}')");
    let count: i64 = client.query_one(&format!("SELECT count(*) {records}"), &[]).await.unwrap().get(0);
    assert!(count > 0, "no record from {from} to {to}");
    let skipped = next(random) % count.unsigned_abs();
    let chosen = format!("SELECT start_lsn::text {records} ORDER BY start_lsn OFFSET {skipped} LIMIT 1");
    client.query_one(&chosen, &[]).await.unwrap().get::<_, String>(0).parse().expect("an LSN")
}

/// xorshift64: which stops there are is known from the seed, though not what is written meanwhile.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

async fn walinspect(connstr: &str) -> Client {
    let client = connect(connstr).await.expect("a connection");
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect").await.unwrap();
    client
}

#[test]
#[ignore = "minutes: make standby-oracle"]
fn a_standby_stopped_at_random_lsns_equals_exports() {
    let (stops, seed) = (from_environment("STOPS", 20), from_environment("SEED", 1));
    let setting = format!("max_prepared_transactions={PREPARED_TRANSACTIONS}");
    let cluster = Cluster::up_with("standby-oracle", &[&setting, KEEP_WAL]);
    let mut random = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut verdict = Verdict::default();
    block_on(async {
        let start = lsn(&cluster.pageserver_timeline("main")["initdb_lsn"]);
        let connstr = cluster.connstr("main");
        let standby = Standby::of(&cluster, start);
        let mixed = Mixed::start(&connstr).await;
        for stop in 1..=stops {
            if stop % STOPS_PER_CRASH == 0 {
                mixed.while_away(async || super::crash_and_restart(&cluster).await).await;
            }
            let at = random_stop(&walinspect(&connstr).await, &mut random).await;
            standby.run_until(at).await;
            let exported = export(&cluster, "exported", at);
            let comparison = compare(
                &exported,
                &standby.directory,
                Sides { start, all_prepared: false, theirs: Theirs::Standby },
            );
            std::fs::remove_dir_all(&exported).unwrap();
            eprintln!("stop {stop} of {stops} at {at}: {comparison}");
            verdict.add(&comparison);
            mixed.assert_goes_on();
        }
        let cycles = mixed.end();
        eprintln!("load while that went on: {cycles}");
    });
    let kinds: Vec<String> = verdict.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    eprintln!("changed since the start: {}", kinds.join(", "));
    eprintln!(
        "standby-oracle: PG {}: {} stops, {} pages compared, {} mismatches",
        pg_version(),
        verdict.stops,
        verdict.pages,
        verdict.mismatches
    );
    assert_eq!(verdict.mismatches, 0);
    assert!(verdict.changed > 1000 * stops as usize, "too few changed pages: {}", verdict.changed);
    for kind in ["Heap", "Btree", "Hash", "Gin", "Gist", "SPGist", "BRIN", "Sequence", "VM", "init"] {
        assert!(verdict.kinds.get(kind).is_some_and(|changed| *changed > 0), "no page of {kind}");
    }
}
