//! The first start of the first compute, which makes the user's role and database and then stops in order.
//! It serves nobody but compute_ctl itself, as the server of initdb's time in PostgreSQL's own image.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use compute_api::{ComputeClient, ComputeSpec, ComputeState, ConfigureRequest, DatabaseSpec, RoleSpec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres_protocol::password::scram_sha_256;
use types::TenantTimelineId;

use super::compute::HTTP_ADDRESS;
use crate::arguments::ContainerInitArguments;
use crate::commands::endpoint::{bare_spec, compute_ctl};
use crate::local_env::{LocalEnv, write_private};

/// Nobody is to find it, and PostgreSQL's own port may be a neighbour's who was there before.
const FIRST_PORT: u16 = 55431;
const TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// Who the user wants to be, and the database to come to.
pub struct Owner(ConfigureRequest);

impl Owner {
    pub fn new(arguments: &ContainerInitArguments) -> anyhow::Result<Owner> {
        // Compose passes on a variable that is not set as an empty one.
        let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let user = given(&arguments.user).unwrap_or_else(|| "postgres".to_owned());
        let Some(password) = given(&arguments.password) else {
            bail!(
                "POSTGRES_PASSWORD is not set: the superuser {user:?} needs a password, and there is no default"
            );
        };
        let role = RoleSpec {
            name: user.clone(),
            encrypted_password: Some(scram_sha_256(password.as_bytes())),
            superuser: true,
            createdb: true,
            createrole: true,
            login: true,
        };
        let name = given(&arguments.database).unwrap_or_else(|| user.clone());
        let database = DatabaseSpec { name, owner: user };
        let wanted =
            ConfigureRequest { roles: vec![role], databases: vec![database], ..ConfigureRequest::default() };
        wanted.check()?;
        Ok(Owner(wanted))
    }

    /// What the first compute is to be.
    pub fn spec(self, env: &LocalEnv, ttid: TenantTimelineId) -> ComputeSpec {
        let ConfigureRequest { roles, databases, .. } = self.0;
        let bare = bare_spec(env, ttid, "init", env.config.pg_version);
        ComputeSpec { roles, databases, pg_port: FIRST_PORT, ..bare }
    }
}

/// Returns when all that it has written is on a quorum of safekeepers.
pub async fn first_start(env: &LocalEnv, spec: &ComputeSpec) -> anyhow::Result<()> {
    let home = tempfile::Builder::new().prefix("varve-first-start-").tempdir()?;
    let spec_file = home.path().join("spec.json");
    write_private(&spec_file, &serde_json::to_vec_pretty(spec)?)?;
    let command = compute_ctl(env, spec.tenant_id, spec.pg_version, home.path(), &spec_file, HTTP_ADDRESS)?;
    let mut compute = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let client = ComputeClient::new(HTTP_ADDRESS, env.credentials.clone());
    let started = Instant::now();
    loop {
        if let Some(status) = compute.try_wait()? {
            bail!("the first compute ended ({status}): see above");
        }
        if client.status().await.is_ok_and(|status| status.state == ComputeState::Running) {
            break;
        }
        if started.elapsed() > TIMEOUT {
            bail!("the first compute did not start within {} s: see above", TIMEOUT.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
    let pid = compute.id().context("the first compute ended: see above")?;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
    let status = compute.wait().await?;
    if !status.success() {
        bail!("the first compute did not stop in order ({status}): see above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(user: &str, password: &str, database: &str) -> anyhow::Result<Owner> {
        Owner::new(&ContainerInitArguments {
            broker: "b".into(),
            pageserver: "p".into(),
            safekeepers: vec!["s".into()],
            tls: false,
            computes: Vec::new(),
            keys_only: false,
            user: Some(user.into()),
            password: Some(password.into()),
            database: Some(database.into()),
            tls_name: Vec::new(),
        })
    }

    #[test]
    fn what_is_not_said_is_as_in_the_image_of_postgresql() {
        let names = |user, database| {
            let Owner(wanted) = owner(user, "x", database).unwrap();
            [wanted.roles[0].name.clone(), wanted.databases[0].name.clone()]
        };
        assert_eq!(names("", ""), ["postgres", "postgres"]);
        assert_eq!(names("app", ""), ["app", "app"]);
        assert_eq!(names("app", "shop"), ["app", "shop"]);
        let refusal = owner("app", "", "").err().unwrap().to_string();
        assert!(refusal.contains("POSTGRES_PASSWORD"), "{refusal}");
        assert!(owner("pg_monitor", "x", "").is_err());
    }

    #[test]
    fn the_password_itself_is_kept_nowhere() {
        let Owner(wanted) = owner("app", "hunter2", "").unwrap();
        let verifier = wanted.roles[0].encrypted_password.as_ref().unwrap();
        assert!(verifier.starts_with("SCRAM-SHA-256$") && !verifier.contains("hunter2"), "{verifier}");
    }
}
