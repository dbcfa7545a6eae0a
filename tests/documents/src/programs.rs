//! docs/configuration.md against what the programs themselves say of their settings, flags and keys.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use auth::{Claims, Scope, SigningKey};
use harness::{Cluster, program, run};

use crate::library;
use crate::markdown::section;

const CONFIGURATION: &str = "docs/configuration.md";
/// Everybody knows what these do.
const COMMON_FLAGS: &[&str] = &["--help", "--version"];
/// What no program has a key for.
const UNKNOWN: &str = "nope";

fn section_of(heading: &str) -> String {
    let text = library::read(CONFIGURATION);
    section(&text, heading).unwrap_or_else(|| panic!("{CONFIGURATION} has no section {heading:?}")).to_owned()
}

/// First cells of the rows of all tables of a section, and the rows.
fn rows(section: &str) -> Vec<(&str, &str)> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| Some((row.strip_prefix("| `")?.split_once('`')?.0, row))).collect()
}

/// The extension's settings, with their defaults and when they take effect, as a server knows them.
pub fn check_extension(name: &str) {
    let cluster = Cluster::up(name);
    let query = "SELECT name, current_setting(name), context FROM pg_settings \
                 WHERE name LIKE 'varve.%' AND name NOT LIKE 'varve.test%' ORDER BY name";
    let known =
        run(Command::new("psql").arg(cluster.connstr("main")).args(["-XAt", "-F", "\t", "-c", query]));
    let text = section_of("Settings of the extension");
    let rows = rows(&text);
    let mut names = BTreeSet::new();
    for line in known.lines() {
        let [name, default, context] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        let effect = match context {
            "postmaster" => "start",
            "sighup" => "reload",
            "user" => "session",
            "superuser" => "superuser session",
            other => panic!("{name}: what is the context {other}?"),
        };
        let (_, row) = rows
            .iter()
            .find(|(documented, _)| *documented == name)
            .unwrap_or_else(|| panic!("{CONFIGURATION} does not have the setting {name}"));
        assert!(
            row.contains(&format!(" {effect} |")),
            "{name} takes effect at: {effect}; {CONFIGURATION}: {row}"
        );
        // Those of compute_ctl have no default.
        let cells = row.matches(" | ").count() + 1;
        assert!(
            cells == 3 || row.contains(&format!("| {default} |")),
            "{name} is {default}; {CONFIGURATION}: {row}"
        );
        names.insert(name);
    }
    assert!(!names.is_empty(), "the server knows no setting of the extension");
    for (documented, _) in rows {
        assert!(
            names.contains(documented),
            "{CONFIGURATION} has {documented}, which the server does not know"
        );
    }
}

/// Flags, as `--help` lists them.
pub fn check_flags() {
    for (name, subcommand, heading) in [
        ("pageserver", "", "The pageserver"),
        ("safekeeper", "", "Safekeepers"),
        ("storage_broker", "", "Storage broker"),
        ("compute_ctl", "", "compute_ctl"),
        ("varve", "up", "The command line"),
        ("varve", "init", "The command line"),
    ] {
        let mut command = Command::new(program(name));
        command.args(Some(subcommand).filter(|word| !word.is_empty())).arg("--help");
        let flags = flags(&run(&mut command));
        assert!(flags.len() > 1, "{name} {subcommand} --help shows no flags");
        let text = section_of(heading);
        for flag in flags {
            assert!(
                text.contains(&format!("`{flag}`")),
                "{CONFIGURATION} does not have {flag} of {name} {subcommand}"
            );
        }
    }
}

fn flags(help: &str) -> Vec<String> {
    let lines = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
    let flags =
        lines.flat_map(|line| line.split([' ', ',', '=']).take(3).find(|word| word.starts_with("--")));
    flags.filter(|flag| !COMMON_FLAGS.contains(flag)).map(str::to_owned).collect()
}

/// Keys of the files, which the programs list when they meet one that they do not know.
pub fn check_keys() {
    let place = tempfile::tempdir().expect("a directory");
    let pageserver = section_of("The pageserver");
    let mut keys = pageserver_keys(place.path(), &format!("{UNKNOWN} = 1\n"));
    for (documented, _) in rows(&pageserver).iter().filter(|(name, _)| !name.starts_with("--")) {
        assert!(keys.contains(*documented), "pageserver.toml has no {documented}");
    }
    let sections = ["storage", "page_service", "wal_receiver"];
    assert!(sections.iter().all(|section| keys.contains(*section)), "{keys:?}");
    keys.extend(
        sections.iter().flat_map(|name| pageserver_keys(place.path(), &format!("[{name}]\n{UNKNOWN} = 1\n"))),
    );
    must_have(&pageserver, &keys, "pageserver.toml");
    let remote_storage = section_of("Object storage");
    let keys = pageserver_keys(place.path(), &format!("[remote_storage]\n{UNKNOWN} = 1\n"));
    for (documented, _) in rows(&remote_storage) {
        assert!(keys.contains(documented), "object storage has no {documented}");
    }
    must_have(&remote_storage, &keys, "object storage");

    let spec = section_of("compute_ctl");
    let mut keys = spec_keys(place.path(), "");
    for list in ["safekeepers", "roles", "databases", "settings"] {
        keys.extend(spec_keys(place.path(), &format!("\"{list}\": [{{\"{UNKNOWN}\": 1}}], ")));
    }
    must_have(&spec, &keys, "the spec of a compute");

    let directory = place.path().join("cluster");
    fs::create_dir(&directory).expect("a directory");
    fs::write(directory.join("config.toml"), format!("{UNKNOWN} = 1\n")).expect("a configuration");
    let keys = expected(Command::new(program("varve")).arg("--data-dir").arg(&directory).arg("status"));
    must_have(&section_of("The command line"), &keys, "config.toml");
}

fn must_have(text: &str, keys: &BTreeSet<String>, of: &str) {
    for key in keys {
        assert!(text.contains(&format!("`{key}`")), "{CONFIGURATION} does not have the key {key} of {of}");
    }
}

fn pageserver_keys(workdir: &Path, text: &str) -> BTreeSet<String> {
    fs::write(workdir.join("pageserver.toml"), text).expect("a configuration");
    expected(Command::new(program("pageserver")).arg("--workdir").arg(workdir))
}

fn spec_keys(place: &Path, fields: &str) -> BTreeSet<String> {
    let (spec, key, token) = (place.join("spec.json"), place.join("key.pem"), place.join("token"));
    fs::write(&spec, format!("{{\"format_version\": 1, {fields}\"{UNKNOWN}\": 1}}")).expect("a spec");
    let signing = SigningKey::generate();
    fs::write(&key, signing.public_pem()).expect("a key");
    fs::write(&token, signing.sign(&Claims::new([Scope::Tenant])).expect("signed")).expect("a token");
    let mut command = Command::new(program("compute_ctl"));
    command.arg("--pgdata").arg(place.join("compute/pgdata")).arg("--spec").arg(spec);
    command.args(["--pgbin", "/nowhere", "--listen-http", "127.0.0.1:1", "--auth-token-file"]).arg(token);
    command.arg("--auth-public-key-path").arg(key);
    expected(&mut command)
}

/// Runs a program that meets an unknown key, and returns those that it would have known.
fn expected(command: &mut Command) -> BTreeSet<String> {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let list =
        said.lines().find_map(|line| line.split_once(&format!("unknown field `{UNKNOWN}`, expected ")));
    let (_, list) = list.unwrap_or_else(|| panic!("{command:?} does not refuse {UNKNOWN}: {said}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Variables that docker-compose.yml takes.
pub fn check_compose_variables() {
    let compose = library::read("docker-compose.yml");
    let names = compose.split("${").skip(1).filter_map(|rest| rest.split([':', '}', '-', '?']).next());
    let names: BTreeSet<&str> = names.collect();
    assert!(names.contains("POSTGRES_PASSWORD"), "{names:?}");
    for document in [CONFIGURATION, "docker/README.md"] {
        let text = library::read(document);
        for name in &names {
            assert!(text.contains(&format!("`{name}`")), "{document} does not have the variable {name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_help() {
        let help = "Usage: x [OPTIONS] --no\n  -l, --listen-addr <A>\n      --json   as --nothing\n  -h, --help  Print\n";
        assert_eq!(flags(help), ["--listen-addr", "--json"]);
        assert_eq!(rows("| a |\n| `k` | 1 |\n"), [("k", "| `k` | 1 |")]);
    }
}
