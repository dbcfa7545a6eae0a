//! The two servers that are compared, with the same data in each.

use std::time::Instant;

use harness::{Cluster, block_on, connect};
use tokio_postgres::Client;

use crate::arguments::Arguments;
use crate::pgbench;
use crate::servers::StockServer;

/// The database that everything is measured in: that of one's own name cannot be a template.
pub const DATABASE: &str = "bench";

pub struct Sides {
    // Ended before the cluster, whose directory it lies beside.
    pub stock: StockServer,
    pub cluster: Cluster,
    varve_connstr: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Varve,
    Stock,
}

impl Sides {
    pub fn start(arguments: &Arguments) -> Sides {
        eprintln!("starting both servers");
        let cluster = Cluster::up("bench");
        let tests = cluster.directory().parent().expect("the directory of all tests");
        // Beyond the ports that the cluster's endpoints may take.
        let stock = StockServer::start(tests, cluster.safekeeper_port(0) + 40);
        let varve_connstr = cluster.connstr("main");
        let sides = Sides { stock, cluster, varve_connstr };
        for side in [Side::Stock, Side::Varve] {
            sides.execute_in(side, "postgres", &format!("CREATE DATABASE {DATABASE}"));
            let begun = Instant::now();
            pgbench::initialize(&sides.connstr(side), arguments.scale);
            let seconds = begun.elapsed().as_secs_f64();
            eprintln!("{side:?}: pgbench -i -s {} took {seconds:.1} s", arguments.scale);
            sides.execute(side, transactions_table());
        }
        sides
    }

    pub fn connstr(&self, side: Side) -> String {
        self.connstr_of(side, DATABASE)
    }

    fn connstr_of(&self, side: Side, database: &str) -> String {
        match side {
            Side::Stock => self.stock.connstr(database),
            Side::Varve => {
                let (front, _) = self.varve_connstr.rsplit_once('/').expect("a database");
                format!("{front}/{database}")
            }
        }
    }

    pub async fn connect(&self, side: Side) -> Client {
        let connstr = self.connstr(side);
        connect(&connstr).await.unwrap_or_else(|error| panic!("cannot connect to {side:?}: {error}"))
    }

    pub fn execute(&self, side: Side, sql: &str) {
        self.execute_in(side, DATABASE, sql);
    }

    pub fn execute_in(&self, side: Side, database: &str, sql: &str) {
        block_on(async {
            let client = connect(&self.connstr_of(side, database)).await.expect("a connection");
            // Each alone: together they would be one transaction.
            for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
                let done = client.batch_execute(statement).await;
                done.unwrap_or_else(|error| panic!("{side:?}: {statement}: {error:?}"));
            }
        });
    }
}

fn transactions_table() -> &'static str {
    "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz, note text)"
}
