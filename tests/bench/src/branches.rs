//! A branch, beside the copy of a database.

use std::time::Instant;

use harness::block_on;

use crate::arguments::Arguments;
use crate::report::{Finding, Measurement, Report};
use crate::sides::{DATABASE, Side, Sides};
use crate::statistics::median;

/// A copy takes so much longer that a few tell enough.
const COPIES: usize = 3;

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    let branch = |number: usize| {
        let begun = Instant::now();
        sides.cluster.varve(&["timeline", "branch", "--branch-name", &format!("branch-{number}")]);
        begun.elapsed().as_secs_f64() * 1000.0
    };
    let copy = |number: usize| {
        let begun = Instant::now();
        let sql = format!("CREATE DATABASE copy_{number} TEMPLATE {DATABASE} STRATEGY FILE_COPY");
        sides.execute_in(Side::Stock, "postgres", &sql);
        let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
        sides.execute_in(Side::Stock, "postgres", &format!("DROP DATABASE copy_{number}"));
        milliseconds
    };
    let varve: Vec<f64> = (0..arguments.repetitions).map(branch).collect();
    let stock: Vec<f64> = (0..COPIES.min(arguments.repetitions)).map(copy).collect();
    report.add(Finding::Measured(Measurement {
        name: "branch".to_owned(),
        unit: "ms",
        varve: median(&varve),
        stock: Some(median(&stock)),
        note: format!("of a database of {} MB", database_size(sides) / 1_000_000),
    }));
}

fn database_size(sides: &Sides) -> i64 {
    block_on(async {
        let row = sides
            .connect(Side::Varve)
            .await
            .query_one("SELECT pg_database_size(current_database())", &[])
            .await;
        row.expect("a size").get(0)
    })
}
