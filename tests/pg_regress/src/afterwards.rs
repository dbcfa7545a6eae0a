//! What must hold of an endpoint on which the suites have run: indexes and tables are sound, each page that it has
//! cached is the pageserver's, and after a start from nothing it has the same contents, also of a database that was
//! moved to a tablespace of a user.

use std::time::Instant;

use harness::{Cluster, Sides, Theirs, compare, lsn, pg_program, run_as_postgres};

use crate::suite::{Socket, give_to_postgres};
use crate::tell;
use crate::{dump, servers};

const LEAST_PAGES: usize = 100;
/// The smallest suite has three tests, and part of what they change is evicted when they end.
const LEAST_CHANGED: usize = 50;

/// `stock` is what pg_amcheck said of the stock server, `database` one that is moved to another tablespace.
pub fn faults(cluster: &Cluster, stock: &Amcheck, name: &str, database: &str) -> Vec<String> {
    let mut faults = vec![];
    let began = Instant::now();
    let socket = servers::endpoint(cluster);
    let amcheck = amcheck(&socket);
    if amcheck != *stock {
        faults.push(format!("pg_amcheck: {}; on stock PostgreSQL: {}", amcheck.0, stock.0));
    }
    in_a_tablespace(cluster, &socket, database);
    let before = dump_of(&socket);
    let sent_before = pages_sent(cluster);
    cluster.varve(&["endpoint", "stop", "main"]);
    faults.extend(pages(cluster, name));
    // It would remove it itself, file by file, while somebody waits for its start.
    std::fs::remove_dir_all(cluster.pgdata("main")).expect("the stopped endpoint's files can be removed");
    cluster.varve(&["endpoint", "start", "main"]);
    let after = dump_of(&servers::endpoint(cluster));
    faults.extend(dump::difference(&before, &after));
    let sent = pages_sent(cluster) - sent_before;
    if sent < LEAST_PAGES as f64 {
        faults.push(format!("only {sent} pages came from the pageserver after a start from nothing"));
    }
    tell(&format!(
        "pg-regress: {name}: afterwards: pg_amcheck {}, {} bytes of pg_dumpall after a start from nothing, \
         {sent} pages sent, {} s",
        if amcheck.0.is_empty() { "found nothing" } else { "as on stock PostgreSQL" },
        after.len(),
        began.elapsed().as_secs()
    ));
    faults
}

pub fn pages_sent(cluster: &Cluster) -> f64 {
    cluster.metric_so_far("pageserver", "pageserver_page_service_pages_total").unwrap_or_default()
}

/// What pg_amcheck says, of all databases.
#[derive(PartialEq, Eq)]
pub struct Amcheck(String);

pub fn amcheck(socket: &Socket) -> Amcheck {
    let mut command = run_as_postgres(&pg_program("pg_amcheck"));
    command.args(["--all", "--install-missing", "--heapallindexed", "--parent-check", "--username=postgres"]);
    // With so small a cache it waits for pages most of the time.
    let output = command.arg("--jobs=4").args(address(socket)).output().expect("pg_amcheck");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let ended = if output.status.success() { String::new() } else { output.status.to_string() };
    // Several sessions say it, in whatever order.
    let mut lines: Vec<&str> = said.lines().chain((!ended.is_empty()).then_some(&*ended)).collect();
    lines.sort_unstable();
    Amcheck(lines.join("\n"))
}

fn in_a_tablespace(cluster: &Cluster, socket: &Socket, database: &str) {
    let place = cluster.directory().join("tablespace");
    std::fs::create_dir(&place).expect("a directory for a tablespace");
    give_to_postgres(&place);
    let create = format!("CREATE TABLESPACE varve_elsewhere LOCATION '{}'", place.display());
    let move_there = format!("ALTER DATABASE {database} SET TABLESPACE varve_elsewhere");
    let mut command = run_as_postgres(&pg_program("psql"));
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--username=postgres", "--dbname=postgres"]);
    harness::run(command.args(address(socket)).args(["-c", &create, "-c", &move_there]));
}

fn address(socket: &Socket) -> [String; 2] {
    [format!("--host={}", socket.directory.display()), format!("--port={}", socket.port)]
}

fn dump_of(socket: &Socket) -> String {
    let mut command = run_as_postgres(&pg_program("pg_dumpall"));
    // An unlogged table is empty after a start.
    command.args(["--restrict-key=x", "--no-unlogged-table-data", "--username=postgres"]);
    harness::run(command.args(address(socket)))
}

/// Of the stopped endpoint, beside what the pageserver has for where it stopped.
fn pages(cluster: &Cluster, name: &str) -> Vec<String> {
    let exported = cluster.directory().join("afterwards");
    cluster.export("main", &exported);
    let start = lsn(&cluster.pageserver_timeline("main")["initdb_lsn"]);
    let sides = Sides { start, all_prepared: true, theirs: Theirs::Compute };
    let comparison = compare(&exported, &cluster.pgdata("main"), sides);
    tell(&format!("pg-regress: {name}: afterwards: {comparison}"));
    std::fs::remove_dir_all(&exported).expect("the export can be removed");
    let few = comparison.changed_in_all() < LEAST_CHANGED;
    let few = few.then(|| format!("only {} changed pages were compared", comparison.changed_in_all()));
    let differing = format!("{} pages or files differ from the pageserver's", comparison.differences.len());
    few.into_iter().chain((!comparison.differences.is_empty()).then_some(differing)).collect()
}
