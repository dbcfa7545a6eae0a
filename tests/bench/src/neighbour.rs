//! How long one tenant waits for pages while another one writes as fast as it can. What that takes of the processors
//! alone is seen with the same work on stock PostgreSQL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::block_on;
use pageserver_api::At;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::arguments::Arguments;
use crate::get_page::{self, Table, page_service};
use crate::ingest::wait_for_pageserver;
use crate::report::{Finding, Measurement, Report};
use crate::sides::{Side, Sides};
use crate::statistics::percentile;
use crate::transactions::insert_lsn;

/// Bulk inserts are what ingest has most to do with.
const WORK: &str = "INSERT INTO noise SELECT repeat('x', 100) FROM generate_series(1, 20000)";

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    let table = get_page::prepare(sides, "quiet", 10);
    wait_for_pageserver(sides, insert_lsn(sides, Side::Varve));
    let made = sides.cluster.varve_json(&["tenant", "create"]);
    let tenant = made["tenant_id"].as_str().expect("an id");
    sides.cluster.varve(&["endpoint", "create", "noisy", "--tenant-id", tenant]);
    sides.cluster.varve(&["endpoint", "start", "noisy"]);
    let length = Duration::from_secs(arguments.seconds.into());
    let stock = sides.connstr(Side::Stock);
    let noisy = sides.cluster.connstr("noisy");
    let alone = latencies(sides, &table, length);
    let beside = |connstr: &str| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let rows = scope.spawn(|| write(connstr, &stop));
            let found = latencies(sides, &table, length);
            stop.store(true, Ordering::Relaxed);
            (found, rows.join().expect("no panic"))
        })
    };
    let (beside_stock, _) = beside(&stock);
    let (beside_tenant, statements) = beside(&noisy);
    for (name, part) in [("neighbour-p50", 0.50), ("neighbour-p99", 0.99)] {
        report.add(Finding::Measured(Measurement {
            name: name.to_owned(),
            unit: "ms",
            varve: percentile(&beside_tenant, part),
            stock: Some(percentile(&beside_stock, part)),
            note: format!(
                "alone {:.2}; {statements} statements of 20,000 rows meanwhile",
                percentile(&alone, part)
            ),
        }));
    }
    sides.cluster.varve(&["endpoint", "stop", "noisy", "--destroy"]);
    sides.cluster.varve(&["tenant", "delete", "--tenant-id", tenant]);
}

/// Writes until it is told to stop. How many statements there were.
fn write(connstr: &str, stop: &AtomicBool) -> usize {
    block_on(async {
        let client = harness::connect(connstr).await.expect("a connection");
        client
            .batch_execute("DROP TABLE IF EXISTS noise; CREATE TABLE noise (filler text)")
            .await
            .expect("a table");
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            client.batch_execute(WORK).await.expect("rows");
            count += 1;
        }
        count
    })
}

/// Of one connection that asks for one page after the other, at random places; in milliseconds.
fn latencies(sides: &Sides, table: &Table, length: Duration) -> Vec<f64> {
    let address = page_service(sides);
    let (at, mut random) = (At::Exactly(table.read_at), StdRng::seed_from_u64(1));
    block_on(async {
        let mut client = address.page_stream().await.expect("a connection");
        let (begun, mut found) = (Instant::now(), Vec::new());
        while begun.elapsed() < length {
            let block = random.random_range(0..table.blocks);
            let asked = Instant::now();
            client.get_page(table.relation, block, at).await.expect("a page");
            found.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        found
    })
}
