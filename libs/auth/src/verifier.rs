//! [`Verifier`]: the public keys, and whether a token is of one of them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::claims::WireClaims;
use crate::watched::{Watched, files};
use crate::{AuthError, Identity, Refusal};

/// By how much the clocks of who signs and who verifies may differ.
const CLOCK_SKEW_SECONDS: u64 = 5;

/// The keys whose tokens are believed, read from their files again when these change. Cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Watched<Vec<DecodingKey>>>);

impl Verifier {
    /// From a file in PEM, or from all files of a directory that end in `.pem`.
    pub fn load(path: &Path) -> Result<Verifier, AuthError> {
        Watched::open(path, read).map(|keys| Verifier(Arc::new(keys)))
    }

    pub(crate) fn of_pem(pem: &str) -> Option<Verifier> {
        let key = DecodingKey::from_ed_pem(pem.as_bytes()).ok()?;
        Some(Verifier(Arc::new(Watched::fixed(vec![key]))))
    }

    /// Who presents this token.
    pub fn verify(&self, token: &[u8]) -> Result<Identity, Refusal> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        // A token without an end is good as long as its key is believed.
        validation.required_spec_claims.clear();
        validation.leeway = CLOCK_SKEW_SECONDS;
        // Other issuers may say from when on a token is good; ours are good at once.
        validation.validate_nbf = true;
        // Which of the one or two keys it was is not worth a name in the token.
        for key in self.0.get().iter() {
            match jsonwebtoken::decode::<WireClaims>(token, key, &validation) {
                Ok(token) => return Ok(token.claims.identity()),
                Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
                    return Err(Refusal::Expired);
                }
                Err(_) => {}
            }
        }
        Err(Refusal::NotAuthenticated)
    }

    /// Who presents this `Authorization` header.
    pub fn verify_bearer(&self, header: Option<&[u8]>) -> Result<Identity, Refusal> {
        let token =
            header.and_then(|value| value.strip_prefix(b"Bearer ")).ok_or(Refusal::NotAuthenticated)?;
        self.verify(token)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} keys)", self.0.get().len())
    }
}

fn read(path: &Path) -> Result<Vec<DecodingKey>, AuthError> {
    let one = |file: &Path| {
        let pem =
            std::fs::read(file).map_err(|source| AuthError::Unreadable { path: file.to_owned(), source })?;
        DecodingKey::from_ed_pem(&pem).map_err(|_| AuthError::NotAPublicKey { path: file.to_owned() })
    };
    if !path.is_dir() {
        return Ok(vec![one(path)?]);
    }
    let pem = |file: &std::path::PathBuf| file.extension().is_some_and(|extension| extension == "pem");
    let keys =
        files(path).iter().filter(|file| pem(file)).map(|file| one(file)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(AuthError::NoKeys { path: path.to_owned() }) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use types::TenantId;

    use super::*;
    use crate::{Claims, Scope, SigningKey};

    fn token(key: &SigningKey) -> String {
        key.sign(&Claims::tenant(TenantId([7; 16])).subject("a test")).unwrap()
    }

    #[test]
    fn a_token_says_who_presents_it() {
        let key = SigningKey::generate();
        let identity = key.verifier().verify(token(&key).as_bytes()).unwrap();
        assert_eq!(identity.tenant, Some(TenantId([7; 16])));
        assert!(identity.scopes.contains(Scope::Tenant) && !identity.scopes.contains(Scope::Admin));
        assert_eq!((identity.subject.as_deref(), identity.expires), (Some("a test"), None));
        let bearer = format!("Bearer {}", token(&key));
        assert!(key.verifier().verify_bearer(Some(bearer.as_bytes())).is_ok());
        for header in [None, Some(token(&key).as_bytes()), Some(b"Bearer ".as_slice()), Some(b"Basic eDp5")] {
            assert_eq!(key.verifier().verify_bearer(header), Err(Refusal::NotAuthenticated));
        }
    }

    #[test]
    fn an_expired_token_is_told_so_only_if_it_was_ours() {
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        let at = |seconds: i64| {
            let now = SystemTime::now();
            let expires = match seconds < 0 {
                true => now - Duration::from_secs(seconds.unsigned_abs()),
                false => now + Duration::from_secs(seconds.unsigned_abs()),
            };
            key.sign(&Claims::new([Scope::Admin]).expires(expires)).unwrap()
        };
        assert_eq!(key.verifier().verify(at(-60).as_bytes()), Err(Refusal::Expired));
        assert_eq!(other.verifier().verify(at(-60).as_bytes()), Err(Refusal::NotAuthenticated));
        assert!(key.verifier().verify(at(60).as_bytes()).unwrap().expires.is_some());
    }

    #[test]
    fn a_token_of_tomorrow_is_no_token_yet() {
        let key = SigningKey::generate();
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        let seconds = tomorrow.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let payload = serde_json::json!({ "scope": "admin", "nbf": seconds });
        let token = key.sign_payload(&payload).unwrap();
        assert_eq!(key.verifier().verify(token.as_bytes()), Err(Refusal::NotAuthenticated));
        let payload = serde_json::json!({ "scope": "admin", "nbf": seconds - 2 * 86_400 });
        assert!(key.verifier().verify(key.sign_payload(&payload).unwrap().as_bytes()).is_ok());
    }

    /// Other algorithms, none at all, and tokens whose payload was changed.
    #[test]
    fn what_we_did_not_sign_is_refused() {
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        let ours = token(&key);
        let parts: Vec<&str> = ours.split('.').collect();
        let admin = other.sign(&Claims::new([Scope::Admin])).unwrap();
        let theirs: Vec<&str> = admin.split('.').collect();
        // {"alg":"none"} and {"alg":"HS256"}
        let (none, hmac) = ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9");
        for forged in [
            admin.clone(),
            format!("{}.{}.{}", parts[0], theirs[1], parts[2]),
            format!("{none}.{}.", theirs[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{hmac}.{}.{}", parts[1], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{ours}."),
            String::new(),
        ] {
            assert_eq!(key.verifier().verify(forged.as_bytes()), Err(Refusal::NotAuthenticated), "{forged}");
        }
    }

    /// The order in which keys are changed while everything runs: the new key is believed before a token of it is
    /// presented, and the old one until none of its tokens is presented any more.
    #[test]
    fn keys_are_changed_without_a_gap() {
        let place = tempfile::tempdir().unwrap();
        let (old, new) = (SigningKey::generate(), SigningKey::generate());
        let empty = Verifier::load(place.path()).unwrap_err().to_string();
        assert!(empty.contains("no public key"), "{empty}");
        std::fs::write(place.path().join("old.pem"), old.public_pem()).unwrap();
        let verifier = Verifier::load(place.path()).unwrap();
        let believed = || {
            verifier.0.look_now();
            [&old, &new].map(|key| verifier.verify(token(key).as_bytes()).is_ok())
        };
        assert_eq!(believed(), [true, false]);
        std::fs::write(place.path().join("new.pem"), new.public_pem()).unwrap();
        assert_eq!(believed(), [true, true]);
        std::fs::write(place.path().join("half.pem"), "-----BEGIN PUB").unwrap();
        std::fs::remove_file(place.path().join("old.pem")).unwrap();
        assert_eq!(believed(), [true, true], "a directory that makes no sense changes nothing");
        std::fs::remove_file(place.path().join("half.pem")).unwrap();
        assert_eq!(believed(), [false, true]);
        std::fs::remove_file(place.path().join("new.pem")).unwrap();
        assert_eq!(believed(), [false, true], "no key at all is nobody's wish");
    }

    #[test]
    fn keys_of_openssl_are_understood() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key.pem");
        // openssl genpkey -algorithm ed25519
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        std::fs::write(&path, pem).unwrap();
        let key = SigningKey::load(&path).unwrap();
        assert!(key.verifier().verify(token(&key).as_bytes()).is_ok());
        std::fs::write(&path, key.private_pem()).unwrap();
        let again = SigningKey::load(&path).unwrap();
        assert!(again.verifier().verify(token(&key).as_bytes()).is_ok(), "our own form is understood too");
        std::fs::write(&path, key.public_pem()).unwrap();
        assert!(SigningKey::load(&path).is_err());
        assert!(Verifier::load(&path).unwrap().verify(token(&key).as_bytes()).is_ok());
        assert!(!format!("{key:?}").contains("MC4"));
    }

    proptest! {
        #[test]
        fn bytes_from_anywhere_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let verifier = SigningKey::generate().verifier();
            prop_assert_eq!(verifier.verify(&bytes), Err(Refusal::NotAuthenticated));
        }

        #[test]
        fn one_changed_character_spoils_a_token(at in any::<prop::sample::Index>(), with in "[A-Za-z0-9_-]") {
            let key = SigningKey::generate();
            let mut changed = token(&key);
            let at = at.index(changed.len());
            prop_assume!(changed[at..=at] != with && &changed[at..=at] != ".");
            changed.replace_range(at..=at, &with);
            // The last character of a part may have bits that mean nothing.
            let meaning = !changed[at + 1..].starts_with('.') && at + 1 != changed.len();
            prop_assert!(!meaning || key.verifier().verify(changed.as_bytes()).is_err());
        }
    }
}
