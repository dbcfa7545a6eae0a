//! Object storage: the only long-term home of data, seen as named, immutable blobs.
//!
//! [`RemoteStorage`] is the seam; [`LocalDir`] keeps objects as files below a directory, [`S3Bucket`] in a bucket, and
//! others wrap them: [`Counted`] counts, [`Faulty`] fails on demand, [`Crashing`] ends the process. All must pass the one
//! suite in `tests/conformance.rs`.
//!
//! What callers may rely on, because every object store gives it: a put is atomic (readers see the old object, the
//! new one, or none, never half of one) and durable when it returns; a get after a put sees it. What they may not:
//! compare-and-swap, order between puts that overlap, or that a failed put left nothing behind.
//!
//! [`try_out`] asks a real store whether it does. Nothing here knows what a layer or a WAL segment is.

mod config;
mod counted;
mod crashing;
mod error;
mod faulty;
mod key;
mod local_dir;
mod s3;
mod storage;
mod trial;

pub use aws_sdk_s3::config::Credentials;
pub use config::{ConfigError, RemoteStorageConfig};
pub use counted::Counted;
pub use crashing::Crashing;
pub use error::RemoteError;
pub use faulty::{Fault, Faulty};
pub use key::{BadKeyError, ObjectKey};
pub use local_dir::LocalDir;
pub use s3::{S3Bucket, S3Config};
pub use storage::{ListMode, Listing, ObjectInfo, Operation, RemoteStorage};
pub use trial::{TrialError, try_out};
