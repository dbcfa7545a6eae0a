//! Bringing roles and databases to what the spec says. Both functions compare with the catalogs first: a
//! compute that starts with an unchanged spec writes nothing.
//!
//! What the spec does not name is left alone, so nothing is ever dropped here.

mod databases;
mod roles;
mod settings;

use pg_frontend::{Address, ConnectParams, PgClient, Row};

use crate::error::ComputeError;
use crate::paths::ComputePaths;
use crate::postgres::POSTGRES_USER;

pub use databases::apply_databases;
pub use roles::apply_roles;
pub use settings::{check_settings, reload_settings};

/// A connection of the bootstrap superuser over the private socket.
pub struct Superuser(PgClient);

impl Superuser {
    pub async fn connect(paths: &ComputePaths, port: u16) -> Result<Superuser, ComputeError> {
        Superuser::connect_as("compute_ctl", paths, port).await
    }

    /// By the name that others see.
    pub async fn connect_as(
        application_name: &str,
        paths: &ComputePaths,
        port: u16,
    ) -> Result<Superuser, ComputeError> {
        let address = Address::Unix { directory: paths.socket.clone(), port };
        let params = ConnectParams::new(address, POSTGRES_USER)
            .database("postgres")
            .application_name(application_name)
            // Our own changes must not be cut short by what a user has set for everybody.
            .option("statement_timeout", "0")
            .option("lock_timeout", "0")
            .option("idle_session_timeout", "0")
            .option("default_transaction_read_only", "off")
            .option("search_path", "pg_catalog")
            // What it reads, it is about to write or to stop.
            .option("varve.read_lease", "0");
        let connected = PgClient::connect(&params).await;
        let mut session = connected.map(Superuser).map_err(sql("connect to PostgreSQL"))?;
        // PostgreSQL 15 does not know it. No view is asked: a start has none of the catalogs' pages yet.
        let unlimited = "SELECT set_config('transaction_timeout', '0', false) \
                         WHERE current_setting('transaction_timeout', true) IS NOT NULL";
        session.run("connect to PostgreSQL", unlimited).await?;
        Ok(session)
    }

    pub async fn run(&mut self, action: &str, query: &str) -> Result<Vec<Row>, ComputeError> {
        self.0.simple_query(query).await.map_err(sql(action))
    }
}

fn sql(action: &str) -> impl FnOnce(pg_frontend::PgError) -> ComputeError {
    let action = action.to_owned();
    move |source| ComputeError::Sql { action, source }
}

fn is_true(value: Option<&Option<String>>) -> bool {
    value.and_then(Option::as_deref) == Some("t")
}
