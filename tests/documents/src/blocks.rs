//! Runs the blocks of one document, in their order, on a cluster of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use harness::{Cluster, program};

use crate::library;
use crate::markdown::{Block, Mark};
use crate::transcript;

/// Seconds for one block; far more than any takes.
const LONGEST: &str = "60";
/// What `timeout` says of a command that it had to end.
const TIMED_OUT: i32 = 124;
/// `text` and others are only looked at.
const LANGUAGES: &[&str] = &["sh", "sql", "text", "diff", "toml", "json", "yaml"];

/// Runs them all. The first one that does not do what the document says is the test's failure.
pub fn run_all(path: &str) {
    let blocks = library::blocks(path);
    let cluster = Cluster::up(&format!("documents-{}", path.replace(['/', '.'], "-")));
    let place = Place::make(&cluster);
    let mut printed = String::new();
    let mut ran = 0;
    for block in &blocks {
        if block.is_run() {
            printed = place.run(path, block);
            ran += 1;
        } else if block.mark == Mark::Output
            && let Some(line) = transcript::missing(&block.text, &printed)
        {
            panic!("{path}:{}: the block before does not print {line:?} there, but:\n{printed}", block.line);
        }
    }
    assert!(ran > 0, "{path}: no block was run");
    eprintln!("{path}: {ran} of {} blocks were run", blocks.len());
}

/// Where blocks are run: an empty directory, with `varve` on the PATH and the cluster for its own.
struct Place {
    directory: PathBuf,
    cluster: PathBuf,
    connstr: String,
}

impl Place {
    fn make(cluster: &Cluster) -> Place {
        let directory = cluster.directory().join("work");
        fs::create_dir(&directory).expect("a directory to run blocks in");
        Place { directory, cluster: cluster.directory().to_owned(), connstr: cluster.connstr("main") }
    }

    /// What the block prints, errors among it.
    fn run(&self, path: &str, block: &Block) -> String {
        let script = self.cluster.join("block");
        fs::write(&script, &block.text).expect("the block");
        let output = self.cluster.join("block.out");
        let status = self.execute(&script, block, &output);
        // Not a pipe, which a process that stays would hold open.
        let printed = String::from_utf8_lossy(&fs::read(&output).expect("the output")).into_owned();
        let place = format!("{path}:{}", block.line);
        let told = || format!("\n{}\nprinted:\n{printed}", block.text);
        assert_ne!(status.code(), Some(TIMED_OUT), "{place}: not done within {LONGEST} s:{}", told());
        match block.mark {
            Mark::Fails => assert!(!status.success(), "{place}: it was to fail:{}", told()),
            _ => assert!(status.success(), "{place}: {status}:{}", told()),
        }
        printed
    }

    fn execute(&self, script: &Path, block: &Block, output: &Path) -> ExitStatus {
        let output = File::create(output).expect("a file for the output");
        let ours = program("varve");
        let path =
            [ours.parent().expect("a directory").as_os_str(), &std::env::var_os("PATH").unwrap_or_default()]
                .join(std::ffi::OsStr::new(":"));
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LONGEST]);
        match block.language.as_str() {
            "sh" => command.args(["bash", "-euo", "pipefail"]).arg(script),
            _ => command.args(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script).arg(&self.connstr),
        };
        command.current_dir(&self.directory).env("PATH", path).env("VARVE_DIR", &self.cluster);
        command.env("PAGER", "cat").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a second handle")).stderr(output);
        command.status().expect("timeout runs")
    }
}

/// What is wrong with the blocks of a document, before any is run.
pub fn problems(path: &str) -> Vec<String> {
    let blocks = library::blocks(path);
    let mut problems = Vec::new();
    let mut before: Option<&Block> = None;
    for block in &blocks {
        let mut wrong = |what: &str| problems.push(format!("{path}:{}: {what}", block.line));
        if !LANGUAGES.contains(&block.language.as_str()) {
            wrong("the fence names no language, or none that docs/README.md knows");
        }
        match &block.mark {
            Mark::NotRun { reason } if reason.len() < 10 => wrong("no reason is given why it is not run"),
            Mark::Output if !before.is_some_and(Block::is_run) => {
                wrong("there is no block before it that is run")
            }
            Mark::Output | Mark::SaidBy { .. } if block.is_code() => wrong("its mark is not one for code"),
            Mark::Fails if !block.is_code() => wrong("it cannot fail"),
            _ => {}
        }
        if block.language == "sh" && block.is_run() && block.text.contains(" && ") {
            wrong("a failure before && goes unseen: give each command a line of its own");
        }
        before = Some(block);
    }
    problems
}

/// Looks up the messages of a document in the sources that it names, and returns how many there are.
pub fn check_messages(path: &str) -> usize {
    let mut checked = 0;
    for block in library::blocks(path) {
        let Mark::SaidBy { file } = &block.mark else { continue };
        // Rust folds a long literal with a backslash at the end of the line.
        let source = library::read(file).replace("\\\n", "").split_whitespace().collect::<Vec<_>>().join(" ");
        for line in block.text.lines() {
            let fragments: Vec<&str> =
                line.split('…').map(str::trim).filter(|part| !part.is_empty()).collect();
            assert!(!fragments.is_empty(), "{path}:{}: {line:?} says nothing", block.line);
            for fragment in fragments {
                assert!(source.contains(fragment), "{path}:{}: {file} does not say {fragment:?}", block.line);
            }
            checked += 1;
        }
    }
    checked
}
