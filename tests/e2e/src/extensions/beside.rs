//! [`Beside`]: an endpoint and a stock server that were born of the same bytes and get the same statements.

use harness::{Cluster, StockServer, block_on, connect, number};
use tokio_postgres::Client;

use crate::{by_index, pgbench};

/// Less than the tables and than most of the indexes; every page is compared with a full copy.
const SETTINGS: [&str; 8] = [
    "shared_buffers=1MB",
    "varve.cache_size=4MB",
    "varve.log_cache_interval=1",
    "varve.debug=on",
    "varve.test_shadow=on",
    // Both servers are to make the same plans, in the same order.
    "max_parallel_workers_per_gather=0",
    "max_parallel_maintenance_workers=0",
    "synchronize_seqscans=off",
];

/// As data for tests: always the same, and like random numbers below 100,000.
pub const MIX: &str =
    "CREATE FUNCTION mix(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT abs(hashint4($1)) % 100000'";

/// A database of its own for who watches the cache: the one that is dumped has nothing of ours.
const WATCHER: &str = "watcher";

/// What happens to both servers, and what is asked of them.
pub struct Story<'a> {
    pub name: &'a str,
    /// Tables and their rows. `mix(int)` is there.
    pub fill: &'a [&'a str],
    /// Builds of indexes, which the cache must not hold.
    pub build: &'a [&'a str],
    /// More rows, other rows, VACUUM. `ROUND` in it is a number, another one each time.
    pub change: &'a [&'a str],
    /// Indexes, and queries which find by them alone what a scan finds.
    pub queries: &'a [(&'a str, &'a str)],
}

/// Both servers, after the story's tables were filled and its indexes built.
struct Beside<'a> {
    story: &'a Story<'a>,
    ours: &'a str,
    stock: &'a str,
}

async fn execute(client: &Client, statement: &str) {
    client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}

impl Story<'_> {
    /// Tells it, with more to be asked each time when it has come to a point; `more` says what was answered.
    pub fn tell(&self, more: impl AsyncFn(&str) -> Vec<String>) {
        let cluster = Cluster::up_with(self.name, &SETTINGS);
        let directory = cluster.directory().join("stock");
        cluster.export("main", &directory);
        let settings: Vec<&str> =
            SETTINGS.into_iter().filter(|setting| !setting.starts_with("varve.")).collect();
        let settings = [&settings[..], &["allow_system_table_mods=on"]].concat();
        let stock = StockServer::start_with(&directory, cluster.safekeeper_port(100), &settings);
        let ours = cluster.connstr("main");
        let both = Beside { story: self, ours: &ours, stock: &stock.connstr(&ours) };
        block_on(async {
            both.begin().await;
            both.agree("warm", &more).await;
            both.change(1).await;
            both.agree("changed", &more).await;

            // From nothing: every page comes from the pageserver.
            cluster.kill("endpoint-main");
            cluster.varve(&["endpoint", "start", "main"]);
            both.agree("cold", &more).await;
            assert_eq!(pgbench::dump(both.ours), pgbench::dump(both.stock), "the dumps differ");
            pgbench::amcheck(both.ours);

            // What came back can be changed.
            both.change(2).await;
            both.agree("changed again", &more).await;
        });
    }
}

impl Beside<'_> {
    async fn begin(&self) {
        let (ours, stock) = (connect(self.ours).await.unwrap(), connect(self.stock).await.unwrap());
        execute(&ours, &format!("CREATE DATABASE {WATCHER}")).await;
        let (front, _) = self.ours.rsplit_once('/').expect("a database");
        let watcher = connect(&format!("{front}/{WATCHER}")).await.unwrap();
        execute(&watcher, "CREATE EXTENSION varve").await;
        for client in [&stock, &ours] {
            execute(client, MIX).await;
            for statement in self.story.fill {
                execute(client, statement).await;
            }
        }
        for statement in self.story.build {
            let began = std::time::Instant::now();
            execute(&stock, statement).await;
            let of_stock = began.elapsed();
            let evicted = "SELECT (evicted_blocks)::bigint FROM varve.cache";
            let fetched = "SELECT (refetched_blocks)::bigint FROM varve.cache";
            let before = (number(&watcher, evicted).await, number(&watcher, fetched).await);
            let began = std::time::Instant::now();
            execute(&ours, statement).await;
            let of_ours = began.elapsed();
            let after = (number(&watcher, evicted).await, number(&watcher, fetched).await);
            let (evicted, fetched) = (after.0 - before.0, after.1 - before.1);
            eprintln!(
                "{statement}: {of_ours:?}, stock {of_stock:?}, {evicted} evicted, {fetched} fetched again"
            );
            assert!(
                evicted > 100 && fetched > 100,
                "{statement}: {evicted} evicted, {fetched} fetched again"
            );
        }
    }

    async fn change(&self, round: u32) {
        for connstr in [self.stock, self.ours] {
            let client = connect(connstr).await.unwrap();
            for statement in self.story.change {
                execute(&client, &statement.replace("ROUND", &round.to_string())).await;
            }
        }
    }

    /// What both answer, which must be the same.
    async fn agree(&self, when: &str, more: &impl AsyncFn(&str) -> Vec<String>) {
        let mut of_each = Vec::new();
        for connstr in [self.stock, self.ours] {
            let mut answers = by_index::answers(connstr, self.story.queries).await;
            answers.extend(more(connstr).await);
            of_each.push(answers);
        }
        assert_eq!(of_each[1], of_each[0], "{when}");
    }
}
