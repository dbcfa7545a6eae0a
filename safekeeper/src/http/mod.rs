//! The HTTP API: status, creating timelines, looking at them.

mod routes;
mod status;

pub use routes::routes;
