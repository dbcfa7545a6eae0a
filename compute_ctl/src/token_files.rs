//! The compute's token where the server reads it: once for the extension, once as a password file for libpq, of
//! which a replica's connection to safekeepers is made. Neither stands on a command line or in a setting, which
//! everybody can read.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use auth::Credentials;

use crate::error::ComputeError;
use crate::paths::ComputePaths;
use crate::server_user::ServerUser;

/// How long the server may go on with a token that has been replaced. The old one is believed for longer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Writes both files, for the server's user and nobody else.
pub fn write(paths: &ComputePaths, user: ServerUser, token: &str) -> Result<(), ComputeError> {
    replace(&paths.token, user, token)?;
    // A token has no colon and no backslash, which would have a meaning there.
    replace(&paths.passfile, user, &format!("*:*:*:*:{token}\n"))
}

/// Writes them again whenever the token changes. Does not end.
pub async fn keep_current(paths: ComputePaths, user: ServerUser, credentials: Credentials) {
    let mut written = credentials.token();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let token = credentials.token();
        if token == written {
            continue;
        }
        match write(&paths, user, &token) {
            Ok(()) => {
                tracing::info!("the token was replaced");
                written = token;
            }
            Err(error) => tracing::warn!("the token was replaced, but not for the server: {error}"),
        }
    }
}

/// Whole or not at all: a backend may be reading it. After a power cut it is written anew anyway.
fn replace(path: &Path, user: ServerUser, text: &str) -> Result<(), ComputeError> {
    let partial = path.with_extension("partial");
    let work = || {
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&partial)?.write_all(text.as_bytes())?;
        user.own(&partial)?;
        std::fs::rename(&partial, path)
    };
    work().map_err(ComputeError::file("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use auth::{Claims, Scope, SigningKey};

    use super::*;

    #[tokio::test]
    async fn a_replaced_token_reaches_the_server() {
        let root = tempfile::tempdir().unwrap();
        let paths = ComputePaths::new(&root.path().join("pgdata")).unwrap();
        let user = ServerUser::find().unwrap();
        let source = root.path().join("source");
        let key = SigningKey::generate();
        let sign = |subject: &str| key.sign(&Claims::new([Scope::Tenant]).subject(subject)).unwrap();
        std::fs::write(&source, sign("the old one")).unwrap();
        let credentials = Credentials::load(&source).unwrap();
        write(&paths, user, &credentials.token()).unwrap();
        assert_eq!(std::fs::read_to_string(&paths.token).unwrap(), sign("the old one"));
        let keeping = tokio::spawn(keep_current(paths.clone(), user, credentials));
        let new = sign("the new one, which is longer");
        std::fs::write(&source, &new).unwrap();
        let expected = (new.clone(), format!("*:*:*:*:{new}\n"));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        tokio::time::timeout(Duration::from_secs(20), async {
            while (read(&paths.token), read(&paths.passfile)) != expected {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .unwrap();
        keeping.abort();
        for path in [&paths.token, &paths.passfile] {
            let metadata = std::fs::metadata(path).unwrap();
            assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o600, user.uid()), "{path:?}");
        }
    }
}
