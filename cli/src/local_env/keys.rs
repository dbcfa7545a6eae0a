//! The keys and tokens of a cluster, made and replaced by this command alone.
//!
//! ```text
//! auth/public/NAME.pem    public keys: whose tokens the parts believe
//! auth/private/key.pem    the private key that signs; no part ever reads it
//! auth/private/admin      the token of this command
//! auth/tokens/NAME        a token for each part: pageserver, safekeeper, monitor, and tenant-ID for its computes
//! ```
//!
//! Keys are replaced in an order in which every token that is presented is believed: the new public key first; when
//! all parts believe it, the new tokens; when all parts present them, the old public key goes.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use auth::{Claims, Credentials, Scope, SigningKey};
use nix::fcntl::{Flock, FlockArg};
use types::TenantId;

use super::write_secret;

/// The token that is written last, and that everybody may have: with it, all of it is there.
const LAST: &str = "monitor";

/// What the tokens' files of tenants begin with.
const OF_TENANT: &str = "tenant-";

#[derive(Clone, Debug)]
pub struct Keys {
    directory: PathBuf,
}

impl Keys {
    pub fn new(directory: &Path) -> Keys {
        Keys { directory: directory.join("auth") }
    }

    /// Makes what is missing. A cluster of an earlier version gets all of it.
    pub fn complete(&self) -> anyhow::Result<()> {
        if self.token_file(LAST).exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for directory in [self.directory.clone(), self.private(), self.tokens(), self.public()] {
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
            std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700))?;
        }
        let key = match SigningKey::load(&self.private_key()) {
            Ok(key) => key,
            Err(_) if !self.private_key().exists() => {
                let key = SigningKey::generate();
                // First the public half: a key that signs must be believed.
                self.publish(&key)?;
                write_secret(&self.private_key(), &key.private_pem())?;
                key
            }
            Err(error) => return Err(error.into()),
        };
        self.write_admin(&key)?;
        for name in ["pageserver", "safekeeper", LAST] {
            self.write_token(&key, name)?;
        }
        // Of a version that had one secret for everything: it opens nothing any more.
        match std::fs::remove_file(self.directory.join("token")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The token of this command. Where the private directory is kept away, the one for looking.
    pub fn credentials(&self) -> anyhow::Result<Credentials> {
        let file = if self.admin_file().exists() { self.admin_file() } else { self.token_file(LAST) };
        Ok(Credentials::load(&file)?)
    }

    /// The directory that the parts read.
    pub fn public(&self) -> PathBuf {
        self.directory.join("public")
    }

    pub fn token_file(&self, name: &str) -> PathBuf {
        self.tokens().join(name)
    }

    /// The token for the computes of a tenant; it is made if there is none.
    pub fn tenant_token_file(&self, tenant: TenantId) -> anyhow::Result<PathBuf> {
        let name = format!("{OF_TENANT}{tenant}");
        let file = self.token_file(&name);
        if !file.exists() {
            self.write_token(&self.signing_key()?, &name)?;
        }
        Ok(file)
    }

    pub fn signing_key(&self) -> anyhow::Result<SigningKey> {
        SigningKey::load(&self.private_key()).context("this takes the cluster's private key")
    }

    /// Has all parts believe a new key, which signs nothing yet.
    pub fn add(&self) -> anyhow::Result<NewKey> {
        let key = SigningKey::generate();
        let file = self.publish(&key)?;
        Ok(NewKey { key, file })
    }

    /// Signs with the new key from now on, all tokens included that lie here.
    pub fn switch_to(&self, new: &NewKey) -> anyhow::Result<()> {
        let key = &new.key;
        write_secret(&self.private_key(), &key.private_pem())?;
        for entry in std::fs::read_dir(self.tokens())? {
            self.write_token(key, &entry?.file_name().to_string_lossy())?;
        }
        self.write_admin(key)
    }

    /// Has nobody believe any other key than this one.
    pub fn retire_all_but(&self, new: &NewKey) -> anyhow::Result<usize> {
        let mut retired = 0;
        for entry in std::fs::read_dir(self.public())? {
            let path = entry?.path();
            if path != new.file {
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
                retired += 1;
            }
        }
        Ok(retired)
    }

    /// Held by whoever changes keys.
    fn lock(&self) -> anyhow::Result<Flock<std::fs::File>> {
        std::fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        let path = self.directory.join("lock");
        let file = std::fs::File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| anyhow::anyhow!("cannot lock {}: {error}", path.display()))
    }

    fn publish(&self, key: &SigningKey) -> anyhow::Result<PathBuf> {
        let file = self.public().join(format!("{}.pem", hex::encode(rand::random::<[u8; 8]>())));
        write_secret(&file, &key.public_pem())?;
        Ok(file)
    }

    fn write_admin(&self, key: &SigningKey) -> anyhow::Result<()> {
        write_secret(&self.admin_file(), &key.sign(&Claims::new([Scope::Admin]).subject("varve"))?)
    }

    fn write_token(&self, key: &SigningKey, name: &str) -> anyhow::Result<()> {
        let Some(claims) = claims_of(name) else { return Ok(()) };
        write_secret(&self.token_file(name), &key.sign(&claims.subject(name))?)
    }

    fn private(&self) -> PathBuf {
        self.directory.join("private")
    }

    fn private_key(&self) -> PathBuf {
        self.private().join("key.pem")
    }

    fn admin_file(&self) -> PathBuf {
        self.private().join("admin")
    }

    fn tokens(&self) -> PathBuf {
        self.directory.join("tokens")
    }
}

/// A key that is believed, and about to sign.
pub struct NewKey {
    key: SigningKey,
    file: PathBuf,
}

impl NewKey {
    /// To ask the parts whether they believe it.
    pub fn credentials(&self) -> anyhow::Result<Credentials> {
        Ok(self.key.credentials(&Claims::new([Scope::Admin]).subject("varve auth rotate"))?)
    }
}

/// What a token opens, by the name of its file. None for what is not one of ours.
fn claims_of(name: &str) -> Option<Claims> {
    match name {
        // Safekeepers fetch WAL from each other, pageservers from them, and both talk to the broker.
        "pageserver" | "safekeeper" => Some(Claims::new([Scope::Safekeeper, Scope::Broker])),
        "monitor" => Some(Claims::new([Scope::Monitor])),
        other => other.strip_prefix(OF_TENANT)?.parse().ok().map(Claims::tenant),
    }
}

#[cfg(test)]
mod tests {
    use auth::{Need, Verifier};

    use super::*;

    fn token(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    #[test]
    fn every_token_opens_what_its_part_needs_through_a_change_of_keys() {
        let place = tempfile::tempdir().unwrap();
        let keys = Keys::new(place.path());
        keys.complete().unwrap();
        let tenant = TenantId([3; 16]);
        keys.tenant_token_file(tenant).unwrap();
        let files: Vec<_> = ["pageserver", "safekeeper", "monitor", &format!("tenant-{tenant}")]
            .map(|name| keys.token_file(name))
            .into();
        let old: Vec<_> = files.iter().map(|file| token(file)).collect();
        let believed = |token: &str| Verifier::load(&keys.public()).unwrap().verify(token.as_bytes());
        for (token, need) in old.iter().zip([
            Need::Part(Scope::Safekeeper),
            Need::Part(Scope::Broker),
            Need::Look { tenant: None, part: Scope::Pageserver },
            Need::Data { tenant, part: Scope::Pageserver },
        ]) {
            believed(token).unwrap().check(need).unwrap();
        }
        assert!(believed(&old[0]).unwrap().check(Need::Part(Scope::Pageserver)).is_err());

        let new = keys.add().unwrap();
        assert!(believed(&new.credentials().unwrap().token()).is_ok());
        assert!(old.iter().all(|token| believed(token).is_ok()));
        keys.switch_to(&new).unwrap();
        let replaced: Vec<_> = files.iter().map(|file| token(file)).collect();
        assert!(old.iter().chain(&replaced).all(|token| believed(token).is_ok()));
        assert_eq!(keys.retire_all_but(&new).unwrap(), 1);
        assert!(old.iter().all(|token| believed(token).is_err()));
        assert!(replaced.iter().all(|token| believed(token).is_ok()));
        believed(&keys.credentials().unwrap().token()).unwrap().check(Need::Part(Scope::Broker)).unwrap();
    }

    #[test]
    fn what_is_there_stays_and_is_private() {
        let place = tempfile::tempdir().unwrap();
        let keys = Keys::new(place.path());
        keys.complete().unwrap();
        let admin = token(&keys.admin_file());
        keys.complete().unwrap();
        assert_eq!(token(&keys.admin_file()), admin);
        for file in [keys.admin_file(), keys.private_key(), keys.token_file("pageserver")] {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        // Where the private directory is kept away, there is something to look with.
        std::fs::rename(keys.private(), place.path().join("elsewhere")).unwrap();
        let monitor = keys.credentials().unwrap();
        assert_eq!(&*monitor.token(), token(&keys.token_file("monitor")));
        assert!(keys.signing_key().unwrap_err().to_string().contains("private key"));
    }
}
