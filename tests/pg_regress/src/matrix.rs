//! A group of suites in one configuration, on both servers, and the tally of all.

use std::path::Path;
use std::process::Command;

use harness::{Cluster, pg_version};

use crate::afterwards::{self, Amcheck};
use crate::choice::Group;
use crate::compare::{differing, hunks, shown};
use crate::configuration::Configuration;
use crate::listed::Listed;
use crate::servers::{self, Exported, UsualPlace};
use crate::suite::{self, Driver, Outcome, Prepared};
use crate::tell;

const ON_STOCK: &str = "on-stock";
const ON_ENDPOINT: &str = "on-endpoint";

/// What is seen in all suites.
#[derive(Default)]
pub struct Tally {
    pub tests: usize,
    /// What must not be, each with the name of its suite.
    pub faults: Vec<String>,
    /// Hunks of the results that are listed, with their reasons.
    pub listed: usize,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.tests += other.tests;
        self.faults.extend(other.faults);
        self.listed += other.listed;
    }

    pub fn last_line(&self) -> String {
        format!(
            "pg-regress: PG {}: {} tests, {} failed, {} listed differences",
            pg_version(),
            self.tests,
            self.faults.len(),
            self.listed
        )
    }
}

/// Whether the endpoint is looked at when its tests have run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    Checked,
    Left,
}

/// Runs a group on a cluster of its own, which it returns as well.
pub fn run(
    configuration: &Configuration,
    group: &Group,
    libraries: &Path,
    afterwards: Afterwards,
) -> (Tally, Cluster) {
    let name = format!("{}-{}", configuration.name, group.name);
    let cluster =
        Cluster::up_with(&format!("pg-regress-{name}"), &configuration.of_endpoint(&group.settings));
    if !configuration.pageserver.is_empty() {
        cluster.reconfigure_pageserver(configuration.pageserver);
    }
    let directory = cluster.directory().join("suites");
    suite::libraries(libraries);
    let prepare = |suite: &suite::Suite| suite.prepare(directory.join(suite.name.replace(['/', ' '], "-")));
    let suites: Vec<Prepared> = group.suites.iter().map(prepare).collect();
    let (on_stock, amcheck) = on_stock(&cluster, configuration, group, &suites, afterwards);

    let mut tally = Tally::default();
    let socket = servers::endpoint(&cluster);
    servers::open_to_everybody(&cluster);
    let place = UsualPlace::of(&socket);
    for (prepared, stock) in suites.iter().zip(&on_stock) {
        let on_endpoint = prepared.run_on(ON_ENDPOINT, &socket);
        tally.add(judge(configuration, &name, prepared, stock, &on_endpoint));
    }
    drop(place);
    let sent = afterwards::pages_sent(&cluster);
    if sent == 0.0 {
        tally.faults.push(format!("{name}: no page came from the pageserver"));
    }
    tell(&format!("pg-regress: {name}: {sent} pages came from the pageserver; {}", cluster.cache_activity()));
    if let Some(amcheck) = amcheck {
        let database = &group.suites.last().expect("a suite").database;
        let faults = afterwards::faults(&cluster, &amcheck, &name, database);
        tally.faults.extend(faults.into_iter().map(|fault| format!("{name}: afterwards: {fault}")));
    }
    if !tally.faults.is_empty() {
        keep(&cluster, &directory);
    }
    (tally, cluster)
}

/// All suites, before any of them runs on the endpoint: it was exported empty.
fn on_stock(
    cluster: &Cluster,
    configuration: &Configuration,
    group: &Group,
    suites: &[Prepared],
    afterwards: Afterwards,
) -> (Vec<Outcome>, Option<Amcheck>) {
    let exported = Exported::of(cluster);
    let _server = exported.start(&configuration.of_stock(&group.settings));
    let socket = exported.socket();
    let _place = UsualPlace::of(&socket);
    let run = |prepared: &Prepared| {
        let outcome = prepared.run_on(ON_STOCK, &socket);
        tell(&format!(
            "pg-regress: {}: {} has run on stock PostgreSQL",
            configuration.name, prepared.suite.name
        ));
        outcome
    };
    let outcomes = suites.iter().map(run).collect();
    (outcomes, (afterwards == Afterwards::Checked).then(|| afterwards::amcheck(&socket)))
}

fn judge(
    configuration: &Configuration,
    name: &str,
    prepared: &Prepared,
    stock: &Outcome,
    endpoint: &Outcome,
) -> Tally {
    let suite = &prepared.suite;
    let tests = suite.tests.names();
    let mut tally = Tally { tests: tests.len(), ..Tally::default() };
    // What runs side by side may come out in more than one way, of which PostgreSQL's sources list all.
    let may_vary = suite.driver == Driver::Isolation || !configuration.is_serial;
    let version = pg_version().to_string();
    let listed = Listed::load();
    let mut otherwise = 0;
    for test in differing(&tests, stock, endpoint) {
        let is_expected = endpoint.results.contains_key(&test) && !endpoint.failed.contains(&test);
        if may_vary && is_expected {
            otherwise += 1;
            continue;
        }
        let hunks = hunks(&prepared.result(ON_STOCK, &test), &prepared.result(ON_ENDPOINT, &test));
        let new = listed.new_among(&suite.name, &test, &version, &hunks);
        tally.listed += hunks.len() - new.len();
        if !new.is_empty() || hunks.is_empty() {
            tell(&format!("pg-regress: {name}: {}: {test}:\n{}", suite.name, shown(&new)));
            tally.faults.push(format!("{name}: {}: {test}", suite.name));
        }
    }
    for (server, outcome) in [(ON_STOCK, stock), (ON_ENDPOINT, endpoint)] {
        let stopped = outcome.stopped.iter();
        tally.faults.extend(stopped.map(|why| format!("{name}: {} {server}: {why}", suite.name)));
    }
    tell(&format!(
        "pg-regress: {name}: {}: {} tests, {} differ, {otherwise} in another way that PostgreSQL expects, \
         {} listed differences; unexpected on stock {}, here {}; {} s on stock, {} s here",
        suite.name,
        tests.len(),
        tally.faults.len(),
        tally.listed,
        stock.failed.len(),
        endpoint.failed.len(),
        stock.took.as_secs(),
        endpoint.took.as_secs()
    ));
    tally
}

/// What the tests printed, beside the cluster, which goes.
fn keep(cluster: &Cluster, directory: &Path) {
    let kept = cluster.directory().with_extension("kept");
    let _ = std::fs::remove_dir_all(&kept);
    let log = cluster.postgres_log("main");
    let copied = std::fs::create_dir(&kept)
        .and_then(|()| Command::new("cp").arg("-r").args([directory, &log, &kept]).status());
    tell(&match copied {
        Ok(_) => format!("pg-regress: what was printed is kept in {}", kept.display()),
        Err(error) => format!("pg-regress: what was printed cannot be kept in {}: {error}", kept.display()),
    });
}
