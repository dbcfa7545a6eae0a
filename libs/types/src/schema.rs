//! How OpenAPI documents describe the values of this crate that are text or a bare number in JSON.

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::{Generation, Key, Lsn, NodeId, PgVersion, TenantId, Term, TimelineId, WalSegmentSize};

fn text(pattern: &str, example: &str, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .examples([example])
        .description(Some(description))
}

fn number(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some(description))
}

macro_rules! schemas {
    ($($name:ident: $schema:expr;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

const ID: (&str, &str) = ("^[0-9a-fA-F]{32}$", "9f3a61c04be2d7580a1c6e2f94b7d013");

schemas! {
    TenantId: text(ID.0, ID.1, "A PostgreSQL cluster with all its branches.");
    TimelineId: text(ID.0, ID.1, "A branch of a tenant's history.");
    Lsn: text("^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$", "16/B374D848", "A byte position in a timeline's WAL, as PostgreSQL writes it.");
    Key: text("^[0-9A-Fa-f]{36}$", "010000067F0000000500004000000000002A", "What is stored under an LSN, for example a block of a relation.");
    NodeId: number("A safekeeper or pageserver, as its operator numbered it.");
    Term: number("The reign of a compute over a timeline. Higher is newer; zero is before any.");
    Generation: number("Of a pageserver's ownership of a tenant.").maximum(Some(u32::MAX));
    PgVersion: number("A major version of PostgreSQL.").enum_values(Some(PgVersion::ALL.map(PgVersion::major)));
    WalSegmentSize: number("Bytes in a segment of WAL: a power of two from 1 MiB to 1 GiB.").enum_values(Some((20..=30).map(|bits| 1_u32 << bits)));
}
