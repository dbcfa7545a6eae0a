//! Pages a second from the page service as of an LSN, by the number of connections and by how many records a page
//! is made of.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::block_on;
use pageserver_api::{At, PageServiceAddress};
use pg_frontend::Address;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use types::{Lsn, RelTag, TenantTimelineId};

use crate::arguments::Arguments;
use crate::ingest::wait_for_pageserver;
use crate::report::{Finding, Measurement, Report};
use crate::sides::{Side, Sides};
use crate::transactions::insert_lsn;

pub const CONNECTIONS: [usize; 3] = [1, 4, 16];
/// Updates of one row of each page since the page was last written as a whole.
pub const CHANGES: [usize; 3] = [0, 10, 100];
const ROWS: u32 = 40_000;
const REDO: &str = "pageserver_redo_records_total";
const PAGES: &str = "pageserver_page_service_pages_total";

pub struct Table {
    pub relation: RelTag,
    pub blocks: u32,
    /// Before the last change, behind which an image may stand.
    pub read_at: Lsn,
}

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    // What is measured is redo: the pageserver must not make images of pages that change often.
    let configured = Configured::new(
        sides,
        "storage.image_after_changes = 1000\nstorage.most_changes_between_images = 1000",
    );
    let tables: Vec<(usize, Table)> = CHANGES
        .iter()
        .map(|&changes| (changes, prepare(sides, &format!("pages_{changes}"), changes)))
        .collect();
    wait_for_pageserver(sides, insert_lsn(sides, Side::Varve));
    // What is in memory is written to layer files at a stop.
    restart(sides);
    for (changes, table) in &tables {
        for connections in CONNECTIONS {
            let before = [REDO, PAGES].map(|name| metric(sides, name));
            let rate = rate(sides, table, connections, Duration::from_secs(arguments.seconds.into()));
            let [redone, pages] = [REDO, PAGES].map(|name| metric(sides, name));
            let records = (redone - before[0]) / (pages - before[1]).max(1.0);
            let what = if *changes == 0 { "image".to_owned() } else { format!("{changes}-records") };
            report.add(Finding::Measured(Measurement {
                name: name_of(&what, connections),
                unit: "pages/s",
                varve: rate,
                stock: None,
                note: format!("{} pages, {records:.1} records applied a page", table.blocks),
            }));
        }
    }
    drop(configured);
}

/// A pageserver with other settings, until this is dropped.
pub struct Configured<'a> {
    sides: &'a Sides,
    path: PathBuf,
    before: String,
}

impl<'a> Configured<'a> {
    pub fn new(sides: &'a Sides, lines: &str) -> Self {
        let path = sides.cluster.directory().join("pageserver/pageserver.toml");
        let before = std::fs::read_to_string(&path).expect("the pageserver's configuration");
        sides.cluster.configure("pageserver/pageserver.toml", lines);
        restart(sides);
        Self { sides, path, before }
    }
}

impl Drop for Configured<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        std::fs::write(&self.path, &self.before).expect("the configuration as it was");
        restart(self.sides);
    }
}

fn restart(sides: &Sides) {
    sides.cluster.varve(&["pageserver", "stop"]);
    sides.cluster.varve(&["pageserver", "start"]);
}

pub fn name_of(what: &str, connections: usize) -> String {
    format!("getpage-{what}-{connections}-connections")
}

pub fn metric(sides: &Sides, name: &str) -> f64 {
    sides.cluster.metric_so_far("pageserver", name).unwrap_or_default()
}

/// A table each of whose pages is one image (VACUUM FULL logs whole pages) and `changes` changes after it.
/// There is room on the pages for dozens of versions of a row, so that no record is of pruning, or hardly one.
pub fn prepare(sides: &Sides, table: &str, changes: usize) -> Table {
    sides.execute(
        Side::Varve,
        &format!(
            "CREATE TABLE {table} (id int, changed int, filler text) WITH (fillfactor = 30, autovacuum_enabled = off);
             INSERT INTO {table} SELECT n, 0, repeat('x', 100) FROM generate_series(1, {ROWS}) n;
             VACUUM FULL {table};
             ALTER TABLE {table} RESET (fillfactor);
             CREATE TABLE {table}_chosen AS SELECT min(id) AS id FROM {table} GROUP BY (ctid::text::point)[0];
             ANALYZE {table}_chosen"
        ),
    );
    let change =
        format!("UPDATE {table} t SET changed = changed + 1 FROM {table}_chosen c WHERE t.id = c.id");
    for _ in 0..changes {
        sides.execute(Side::Varve, &change);
    }
    let read_at = insert_lsn(sides, Side::Varve);
    sides.execute(Side::Varve, &change);
    block_on(async {
        let query = format!(
            "SELECT d.oid, c.relfilenode, (pg_relation_size(c.oid) / 8192)::int FROM pg_class c, pg_database d WHERE c.oid = '{table}'::regclass AND d.datname = current_database()"
        );
        let row = sides.connect(Side::Varve).await.query_one(&query, &[]).await.expect("a table");
        let relation = RelTag {
            spc: RelTag::DEFAULT_TABLESPACE,
            db: row.get(0),
            rel: row.get(1),
            fork: types::Fork::Main,
        };
        Table { relation, blocks: row.get::<_, i32>(2) as u32, read_at }
    })
}

/// That of the branch main.
pub fn main_timeline(sides: &Sides) -> TenantTimelineId {
    let (tenant, id) = sides.cluster.ids("main");
    TenantTimelineId {
        tenant_id: tenant.parse().expect("a tenant's id"),
        timeline_id: id.parse().expect("a timeline's id"),
    }
}

pub fn page_service(sides: &Sides) -> PageServiceAddress {
    PageServiceAddress {
        address: Address::parse(&sides.cluster.page_service_address()).expect("an address"),
        credentials: sides.cluster.credentials(),
        timeline: main_timeline(sides),
    }
}

/// Each connection asks for a page at a random place, and for the next one when it has it.
fn rate(sides: &Sides, table: &Table, connections: usize, length: Duration) -> f64 {
    let at = At::Exactly(table.read_at);
    let address = page_service(sides);
    let (relation, blocks) = (table.relation, table.blocks);
    block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for number in 0..connections {
            let (address, stop, count) = (address.clone(), Arc::clone(&stop), Arc::clone(&count));
            let mut client = address.page_stream().await.expect("a connection");
            let mut random = StdRng::seed_from_u64(number as u64);
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let block = random.random_range(0..blocks);
                    let page = client.get_page(relation, block, at).await.expect("a page");
                    assert!(page.iter().any(|byte| *byte != 0), "block {block} is empty");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        let begun = Instant::now();
        tokio::time::sleep(length).await;
        let rate = count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.expect("no panic");
        }
        rate
    })
}
