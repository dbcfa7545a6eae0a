//! The client side of PostgreSQL's protocol, for what ordinary drivers leave out: physical and
//! pagestream COPY BOTH sessions, COPY OUT of a base backup, replication commands.
//!
//! Everything here runs over TCP, with TLS for who says whom to believe, or a Unix socket. It speaks the simple query
//! protocol only, has no prepared statements and no connection pool: SQL for people goes through a real driver.
//!
//! ```no_run
//! # async fn example() -> Result<(), pg_frontend::PgError> {
//! use pg_frontend::{Address, ConnectParams, PgClient};
//!
//! let params = ConnectParams::new(Address::parse("127.0.0.1:5454")?, "walproposer")
//!     .password("the cluster token")
//!     .option("timeline_id", "0123456789abcdef0123456789abcdef")
//!     .physical_replication();
//! let copy = PgClient::connect(&params).await?.copy_both("START_REPLICATION PHYSICAL 0/16B9188").await?;
//! let (mut reader, mut writer) = copy.split();
//! while let Some(message) = reader.next().await? {
//!     writer.send(&message).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod authentication;
mod client;
mod connect;
mod copy;
mod error;
mod wire;

pub use client::{PgClient, Row};
pub use connect::{Address, ConnectParams};
pub use copy::{CopyBoth, CopyReader, CopyWriter};
pub use error::{PgError, ServerError};
pub use wire::MAX_MESSAGE_BYTES;
