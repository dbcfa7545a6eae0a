//! The pageserver from outside, in one program: each would compile all of it once more.

mod daemon;
mod ingest;
mod stock_postgres;
mod storage;
