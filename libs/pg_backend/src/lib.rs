//! The server side of PostgreSQL's protocol, version 3: what stock psql, libpq and pg_receivewal need to
//! talk to one of our daemons.
//!
//! [`serve`] accepts connections, over TLS if it is given a certificate, reads the start-up packet, asks for a token as a clear-text
//! password, and then hands every simple query to the daemon's [`Handler`]. A handler answers through its
//! [`Session`]: a small text result, or a COPY stream ([`CopyReader`], [`CopyWriter`]).
//!
//! What it will not do: the extended query protocol (it is refused in words), cancel requests,
//! binary results. It knows nothing of tenants, WAL or pages.
//!
//! ```text
//! encryption  whether it is TLS, and the handshake
//! server    accepts, counts, ends connections        startup   packet, options, password
//! session   the query loop's side of a handler       copy      COPY OUT and COPY BOTH
//! reader    bytes → messages, bounded                writer    messages → bytes, buffered
//! ```

mod copy;
mod encryption;
mod error;
mod options;
mod reader;
mod server;
mod session;
mod startup;
mod writer;

pub use copy::{CopyBoth, CopyReader, CopyWriter};
pub use error::{ConnectionError, QueryError, Severity, sqlstate};
pub use server::{Handler, Limits, serve};
pub use session::Session;
