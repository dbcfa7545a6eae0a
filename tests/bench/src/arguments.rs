//! What can be chosen.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

#[derive(Parser, Debug)]
#[command(about = "Varve beside stock PostgreSQL with three synchronous receivers, on this machine")]
pub struct Arguments {
    /// Length of one run of pgbench, and of one measurement of pages
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub seconds: u32,
    /// Runs on each side, alternating, after the pair that must agree
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: usize,
    /// How often a pair of equal runs may disagree until there is no result
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub attempts: usize,
    /// Numbers of clients of pgbench
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 64])]
    pub clients: Vec<u32>,
    /// pgbench's scale: 16 MB each
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub scale: u32,
    /// How often a branch is made, and how often each server is started
    #[arg(long, value_name = "N", default_value_t = 11)]
    pub repetitions: usize,
    /// Copies of the database, the like of which a branch must not notice
    #[arg(long, value_name = "N", default_value_t = 9)]
    pub copies: usize,
    /// Parts to measure [default: all]
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Directory for benchmarks.md and pictures/benchmarks-*.svg
    #[arg(long, value_name = "DIRECTORY")]
    pub write: Option<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// pgbench: TPC-B, one-row INSERT, SELECT
    Transactions,
    /// How long one commit takes, beside a flush of the disk and round trips
    Commit,
    /// How fast the pageserver takes in WAL, beside crash recovery
    Ingest,
    /// Page redo on one core, beside crash recovery
    Redo,
    /// Pages a second from the pageserver
    GetPage,
    /// What is written for a byte of WAL, kept for a byte of data, asked of object storage
    Storage,
    /// Pages for one tenant while another writes
    Neighbour,
    /// Branches, beside CREATE DATABASE … TEMPLATE
    Branches,
    /// Starting a server, until the first row
    ColdStart,
}

impl Arguments {
    pub fn parts(&self) -> Vec<Part> {
        Part::value_variants()
            .iter()
            .copied()
            .filter(|part| self.only.is_empty() || self.only.contains(part))
            .collect()
    }
}
