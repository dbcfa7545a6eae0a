//! `pageserver.toml` of the cluster on this machine: written when there is none, and completed when an older version wrote it.

use std::path::Path;

use anyhow::Context;
use durable_fs::DurableFs;

use super::{broker_endpoint, local, remote_storage};
use crate::local_env::{LocalEnv, PartsTls};

/// Written once: what a person changes in it stays.
pub fn write(env: &LocalEnv, workdir: &Path) -> anyhow::Result<()> {
    let path = workdir.join("pageserver.toml");
    if path.exists() {
        return complete(env, &path);
    }
    // Somebody may have deleted all of it, since it is a cache of what object storage has.
    std::fs::create_dir_all(workdir).with_context(|| format!("cannot make {}", workdir.display()))?;
    let ports = env.config.ports();
    let mut config = toml::Table::from_iter([("id".to_owned(), toml::Value::Integer(1))]);
    let addresses = [
        ("listen_pg_addr", local(ports.pageserver_pg()).to_string()),
        ("listen_http_addr", local(ports.pageserver_http()).to_string()),
    ];
    for (key, value) in addresses.into_iter().chain(names_of_keys(env)).chain(names_of_tls(env)) {
        config.insert(key.to_owned(), toml::Value::String(value));
    }
    config.insert("broker_endpoint".to_owned(), broker_endpoint(env).into());
    config.insert("remote_storage".to_owned(), remote_storage(env).into());
    DurableFs::default().write_atomically(&path, toml::to_string(&config)?.as_bytes())?;
    Ok(())
}

fn names_of_keys(env: &LocalEnv) -> Vec<(&'static str, String)> {
    vec![
        ("auth_public_key_path", env.keys.public().display().to_string()),
        ("auth_token_file", env.keys.token_file("pageserver").display().to_string()),
    ]
}

/// None in a cluster without TLS.
fn names_of_tls(env: &LocalEnv) -> Vec<(&'static str, String)> {
    let Some(PartsTls { certificate, key, authority }) = env.tls_of_parts() else { return Vec::new() };
    let files = [("tls_cert_file", certificate), ("tls_key_file", key), ("tls_ca_file", authority)];
    files.map(|(name, path)| (name, path.display().to_string())).into()
}

/// A configuration of a version that had one token for all gets the names of the keys, one of a time without TLS those of
/// certificates; all else in it stays.
fn complete(env: &LocalEnv, path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let has = |name: &str| text.lines().any(|line| line.trim_start().starts_with(name));
    let mut lines = Vec::new();
    if !has("auth_public_key_path") {
        lines.extend(names_of_keys(env));
    }
    let tls = names_of_tls(env);
    if !tls.is_empty() && !has("tls_ca_file") {
        lines.extend(tls);
        lines.push(("broker_endpoint", broker_endpoint(env)));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let replaced = |line: &str| lines.iter().any(|(name, _)| line.trim_start().starts_with(name));
    let kept = text.lines().filter(|line| !replaced(line)).map(str::to_owned);
    let new = lines.iter().map(|(name, value)| format!("{name} = {}", toml::Value::from(value.as_str())));
    let all: String = new.chain(kept).map(|line| line + "\n").collect();
    Ok(DurableFs::default().write_atomically(path, all.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_env::{Config, Installation};

    fn env(place: &Path) -> LocalEnv {
        LocalEnv::create(place, Config::new(None, 3, Installation::of_a_test()).unwrap()).unwrap()
    }

    #[test]
    fn tls_comes_into_a_file_of_a_time_without_and_all_else_stays() {
        let place = tempfile::tempdir().unwrap();
        let mut env = env(place.path());
        let workdir = env.directory.join("pageserver");
        write(&env, &workdir).unwrap();
        let file = workdir.join("pageserver.toml");
        let plain =
            format!("{}[page_service]\nmax_connections = 7\n", std::fs::read_to_string(&file).unwrap());
        assert!(plain.contains("http://127.0.0.1:50051") && !plain.contains("tls_"), "{plain}");
        std::fs::write(&file, &plain).unwrap();
        write(&env, &workdir).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), plain);

        env.config.tls = true;
        env.save_config().unwrap();
        let env = LocalEnv::load(place.path()).unwrap();
        for _ in 0..2 {
            write(&env, &workdir).unwrap();
            let table: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
            assert_eq!(table["broker_endpoint"].as_str(), Some("https://127.0.0.1:50051"));
            assert!(table["tls_ca_file"].as_str().unwrap().ends_with("/tls/parts-ca.pem"));
            assert!(table["tls_cert_file"].as_str().unwrap().ends_with("/tls/parts.pem"));
            assert_eq!(table["page_service"]["max_connections"].as_integer(), Some(7));
        }
        std::fs::remove_file(&file).unwrap();
        write(&env, &workdir).unwrap();
        let table: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        assert_eq!(table["broker_endpoint"].as_str(), Some("https://127.0.0.1:50051"));
        assert!(table["tls_key_file"].as_str().unwrap().ends_with("/tls/parts-key.pem"));
    }
}
