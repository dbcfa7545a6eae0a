//! [`SigningKey`]: the private key. Whoever has it can make every token, so no part of a cluster does.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::{AuthError, Claims, Credentials, Verifier};

pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    pub fn generate() -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::generate(&mut rand::rng()))
    }

    /// From PEM, as `openssl genpkey -algorithm ed25519` writes it too.
    pub fn load(path: &Path) -> Result<SigningKey, AuthError> {
        let pem = std::fs::read_to_string(path)
            .map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })?;
        ed25519_dalek::SigningKey::from_pkcs8_pem(&pem)
            .map(SigningKey)
            .map_err(|_| AuthError::NotAPrivateKey { path: path.to_owned() })
    }

    pub fn private_pem(&self) -> String {
        self.0.to_pkcs8_pem(LineEnding::LF).expect("a key has an encoding").as_str().to_owned()
    }

    pub fn public_pem(&self) -> String {
        self.0.verifying_key().to_public_key_pem(LineEnding::LF).expect("a key has an encoding")
    }

    pub fn sign(&self, claims: &Claims) -> Result<String, AuthError> {
        self.sign_payload(&claims.to_wire(SystemTime::now()))
    }

    pub(crate) fn sign_payload(&self, payload: &impl Serialize) -> Result<String, AuthError> {
        let der = self.0.to_pkcs8_der().expect("a key has an encoding");
        let key = EncodingKey::from_ed_der(der.as_bytes());
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), payload, &key)?)
    }

    /// A token of this key, for somebody in this process.
    pub fn credentials(&self, claims: &Claims) -> Result<Credentials, AuthError> {
        self.sign(claims).map(|token| Credentials::fixed(&token).expect("what was signed is a token"))
    }

    /// Who believes this key alone.
    pub fn verifier(&self) -> Verifier {
        Verifier::of_pem(&self.public_pem()).expect("the key's own encoding")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}
