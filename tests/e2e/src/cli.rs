//! The command line as somebody meets it in a terminal: what it looks like, and what it says when asked for what is
//! not there.

mod examples;
mod logs;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::{Cluster, block_on, number, program};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command that is refused says so on standard error only.
fn refusal(cluster: &Cluster, arguments: &[&str], code: i32) -> String {
    let output = cluster.try_varve(arguments);
    assert_eq!(output.status.code(), Some(code), "varve {arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    text(&output.stderr).trim().to_owned()
}

/// In a shell where `varve` is the program under test and means this cluster.
fn shell(cluster: &Cluster, script: &str) -> Output {
    let programs = program("varve").parent().expect("a directory").to_owned();
    let path = std::env::join_paths(
        std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = Command::new("bash");
    command.args(["-c", script]).env("PATH", path.expect("a PATH"));
    command.env("VARVE_DIR", cluster.directory()).env("TERM", "xterm");
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.output().expect("bash runs")
}

#[test]
fn status_is_a_page_of_80_columns_and_says_what_to_do() {
    let cluster = Cluster::up("cli-status");
    cluster.varve(&["timeline", "branch", "--branch-name", "dev"]);
    cluster.varve(&["endpoint", "create", "dev", "--branch-name", "dev"]);
    let narrow = |shown: &str| {
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}\n{shown}", line.chars().count());
        }
    };
    let status = || {
        let output = shell(&cluster, "varve status");
        narrow(&text(&output.stdout));
        (output.status.code(), text(&output.stdout))
    };
    let (code, shown) = status();
    assert_eq!(code, Some(0), "{shown}");
    for words in ["everything is up", "safekeeper-3   up", "endpoint main  running", "endpoint dev   stopped"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let ports = [cluster.safekeeper_port(2).to_string(), cluster.http_address("pageserver")];
    for port in ports {
        assert!(shown.contains(port.trim_start_matches("127.0.0.1:")), "{port}: {shown}");
    }
    let head = cluster.safekeeper_timeline(1, "dev")["commit_lsn"].as_str().expect("an LSN").to_owned();
    let branch =
        |shown: &str| shown.lines().find(|line| line.starts_with("dev ")).unwrap_or_default().to_owned();
    assert_eq!(
        branch(&shown).split_ascii_whitespace().collect::<Vec<_>>(),
        ["dev", &head, "0", "0", "0", "0"]
    );

    cluster.kill("safekeeper-2");
    let (code, shown) = status();
    assert_eq!(code, Some(1), "{shown}");
    for words in ["5 of 6 parts are up", "Down: safekeeper-2. `varve start` starts"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(branch(&shown).contains('?'), "{shown}");

    // Alive, and silent: status does not wait for long, and says so.
    cluster.signal("pageserver", Signal::SIGSTOP);
    let begun = Instant::now();
    let (_, shown) = status();
    cluster.signal("pageserver", Signal::SIGCONT);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(shown.contains("pageserver runs (pid "), "{shown}");

    cluster.kill("safekeeper-1");
    let (_, shown) = status();
    assert!(shown.contains("no quorum"), "{shown}");
    // What it recommends is what mends it.
    let repaired = shell(&cluster, "varve start && varve status");
    assert!(repaired.status.success(), "{repaired:?}");
    cluster.varve(&["down"]);
    let (code, shown) = status();
    assert!(code == Some(1) && shown.contains("Nothing runs. `varve up`"), "{shown}");
}

#[test]
fn branches_are_a_tree_for_every_tenant() {
    let cluster = Cluster::up("cli-tree");
    let branch = |name: &str, ancestor: &str| {
        cluster.varve(&["timeline", "branch", "--branch-name", name, "--ancestor-branch-name", ancestor]);
    };
    branch("one", "main");
    branch("one/deep", "one");
    branch("one/deep/deeper", "one/deep");
    branch("two", "main");
    let names = |shown: &str| -> Vec<String> {
        let cut = |line: &str| line.split("  ").next().unwrap_or_default().to_owned();
        shown.lines().skip_while(|line| !line.starts_with("BRANCH")).skip(1).map(cut).collect()
    };
    let tree = ["main", "┣━ one", "┃", "┃", "┗━ two"];
    let shown = cluster.varve(&["timeline", "list"]);
    assert_eq!(names(&shown), tree, "{shown}");
    assert!(shown.contains("\n┃  ┗━ one/deep ") && shown.contains("\n┃     ┗━ one/deep/deeper "), "{shown}");
    assert!(shown.contains("MiB") && !shown.contains("Tenant"), "{shown}");
    let (_, main) = cluster.ids("main");
    let left = cluster.pageserver_timeline("two")["ancestor_lsn"].as_str().expect("an LSN").to_owned();
    let two = shown.lines().find(|line| line.contains(" two ")).unwrap_or_default();
    assert!(two.contains(&left) && shown.contains(&main), "{shown}");

    let other = "5".repeat(32);
    cluster.varve(&["tenant", "create", "--tenant-id", &other]);
    let shown = cluster.varve(&["timeline", "list"]);
    assert!(!shown.contains(&other) && shown.contains("--all"), "{shown}");
    let shown = cluster.varve(&["timeline", "list", "--all"]);
    assert_eq!(shown.matches("BRANCH").count(), 2, "{shown}");
    assert!(shown.contains(&format!("Tenant {other}\n")) && shown.contains(", the default\n"), "{shown}");
    let all = cluster.varve_json(&["timeline", "list", "--all"]);
    assert_eq!(all.as_array().expect("a list").len(), 6, "{all}");

    // Once more, and `main` would be another timeline.
    cluster.refuses(&["tenant", "create", "--tenant-id", &other], "has branch \"main\" already");
    assert_eq!(cluster.varve_json(&["timeline", "list", "--all"]), all);

    // A name whose timeline storage does not have is not passed over in silence.
    let names = cluster.directory().join("branches.json");
    let content = std::fs::read_to_string(&names).expect("branches.json");
    std::fs::write(&names, content.replace(&main, &"7".repeat(32))).expect("branches.json");
    let shown = cluster.varve(&["timeline", "list"]);
    assert!(shown.contains("(no name)") && shown.contains("missing"), "{shown}");
}

#[test]
fn who_waits_for_another_command_says_so() {
    let cluster = Cluster::init("cli-lock");
    let lock = File::options().write(true).truncate(true).open(cluster.directory().join("lock")).unwrap();
    let held = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    let mut waiting = cluster.command(&["down"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut line).unwrap();
    // Who holds it has not said who it is.
    assert_eq!(line, "waiting for another varve command to end\n");
    assert!(waiting.try_wait().unwrap().is_none(), "it did not wait");
    drop(held);
    assert!(waiting.wait().unwrap().success());
}

/// As after the start of a machine with one disk less, and with a program that took an endpoint's port.
#[test]
fn what_does_not_start_keeps_nothing_else_from_it() {
    let cluster = Cluster::up("start-without");
    for name in ["crowded", "prod"] {
        cluster.varve(&["timeline", "branch", "--branch-name", name]);
        cluster.varve(&["endpoint", "create", name, "--branch-name", name]);
    }
    cluster.varve(&["endpoint", "start", "prod"]);
    let listed = cluster.varve_json(&["endpoint", "list"]);
    assert_eq!(listed[0]["endpoint"], "crowded", "{listed}");
    let port = u16::try_from(listed[0]["pg_port"].as_u64().expect("a port")).expect("a port");
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    // What fails is wanted all the same: the next start of the cluster tries it again.
    cluster.refuses(&["endpoint", "start", "crowded"], "cannot be used");
    cluster.varve(&["down"]);
    let (disk, aside) =
        (cluster.directory().join("safekeepers/3"), cluster.directory().join("safekeepers/3.aside"));
    std::fs::rename(&disk, &aside).unwrap();
    std::fs::write(&disk, "no directory").unwrap();

    for command in ["start", "up"] {
        let output = cluster.try_varve(&[command]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{command}: {said}");
        assert!(
            said.contains("safekeeper 3 does not start") && said.contains("\"crowded\" does not start: port"),
            "{said}"
        );
        assert!(
            !said.contains("\"prod\" does not start") && !said.contains("\"main\" does not start"),
            "{said}"
        );
        for endpoint in ["main", "prod"] {
            block_on(async {
                assert_eq!(number(&cluster.connect(endpoint).await, "SELECT 1::bigint").await, 1)
            });
        }
        cluster.varve(&["down"]);
    }

    std::fs::remove_file(&disk).unwrap();
    std::fs::rename(&aside, &disk).unwrap();
    drop(taken);
    cluster.varve(&["start"]);
    block_on(async {
        assert_eq!(number(&cluster.connect("crowded").await, "SELECT 1::bigint").await, 1);
    });
}

#[test]
fn an_endpoint_of_an_archived_branch_is_not_wanted() {
    let cluster = Cluster::up("start-archived").need_not_evict("its databases are empty");
    cluster.varve(&["timeline", "branch", "--branch-name", "old"]);
    cluster.varve(&["endpoint", "create", "old", "--branch-name", "old"]);
    cluster.varve(&["endpoint", "create", "reader", "--branch-name", "old", "--hot-standby"]);
    cluster.varve(&["timeline", "archive", "--branch-name", "old"]);
    for (verb, endpoint) in [("start", "old"), ("start", "reader"), ("promote", "reader")] {
        cluster.refuses(&["endpoint", verb, endpoint], "varve timeline unarchive");
    }
    cluster.varve(&["start"]);
    let listed = cluster.varve_json(&["endpoint", "list"]);
    let reader = listed.as_array().unwrap().iter().find(|row| row["endpoint"] == "reader").unwrap();
    assert_eq!(reader["mode"], "replica", "it was not promoted");
    let status = cluster.varve_json(&["status"]);
    let states: Vec<&str> =
        status.as_array().unwrap().iter().skip(5).map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["running", "stopped", "stopped"], "{status}");
}

/// As after a disk that was full, or an editor.
#[test]
fn an_endpoint_that_cannot_be_read_keeps_no_other_from_its_work() {
    let cluster = Cluster::up("endpoint-unreadable").need_not_evict("its databases are empty");
    cluster.varve(&["timeline", "branch", "--branch-name", "dev"]);
    cluster.varve(&["endpoint", "create", "dev", "--branch-name", "dev"]);
    cluster.varve(&["endpoint", "start", "dev"]);
    let file = cluster.directory().join("endpoints/dev/endpoint.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let tells = |arguments: &[&str]| {
        let output = cluster.try_varve(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        // Lines of `status` are wrapped.
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(words.contains("endpoints/dev/endpoint.json is not understood"), "{arguments:?}: {said}");
        assert!(words.contains("`varve endpoint delete dev`"), "{arguments:?}: {said}");
        said
    };
    assert!(tells(&["endpoint", "list"]).contains("main      main    writes"));
    assert!(tells(&["status"]).contains("endpoint main  running"));
    // It may be on any branch.
    tells(&["timeline", "archive", "--branch-name", "dev"]);
    tells(&["timeline", "delete", "--branch-name", "dev"]);
    tells(&["timeline", "restore", "--to-lsn", "0/1"]);
    assert!(cluster.pid("endpoint-dev").is_some());
    cluster.varve(&["down"]);
    assert_eq!(cluster.pid("endpoint-dev"), None, "it runs on without storage");
    for command in ["start", "up"] {
        tells(&[command]);
        block_on(async {
            assert_eq!(number(&cluster.connect("main").await, "SELECT 1::bigint").await, 1);
        });
    }
    // Which one is wanted nobody knows now.
    cluster.varve(&["endpoint", "stop", "main"]);
    tells(&["up"]);
    assert_eq!(cluster.pid("endpoint-main"), None);
    cluster.varve(&["endpoint", "delete", "dev"]);
    cluster.varve(&["up"]);
    assert!(cluster.pid("endpoint-main").is_some());
}

/// `up` makes a first database where there is nothing, and nothing that somebody has deleted beside what they keep.
#[test]
fn a_cluster_without_its_first_branch_comes_up() {
    let cluster = Cluster::up("up-without-main").need_not_evict("its databases are empty");
    let down_and_up = || {
        cluster.varve(&["down"]);
        cluster.varve_json(&["up"])["connstr"].as_str().map(str::to_owned)
    };
    let names = || {
        let listed = cluster.varve_json(&["endpoint", "list"]);
        let names = listed.as_array().unwrap().iter().map(|row| row["endpoint"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let answers = |endpoint: &str| {
        block_on(async { number(&cluster.connect(endpoint).await, "SELECT 1::bigint").await == 1 })
    };
    cluster.varve(&["timeline", "create", "--branch-name", "prod"]);
    cluster.varve(&["endpoint", "create", "prod", "--branch-name", "prod"]);
    cluster.varve(&["endpoint", "start", "prod"]);
    cluster.varve(&["endpoint", "stop", "main", "--destroy"]);
    // The branch `main` is there still.
    assert_eq!(down_and_up(), Some(cluster.connstr("prod")));
    assert_eq!(names(), ["prod"]);
    cluster.varve(&["timeline", "delete", "--branch-name", "main"]);
    assert_eq!(down_and_up(), Some(cluster.connstr("prod")));
    assert!(answers("prod"));

    cluster.varve(&["endpoint", "stop", "prod"]);
    let up = cluster.varve(&["up"]);
    assert!(up.contains(" endpoint start NAME` starts one; there are: prod."), "{up}");
    cluster.varve(&["endpoint", "delete", "prod"]);
    let up = cluster.varve(&["up"]);
    assert!(
        up.contains(" endpoint create NAME --branch-name BRANCH` makes one") && up.contains("prod."),
        "{up}"
    );

    cluster.varve(&["timeline", "delete", "--branch-name", "prod"]);
    let tenants = || cluster.varve_json(&["tenant", "list"]);
    let tenant = tenants()[0]["tenant_id"].clone();
    assert_eq!(down_and_up(), Some(cluster.connstr("main")));
    assert!(answers("main"));
    assert_eq!((tenants().as_array().unwrap().len(), &tenants()[0]["tenant_id"]), (1, &tenant));
}

#[test]
fn colours_are_for_terminals_only() {
    let cluster = Cluster::up("cli-colours");
    const ESCAPE: char = '\u{1b}';
    let coloured = |script: &str| {
        let output = shell(&cluster, script);
        assert!(output.status.success(), "{script}: {output:?}");
        assert!(!output.stdout.is_empty(), "{script}: nothing is printed");
        text(&output.stdout).contains(ESCAPE)
    };
    for command in
        ["status", "timeline list", "endpoint list", "safekeeper status", "logs", "--help", "tenant list"]
    {
        let terminal = |variables: &str, more: &str| {
            coloured(&format!("{variables} script -qec 'varve {command} {more}' /dev/null < /dev/null"))
        };
        assert!(!coloured(&format!("varve {command}")), "{command} into a pipe");
        assert!(terminal("", ""), "{command} on a terminal");
        assert!(!terminal("NO_COLOR=1", ""), "{command} with NO_COLOR");
        assert!(!terminal("", "--color never"), "{command} --color never");
        assert!(coloured(&format!("CLICOLOR_FORCE=1 varve {command}")), "{command} with CLICOLOR_FORCE");
        assert!(coloured(&format!("varve --color=always {command}")), "{command} --color=always");
        if command != "--help" {
            assert!(!coloured(&format!("varve --json --color always {command}")), "{command} --json");
        }
    }
}

#[test]
fn json_is_one_document_and_errors_leave_it_empty() {
    let cluster = Cluster::up("cli-json");
    for command in [
        "status",
        "connstr",
        "logs",
        "logs broker main",
        "tenant list",
        "tenant create",
        "timeline list",
        "timeline branch --branch-name b",
        "timeline create --branch-name c",
        "endpoint create b --branch-name b",
        "endpoint start b",
        "endpoint reconfigure b --set work_mem=8MB",
        "endpoint list",
        "endpoint stop b",
        "endpoint delete b",
        "safekeeper stop",
        "safekeeper start",
        "safekeeper status",
        "pageserver status",
        "broker status",
        "down",
        "start",
        "up",
        "init",
    ] {
        // It panics at anything but one document.
        cluster.varve_json(&command.split(' ').collect::<Vec<_>>());
    }
    for (arguments, code) in [
        (vec!["--json", "connstr", "nobody"], 1),
        (vec!["--json", "timeline", "branch", "--branch-name", "main"], 1),
        (vec!["--json", "psql"], 2),
        (vec!["--json", "logs", "main", "--follow"], 2),
        (vec!["--json", "status", "--wrong"], 2),
    ] {
        let said = refusal(&cluster, &arguments, code);
        assert!(!said.contains("panicked") && !said.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let cluster = Cluster::up("cli-pipe");
    // A pipe without a reader from the first byte on, so that no luck is involved.
    let gone = |arguments: &[&str], stderr_too: bool| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = cluster.command(arguments);
        command.stdout(writer.try_clone().expect("a pipe"));
        command.stderr(if stderr_too { Stdio::from(writer) } else { Stdio::piped() });
        let output = command.output().expect("varve runs");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
        output.status.code()
    };
    for arguments in [
        &["status"][..],
        &["--json", "status"],
        &["timeline", "list"],
        &["logs"],
        &["logs", "main"],
        &["logs", "-f", "main"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["endpoint", "create", "x", "--branch-name", "main", "--allow-multiple"],
    ] {
        assert_eq!(gone(arguments, true), Some(0), "{arguments:?}");
    }
    assert_eq!(gone(&["endpoint", "delete", "nobody"], true), Some(1));
    assert_eq!(gone(&["status"], false), Some(0));

    // A full disk is one.
    let full = shell(&cluster, "varve status > /dev/full");
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    assert!(text(&full.stderr).contains("standard output"), "{full:?}");
}

#[test]
fn mistakes_name_what_there_is() {
    let cluster = Cluster::init("cli-mistakes");
    cluster.varve(&["start"]);
    let said = refusal(&cluster, &["connstr", "nobody"], 1);
    assert!(
        said.contains("\"nobody\"") && (said.contains("there are none") || said.contains("main")),
        "{said}"
    );
    cluster.varve(&["up"]);
    let (tenant, _) = cluster.ids("main");
    let port = cluster.varve_json(&["endpoint", "list"])[0]["pg_port"].to_string();
    let nobody = "0".repeat(32);
    for (arguments, words) in [
        (vec!["endpoint", "start", "nobody"], vec!["nobody", "there are: main"]),
        (vec!["psql", "nobody"], vec!["nobody", "there are: main"]),
        (
            vec!["timeline", "export", "-o", "/nowhere", "--branch-name", "x"],
            vec!["\"x\"", "there are: main"],
        ),
        (vec!["endpoint", "create", "e", "--branch-name", "x"], vec!["\"x\"", "there are: main"]),
        (vec!["timeline", "list", "--tenant-id", &nobody], vec![&nobody, &tenant]),
        (vec!["safekeeper", "stop", "--id", "9"], vec!["9", "1, 2, 3"]),
        (vec!["endpoint", "create", "e", "--pg-port", &port, "--allow-multiple"], vec![&port, "\"main\""]),
    ] {
        let said = refusal(&cluster, &arguments, 1);
        assert!(
            words.iter().all(|word| said.contains(word)) && said.lines().count() == 1,
            "{arguments:?}: {said}"
        );
    }
    let said = refusal(&cluster, &["tenant", "create", "--pg-version", "18"], 2);
    assert!(said.contains("PostgreSQL 15, 17") && said.contains("docs/postgresql-versions.md"), "{said}");

    cluster.kill("pageserver");
    let said = refusal(&cluster, &["timeline", "list"], 1);
    assert!(said.contains(&cluster.http_address("pageserver")) && said.contains("`varve start`"), "{said}");
    assert!(said.lines().count() == 1 && !said.contains("http://"), "{said}");

    let elsewhere = shell(&cluster, "varve --data-dir /tmp/varve-nowhere status");
    let said = text(&elsewhere.stderr);
    assert_eq!(elsewhere.status.code(), Some(1), "{said}");
    assert!(said.contains("no such directory") && said.contains("VARVE_DIR"), "{said}");
    assert!(!Path::new("/tmp/varve-nowhere").exists());
}

#[test]
fn bash_accepts_the_completions_and_completes() {
    let cluster = Cluster::init("cli-completions");
    for shell_name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = cluster.varve(&["completions", shell_name]);
        assert!(script.contains("varve") && script.contains("safekeeper"), "{shell_name}: {script}");
    }
    let script = cluster.varve(&["completions", "bash"]);
    let mut checked =
        Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
    checked.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("a script");
    let checked = checked.wait_with_output().expect("bash");
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    let complete = "source <(varve completions bash); COMP_WORDS=(varve timeline br); COMP_CWORD=2; \
                    _varve varve br timeline; echo \"${COMPREPLY[@]}\"";
    let output = shell(&cluster, complete);
    assert_eq!(text(&output.stdout).trim(), "branch", "{output:?}");
}

#[test]
fn the_version_names_the_versions_of_postgres() {
    let cluster = Cluster::init("cli-version");
    let said = cluster.varve(&["--version"]);
    assert_eq!(said, format!("varve {} (PostgreSQL 15, 17)\n", env!("CARGO_PKG_VERSION")));
}
