//! Every example of every help text is typed into a shell, page by page, on a cluster that runs.

use harness::Cluster;

use super::{shell, text};

/// Examples that cannot run here, with the reason. Whether they parse, the command line's own tests say.
const NOT_HERE: [(&str, &str); 7] = [
    ("--port-base", "the ports of another test"),
    (" ago'", "a past that a cluster of seconds has not had: e2e has history::"),
    ("0/1A2B3C8", "an LSN of the reader's own"),
    ("timeline import", "a server elsewhere: e2e has import::"),
    ("--host", "a safekeeper of another machine: e2e has membership::"),
    ("varve container", "inside of containers: make test-docker"),
    ("varve machine", "a cluster of several machines: make test-deb"),
];

/// Paths of all commands, those of a group after it.
fn pages(cluster: &Cluster, path: &str) -> Vec<(String, Vec<String>)> {
    let help = shell(cluster, &format!("{path} --help"));
    let help = text(&help.stdout);
    let section = |title: &str| {
        let lines = help.lines().skip_while(|line| *line != title).skip(1);
        lines.take_while(|line| line.starts_with("  ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let command = |line: &String| line.split("  # ").next().unwrap_or_default().trim().to_owned();
    let examples = section("Examples:").iter().map(command).filter(|line| !line.is_empty()).collect();
    let mut pages = vec![(path.to_owned(), examples)];
    for line in section("Commands:") {
        let name = line.split_ascii_whitespace().next().unwrap_or_default();
        if name != "help" {
            pages.extend(self::pages(cluster, &format!("{path} {name}")));
        }
    }
    pages
}

#[test]
fn every_example_works() {
    let cluster = Cluster::init("cli-examples");
    let home = cluster.directory().join("home");
    for directory in [".zfunc", ".config/fish/completions", ".config/elvish"] {
        std::fs::create_dir_all(home.join(directory)).expect("a home");
    }
    let mut done = 0;
    for (path, examples) in pages(&cluster, "varve") {
        if examples.is_empty() {
            continue;
        }
        // Whatever the page before it stopped.
        cluster.varve(&["up"]);
        for example in examples {
            if NOT_HERE.iter().any(|(part, _)| example.contains(part)) {
                continue;
            }
            let command = example.replace("/tmp/", &format!("{}/", home.display()));
            // What does not end by itself is ended as a person would.
            let typed =
                if command.contains(" -f ") || command == "varve top" || command.starts_with("varve console")
                {
                    format!("timeout --preserve-status --signal INT 2 {command}")
                } else {
                    command
                };
            let output =
                shell(&cluster, &format!("export HOME={0} PROFILE={0}/profile; cd; {typed}", home.display()));
            assert!(output.status.success(), "{path}: {example}: {output:?}");
            assert!(!text(&output.stderr).contains("command not found"), "{path}: {example}: {output:?}");
            done += 1;
        }
    }
    assert!(done > 30, "{done} examples are too few to believe that they were found");
    for written in
        [".zfunc/_varve", ".config/fish/completions/varve.fish", "profile", "plain/global/pg_control"]
    {
        assert!(home.join(written).exists(), "{written}");
    }
}
