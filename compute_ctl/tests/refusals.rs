//! What compute_ctl refuses before it has asked anybody for anything: exit status 1 and one clear sentence,
//! and nothing on the disk is touched.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use auth::{Claims, Scope, SigningKey};

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    /// A home with everything right: a server that calls itself PostgreSQL 15, an extension, a key and a token.
    fn new() -> Place {
        let place = Place { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(place.path("lib")).unwrap();
        std::fs::create_dir_all(place.path("bin")).unwrap();
        place.program("postgres", "echo 'postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)'");
        place.program("pg_config", &format!("echo {}", place.path("lib").display()));
        std::fs::write(place.path("lib/varve.so"), "").unwrap();
        let key = SigningKey::generate();
        std::fs::write(place.path("key.pem"), key.public_pem()).unwrap();
        std::fs::write(place.path("token"), key.sign(&Claims::new([Scope::Tenant])).unwrap()).unwrap();
        place.spec(|_| ());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Another process writes it: what this one has open for writing, a child that another test starts has open too
    /// for a moment, and a program that somebody writes cannot be run ("Text file busy").
    fn program(&self, name: &str, script: &str) {
        let mut install = Command::new("install");
        install.args(["-m", "755", "/dev/stdin"]).arg(self.path("bin").join(name)).stdin(Stdio::piped());
        let mut install = install.spawn().unwrap();
        install.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
    }

    fn spec(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let id = "0123456789abcdef0123456789abcdef";
        let mut spec = serde_json::json!({
            "format_version": 1, "tenant_id": id, "timeline_id": id, "endpoint_id": "main", "pg_version": 15,
            "safekeepers": [{"id": 1, "pg_connstr": "127.0.0.1:1"}],
            "pageserver": {"pg_connstr": "127.0.0.1:1"},
            "pg_listen_addr": "127.0.0.1", "pg_port": 1
        });
        change(&mut spec);
        std::fs::write(self.path("spec.json"), spec.to_string()).unwrap();
    }

    fn run(&self, pgdata: &Path) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_compute_ctl"));
        command.arg("--pgdata").arg(pgdata).arg("--spec").arg(self.path("spec.json"));
        command.arg("--pgbin").arg(self.path("bin")).arg("--auth-token-file").arg(self.path("token"));
        command.arg("--auth-public-key-path").arg(self.path("key.pem"));
        command.args(["--listen-http", "127.0.0.1:0"]).output().unwrap()
    }

    #[track_caller]
    fn refused(&self, pgdata: &str, sentence: &str) {
        let output = self.run(&self.path(pgdata));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir(place.path("precious")).unwrap();
    std::fs::set_permissions(place.path("precious"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(place.path("precious/data"), "x").unwrap();
    place.refused("precious", "was not made by compute_ctl");
    assert_eq!(std::fs::read_to_string(place.path("precious/data")).unwrap(), "x");
    assert_eq!(std::fs::metadata(place.path("precious")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_server_without_the_extension_is_not_started() {
    let place = Place::new();
    std::fs::remove_file(place.path("lib/varve.so")).unwrap();
    place.refused("pgdata", "make extension");
}

#[test]
fn a_server_of_another_minor_release_than_the_extension_is_not_started() {
    let place = Place::new();
    // As Debian's headers call it.
    let library = |version: &str| {
        format!("\x7fELF\0varve: compiled for PostgreSQL {version} (Debian {version}-0+deb12u1)\0more\0")
    };
    std::fs::write(place.path("lib/varve.so"), library("15.19")).unwrap();
    place.refused("pgdata", "was compiled for PostgreSQL 15.19, and the server in");
    place.refused("pgdata", "is 15.20; `varve-rebuild-extension`");
    // With the right one, what is looked at next is refused.
    std::fs::write(place.path("lib/varve.so"), library("15.20")).unwrap();
    std::fs::create_dir(place.path("precious")).unwrap();
    std::fs::write(place.path("precious/data"), "x").unwrap();
    place.refused("precious", "was not made by compute_ctl");
}

#[test]
fn a_server_of_another_version_is_not_started() {
    let place = Place::new();
    place.program("postgres", "echo 'postgres (PostgreSQL) 17.2'");
    place.refused("pgdata", "the spec asks for version 15");
}

#[test]
fn a_spec_cannot_switch_durability_off() {
    let place = Place::new();
    place.spec(|spec| spec["settings"] = serde_json::json!([{"name": "fsync", "value": "on"}]));
    place.refused("pgdata", "setting \"fsync\" in the spec: it cannot be chosen");
}

#[test]
fn a_spec_of_another_format_is_named_as_such() {
    let place = Place::new();
    place.spec(|spec| spec["format_version"] = 7.into());
    place.refused("pgdata", "format version 7");
}
