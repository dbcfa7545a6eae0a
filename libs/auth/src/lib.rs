//! Who may do what, and who is who: tokens, the keys that sign them, what each of them opens; certificates, and whom to
//! believe.
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
//! credentials  the token that a part presents itself, and whom it believes
//! certificate  what a part shows to who connects to it: TLS, the server's side
//! trust        whom a part believes that it connects to: TLS, the client's side
//! examination  what they would say of a certificate in a file
//! watched      files that are read again when they change
//! ```
//!
//! A part with a certificate speaks TLS and nothing else, and so does one that was told whom to believe: nobody falls
//! back to plain text because the other side asks for it.
//!
//! A token never appears in a log, an error or a `Debug` output. It knows no route and no command: what a
//! request needs is said by whoever answers it.

mod certificate;
mod claims;
mod credentials;
mod error;
mod examination;
mod scope;
mod signing;
mod trust;
mod verifier;
mod watched;

pub use certificate::{Certificate, CertificateFiles, begins_with_tls};
pub use claims::Claims;
pub use credentials::Credentials;
pub use error::{AuthError, Refusal};
pub use examination::{Doubt, doubt, is_signed_by, runs_out};
pub use scope::{Identity, Need, Scope, Scopes};
pub use signing::SigningKey;
pub use tokio_rustls::server::TlsStream as ServerStream;
pub use trust::Trust;
pub use verifier::Verifier;
