//! A crash at every step that touches the disk, played by failing that step and all after it, on the local disk and
//! in the object store alike. What was acknowledged before is there after the restart, and work goes on.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use durable_fs::{DurableFs, Faults, Step};
use pageserver::storage::{StorageError, TenantManager};
use remote_storage::LocalDir;
use types::Lsn;

use super::support::*;

struct CrashAt {
    step: usize,
    seen: AtomicUsize,
}

impl Faults for CrashAt {
    fn before(&self, _step: Step, _path: &Path) -> io::Result<()> {
        if self.seen.fetch_add(1, Ordering::SeqCst) < self.step {
            Ok(())
        } else {
            Err(io::ErrorKind::Other.into())
        }
    }
}

/// How far the work came before the crash.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    tenant: bool,
    root: bool,
    flushed: Option<Lsn>,
    branch: bool,
}

async fn work(manager: &TenantManager, done: &mut Acknowledged) -> Result<(), StorageError> {
    manager.create_tenant(TENANT).await?;
    done.tenant = true;
    let main = root_timeline(manager).await?;
    done.root = true;
    main.put_batch(batch(1100, vec![(block(1), 1100, change("a"))])).await?;
    main.flush_and_upload().await?;
    done.flushed = Some(Lsn(1100));
    manager.branch_timeline(ttid(2), ttid(1).timeline_id, None).await?;
    done.branch = true;
    main.put_batch(batch(1200, vec![(block(1), 1200, change("b"))])).await?;
    main.flush_and_upload().await?;
    done.flushed = Some(Lsn(1200));
    Ok(())
}

/// After the restart: what was acknowledged is there, and what is there is whole.
async fn check(manager: &TenantManager, done: Acknowledged) {
    if !manager.list_tenants().contains(&TENANT) {
        assert!(!done.tenant, "{done:?}");
        return;
    }
    let Ok(main) = manager.get_timeline(ttid(1)) else {
        assert!(!done.root, "{done:?}");
        root_timeline(manager).await.unwrap();
        return;
    };
    assert!(done.flushed.is_none_or(|lsn| main.last_record_lsn() >= lsn), "{done:?}");
    let all = ["1000 page 1", "1100 a", "1200 b"];
    let there = 1 + main.last_record_lsn().0.saturating_sub(1000) as usize / 100;
    let found = main.get_reconstruct(block(1), Lsn(1200)).await.unwrap();
    assert_eq!(text(&found), all[..there], "{done:?}");
    match manager.get_timeline(ttid(2)) {
        Ok(branch) => {
            let found = branch.get_reconstruct(block(1), Lsn(1200)).await.unwrap();
            assert_eq!(text(&found), all[..2], "{done:?}");
        }
        Err(_) => assert!(!done.branch, "{done:?}"),
    }
    main.put_batch(batch(1300, vec![(block(1), 1300, change("c"))])).await.unwrap();
    main.flush_and_upload().await.unwrap();
    assert_eq!(main.remote_consistent_lsn(), Lsn(1300));
    assert_eq!(main.get_reconstruct(block(1), Lsn(1300)).await.unwrap().deltas.len(), there);
}

#[tokio::test]
async fn a_crash_at_any_step_loses_nothing_acknowledged() {
    let mut crashes = 0;
    for step in 1.. {
        let disk = Disk::new();
        let fs = DurableFs::with_faults(Arc::new(CrashAt { step, seen: AtomicUsize::new(0) }));
        let mut done = Acknowledged::default();
        let finished = match LocalDir::open(disk.directory.path().join("remote"), fs.clone()).await {
            Ok(store) => {
                let manager = disk.open_with(Arc::new(store), fs).await;
                let finished = work(&manager, &mut done).await.is_ok();
                manager.abandon().await;
                finished
            }
            Err(_) => false,
        };
        check(disk.open().await.as_ref(), done).await;
        if finished {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 40, "only {crashes} steps");
}
