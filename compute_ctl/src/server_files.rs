//! Files of others that the server reads, as copies of its own user's: the compute's token, once for the extension and
//! once as a password file for libpq, of which a replica's connection to safekeepers is made; certificate and key for
//! clients; whom it is to believe at safekeepers and the pageserver. None of it stands on a command line or in a setting, which everybody can read.
//!
//! They change while the server runs: tokens and certificates are replaced by putting others in their place.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::{CertificateFiles, Credentials};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::ComputeError;
use crate::paths::{ComputePaths, remove_file};
use crate::predecessor::running_postmaster;
use crate::server_user::ServerUser;

/// How long the server may go on with what has been replaced. Old tokens are believed for longer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the copies are made of.
#[derive(Clone)]
pub struct ServerFiles {
    pub paths: ComputePaths,
    pub user: ServerUser,
    pub credentials: Credentials,
    /// What the server shows to clients.
    pub certificate: Option<CertificateFiles>,
}

/// What was copied.
#[derive(PartialEq, Eq)]
struct Copied {
    token: Arc<str>,
    /// Certificate and key.
    certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// Read anew for every connection.
    authority: Option<Arc<[u8]>>,
}

impl ServerFiles {
    /// Makes the copies, for the server's user and nobody else.
    pub fn write(&self) -> Result<(), ComputeError> {
        self.copy(&self.read()?)
    }

    /// Makes them again whenever something changes. Does not end.
    pub async fn keep_current(self) {
        let mut copied = self.read().ok();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let found = match self.read() {
                Ok(found) if copied.as_ref() != Some(&found) => found,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!("{error}; the server goes on with what it has");
                    continue;
                }
            };
            if let Err(error) = self.copy(&found) {
                tracing::warn!("token or certificate was replaced, but not for the server: {error}");
                continue;
            }
            if copied.as_ref().is_none_or(|copied| copied.token != found.token) {
                tracing::info!("the token was replaced");
            }
            if copied.as_ref().is_none_or(|copied| copied.certificate != found.certificate) {
                tracing::info!("the certificate was replaced");
                self.have_the_server_look();
            }
            copied = Some(found);
        }
    }

    fn read(&self) -> Result<Copied, ComputeError> {
        let read = |path: &Path| std::fs::read(path).map_err(ComputeError::file("read", path));
        let certificate = match &self.certificate {
            Some(CertificateFiles { certificate, key }) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        let authority = self.credentials.trust().map(auth::Trust::pem);
        Ok(Copied { token: self.credentials.token(), certificate, authority })
    }

    fn copy(&self, copied: &Copied) -> Result<(), ComputeError> {
        let Copied { token, certificate, authority } = copied;
        self.replace(&self.paths.token, token.as_bytes())?;
        // A token has no colon and no backslash, which would have a meaning there.
        self.replace(&self.paths.passfile, format!("*:*:*:*:{token}\n").as_bytes())?;
        if let Some((certificate, key)) = certificate {
            self.replace(&self.paths.certificate, certificate)?;
            self.replace(&self.paths.certificate_key, key)?;
        }
        if let Some(authority) = authority {
            self.replace(&self.paths.authority, authority)?;
        }
        Ok(())
    }

    /// A pair that does not fit is complained of in its log, and changes nothing.
    fn have_the_server_look(&self) {
        if let Some(postmaster) = running_postmaster(&self.paths.pgdata)
            && let Err(error) = kill(Pid::from_raw(postmaster), Signal::SIGHUP)
        {
            tracing::debug!("the server that was to look at its certificate is gone: {error}");
        }
    }

    /// Whole or not at all: a backend may be reading it. After a power cut it is written anew anyway.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), ComputeError> {
        let partial = path.with_extension("partial");
        let work = || {
            remove_file(&partial)?;
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600).open(&partial)?.write_all(bytes)?;
            self.user.own(&partial)?;
            std::fs::rename(&partial, path)
        };
        work().map_err(ComputeError::file("write", path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use auth::{Claims, Scope, SigningKey, Trust};

    use super::*;

    #[tokio::test]
    async fn what_is_replaced_reaches_the_server() {
        let root = tempfile::tempdir().unwrap();
        let paths = ComputePaths::new(&root.path().join("pgdata")).unwrap();
        let at = |name: &str| root.path().join(name);
        let key = SigningKey::generate();
        let sign = |subject: &str| key.sign(&Claims::new([Scope::Tenant]).subject(subject)).unwrap();
        std::fs::write(at("source"), sign("the old one")).unwrap();
        std::fs::write(at("source.pem"), "a certificate").unwrap();
        std::fs::write(at("source.key"), "its key").unwrap();
        let authority = |name: &str| {
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        std::fs::write(at("ca.pem"), authority("one")).unwrap();
        let trust = Trust::load(&at("ca.pem")).unwrap();
        let files = ServerFiles {
            paths: paths.clone(),
            user: ServerUser::find().unwrap(),
            credentials: Credentials::load(&at("source")).unwrap().believing(Some(trust.clone())),
            certificate: Some(CertificateFiles { certificate: at("source.pem"), key: at("source.key") }),
        };
        files.write().unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&paths.token), sign("the old one"));
        assert_eq!(
            (read(&paths.certificate).as_str(), read(&paths.certificate_key).as_str()),
            ("a certificate", "its key")
        );
        assert_eq!(read(&paths.authority).as_bytes(), &*trust.pem());
        let user = files.user;
        let keeping = tokio::spawn(files.keep_current());
        let new = sign("the new one, which is longer");
        std::fs::write(at("source"), &new).unwrap();
        std::fs::write(at("source.pem"), "another certificate").unwrap();
        let other = authority("two");
        std::fs::write(at("ca.pem"), &other).unwrap();
        let expected = (new.clone(), format!("*:*:*:*:{new}\n"), "another certificate".to_owned(), other);
        tokio::time::timeout(Duration::from_secs(20), async {
            let found = || {
                (read(&paths.token), read(&paths.passfile), read(&paths.certificate), read(&paths.authority))
            };
            while found() != expected {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .unwrap();
        keeping.abort();
        for path in
            [&paths.token, &paths.passfile, &paths.certificate, &paths.certificate_key, &paths.authority]
        {
            let metadata = std::fs::metadata(path).unwrap();
            assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o600, user.uid()), "{path:?}");
        }
    }
}
