//! `up`, `init`, `start`, `down`: the cluster as a whole. All of them may be run again at any time.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::Flock;
use nix::unistd::User;
use serde_json::json;
use types::{PgVersion, TenantTimelineId};

use super::{endpoint, tenant};
use crate::arguments::{InitArguments, StopMode};
use crate::endpoints::{Endpoint, Endpoints, Unreadable, process, psql_line};
use crate::local_env::{Config, Installation, LocalEnv};
use crate::output::{Output, alternatives};
use crate::storage::{Daemon, pageserver_client};
use crate::template;

const DEFAULT_SAFEKEEPERS: u64 = 3;
const DEFAULT_ENDPOINT: &str = "main";

pub async fn up(
    directory: &Path,
    arguments: &InitArguments,
    lock: Flock<File>,
    output: Output,
) -> anyhow::Result<()> {
    let env = init(directory, arguments, output)?;
    let mut failures = start_storage(&env, output).await;
    let first = first_endpoint(&env, &failures, output).await.unwrap_or_else(|error| {
        failures.note("a first endpoint", &error, output);
        None
    });
    start_endpoints(&env, first.as_ref(), &mut failures, output).await;
    drop(lock);
    failures.tell()?;

    let connection = first.map(|first| first.connection_string(&env, "postgres"));
    let how_to_go_on = match &connection {
        Some(connection) => format!("Varve is up. Connect with\n\n  {}", psql_line(connection)),
        None => format!("Varve is up, without an endpoint: {}.", what_makes_one_run(&env)?),
    };
    output.result(&json!({ "data_dir": env.directory, "connstr": connection }), || {
        let varve = env.varve();
        format!("\n{how_to_go_on}\n\n`{varve} status` shows what runs, `{varve} down` stops it.")
    })
}

/// The endpoint that `up` says how to connect to; it is started also if no other command has asked for that. None where somebody
/// has stopped or deleted them all but left no `main`. In a cluster without any endpoint `main` is made.
async fn first_endpoint(
    env: &LocalEnv,
    failures: &Failures,
    output: Output,
) -> anyhow::Result<Option<Endpoint>> {
    let endpoints = Endpoints::load(env)?;
    if endpoints.is_empty() {
        return make_first(env, failures, output).await;
    }
    let Endpoints { readable: endpoints, unreadable } = endpoints;
    // One that cannot be read may be the one that is wanted.
    if !unreadable.is_empty() && !endpoints.iter().any(|endpoint| endpoint.wanted) {
        return Ok(None);
    }
    let main_branch = env.branches()?.find(None, tenant::MAIN_BRANCH).ok();
    Ok(choose_first(endpoints, main_branch, |endpoint| endpoint.process(env).pid().is_some()))
}

/// One that is started with the cluster: `main`, or else who writes. Where none is, `main` all the same. Or who writes to its
/// branch in its place: one that runs there would be fenced off.
fn choose_first(
    endpoints: Vec<Endpoint>,
    main_branch: Option<TenantTimelineId>,
    runs: impl Fn(&Endpoint) -> bool,
) -> Option<Endpoint> {
    let is_main = |endpoint: &Endpoint| endpoint.name == DEFAULT_ENDPOINT;
    if endpoints.iter().any(|endpoint| endpoint.wanted) {
        let wanted = endpoints.into_iter().filter(|endpoint| endpoint.wanted);
        return wanted.max_by_key(|endpoint| (is_main(endpoint), endpoint.is_primary()));
    }
    let branch = endpoints.iter().find(|endpoint| is_main(endpoint)).map(Endpoint::ttid).or(main_branch);
    let writes = |endpoint: &Endpoint| endpoint.is_primary() && Some(endpoint.ttid()) == branch;
    let candidates = endpoints.into_iter().filter(|endpoint| is_main(endpoint) || writes(endpoint));
    candidates.max_by_key(|endpoint| (runs(endpoint), is_main(endpoint)))
}

/// The endpoint `main`, and before it the tenant and the branch that it is on. A tenant that has branches of other names has
/// what its user wants: None.
async fn make_first(env: &LocalEnv, failures: &Failures, output: Output) -> anyhow::Result<Option<Endpoint>> {
    let mut branches = env.branches()?;
    let known = branches.default_tenant();
    if known.is_none_or(|tenant| branches.is_empty(tenant)) {
        failures.none_yet()?;
        let mut new = tenant::NewTenant::of(env.config.pg_version);
        new.tenant_id = known.unwrap_or(new.tenant_id);
        tenant::create(env, &mut branches, new, output).await?;
    }
    let new = endpoint::NewEndpoint::named(DEFAULT_ENDPOINT);
    let has_main = branches.find(new.tenant_id, &new.branch).is_ok();
    has_main.then(|| endpoint::create(env, new, output)).transpose()
}

/// For who has none that is started with the cluster.
fn what_makes_one_run(env: &LocalEnv) -> anyhow::Result<String> {
    let (varve, endpoints) = (env.varve(), Endpoint::names(env)?);
    if !endpoints.is_empty() {
        return Ok(format!("`{varve} endpoint start NAME` starts one; {}", alternatives(endpoints)));
    }
    let branches = env.branches()?;
    let names = branches.default_tenant().map(|tenant| branches.names(tenant)).unwrap_or_default();
    Ok(format!(
        "`{varve} endpoint create NAME --branch-name BRANCH` makes one, `{varve} endpoint start NAME` starts it; of branches {}",
        alternatives(names.keys())
    ))
}

/// `varve init`: no more than the directory.
pub fn init_alone(directory: &Path, arguments: &InitArguments, output: Output) -> anyhow::Result<()> {
    let env = init(directory, arguments, output)?;
    output.result(&json!({ "data_dir": env.directory }), || {
        format!("the cluster in {} is ready for `{} up`", env.directory.display(), env.varve())
    })
}

/// Makes what is missing of the cluster's directory. What exists stays as it is.
pub fn init(directory: &Path, arguments: &InitArguments, output: Output) -> anyhow::Result<LocalEnv> {
    let mut env = if LocalEnv::exists(directory) {
        let env = LocalEnv::load(directory)?;
        refuse_changes(&env, arguments)?;
        if arguments.tls && !env.config.tls { begin_tls(env)? } else { env }
    } else {
        let postgres = Installation::choose(arguments.pg_version, arguments.pg_bin_dir.as_deref())?;
        let safekeepers = arguments.num_safekeepers.unwrap_or(DEFAULT_SAFEKEEPERS);
        let mut config = Config::new(arguments.port_base, safekeepers, postgres)?;
        config.remote_storage.clone_from(&arguments.remote_storage);
        config.tls = arguments.tls;
        config.otlp_endpoint.clone_from(&arguments.otlp_endpoint);
        config.trace_ratio = arguments.trace_ratio;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        config.compute_directory = compute_directory(&directory.canonicalize()?)?;
        output.progress(format!("making a new cluster in {}", directory.display()));
        LocalEnv::create(directory, config)?
    };
    if arguments.tls {
        env.complete_endpoints(&arguments.tls_name)?;
    }
    make_template(&env, env.config.pg_version, output)?;
    Ok(env)
}

/// Has the parts of a cluster speak TLS that were made without. All of them from the same start on: one that does and one that
/// does not have nothing to say to each other.
fn begin_tls(mut env: LocalEnv) -> anyhow::Result<LocalEnv> {
    env.check_runs_here()?;
    let daemons = Daemon::all(&env).into_iter().filter(|daemon| daemon.process(&env).pid().is_some());
    let mut running: Vec<String> = daemons.map(Daemon::in_words).collect();
    let endpoints = Endpoint::names(&env)?.into_iter().filter(|name| process(&env, name).pid().is_some());
    running.extend(endpoints.map(|name| format!("endpoint {name:?}")));
    if !running.is_empty() {
        bail!(
            "parts of this cluster run without TLS ({}): `{1} down` first, and then `{1} up --tls`",
            running.join(", "),
            env.varve()
        );
    }
    env.config.tls = true;
    env.save_config()?;
    LocalEnv::load(&env.directory)
}

fn make_template(env: &LocalEnv, version: PgVersion, output: Output) -> anyhow::Result<()> {
    let template_file = env.template_file(version);
    if !template_file.exists() {
        output.progress(format!("making the template database of PostgreSQL {version} (initdb)"));
        template::make(&env.config.pg_bin_dir(version), version, &template_file)?;
    }
    Ok(())
}

/// Gives the pageserver the template of a version, if it has none.
pub async fn put_template(env: &LocalEnv, version: PgVersion, output: Output) -> anyhow::Result<()> {
    let pageserver = pageserver_client(env);
    if pageserver.template(version).await?.is_none() {
        make_template(env, version, output)?;
        let packed = std::fs::read(env.template_file(version))?;
        pageserver.put_template(version, packed).await?;
    }
    Ok(())
}

fn refuse_changes(env: &LocalEnv, arguments: &InitArguments) -> anyhow::Result<()> {
    let config = &env.config;
    let changed = arguments.port_base.is_some_and(|base| config.port_base != Some(base))
        || arguments.num_safekeepers.is_some_and(|number| config.num_safekeepers != number)
        || arguments.remote_storage.is_some() && arguments.remote_storage != config.remote_storage
        || arguments.otlp_endpoint.is_some() && arguments.otlp_endpoint != config.otlp_endpoint
        || arguments.trace_ratio.is_some() && arguments.trace_ratio != config.trace_ratio
        || arguments.pg_version.is_some_and(|version| config.pg_version != version)
        || arguments.pg_bin_dir.as_ref().is_some_and(|path| *path != config.pg_bin_dir);
    if changed {
        bail!(
            "the cluster in {} exists with other settings: see its config.toml, or choose another --data-dir",
            env.directory.display()
        );
    }
    Ok(())
}

/// Root runs PostgreSQL as the user `postgres`, who must be able to get to the data directories. Where
/// the cluster lies below a closed directory (`/root`), they are made under /var/lib/varve instead.
fn compute_directory(cluster: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?
        .context("there is no user postgres: install PostgreSQL from its package")?;
    let passable = |directory: &Path| -> anyhow::Result<bool> {
        let metadata = std::fs::metadata(directory)?;
        let mode = metadata.permissions().mode();
        Ok(mode & 0o001 != 0 || (metadata.uid() == user.uid.as_raw() && mode & 0o100 != 0))
    };
    for directory in cluster.ancestors() {
        if !passable(directory)? {
            let label = cluster.display().to_string().replace('/', "_");
            return Ok(Some(PathBuf::from(format!("/var/lib/varve/computes{label}"))));
        }
    }
    Ok(None)
}

pub async fn start(env: &LocalEnv, output: Output) -> anyhow::Result<()> {
    let mut failures = start_storage(env, output).await;
    start_endpoints(env, None, &mut failures, output).await;
    failures.tell()?;
    output.result(&json!({ "started": true }), || "everything runs".to_owned())
}

/// What did not start. That is no reason to leave the rest as it is: a quorum of safekeepers is enough for endpoints, and one
/// endpoint does not need another.
#[derive(Default)]
struct Failures {
    storage: Vec<Daemon>,
    told: Vec<String>,
}

impl Failures {
    fn note(&mut self, what: &str, error: &anyhow::Error, output: Output) {
        output.progress(format!("{what} does not start"));
        self.told.push(format!("{what} does not start: {error:#}"));
    }

    /// What endpoints cannot do without and is not there.
    fn missing(&self, env: &LocalEnv) -> Option<&'static str> {
        let safekeepers = |daemon: &&Daemon| matches!(daemon, Daemon::Safekeeper(_));
        let lost = self.storage.iter().filter(safekeepers).count();
        if self.storage.contains(&Daemon::Pageserver) {
            return Some("there is no pageserver");
        }
        (lost * 2 >= env.config.safekeeper_ids().len()).then_some("there is no quorum of safekeepers")
    }

    /// A tenant and a branch are made on all of storage.
    fn none_yet(&self) -> anyhow::Result<()> {
        if self.told.is_empty() { Ok(()) } else { bail!("it is made when all of storage runs") }
    }

    fn tell(self) -> anyhow::Result<()> {
        match self.told.as_slice() {
            [] => Ok(()),
            told => bail!("not everything runs:\n{}", told.join("\n")),
        }
    }
}

async fn start_storage(env: &LocalEnv, output: Output) -> Failures {
    let mut failures = Failures::default();
    for daemon in Daemon::all(env) {
        if let Err(error) = daemon.start(env, output).await {
            failures.note(&daemon.in_words(), &error, output);
            failures.storage.push(daemon);
        }
    }
    if !failures.storage.contains(&Daemon::Pageserver)
        && let Err(error) = put_template(env, env.config.pg_version, output).await
    {
        failures.note("what new tenants begin with", &error, output);
    }
    failures
}

/// Those that are started with the cluster, `first` among them from now on.
async fn start_endpoints(env: &LocalEnv, first: Option<&Endpoint>, failures: &mut Failures, output: Output) {
    let endpoints = match Endpoints::load(env) {
        Ok(endpoints) => endpoints,
        Err(error) => return failures.note("any endpoint", &error, output),
    };
    for Unreadable { name, why } in &endpoints.unreadable {
        failures.note(&format!("endpoint {name:?}"), why, output);
    }
    let missing = failures.missing(env);
    for endpoint in endpoints.readable {
        let is_first = first.is_some_and(|first| first.name == endpoint.name);
        if !endpoint.wanted && !is_first {
            continue;
        }
        let what = format!("endpoint {:?}", endpoint.name);
        if let Err(error) = start_with_cluster(env, endpoint, missing, output).await {
            failures.note(&what, &error, output);
        }
    }
}

async fn start_with_cluster(
    env: &LocalEnv,
    mut endpoint: Endpoint,
    missing: Option<&str>,
    output: Output,
) -> anyhow::Result<()> {
    if let Some(missing) = missing {
        bail!("{missing}");
    }
    endpoint::refuse_of_archived(env, &endpoint).await?;
    if !endpoint.wanted {
        endpoint.wanted = true;
        endpoint.save(env)?;
    }
    endpoint::start(env, endpoint, endpoint::Start::default(), output).await
}

/// Computes first, then what they depend on, so that a fast stop can make all WAL durable.
pub async fn stop(env: &LocalEnv, mode: StopMode, output: Output) -> anyhow::Result<()> {
    for name in Endpoint::names(env)? {
        endpoint::stop_process(env, &name, mode, output).await?;
    }
    for daemon in Daemon::all(env).into_iter().rev() {
        daemon.stop(env, mode, output).await?;
    }
    output.result(&json!({ "stopped": true }), || "everything is stopped; the data stays".to_owned())
}

#[cfg(test)]
mod tests {
    use compute_api::ComputeMode;
    use types::{Lsn, TenantId, TimelineId};

    use super::*;

    const MAIN: TenantTimelineId = TenantTimelineId::new(TenantId([1; 16]), TimelineId([1; 16]));
    const OTHER: TenantTimelineId = TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16]));
    const READS: ComputeMode = ComputeMode::Static { lsn: Lsn(8) };

    fn endpoint(name: &str, on: TenantTimelineId, mode: ComputeMode, wanted: bool) -> Endpoint {
        Endpoint { mode, wanted, ..Endpoint::of_a_test(name, on) }
    }

    fn first(endpoints: &[Endpoint], running: &[&str]) -> Option<String> {
        let runs = |endpoint: &Endpoint| running.contains(&endpoint.name.as_str());
        choose_first(endpoints.to_vec(), Some(MAIN), runs).map(|first| first.name)
    }

    #[tokio::test]
    async fn what_goes_wrong_later_hides_nothing_that_went_wrong_before() {
        let place = tempfile::tempdir().unwrap();
        let config = Config::new(None, 3, Installation::of_a_test()).unwrap();
        let env = LocalEnv::create(place.path(), config).unwrap();
        // Nothing of it can start: no daemon's program is beside that of the test.
        std::fs::write(env.template_file(env.config.pg_version), "").unwrap();
        std::fs::write(place.path().join("branches.json"), "{").unwrap();
        Endpoint { wanted: true, ..Endpoint::of_a_test("prod", OTHER) }.save(&env).unwrap();
        let lock = LocalEnv::lock(place.path()).unwrap();
        let silent = Output { json: true };
        let said = up(place.path(), &InitArguments::default(), lock, silent).await.unwrap_err().to_string();
        for words in
            ["safekeeper 3 does not start", "branches.json is not understood", "\"prod\" does not start"]
        {
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn up_starts_what_is_wanted() {
        let writes = |name, on, wanted| endpoint(name, on, ComputeMode::Primary, wanted);
        let all = [writes("main", MAIN, true), writes("prod", OTHER, true)];
        assert_eq!(first(&all, &[]).as_deref(), Some("main"));
        // Somebody has stopped it, and not the other one.
        let all = [writes("main", MAIN, false), writes("prod", OTHER, true)];
        assert_eq!(first(&all, &[]).as_deref(), Some("prod"));
        let all =
            [endpoint("a", MAIN, READS, true), writes("b", OTHER, true), endpoint("c", MAIN, READS, true)];
        assert_eq!(first(&all, &[]).as_deref(), Some("b"));
        assert_eq!(first(&[endpoint("a", MAIN, READS, true)], &[]).as_deref(), Some("a"));
    }

    #[test]
    fn where_nothing_is_wanted_up_starts_main_or_who_writes_in_its_place() {
        let writes = |name, on| endpoint(name, on, ComputeMode::Primary, false);
        let all = [writes("b", MAIN), writes("main", MAIN), writes("prod", OTHER)];
        assert_eq!(first(&all, &[]).as_deref(), Some("main"));
        assert_eq!(first(&all, &["prod"]).as_deref(), Some("main"));
        assert_eq!(first(&all, &["b"]).as_deref(), Some("b"), "it would be fenced off");
        // It may be on any branch.
        assert_eq!(first(&[writes("b", MAIN), writes("main", OTHER)], &["b"]).as_deref(), Some("main"));
        assert_eq!(first(&all[..1], &[]).as_deref(), Some("b"));
        assert_eq!(first(&all[2..], &[]), None);
        assert_eq!(first(&[endpoint("a", MAIN, READS, false)], &[]), None);
    }
}
