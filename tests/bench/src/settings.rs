//! In which settings the two servers differ.

use std::collections::BTreeMap;

use harness::block_on;

use crate::sides::{Side, Sides};

pub struct Difference {
    pub name: String,
    pub varve: String,
    pub stock: String,
}

/// Paths, ports and names say nothing of how a server works.
const OF_NO_WEIGHT: &[&str] = &[
    "application_name",
    "cluster_name",
    "config_file",
    "data_directory",
    "data_directory_mode",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "log_line_prefix",
    "log_timezone",
    "port",
    "TimeZone",
    "unix_socket_directories",
    "unix_socket_permissions",
    "in_hot_standby",
];

pub fn differences(sides: &Sides) -> Vec<Difference> {
    let [varve, stock] = [Side::Varve, Side::Stock].map(|side| all(sides, side));
    let of = |settings: &BTreeMap<String, String>, name: &String| {
        settings.get(name).cloned().unwrap_or_else(|| "not there".to_owned())
    };
    let mut names: Vec<&String> = varve.keys().chain(stock.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !OF_NO_WEIGHT.contains(&name.as_str()) && varve.get(*name) != stock.get(*name))
        // Those of the extension that say where things are.
        .filter(|name| !name.starts_with("varve.") || stock.contains_key(*name))
        .map(|name| Difference { name: name.clone(), varve: of(&varve, name), stock: of(&stock, name) })
        .collect()
}

fn all(sides: &Sides, side: Side) -> BTreeMap<String, String> {
    block_on(async {
        let client = sides.connect(side).await;
        let query = "SELECT name, current_setting(name, true) FROM pg_settings WHERE name NOT LIKE 'lc\\_%'";
        let rows = client.query(query, &[]).await.expect("settings");
        rows.iter().map(|row| (row.get(0), row.get::<_, Option<String>>(1).unwrap_or_default())).collect()
    })
}
