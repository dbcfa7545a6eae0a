//! The daemon's ports, without safekeepers: templates, timelines, pages, base backups, restarts.
//!
//! Needs PostgreSQL 15's initdb for a template.

use std::path::{Path, PathBuf};

use auth::{Claims, Credentials, Scope, SigningKey};
use pageserver::config::Config;
use pageserver_api::models::TimelineCreateRequest;
use pageserver_api::{
    At, BackupManifest, BackupRequest, PageServiceAddress, PageserverClient, RequestedKind,
};
use pg_frontend::Address;
use telemetry::Traces;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use types::{Fork, Lsn, PgVersion, RelTag, SlruKind, TenantId, TenantTimelineId, TimelineId};

use crate::stock_postgres::server;

struct Daemon {
    http: PageserverClient,
    http_address: String,
    pg: Address,
    credentials: Credentials,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

/// A key that the daemon believes, and a token of it that opens all of this daemon.
fn write_keys(workdir: &Path) {
    let key = SigningKey::generate();
    std::fs::write(workdir.join("key.pem"), key.public_pem()).unwrap();
    std::fs::write(workdir.join("token"), key.sign(&Claims::new([Scope::Pageserver])).unwrap()).unwrap();
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

impl Daemon {
    async fn start(workdir: &Path) -> Daemon {
        let (pg, http) = (free_address(), free_address());
        let text = format!(
            "id = 1\nlisten_pg_addr = '{pg}'\nlisten_http_addr = '{http}'\n\
             broker_endpoint = 'http://{}'\nauth_public_key_path = 'key.pem'\nauth_token_file = 'token'\n\
             remote_storage = {{ local_path = 'remote' }}\n\
             [page_service]\nwait_lsn_timeout_seconds = 1\n",
            free_address()
        );
        let path = workdir.join("pageserver.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        let credentials = Credentials::load(&workdir.join("token")).unwrap();
        let shutdown = CancellationToken::new();
        let (directory, stop) = (workdir.to_owned(), shutdown.clone());
        let running = tokio::spawn(async move {
            pageserver::daemon::run(config, &directory, Vec::new(), None, &Traces::off(), stop).await
        });
        let daemon = Daemon {
            http: PageserverClient::new(&http, credentials.clone()),
            http_address: http,
            pg: Address::parse(&pg).unwrap(),
            credentials,
            shutdown,
            running,
        };
        while daemon.http.status().await.is_err() {
            assert!(!daemon.running.is_finished(), "the daemon ended");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        daemon
    }

    fn pages(&self, timeline: TenantTimelineId) -> PageServiceAddress {
        PageServiceAddress { address: self.pg.clone(), credentials: self.credentials.clone(), timeline }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_as_its_document_says() {
    let directory = tempfile::tempdir().unwrap();
    write_keys(directory.path());
    let daemon = Daemon::start(directory.path()).await;
    let served = http_api::Served {
        daemon: "pageserver",
        address: daemon.http_address.clone(),
        authorization: daemon.credentials.bearer(),
    };
    assert_eq!(served.check().await, 25, "operations");
    daemon.stop().await;
}

fn template(directory: &Path) -> Vec<u8> {
    let data: PathBuf = directory.join("template");
    server::Server::init(&data);
    let mut tar = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
    tar.append_dir_all(".", &data).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_pages_and_backups() {
    if !server::installed() {
        eprintln!("skipped: PostgreSQL 15 is not installed");
        return;
    }
    let directory = server::scratch_directory();
    let workdir = directory.path().join("pageserver");
    std::fs::create_dir(&workdir).unwrap();
    write_keys(&workdir);
    let daemon = Daemon::start(&workdir).await;

    let (tenant, root, branch) = (TenantId::generate(), TimelineId::generate(), TimelineId::generate());
    assert!(daemon.http.template(PgVersion::V15).await.unwrap().is_none());
    assert!(daemon.http.put_template(PgVersion::V15, vec![1, 2, 3]).await.is_err());
    daemon.http.put_template(PgVersion::V15, template(directory.path())).await.unwrap();
    daemon.http.create_tenant(tenant).await.unwrap();
    daemon.http.create_tenant(tenant).await.unwrap();
    let request = TimelineCreateRequest::root(root, PgVersion::V15);
    let info = daemon.http.create_timeline(tenant, &request).await.unwrap();
    assert_eq!(daemon.http.create_timeline(tenant, &request).await.unwrap().initdb_lsn, info.initdb_lsn);
    let lsn = info.last_record_lsn;
    assert_eq!(lsn, info.initdb_lsn);
    let request = TimelineCreateRequest::branch(branch, root, Some(lsn));
    let made = daemon.http.create_timeline(tenant, &request).await.unwrap();
    // Who makes a branch, or waits for an LSN, does not wait until each relation has been looked at.
    let described = daemon.http.timeline(tenant, branch).await.unwrap();
    assert_eq!([made, described].map(|info| info.current_logical_size), [None, None]);
    let counted = daemon.http.timeline_with_size(tenant, branch).await.unwrap();
    assert!(counted.current_logical_size.is_some_and(|size| size > 5_000_000), "{counted:?}");
    // Before its history; in the header of a page; where records are aligned otherwise.
    for (lsn, status) in [(Lsn(40), 406), (Lsn(8), 400), (lsn + 1, 400)] {
        let bad = TimelineCreateRequest::branch(TimelineId::generate(), root, Some(lsn));
        let refused = daemon.http.create_timeline(tenant, &bad).await.unwrap_err();
        assert_eq!(refused.status().map(|status| status.as_u16()), Some(status), "{refused}");
    }
    assert_eq!(daemon.http.timelines(tenant).await.unwrap().len(), 2, "one was made");
    let conflict = TimelineCreateRequest::root(branch, PgVersion::V15);
    let refused = daemon.http.create_timeline(tenant, &conflict).await.unwrap_err();
    assert_eq!(refused.status().map(|status| status.as_u16()), Some(409), "{refused}");

    for timeline in [root, branch] {
        read(&daemon.pages(TenantTimelineId::new(tenant, timeline)), lsn).await;
    }
    daemon.stop().await;

    let again = Daemon::start(&workdir).await;
    assert_eq!(again.http.timelines(tenant).await.unwrap().len(), 2);
    for timeline in [root, branch] {
        read(&again.pages(TenantTimelineId::new(tenant, timeline)), lsn).await;
    }
    again.stop().await;
}

const PG_CLASS: RelTag = RelTag { spc: 1663, db: 5, rel: 1259, fork: Fork::Main };

async fn read(address: &PageServiceAddress, lsn: Lsn) {
    let mut stream = address.page_stream().await.unwrap();
    let at = At::Latest(lsn);
    assert!(stream.exists(PG_CLASS, at).await.unwrap());
    assert!(!stream.exists(RelTag { rel: 99999, ..PG_CLASS }, at).await.unwrap());
    let blocks = stream.nblocks(PG_CLASS, at).await.unwrap();
    assert!(blocks > 5);
    let page = stream.get_page(PG_CLASS, 1, at).await.unwrap();
    assert!(page.iter().any(|byte| *byte != 0));
    let run = stream.get_page_run(PG_CLASS, 0, blocks + 2, At::Exactly(lsn)).await.unwrap();
    assert_eq!(run[8192..16384], page[..]);
    assert!(run[blocks as usize * 8192..].iter().all(|byte| *byte == 0), "behind the end are zeros");
    assert!(stream.get_page(PG_CLASS, blocks + 7, at).await.unwrap().iter().all(|byte| *byte == 0));
    assert!(stream.database_size(5, at).await.unwrap() > 5_000_000);
    assert_eq!(stream.slru_segment(SlruKind::Clog, 0, at).await.unwrap().len(), 8192);
    let refused = stream.get_page(PG_CLASS, 1, At::Latest(lsn + 8)).await.unwrap_err();
    assert!(refused.to_string().contains("55000"), "{refused}");
    assert!(stream.exists(PG_CLASS, at).await.unwrap(), "the connection goes on after an error");

    let mut reader = address
        .backup(&BackupRequest { kind: RequestedKind::Sparse, lsn: Some(lsn), zstd: true, trace: None })
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    eprintln!("base backup: {} bytes", bytes.len());
    check_backup(&bytes, address.timeline.timeline_id, lsn);
}

fn check_backup(bytes: &[u8], timeline: TimelineId, lsn: Lsn) {
    let mut archive = tar::Archive::new(zstd::stream::read::Decoder::new(bytes).unwrap());
    let mut paths = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        if paths.is_empty() {
            let manifest: BackupManifest = serde_json::from_reader(&mut entry).unwrap();
            assert_eq!((manifest.timeline_id, manifest.lsn), (timeline, lsn));
            assert!(manifest.prev_lsn.is_valid());
        }
        paths.push(path);
    }
    assert_eq!(paths.last().unwrap(), "global/pg_control");
    for path in [
        "varve/relations",
        "PG_VERSION",
        "base/5/pg_filenode.map",
        "pg_xact/0000",
        "pg_multixact/offsets/0000",
    ] {
        assert!(paths.iter().any(|other| other == path), "{path} is not in the backup: {paths:?}");
    }
    assert!(!paths.iter().any(|path| path == "postgresql.conf" || path == "base/5/1259"));
}
