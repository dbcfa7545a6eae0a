//! Connection strings for PostgreSQL's own connections to storage: the extension's to the pageserver, a replica's to
//! safekeepers. Both are libpq's, which reads who is to be believed from a file at every connection.

use std::path::Path;

use auth::Credentials;
use compute_api::ComputeSpec;
use pg_frontend::Address;

use crate::paths::ComputePaths;

/// Whether they are TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageTls {
    /// With those who show a certificate of whom this compute believes, and with nobody else.
    Verified,
    None,
}

impl StorageTls {
    pub fn of(credentials: &Credentials) -> StorageTls {
        if credentials.trust().is_some() { StorageTls::Verified } else { StorageTls::None }
    }

    fn parameters(self, paths: &ComputePaths) -> String {
        match self {
            StorageTls::Verified => format!("sslmode=verify-full sslrootcert={}", quoted(&paths.authority)),
            StorageTls::None => "sslmode=disable".to_owned(),
        }
    }
}

/// Where the extension finds pages.
pub fn pageserver_connstr(address: &str, paths: &ComputePaths, tls: StorageTls) -> String {
    match Address::parse(address) {
        Ok(Address::Tcp { host, port }) => format!("host={host} port={port} {}", tls.parameters(paths)),
        Ok(Address::Unix { .. }) | Err(_) => String::new(),
    }
}

/// Where a replica gets its WAL: from safekeeper number `first` of the spec, or the next one that answers. Each sends what
/// it knows a quorum to have.
pub fn primary_conninfo(spec: &ComputeSpec, paths: &ComputePaths, tls: StorageTls, first: usize) -> String {
    let addresses = spec.safekeepers.iter().filter_map(|peer| match Address::parse(&peer.pg_connstr) {
        Ok(Address::Tcp { host, port }) => Some((host, port.to_string())),
        Ok(Address::Unix { .. }) | Err(_) => None,
    });
    let mut addresses: Vec<(String, String)> = addresses.collect();
    let count = addresses.len().max(1);
    addresses.rotate_left(first % count);
    let (hosts, ports): (Vec<String>, Vec<String>) = addresses.into_iter().unzip();
    let ComputeSpec { tenant_id, timeline_id, endpoint_id, .. } = spec;
    format!(
        "host={} port={} user=varve passfile={} application_name={endpoint_id} connect_timeout=5 {} gssencmode=disable \
         options='-c tenant_id={tenant_id} -c timeline_id={timeline_id}'",
        hosts.join(","),
        ports.join(","),
        quoted(&paths.passfile),
        tls.parameters(paths),
    )
}

/// A path as it stands in a connection string.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &tempfile::TempDir) -> ComputePaths {
        ComputePaths::new(&root.path().join("pgdata")).unwrap()
    }

    #[test]
    fn a_replica_tries_all_safekeepers_beginning_with_any() {
        let id = "0123456789abcdef0123456789abcdef";
        let safekeepers: Vec<_> =
            (1..4).map(|n| serde_json::json!({"id": n, "pg_connstr": format!("sk{n}:545{n}")})).collect();
        let spec = serde_json::json!({
            "format_version": 1, "tenant_id": id, "timeline_id": id, "endpoint_id": "ro", "mode": "replica", "pg_version": 15,
            "safekeepers": safekeepers, "pageserver": {"pg_connstr": "ps:64000"}, "pg_listen_addr": "*", "pg_port": 5432
        });
        let spec = ComputeSpec::parse(spec.to_string().as_bytes()).unwrap();
        let root = tempfile::Builder::new().prefix("it's").tempdir().unwrap();
        let conninfo = |tls, first| primary_conninfo(&spec, &paths(&root), tls, first);
        let plain = conninfo(StorageTls::None, 0);
        assert!(plain.starts_with("host=sk1,sk2,sk3 port=5451,5452,5453 user=varve passfile='/"));
        assert!(plain.contains("/it\\'s") && plain.contains(" sslmode=disable "), "{plain}");
        let verified = conninfo(StorageTls::Verified, 4);
        assert!(verified.starts_with("host=sk2,sk3,sk1 port=5452,5453,5451 "));
        assert!(verified.contains(" sslmode=verify-full sslrootcert='/"));
    }

    #[test]
    fn the_pageserver_is_verified_where_somebody_is_believed() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths(&root);
        let plain = pageserver_connstr("[::1]:64000", &paths, StorageTls::None);
        assert_eq!(plain, "host=::1 port=64000 sslmode=disable");
        let verified = pageserver_connstr("ps:64000", &paths, StorageTls::Verified);
        let authority = paths.authority.display();
        assert_eq!(verified, format!("host=ps port=64000 sslmode=verify-full sslrootcert='{authority}'"));
    }
}
