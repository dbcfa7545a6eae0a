//! A full local disk: statements fail with a clear error, nothing is damaged, and all goes on when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Cluster, block_on, number};
use tokio_postgres::Client;

use super::observer;

/// A small file system of its own for the data directory of the endpoint `main`.
struct SmallDisk {
    mount: PathBuf,
}

/// Mounting takes root; who is not may be allowed to become it.
fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

impl SmallDisk {
    fn mount(cluster: &Cluster, megabytes: u32) -> SmallDisk {
        let mount = cluster.pgdata("main").parent().expect("a directory").to_owned();
        std::fs::create_dir_all(&mount).unwrap();
        let server = match nix::unistd::User::from_name("postgres") {
            Ok(Some(postgres)) if nix::unistd::geteuid().is_root() => postgres.uid,
            _ => nix::unistd::getuid(),
        };
        let options = format!("size={megabytes}m,mode=0755,uid={server}");
        harness::run(as_root("mount").args(["-t", "tmpfs", "-o", &options, "varve-test"]).arg(&mount));
        SmallDisk { mount }
    }

    fn free(&self) -> u64 {
        let status = nix::sys::statvfs::statvfs(&self.mount).expect("a file system");
        status.blocks_available() as u64 * status.fragment_size() as u64
    }

    /// Somebody else takes all but so many bytes.
    fn fill(&self, leave: u64) -> Filler {
        let path = self.mount.join("filler");
        let file = std::fs::File::create(&path).unwrap();
        nix::fcntl::posix_fallocate(&file, 0, self.free().saturating_sub(leave) as i64)
            .expect("space to take");
        Filler { path }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = as_root("umount").arg("-l").arg(&self.mount).status();
    }
}

struct Filler {
    path: PathBuf,
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn load(client: &Client, table: &str, rows: u32) -> Result<(), tokio_postgres::Error> {
    let insert = format!("INSERT INTO {table} SELECT n, repeat('x', 1000) FROM generate_series(1, {rows}) n");
    client.batch_execute(&insert).await
}

#[test]
fn a_full_disk_fails_statements_and_nothing_else() {
    let cluster = Cluster::up_with(
        "disk-full",
        // The cache may be larger than the disk: it is the reserve that counts.
        &["shared_buffers=8MB", "varve.cache_size=1024MB", "max_wal_size=48MB", "min_wal_size=32MB"],
    )
    .need_not_evict("its log goes with its disk, and the test counts itself");
    cluster.varve(&["endpoint", "stop", "main"]);
    let disk = SmallDisk::mount(&cluster, 400);
    cluster.varve(&["endpoint", "start", "main"]);
    block_on(async {
        let client = observer(&cluster).await;
        client
            .batch_execute("CREATE TABLE kept (n int, t text); CREATE TABLE lost (n int, t text)")
            .await
            .unwrap();
        load(&client, "kept", 100_000).await.unwrap();
        let cached = number(&client, "SELECT valid_bytes FROM varve.cache").await;
        assert!(cached > 90 << 20, "{cached}");

        // Less than the reserve of 72 MB is left: the cache makes room.
        let filler = disk.fill(50 << 20);
        harness::eventually("the cache makes room", Duration::from_secs(30), async || {
            // So that a grace period begins and ends.
            client.batch_execute("SELECT pg_logical_emit_message(true, 'test', 'x')").await.unwrap();
            disk.free() > 70 << 20
        })
        .await;
        assert!(number(&client, "SELECT valid_bytes FROM varve.cache").await < cached - (15 << 20));
        assert_eq!(number(&client, "SELECT count(*) FROM kept").await, 100_000);
        drop(filler);

        // Nothing can make room for what a running transaction writes.
        let filler = disk.fill(60 << 20);
        let error = load(&client, "lost", 300_000).await.expect_err("there is no room for 300 MB");
        let said = error.as_db_error().unwrap_or_else(|| panic!("the server went away: {error:?}"));
        assert_eq!(said.code().code(), "53100", "{said:?}");
        assert!(said.message().contains("local disk of this compute is full"), "{said:?}");
        assert!(said.hint().is_some_and(|hint| hint.contains("varve.cache_size")), "{said:?}");
        let waits = number(&client, "SELECT disk_full_waits FROM varve.cache").await;
        assert!(waits > 0, "the evictor was not asked");
        // Others can read, also what is not cached.
        assert_eq!(number(&client, "SELECT count(*) FROM kept").await, 100_000);

        drop(filler);
        harness::eventually("there is room again", Duration::from_secs(60), async || {
            load(&client, "lost", 20_000).await.is_ok()
        })
        .await;
        assert_eq!(number(&client, "SELECT count(*) FROM kept").await, 100_000);
        client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
        assert_eq!(number(&client, "SELECT zero_pages_suspect FROM varve.cache").await, 0);
        assert!(number(&client, "SELECT fills_not_stored FROM varve.cache").await > 0);
        let rows = number(&client, "SELECT count(*) FROM lost").await;
        assert_eq!(rows % 20_000, 0);
        drop(client);
        crate::pgbench::amcheck(&cluster.connstr("main"));
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let client = observer(&cluster).await;
        assert_eq!(number(&client, "SELECT count(*) FROM kept").await, 100_000);
        assert_eq!(number(&client, "SELECT count(*) FROM lost").await, rows);
        drop(client);
    });
    cluster.varve(&["endpoint", "stop", "main"]);
    assert!(Path::new(&disk.mount).exists());
}
