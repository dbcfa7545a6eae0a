//! Fault upon fault in a random order that the seed decides, under ledger writers and pgbench, with small
//! layers so that the pageserver writes and uploads all the time. After each fault the writers must get on
//! and the ledger must be clean; at the end indexes, sums, positions and the copies of the WAL are checked.
//!
//! A longer or another run: `make chaos MINUTES=30 SEED=7`. Its last lines are a table of the faults, with the longest
//! time without a commit of each, and the ledger's verdict.

mod clock;
mod cut;
mod delay;
pub mod disk;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::{Cluster, Ledger, Writers, block_on, connect, eventually, ledger_rows, lsn, pg_program, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::pgbench::{amcheck, checked_sum};
use crate::wal::equal_copies;
use clock::{Clock, days_ahead};
use cut::{Cut, Way};
use delay::Delay;
use disk::{Disk, Trouble};

/// A flush every second or so, and layers so small that there is something to compact all the time.
const PAGESERVER: &str = "checkpoint_distance = 500000\n\
                          storage.compaction_target_size = 1000000\nstorage.image_layer_size = 2000000";
const SAFEKEEPERS: [&str; 3] = ["safekeeper-1", "safekeeper-2", "safekeeper-3"];
const EVERYTHING: [&str; 6] =
    ["endpoint-main", "safekeeper-1", "safekeeper-2", "safekeeper-3", "pageserver", "broker"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillSafekeeper,
    PauseSafekeeper,
    /// What is sent to it over the network is lost, what it sends arrives; and the other way round; and both.
    CutToSafekeeper,
    CutFromSafekeeper,
    CutSafekeeper,
    /// What is sent to it and from it comes late.
    DelaySafekeeper,
    /// One whose disk is slow, full for a while, or fails to make anything durable.
    SlowDisk,
    FullDisk,
    FailingDisk,
    /// The clock of one that is needed for each commit jumps to next year, to last year, and back.
    ClockJumps,
    /// Another takes its place while computes write, and gives it back.
    ReplaceSafekeeper,
    /// Commits wait until one is back.
    KillTwoSafekeepers,
    KillPageserver,
    PausePageserver,
    /// The compute is killed too and must wait for it.
    ComputeStartsBeforePageserver,
    KillBroker,
    PauseBroker,
    KillPostmaster,
    PausePostmaster,
    KillComputeCtl,
    PauseComputeCtl,
    EndWalsender,
    StopFast,
    StopImmediate,
    TakeOver,
    BranchAtHead,
    BranchOfKilledCompute,
    /// Nobody who comes back has heard the last commit LSN.
    BranchAfterKillEverything,
    KillEverything,
    DownAndUp,
    /// One part after the other, the computes last.
    RollingRestart,
}

use Fault::*;

const FAULTS: [Fault; 31] = [
    KillSafekeeper,
    PauseSafekeeper,
    CutToSafekeeper,
    CutFromSafekeeper,
    CutSafekeeper,
    DelaySafekeeper,
    SlowDisk,
    FullDisk,
    FailingDisk,
    ClockJumps,
    ReplaceSafekeeper,
    KillTwoSafekeepers,
    KillPageserver,
    PausePageserver,
    ComputeStartsBeforePageserver,
    KillBroker,
    PauseBroker,
    KillPostmaster,
    PausePostmaster,
    KillComputeCtl,
    PauseComputeCtl,
    EndWalsender,
    StopFast,
    StopImmediate,
    TakeOver,
    BranchAtHead,
    BranchOfKilledCompute,
    BranchAfterKillEverything,
    KillEverything,
    DownAndUp,
    RollingRestart,
];

/// splitmix64: the same faults from the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn milliseconds(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.below(to - from)) as u64)
    }

    /// All of them in a new order, again and again.
    fn shuffled(&mut self) -> Vec<Fault> {
        let mut all = FAULTS.to_vec();
        (1..all.len()).rev().for_each(|at| all.swap(at, self.below(at + 1)));
        all
    }
}

/// pgbench, started again whenever a fault has ended it.
struct Bench {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Bench {
    fn start(connstr: &str) -> Bench {
        let stop = Arc::new(AtomicBool::new(false));
        let (connstr, stopped) = (connstr.to_owned(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let child = Command::new(pg_program("pgbench"))
                    .args(["-n", "-c", "2", "-R", "150", "-T", "3600", &connstr])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn();
                Self::watch(child.expect("pgbench"), &stopped);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Bench { stop, thread }
    }

    fn watch(mut child: Child, stopped: &AtomicBool) {
        while child.try_wait().expect("a child").is_none() {
            if stopped.load(Ordering::Relaxed) {
                child.kill().expect("it runs");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("pgbench's thread");
    }
}

struct Chaos {
    cluster: Cluster,
    dice: Dice,
    /// None only while they are being replaced.
    writers: Option<Writers>,
    /// All that writers which have ended were told.
    ledger: Ledger,
    next_number: i64,
    marks: i64,
    branches: usize,
    /// How often, and the longest time without a commit.
    happened: BTreeMap<Fault, (usize, Duration)>,
}

#[test]
fn nothing_is_lost_in_chaos() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    };
    let seed = number("CHAOS_SEED", 1);
    // Each of them once, and on until the time is up.
    let time = Duration::from_secs(60 * number("CHAOS_MINUTES", 0));
    eprintln!("chaos: seed {seed}");
    let started = Instant::now();
    block_on(async {
        let mut chaos = Chaos::begin(seed).await;
        let mut order = Vec::new();
        let mut rounds = 0;
        loop {
            if order.is_empty() {
                if rounds > 0 && started.elapsed() >= time {
                    break;
                }
                order = chaos.dice.shuffled();
            }
            let fault = order.pop().expect("a fault");
            rounds += 1;
            let began = Instant::now();
            chaos.cause(fault).await;
            chaos.writers().wait_for_progress(20).await;
            chaos.note(fault);
            chaos.settle_accounts().await;
            eprintln!("chaos: {rounds} {fault:?} in {:.1} s", began.elapsed().as_secs_f32());
            if rounds % FAULTS.len() == 0 {
                chaos.check_everything().await;
            }
        }
        // Its metrics are of its last start only.
        let merges = chaos.cluster.log("pageserver").matches("merged layers").count();
        assert!(merges > 0, "nothing was compacted");
        let missing: Vec<_> = FAULTS.iter().filter(|fault| !chaos.happened.contains_key(fault)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
        for (fault, (times, stall)) in &chaos.happened {
            let name = format!("{fault:?}");
            eprintln!(
                "{name:<30} {times:>4} times, {:>6.2} s without a commit at the longest",
                stall.as_secs_f32()
            );
        }
        let verdict = chaos.ledger.check(ledger_rows(&chaos.cluster.connect("main").await).await);
        eprintln!(
            "chaos: {rounds} faults, {merges} merges of layers, {} acknowledged, {} lost, {} twice",
            verdict.acknowledged,
            verdict.lost.len(),
            verdict.twice.len()
        );
    });
}

impl Chaos {
    async fn begin(seed: u64) -> Chaos {
        let cluster = Cluster::up(&format!("chaos-{seed}"));
        cluster.reconfigure_pageserver(PAGESERVER);
        let connstr = cluster.connstr("main");
        run(Command::new(pg_program("pgbench")).args(["-q", "-i", &connstr]));
        let client = cluster.connect("main").await;
        client.batch_execute("CREATE TABLE marks (n bigint)").await.unwrap();
        let writers = Writers::start(&connstr, 4).await;
        Chaos {
            cluster,
            dice: Dice(seed),
            writers: Some(writers),
            ledger: Ledger::default(),
            next_number: 0,
            marks: 0,
            branches: 0,
            happened: BTreeMap::new(),
        }
    }

    fn writers(&self) -> &Writers {
        self.writers.as_ref().expect("writers")
    }

    async fn cause(&mut self, fault: Fault) {
        let bench = Bench::start(&self.cluster.connstr("main"));
        self.writers().wait_for_progress(20).await;
        tokio::time::sleep(self.dice.milliseconds(0, 300)).await;
        match fault {
            KillSafekeeper => {
                let name = self.dice.pick(&SAFEKEEPERS);
                self.cluster.kill(name);
                self.pause().await;
                self.start(name);
            }
            PauseSafekeeper => {
                let name = self.dice.pick(&SAFEKEEPERS);
                self.freeze(name).await;
            }
            KillTwoSafekeepers => {
                let spared = self.dice.below(3);
                let killed: Vec<&str> =
                    SAFEKEEPERS.iter().copied().filter(|name| *name != SAFEKEEPERS[spared]).collect();
                killed.iter().for_each(|name| self.cluster.kill(name));
                self.pause().await;
                killed.iter().for_each(|name| self.start(name));
            }
            KillPageserver => {
                self.cluster.kill("pageserver");
                self.pause().await;
                self.start("pageserver");
            }
            PausePageserver => self.freeze("pageserver").await,
            ComputeStartsBeforePageserver => {
                self.cluster.kill("endpoint-main");
                self.cluster.kill("pageserver");
                let mut start = self.cluster.command(&["endpoint", "start", "main"]).spawn().expect("varve");
                tokio::time::sleep(self.dice.milliseconds(500, 2500)).await;
                assert!(start.try_wait().unwrap().is_none(), "no compute starts without a pageserver");
                self.start("pageserver");
                assert!(start.wait().unwrap().success(), "the compute did not wait for the pageserver");
            }
            KillBroker => {
                self.cluster.kill("broker");
                self.pause().await;
                self.start("broker");
            }
            PauseBroker => self.freeze("broker").await,
            KillPostmaster => {
                let pid = self.cluster.postmaster_pid("main");
                kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the postmaster runs");
                self.another_postmaster(pid).await;
            }
            PausePostmaster => {
                let pid = Pid::from_raw(self.cluster.postmaster_pid("main"));
                kill(pid, Signal::SIGSTOP).expect("the postmaster runs");
                self.pause().await;
                kill(pid, Signal::SIGCONT).expect("the postmaster runs");
            }
            KillComputeCtl => {
                self.cluster.kill("endpoint-main");
                self.cluster.varve(&["endpoint", "start", "main"]);
            }
            PauseComputeCtl => self.freeze("endpoint-main").await,
            EndWalsender => {
                let client = self.cluster.connect("main").await;
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication";
                let ended = client.query(end, &[]).await.expect("a walsender to end");
                assert_eq!(ended.len(), 1);
            }
            StopFast => {
                self.cluster.varve(&["endpoint", "stop", "main"]);
                self.cluster.varve(&["endpoint", "start", "main"]);
            }
            StopImmediate => {
                self.cluster.varve(&["endpoint", "stop", "main", "--mode", "immediate"]);
                self.cluster.varve(&["endpoint", "start", "main"]);
            }
            TakeOver => self.take_over().await,
            BranchAtHead => {
                let mark = self.mark().await;
                self.branch(mark).await;
            }
            BranchOfKilledCompute => {
                let mark = self.mark().await;
                self.cluster.kill("endpoint-main");
                self.branch(mark).await;
                self.cluster.varve(&["endpoint", "start", "main"]);
            }
            BranchAfterKillEverything => {
                let mark = self.mark().await;
                self.kill_everything().await;
                for daemon in ["broker", "safekeeper", "pageserver"] {
                    self.cluster.varve(&[daemon, "start"]);
                }
                self.branch(mark).await;
                self.cluster.varve(&["endpoint", "start", "main"]);
            }
            KillEverything => {
                self.kill_everything().await;
                self.cluster.varve(&["start"]);
            }
            DownAndUp => {
                self.cluster.varve(&["down"]);
                self.cluster.varve(&["up"]);
            }
            CutToSafekeeper => self.cut(Way::To).await,
            CutFromSafekeeper => self.cut(Way::From).await,
            CutSafekeeper => self.cut(Way::Both).await,
            DelaySafekeeper => self.delay().await,
            SlowDisk => self.disk(Trouble::Slow(Duration::from_millis(200))).await,
            FullDisk => self.disk(Trouble::Full).await,
            FailingDisk => self.disk(Trouble::Failing).await,
            ClockJumps => self.clock_jumps().await,
            ReplaceSafekeeper => self.replace().await,
            RollingRestart => {
                for daemon in ["broker", "safekeeper-1", "safekeeper-2", "safekeeper-3", "pageserver"] {
                    match daemon.strip_prefix("safekeeper-") {
                        Some(id) => self.cluster.varve(&["safekeeper", "stop", "--id", id]),
                        None => self.cluster.varve(&[daemon, "stop"]),
                    };
                    self.start(daemon);
                }
                self.cluster.varve(&["endpoint", "stop", "main"]);
                self.cluster.varve(&["endpoint", "start", "main"]);
            }
        }
        bench.stop();
    }

    fn note(&mut self, fault: Fault) {
        let stall = self.writers().longest_stall();
        let (times, longest) = self.happened.entry(fault).or_default();
        *times += 1;
        *longest = stall.max(*longest);
    }

    /// Its connections are made anew, and go through the proxy; and once more, past it.
    async fn delay(&mut self) {
        let name = SAFEKEEPERS[self.dice.below(3)];
        let id = name.trim_start_matches("safekeeper-").parse().expect("a number");
        let delay = Delay::begin(self.cluster.safekeeper_port(id), self.dice.milliseconds(20, 200)).await;
        self.cluster.kill(name);
        self.start(name);
        let kilobytes = async || delay.late() > 20_000;
        eventually("WAL comes late", Duration::from_secs(30), kilobytes).await;
        self.writers().wait_for_progress(20).await;
        drop(delay);
    }

    /// One of the safekeepers has a disk of ours, which comes to make trouble and is mended again.
    async fn disk(&mut self, trouble: Trouble) {
        let name = SAFEKEEPERS[self.dice.below(3)];
        let id = name.trim_start_matches("safekeeper-");
        self.cluster.varve(&["safekeeper", "stop", "--id", id]);
        let disk = Disk::over(&self.cluster.directory().join(format!("safekeepers/{id}")));
        self.start(name);
        self.writers().wait_for_progress(20).await;
        let pid = self.cluster.pid(name);
        disk.make(trouble);
        let hit = async || disk.hits() > 0;
        eventually("the disk makes trouble", Duration::from_secs(30), hit).await;
        self.writers().wait_for_progress(50).await;
        if trouble == Trouble::Failing {
            // It does not know what it has, so it ends; nobody asks that disk a second time.
            let status = ["safekeeper", "status", "--id", id];
            let ended = async || !self.cluster.try_varve(&status).status.success();
            eventually("the safekeeper ends", Duration::from_secs(30), ended).await;
            assert!(self.cluster.log(name).contains("a disk it cannot trust"));
            disk.make(Trouble::None);
            self.start(name);
        } else {
            disk.make(Trouble::None);
            assert_eq!(self.cluster.pid(name), pid, "it had no reason to end");
        }
        let other = SAFEKEEPERS.iter().position(|other| *other != name).expect("another") as u16 + 1;
        let end = lsn(&self.cluster.safekeeper_timeline(other, "main")["commit_lsn"]);
        let number = id.parse().expect("a number");
        let has_all = async || lsn(&self.cluster.safekeeper_timeline(number, "main")["flush_lsn"]) >= end;
        eventually("it catches up", Duration::from_secs(30), has_all).await;
        self.cluster.varve(&["safekeeper", "stop", "--id", id]);
        drop(disk);
        self.start(name);
    }

    async fn clock_jumps(&mut self) {
        let jumping = self.dice.below(3);
        let (name, away) = (SAFEKEEPERS[jumping], SAFEKEEPERS[(jumping + 1) % 3]);
        let id = name.trim_start_matches("safekeeper-");
        let clock = Clock::right(&self.cluster);
        self.cluster.varve(&["safekeeper", "stop", "--id", id]);
        run(clock.give_to(&mut self.cluster.command(&["safekeeper", "start", "--id", id])));
        self.cluster.kill(away);
        for (off, days) in [("+366d", 366), ("-366d", -366), ("+0", 0)] {
            clock.set(off);
            let number = id.parse().expect("a number");
            let jumped = async || days_ahead(&self.cluster, number).await == days;
            eventually("the clock jumps", Duration::from_secs(20), jumped).await;
            self.writers().wait_for_progress(20).await;
        }
        self.start(away);
        self.cluster.varve(&["safekeeper", "stop", "--id", id]);
        self.start(name);
    }

    async fn cut(&mut self, way: Way) {
        let id = 1 + self.dice.below(3) as u16;
        let cut = Cut::begin(self.cluster.safekeeper_port(id), way);
        tokio::time::sleep(self.dice.milliseconds(1500, 5000)).await;
        assert!(cut.dropped() > 0, "nobody spoke with safekeeper {id}");
    }

    /// Four changes of membership, two of them by a safekeeper that has an old state of everything.
    async fn replace(&mut self) {
        let replaced = (1 + self.dice.below(3)).to_string();
        self.cluster.varve(&["safekeeper", "add", "4"]);
        self.cluster.varve(&["safekeeper", "remove", &replaced]);
        self.writers().wait_for_progress(20).await;
        self.cluster.varve(&["safekeeper", "add", &replaced]);
        self.cluster.varve(&["safekeeper", "remove", "4"]);
        let configuration = self.cluster.safekeeper_timeline(1, "main")["configuration"].take();
        assert_eq!(configuration["members"].as_array().map(Vec::len), Some(3), "{configuration}");
    }

    fn start(&self, daemon: &str) {
        match daemon.strip_prefix("safekeeper-") {
            Some(id) => self.cluster.varve(&["safekeeper", "start", "--id", id]),
            None => self.cluster.varve(&[daemon, "start"]),
        };
    }

    async fn kill_everything(&self) {
        let pids: Vec<i32> = EVERYTHING.iter().map(|name| self.cluster.pid(name).expect("it runs")).collect();
        for pid in pids {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
        }
        eventually("all are gone", Duration::from_secs(10), async || {
            EVERYTHING.iter().all(|name| self.cluster.pid(name).is_none())
        })
        .await;
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.dice.milliseconds(50, 1500)).await;
    }

    /// It does not answer for a while, and all its connections stay.
    async fn freeze(&mut self, process: &str) {
        self.cluster.signal(process, Signal::SIGSTOP);
        tokio::time::sleep(self.dice.milliseconds(200, 3000)).await;
        self.cluster.signal(process, Signal::SIGCONT);
    }

    async fn another_postmaster(&self, old: i32) {
        eventually("another postmaster", Duration::from_secs(60), async || {
            let file = self.cluster.pgdata("main").join("postmaster.pid");
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().next().is_some_and(|line| line.trim().parse() != Ok(old))
        })
        .await;
    }

    /// A second endpoint fences the first one, writes, and is fenced by it in turn.
    async fn take_over(&mut self) {
        if !self.happened.contains_key(&TakeOver) {
            self.cluster.varve(&[
                "endpoint",
                "create",
                "second",
                "--branch-name",
                "main",
                "--allow-multiple",
            ]);
        }
        self.cluster.varve(&["endpoint", "start", "second", "--allow-multiple"]);
        self.ends("endpoint-main").await;
        let others = Writers::resume(&self.cluster.connstr("second"), 2, 1_000_000_000 + self.next_number);
        others.wait_for_progress(20).await;
        self.cluster.varve(&["endpoint", "start", "main", "--allow-multiple"]);
        self.ends("endpoint-second").await;
        self.ledger.merge(others.stop().await);
    }

    async fn ends(&self, endpoint: &str) {
        eventually(&format!("the fenced {endpoint} ends"), Duration::from_secs(30), async || {
            self.cluster.pid(endpoint).is_none()
        })
        .await;
    }

    /// A commit that a branch at the head must have.
    async fn mark(&mut self) -> i64 {
        self.marks += 1;
        let client = self.cluster.connect("main").await;
        client.execute("INSERT INTO marks VALUES ($1)", &[&self.marks]).await.expect("a mark");
        self.marks
    }

    async fn branch(&mut self, mark: i64) {
        self.branches += 1;
        let name = format!("branch-{}", self.branches);
        self.cluster.varve(&["timeline", "branch", "--branch-name", &name]);
        self.cluster.varve(&["endpoint", "create", &name, "--branch-name", &name]);
        self.cluster.varve(&["endpoint", "start", &name]);
        let client = self.cluster.connect(&name).await;
        let found: Vec<i64> = client
            .query("SELECT n FROM marks ORDER BY n", &[])
            .await
            .unwrap()
            .iter()
            .map(|r| r.get(0))
            .collect();
        assert_eq!(found, (1..=mark).collect::<Vec<_>>(), "marks on {name}");
        checked_sum(&self.cluster.connstr(&name)).await;
        self.cluster.varve(&["endpoint", "stop", &name, "--destroy"]);
    }

    /// The writers' ledger so far against the table; then they go on.
    async fn settle_accounts(&mut self) {
        let written = self.writers.take().expect("writers").stop().await;
        self.ledger.merge(written);
        let client = connect(&self.cluster.connstr("main")).await.expect("a connection");
        let rows = ledger_rows(&client).await;
        self.next_number = rows.iter().copied().filter(|n| *n < 1_000_000_000).max().unwrap_or(0) + 1000;
        let verdict = self.ledger.check(rows);
        assert!(verdict.is_clean(), "{verdict:?}");
        let marks: i64 = client.query_one("SELECT count(*) FROM marks", &[]).await.unwrap().get(0);
        assert_eq!(marks, self.marks);
        self.writers = Some(Writers::resume(&self.cluster.connstr("main"), 4, self.next_number));
    }

    /// As it is, and again from storage alone.
    async fn check_everything(&mut self) {
        let written = self.writers.take().expect("writers").stop().await;
        self.ledger.merge(written);
        let connstr = self.cluster.connstr("main");
        for from_storage in [false, true] {
            if from_storage {
                self.cluster.varve(&["endpoint", "stop", "main"]);
                self.cluster.varve(&["endpoint", "start", "main"]);
            }
            let verdict = self.ledger.check(ledger_rows(&self.cluster.connect("main").await).await);
            assert!(verdict.is_clean(), "from storage: {from_storage}, {verdict:?}");
            checked_sum(&connstr).await;
            amcheck(&connstr);
        }
        let end = lsn(&self.cluster.safekeeper_timeline(1, "main")["commit_lsn"]);
        equal_copies(&self.cluster, end).await;
        eventually("the pageserver catches up", Duration::from_secs(30), async || {
            lsn(&self.cluster.pageserver_timeline("main")["last_record_lsn"]) >= end
        })
        .await;
        let timeline = self.cluster.pageserver_timeline("main");
        let receiver = timeline["walreceiver_status"].as_str().expect("a status");
        let is_well = receiver.starts_with("receiving from safekeeper") || receiver.starts_with("idle");
        assert!(is_well, "{timeline}");
        let first = self.next_number + 1_000_000;
        self.next_number = first;
        self.writers = Some(Writers::resume(&connstr, 4, first));
    }
}
