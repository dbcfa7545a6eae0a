//! A world made from a seed, in which the state machines of [`consensus`] live as they do in the daemons: with
//! disks that lose what was not synced, connections that break, computes that come, go and do not know that they are
//! gone. Nothing here is a copy of the protocol; only what is around it is made up.
//!
//! ```text
//! schedule.rs  what goes wrong in the world of a seed, and when
//! world.rs     the clock and the queue of what happens next
//! administrator.rs   who changes the members        pageserver.rs   who wants to own the tenant
//! compute.rs   a proposer and what hosts it         node.rs   an acceptor and what hosts it
//! network.rs   connections, delays, partitions      disk.rs   sectors, syncs, power cuts
//! offload.rs   segments that leave a disk           rest.rs   timelines that nobody uses
//! storage.rs   object storage, and who reads from it
//! records.rs   WAL in which a torn tail is found    checker.rs  what must hold after each step
//! trace.rs     what happened, as text and as one number
//! shrink.rs    fewer faults for the same failure
//! ```
//! One seed makes one world: the clock is a number, and every decision comes from random numbers of the seed. It is
//! for tests alone; no daemon depends on it.
//!
//! What it does not simulate: bytes of the wire protocol, files (the safekeeper's own tests do), and disks that lie
//! about what is durable.

mod administrator;
mod checker;
mod compute;
mod disk;
mod network;
mod node;
mod offload;
mod pageserver;
mod records;
mod rest;
mod schedule;
mod shrink;
mod storage;
mod trace;
mod world;

pub use checker::{Counts, Violation};
pub use schedule::{Fault, Schedule, Way};
pub use shrink::shrink;
pub use trace::Trace;
pub use world::{Outcome, run, run_schedule};
