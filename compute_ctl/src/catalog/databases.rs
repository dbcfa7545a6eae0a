//! Databases and their owners.

use std::collections::HashMap;

use compute_api::DatabaseSpec;
use postgres_protocol::escape::escape_identifier;

use super::Superuser;
use crate::error::ComputeError;

/// A database is copied from `template1`, to which any role may be connected. PostgreSQL waits five seconds each time.
const ATTEMPTS: u32 = 12;

pub async fn apply_databases(
    session: &mut Superuser,
    databases: &[DatabaseSpec],
) -> Result<usize, ComputeError> {
    if databases.is_empty() {
        return Ok(0);
    }
    let query = "SELECT datname, rolname FROM pg_database JOIN pg_authid ON pg_authid.oid = datdba";
    let rows = session.run("read the databases", query).await?;
    let present: HashMap<String, String> = rows
        .into_iter()
        .filter_map(|row| <[_; 2]>::try_from(row).ok())
        .filter_map(|[name, owner]| Some((name?, owner?)))
        .collect();
    let mut changed = 0;
    for database in databases {
        if let Some(statement) = statement(database, present.get(&database.name)) {
            let action = format!("bring database {:?} to the spec", database.name);
            let mut attempt = 1;
            while let Err(error) = session.run(&action, &statement).await {
                if !error.is_in_use() || attempt == ATTEMPTS {
                    return Err(error);
                }
                attempt += 1;
                tracing::info!("{error}: trying again");
            }
            changed += 1;
        }
    }
    Ok(changed)
}

fn statement(wanted: &DatabaseSpec, owner: Option<&String>) -> Option<String> {
    let (name, wanted_owner) = (escape_identifier(&wanted.name), escape_identifier(&wanted.owner));
    match owner {
        None => Some(format!("CREATE DATABASE {name} OWNER {wanted_owner}")),
        Some(owner) if *owner != wanted.owner => {
            Some(format!("ALTER DATABASE {name} OWNER TO {wanted_owner}"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_changed() {
        let wanted = DatabaseSpec { name: "shop".into(), owner: "app".into() };
        assert_eq!(statement(&wanted, None).unwrap(), "CREATE DATABASE \"shop\" OWNER \"app\"");
        assert_eq!(statement(&wanted, Some(&"app".into())), None);
        assert_eq!(
            statement(&wanted, Some(&"x".into())).unwrap(),
            "ALTER DATABASE \"shop\" OWNER TO \"app\""
        );
    }
}
