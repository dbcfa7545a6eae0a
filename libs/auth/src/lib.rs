//! Who may do what: tokens, the keys that sign them, and what each of them opens.
//!
//! A *token* is a JSON Web Token (RFC 7519) signed with EdDSA over Ed25519 (RFC 8037). It says by its
//! [`Scope`]s what it opens, and for [`Scope::Tenant`] to which tenant. Whoever wants something presents one: as
//! clear-text password on PostgreSQL-protocol ports, as `Authorization: Bearer` on HTTP, and in the same-named
//! metadata on gRPC. The private key stays with whoever administers the cluster; the parts have the public keys,
//! of which there may be several, and so keys can be changed while everything runs.
//!
//! ```text
//! scope        what a token opens, and what a request needs      (pure)
//! claims       what stands in a token                            (pure)
//! signing      the private key: makes tokens
//! verifier     the public keys: whose tokens are believed
//! credentials  the token that a part presents itself
//! watched      files that are read again when they change
//! ```
//!
//! A token never appears in a log, an error or a `Debug` output. It knows no route and no command: what a
//! request needs is said by whoever answers it.

mod claims;
mod credentials;
mod error;
mod scope;
mod signing;
mod verifier;
mod watched;

pub use claims::Claims;
pub use credentials::Credentials;
pub use error::{AuthError, Refusal};
pub use scope::{Identity, Need, Scope, Scopes};
pub use signing::SigningKey;
pub use verifier::Verifier;
