//! The cluster on this machine: its directory, its configuration, and the names of its branches.
//!
//! ```text
//! .varve/
//!   config.toml            what `varve init` chose; a person may edit it
//!   branches.json          names of branches and their PostgreSQL, default tenant
//!   auth/                  keys and tokens: see keys.rs
//!   tls/                   certificates of endpoints and parts: see certificates.rs
//!   import                 a link to what an import has in hand, while there is one: see commands/timeline/import/scratch.rs
//!   template/              pgNN.tar.zst: initdb's output, of which root timelines are made
//!   broker/ safekeepers/N/ pageserver/ remote_storage/
//!   endpoints/NAME/        endpoint.json, spec.json
//!   run/                   pid files and logs of all processes
//! ```

mod branches;
mod certificates;
mod config;
mod installation;
mod keys;

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use auth::{Credentials, Trust};
use durable_fs::DurableFs;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

pub use branches::Branches;
pub use certificates::{Certificates, LOCAL, Whose, bare, check_host};
pub use config::{Config, Hosts};
pub use installation::{Installation, check_version};
pub use keys::Keys;

use crate::output::say;

/// Most commands are done in less: then nobody has to be told.
const SILENT: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(10);

pub struct LocalEnv {
    pub directory: PathBuf,
    pub config: Config,
    pub keys: Keys,
    pub certificates: Certificates,
    /// What this command presents.
    pub credentials: Credentials,
    /// Where parts have hosts of their own: the one whose certificate computes show that are started here.
    pub host: String,
}

impl LocalEnv {
    /// Opens an existing cluster.
    pub fn load(directory: &Path) -> anyhow::Result<LocalEnv> {
        if !LocalEnv::exists(directory) {
            bail!(why_none(directory));
        }
        let directory = directory.canonicalize()?;
        let config = Config::load(&directory.join("config.toml"))?;
        LocalEnv::open(directory, config)
    }

    fn open(directory: PathBuf, config: Config) -> anyhow::Result<LocalEnv> {
        let keys = Keys::new(&directory);
        keys.complete()?;
        let certificates = Certificates::new(&directory);
        let trust = match config.tls {
            true => {
                match &config.hosts {
                    None => certificates.complete(Whose::Parts, &[])?,
                    // A copy for a machine or a container has what it needs, and nothing to sign with.
                    Some(_) if certificates.authority(Whose::Parts).exists() => {}
                    Some(hosts) => certificates.complete_hosts(hosts)?,
                }
                Some(Trust::load(&certificates.authority(Whose::Parts))?)
            }
            false => None,
        };
        let credentials = keys.credentials()?.believing(trust);
        Ok(LocalEnv { directory, config, keys, certificates, credentials, host: LOCAL.to_owned() })
    }

    pub fn exists(directory: &Path) -> bool {
        directory.join("config.toml").exists()
    }

    /// Makes the directory and the keys; `config.toml` comes last, and with it the cluster exists.
    pub fn create(directory: &Path, config: Config) -> anyhow::Result<LocalEnv> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let of_processes = ["safekeepers", "pageserver", "remote_storage", "run"];
        let of_processes = of_processes.iter().filter(|_| config.hosts.is_none());
        for sub in ["template", "endpoints"].iter().chain(of_processes) {
            std::fs::create_dir_all(directory.join(sub))?;
        }
        let env = LocalEnv::open(directory, config)?;
        env.save_config()?;
        Ok(env)
    }

    /// Starting, stopping and watching processes is for clusters whose parts are processes here.
    pub fn check_runs_here(&self) -> anyhow::Result<()> {
        match self.config.hosts {
            None => Ok(()),
            Some(_) => bail!(
                "the parts of this cluster run on hosts of their own: `docker compose`, or systemctl on each machine, starts, \
                 stops and shows them"
            ),
        }
    }

    /// Held by commands that change the cluster, so that two of them do not mix. Who waits for long says for whom.
    pub fn lock(directory: &Path) -> anyhow::Result<Flock<File>> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        let path = directory.join("lock");
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.with_context(|| format!("cannot open {}", path.display()))?;
        let cannot = |error| anyhow::anyhow!("cannot lock {}: {error}", path.display());
        let started = Instant::now();
        let lock = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break lock,
                Err((still, Errno::EWOULDBLOCK)) if started.elapsed() < SILENT => {
                    file = still;
                    std::thread::sleep(LOCK_POLL);
                }
                Err((still, Errno::EWOULDBLOCK)) => {
                    say(&waiting_for(&std::fs::read_to_string(&path).unwrap_or_default()));
                    break Flock::lock(still, FlockArg::LockExclusive).map_err(|(_, error)| cannot(error))?;
                }
                Err((_, error)) => return Err(cannot(error)),
            }
        };
        // For who waits; without it they wait all the same.
        let pid = std::process::id().to_string();
        let _ = lock.set_len(0).and_then(|()| lock.write_all_at(pid.as_bytes(), 0));
        Ok(lock)
    }

    /// How to call `varve` for this cluster, as in "`varve start` starts it".
    pub fn varve(&self) -> String {
        let usual = std::env::var_os("VARVE_DIR").map_or_else(|| PathBuf::from(".varve"), PathBuf::from);
        if usual.canonicalize().is_ok_and(|usual| usual == self.directory) {
            "varve".to_owned()
        } else {
            format!("varve --data-dir {}", self.directory.display())
        }
    }

    /// Signs the certificate of endpoints for `names`; without any, for those that were given before.
    pub fn certify_endpoints(&mut self, names: &[String]) -> anyhow::Result<()> {
        let names = match &self.config.tls_names {
            _ if !names.is_empty() => names.to_vec(),
            Some(known) => known.clone(),
            None if self.certificates.has_signed(Whose::Endpoints)? => bail!(
                "the names in the certificate of endpoints were given to a version that did not keep them: say with --tls-name \
                 each that clients use, or `--tls-name {LOCAL}` if they use none but this machine's own"
            ),
            None => Vec::new(),
        };
        self.certificates.sign(Whose::Endpoints, &names)?;
        self.config.tls_names = Some(names);
        self.save_config()
    }

    /// The same, where there is none yet.
    pub fn complete_endpoints(&mut self, names: &[String]) -> anyhow::Result<()> {
        if self.certificates.of(Whose::Endpoints).is_some() { Ok(()) } else { self.certify_endpoints(names) }
    }

    pub fn save_config(&self) -> anyhow::Result<()> {
        self.config.save(&self.directory.join("config.toml"))
    }

    pub fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }

    pub fn template_file(&self, pg_version: types::PgVersion) -> PathBuf {
        self.directory.join(format!("template/pg{pg_version}.tar.zst"))
    }

    pub fn endpoint_directory(&self, name: &str) -> PathBuf {
        self.directory.join("endpoints").join(name)
    }

    /// Where an endpoint's throw-away data directory is made: beside everything else, or elsewhere when
    /// the user `postgres` cannot get to this directory.
    pub fn compute_directory(&self, name: &str) -> PathBuf {
        match &self.config.compute_directory {
            Some(elsewhere) => elsewhere.join(name),
            None => self.endpoint_directory(name).join("compute"),
        }
    }

    /// What parts need to speak TLS, if they are to.
    pub fn tls_of_parts(&self) -> Option<PartsTls> {
        let (certificate, key) = match &self.config.hosts {
            _ if !self.config.tls => return None,
            None => self.certificates.of(Whose::Parts)?,
            Some(hosts) => self.certificates.of_host(hosts, &self.host),
        };
        Some(PartsTls { certificate, key, authority: self.certificates.authority(Whose::Parts) })
    }

    pub fn branches(&self) -> anyhow::Result<Branches> {
        Branches::load(&self.directory.join("branches.json"))
    }
}

/// Files of the TLS between the parts.
pub struct PartsTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Whom they believe.
    pub authority: PathBuf,
}

/// Why there is no cluster in a directory, and what to do about it.
fn why_none(directory: &Path) -> String {
    let why = match std::fs::metadata(directory.join("config.toml")).map_err(|error| error.kind()) {
        Err(ErrorKind::PermissionDenied) => " that you may read",
        _ if directory.is_dir() => " (the directory has no config.toml)",
        _ if directory.exists() => " (it is a file)",
        _ => " (there is no such directory)",
    };
    format!(
        "there is no cluster in {}{why}: --data-dir or VARVE_DIR names another place, `varve up` makes a cluster",
        directory.display()
    )
}

/// `holder` is what is in the lock's file: nothing yet, what a disk without room kept of a pid, or that of one who ended long ago.
fn waiting_for(holder: &str) -> String {
    let pid = holder.trim().parse::<u32>().ok();
    let named = pid.filter(|pid| Path::new(&format!("/proc/{pid}")).exists());
    let named = named.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    format!("waiting for another varve command to end{named}")
}

/// A key or a token, as a line or several.
fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    write_private(path, format!("{}\n", text.trim_end()).as_bytes())
}

/// Writes a file that only its owner may read, at no moment anybody else. Whole or not at all: a daemon may be waiting
/// for it.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    let partial = path.with_extension("partial");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .with_context(|| format!("cannot write {}", partial.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(DurableFs::default().rename_durably(&partial, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        let safekeepers: Vec<String> = (1..=3).map(|id| format!("safekeeper{id}")).collect();
        Hosts::new("broker", "pageserver", &safekeepers)
    }

    #[test]
    fn a_cluster_with_hosts_of_its_own_has_no_processes_here() {
        let place = tempfile::tempdir().unwrap();
        let config = Config::with_hosts(hosts(), Installation::of_a_test()).unwrap();
        let env = LocalEnv::create(place.path(), config).unwrap();
        let refusal = env.check_runs_here().unwrap_err().to_string();
        assert!(refusal.contains("docker compose"), "{refusal}");
        assert!(!env.run_directory().exists());
    }

    #[test]
    fn who_waits_names_a_process_that_there_is() {
        let own = std::process::id();
        assert!(waiting_for(&format!("{own}\n")).ends_with(&format!(" to end (process {own})")));
        // The last is above what Linux gives any process.
        for nobody in ["", "\0\0\0", "12ab", "-1", "4194305"] {
            assert_eq!(waiting_for(nobody), "waiting for another varve command to end");
        }
    }

    #[test]
    fn names_of_endpoints_stay_until_others_are_given() {
        let place = tempfile::tempdir().unwrap();
        let config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        LocalEnv::create(place.path(), config).unwrap();
        let open = || LocalEnv::load(place.path()).unwrap();
        let is_of = |name: &str| {
            let (certificate, _) = open().certificates.of(Whose::Endpoints).unwrap();
            let authority = open().certificates.authority(Whose::Endpoints);
            auth::doubt(&certificate, &authority, name).unwrap().is_none()
        };
        let certify = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            open().certify_endpoints(&names)
        };
        certify(&["db.example.com", "10.1.2.3"]).unwrap();
        certify(&[]).unwrap();
        assert!(is_of("db.example.com") && is_of("10.1.2.3") && is_of("localhost"));
        certify(&["db2.example.com"]).unwrap();
        certify(&[]).unwrap();
        assert!(is_of("db2.example.com") && !is_of("db.example.com"));
        certify(&["localhost"]).unwrap();
        assert!(is_of("localhost") && !is_of("db2.example.com"));

        // As a version has left it that did not keep them.
        let mut env = open();
        env.config.tls_names = None;
        env.save_config().unwrap();
        let said = certify(&[]).unwrap_err().to_string();
        assert!(said.contains("--tls-name localhost"), "{said}");
        certify(&["db.example.com"]).unwrap();
        assert!(is_of("db.example.com"));
    }

    #[test]
    fn a_copy_of_the_directory_needs_nothing_to_sign_with() {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::with_hosts(hosts(), Installation::of_a_test()).unwrap();
        config.tls = true;
        let mut env = LocalEnv::create(place.path(), config).unwrap();
        assert!(env.credentials.trust().is_some());
        let shown = |env: &LocalEnv| env.tls_of_parts().unwrap().certificate;
        assert!(shown(&env).ends_with("tls/computes/localhost/parts.pem"), "{:?}", shown(&env));
        env.host = "safekeeper2".to_owned();
        assert!(shown(&env).ends_with("auth/hosts/safekeeper2/parts.pem"), "{:?}", shown(&env));
        // As on a machine, or in a container of storage.
        for elsewhere in ["auth/private", "auth/hosts", "tls/computes"] {
            std::fs::remove_dir_all(place.path().join(elsewhere)).unwrap();
        }
        assert!(LocalEnv::load(place.path()).unwrap().credentials.trust().is_some());
        for elsewhere in ["auth/private", "auth/hosts", "tls/computes"] {
            assert!(!place.path().join(elsewhere).exists(), "{elsewhere}");
        }
    }

    #[test]
    fn why_there_is_no_cluster_is_said() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        for (at, words) in [(".", "no config.toml"), ("nowhere", "no such directory"), ("file", "is a file")]
        {
            let said = why_none(&place.path().join(at));
            assert!(said.contains(words) && said.contains("`varve up`"), "{said}");
        }
    }

    #[test]
    fn making_a_cluster_that_was_half_made_keeps_its_keys() {
        let place = tempfile::tempdir().unwrap();
        let config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        let first = LocalEnv::create(place.path(), config.clone()).unwrap();
        assert!(first.check_runs_here().is_ok());
        std::fs::remove_file(place.path().join("config.toml")).unwrap();
        assert!(!LocalEnv::exists(place.path()));
        let second = LocalEnv::create(place.path(), config).unwrap();
        assert_eq!(first.credentials.token(), second.credentials.token());
    }
}
