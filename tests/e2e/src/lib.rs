//! End-to-end tests: real processes, real PostgreSQL, killed at bad moments. One module per feature, one
//! program for all of them; each test has a cluster of its own and can be run alone.
#![cfg(test)]

mod branches;
mod by_index;
mod chaos;
mod cli;
mod command_line;
mod compute;
mod console;
mod containers;
mod crash_points;
mod data_definition;
mod deletion;
mod disaster;
mod disk_failures;
mod doctor;
mod durability;
mod eviction;
mod export;
mod extensions;
mod faults;
mod fencing;
mod history;
mod import;
mod indexes;
mod isolation;
mod kept_cache;
mod layer_eviction;
mod limits;
mod logical;
mod many_tenants;
mod many_timelines;
mod membership;
mod object_storage;
mod observability;
mod offload;
mod ownership;
mod pgbench;
mod read_lease;
mod replicas;
mod security;
mod settings;
mod standby;
mod suspend;
mod versions;
mod wal;
