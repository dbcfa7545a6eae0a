//! Whether transactions were isolated, from what they saw: a checker for list-append histories, after Elle
//! (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", VLDB 2020).
//!
//! Every transaction appends numbers that are never used twice to lists, and reads whole lists. A list that was read
//! shows the order in which everything in it was written, so who depended on whom needs no guess:
//! - **ww**: T2 appended right behind what T1 appended;
//! - **wr**: T2 read a list whose last number is T1's;
//! - **rw**: T1 read a list, and T2 appended the next number to it.
//!
//! A cycle of such arrows is an anomaly, named as by Adya: G0 (ww only), G1c (ww and wr), G-single (one rw), G2 (more).
//! Serializable transactions have none. Nothing here knows of PostgreSQL.

mod anomaly;
mod graph;
mod history;

pub use anomaly::{Anomaly, check};
pub use graph::{Arrow, Cycle};
pub use history::{Operation, Outcome, Transaction};
