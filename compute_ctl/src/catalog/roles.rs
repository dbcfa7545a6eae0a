//! Roles: `CREATE ROLE` and `ALTER ROLE` with SCRAM verifiers, never with passwords.

use std::collections::HashMap;

use compute_api::RoleSpec;
use pg_frontend::Row;
use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::{Superuser, is_true};
use crate::error::ComputeError;
use crate::postgres::POSTGRES_USER;

pub async fn apply_roles(session: &mut Superuser, roles: &[RoleSpec]) -> Result<usize, ComputeError> {
    if roles.is_empty() {
        return Ok(0);
    }
    let rows = session
        .run(
            "read the roles",
            "SELECT rolname, rolpassword, rolsuper, rolcreatedb, rolcreaterole, rolcanlogin FROM pg_authid",
        )
        .await?;
    let present: HashMap<String, RoleSpec> =
        rows.iter().filter_map(read_role).map(|role| (role.name.clone(), role)).collect();
    let mut changed = 0;
    for role in roles {
        if let Some(statement) = statement(role, present.get(&role.name)) {
            session.run(&format!("bring role {:?} to the spec", role.name), &statement).await?;
            changed += 1;
        }
    }
    Ok(changed)
}

fn read_role(row: &Row) -> Option<RoleSpec> {
    Some(RoleSpec {
        name: row.first()?.clone()?,
        encrypted_password: row.get(1)?.clone(),
        superuser: is_true(row.get(2)),
        createdb: is_true(row.get(3)),
        createrole: is_true(row.get(4)),
        login: is_true(row.get(5)),
    })
}

/// What makes the role as wanted; `None` if it is.
fn statement(wanted: &RoleSpec, present: Option<&RoleSpec>) -> Option<String> {
    let mut wanted = wanted.clone();
    if wanted.name == POSTGRES_USER {
        // The bootstrap superuser may get a password, but never loses what compute_ctl needs it for.
        wanted = RoleSpec { superuser: true, createdb: true, createrole: true, login: true, ..wanted };
    }
    if present == Some(&wanted) {
        return None;
    }
    let verb = if present.is_some() { "ALTER" } else { "CREATE" };
    let option = |set: bool, name: &str| if set { format!(" {name}") } else { format!(" NO{name}") };
    let password = match &wanted.encrypted_password {
        Some(verifier) => escape_literal(verifier),
        None => "NULL".to_owned(),
    };
    Some(format!(
        "{verb} ROLE {} WITH{}{}{}{} PASSWORD {password}",
        escape_identifier(&wanted.name),
        option(wanted.superuser, "SUPERUSER"),
        option(wanted.createdb, "CREATEDB"),
        option(wanted.createrole, "CREATEROLE"),
        option(wanted.login, "LOGIN"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> RoleSpec {
        RoleSpec {
            name: name.into(),
            encrypted_password: Some("SCRAM-SHA-256$1:a$b:c".into()),
            superuser: false,
            createdb: true,
            createrole: false,
            login: true,
        }
    }

    #[test]
    fn an_unchanged_role_costs_nothing() {
        assert_eq!(statement(&role("app"), Some(&role("app"))), None);
    }

    #[test]
    fn names_are_quoted() {
        let created = statement(&role("o\"neil"), None).unwrap();
        assert_eq!(
            created,
            "CREATE ROLE \"o\"\"neil\" WITH NOSUPERUSER CREATEDB NOCREATEROLE LOGIN PASSWORD 'SCRAM-SHA-256$1:a$b:c'"
        );
        let without = RoleSpec { encrypted_password: None, ..role("app") };
        assert!(statement(&without, Some(&role("app"))).unwrap().starts_with("ALTER ROLE \"app\""));
    }

    #[test]
    fn the_bootstrap_superuser_stays_one() {
        let changed = statement(&role("postgres"), Some(&role("postgres"))).unwrap();
        assert!(changed.contains(" SUPERUSER"), "{changed}");
    }
}
