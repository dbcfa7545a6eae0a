//! Many sessions change, cut off, drop and make tables at random, others read them and are cut short, and nothing
//! stays cached: for half a minute, or for VARVE_STRESS_SECONDS. A seed in VARVE_SEED says where to begin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::block_on;

use super::{FULL, Outcome, Server, Session, all};
use crate::compute::{digest, storm};

const STEPS: u64 = 12;

fn from_environment(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}: {error}")),
        Err(_) => otherwise,
    }
}

async fn storms(connstr: &str, duration: Duration) -> Outcome {
    let started = Instant::now();
    let first = from_environment("VARVE_SEED", 1);
    for seed in first.. {
        storm(connstr, seed, STEPS).await;
        // Each table by scan and by index: its name, the way, and what there is.
        for pair in digest(connstr, "[pu]").await.chunks(2) {
            let found = |at: usize| pair[at].rsplitn(3, ' ').take(2).collect::<Vec<_>>();
            if found(0) != found(1) {
                return Err(format!("seed {seed}: {pair:?}"));
            }
        }
        if started.elapsed() > duration {
            eprintln!("{} storms, to seed {seed}", seed - first + 1);
            break;
        }
    }
    Ok(())
}

#[test]
fn a_storm_with_nothing_cached() {
    let server = Server::start("stress");
    let connstr = server.cluster.connstr("main");
    let duration = Duration::from_secs(from_environment("VARVE_STRESS_SECONDS", 30));
    block_on(async {
        server.survives("storms", 1000, storms(&connstr, duration)).await;
        crate::pgbench::amcheck(&connstr);
    });
}

/// As long as they last, what is written is not dropped, unless it is logged whole.
async fn long_transactions(session: Session, stop: Arc<AtomicBool>) -> Outcome {
    while !stop.load(Ordering::Relaxed) {
        session.run("BEGIN; SELECT pg_current_xact_id(); SELECT pg_sleep(1); COMMIT").await?;
        session.run("SELECT pg_sleep(1)").await?;
    }
    Ok(())
}

#[test]
fn a_storm_beside_long_transactions() {
    let mut server = Server::start("long-transactions");
    server.enter(FULL);
    let connstr = server.cluster.connstr("main");
    let duration = Duration::from_secs(from_environment("VARVE_STRESS_SECONDS", 30) / 3);
    block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let long = tokio::spawn(long_transactions(server.session().await, stop.clone()));
        let activity = server.survives("storms", 300, storms(&connstr, duration)).await;
        assert!(activity["page_images"] > 1000, "{activity}");
        stop.store(true, Ordering::Relaxed);
        all(vec![long]).await.expect("long transactions");
        crate::pgbench::amcheck(&connstr);
    });
}
