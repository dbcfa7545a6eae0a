//! What no quorum has, no subscriber sees.

use std::time::Duration;

use harness::{Cluster, block_on, eventually, number};
use nix::sys::signal::Signal;
use pg_frontend::{Address, ConnectParams, PgClient};

use super::{LOGICAL, PATIENCE, contents, reconnect, subscribed, subscriber, text};

#[test]
fn a_subscriber_sees_nothing_that_no_quorum_has() {
    let cluster = Cluster::up_with("logical-quorum", &[LOGICAL]).need_not_evict("its database is empty");
    let directory = cluster.directory().join("subscriber");
    block_on(async {
        let main = cluster.connstr("main");
        let client = reconnect(&cluster, "main").await;
        let tables = "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (0); CREATE PUBLICATION pub FOR TABLE t";
        client.batch_execute(tables).await.unwrap();
        // In a transaction of its own: one that has written may not make a slot.
        let slot = "SELECT pg_create_logical_replication_slot('read', 'test_decoding')";
        client.batch_execute(slot).await.unwrap();
        let stock = subscriber(&directory, &cluster);
        let copy = subscribed(&stock, &main).await;
        client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        eventually("a row arrives", PATIENCE, async || contents(&copy, "t").await.0 == 2).await;

        let both = |signal| [1, 2].map(|id| cluster.signal(&format!("safekeeper-{id}"), signal));
        let before = text(&client, "SELECT pg_current_wal_flush_lsn()::text").await;
        both(Signal::SIGSTOP);
        let writer = reconnect(&cluster, "main").await;
        let waiting = tokio::spawn(async move { writer.batch_execute("INSERT INTO t VALUES (2)").await });
        eventually("the local disk has the commit", PATIENCE, async || {
            let query = format!("SELECT (pg_current_wal_flush_lsn() > '{before}' AND EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'))::int::bigint");
            number(&client, &query).await == 1
        })
        .await;
        // The walsender has read it, and waits where the quorum's position is looked at.
        eventually("the walsender waits for the quorum", PATIENCE, async || {
            number(&client, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name = 'sub' AND wait_event_type = 'Extension'").await == 1
        })
        .await;
        // Nor does who asks for it himself.
        let peek = "SET statement_timeout = '2s'; SELECT count(*) FROM pg_logical_slot_get_changes('read', NULL, NULL)";
        let peeked = client.batch_execute(peek).await.unwrap_err();
        assert_eq!(peeked.code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED), "{peeked}");
        for _ in 0..10 {
            assert_eq!(contents(&copy, "t").await.0, 2, "the subscriber has what no quorum has");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(!waiting.is_finished(), "the commit did not wait for a quorum");

        both(Signal::SIGCONT);
        waiting.await.unwrap().unwrap();
        eventually("then it has everything", PATIENCE, async || contents(&copy, "t").await.0 == 3).await;
        client.batch_execute("RESET statement_timeout").await.unwrap();
        let read = "SELECT count(*) FROM pg_logical_slot_get_changes('read', NULL, NULL) WHERE data LIKE 'table public.t: INSERT%'";
        // What was there before the slot is none of its business.
        assert_eq!(number(&client, read).await, 2);
    });
}

/// A walsender of a database takes it: what it sends may not be on a quorum yet.
#[test]
fn nobody_streams_physically() {
    let cluster = Cluster::up_with("physical-stream", &[LOGICAL]).need_not_evict("its database is empty");
    block_on(async {
        let config: tokio_postgres::Config = cluster.connstr("main").parse().unwrap();
        let (host, port) = match &config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => (host.clone(), config.get_ports()[0]),
            other => panic!("{other:?}"),
        };
        let address = Address::parse(&format!("{host}:{port}")).unwrap();
        let password = String::from_utf8(config.get_password().unwrap().to_vec()).unwrap();
        let params = ConnectParams {
            replication: Some("database"),
            ..ConnectParams::new(address, config.get_user().unwrap()).password(&password).database("postgres")
        };
        let client = cluster.connect("main").await;
        client.batch_execute("SELECT pg_create_physical_replication_slot('physical', true)").await.unwrap();
        let from = text(&client, "SELECT pg_current_wal_flush_lsn()::text").await;
        for slot in ["", "SLOT physical "] {
            let session = PgClient::connect(&params).await.unwrap();
            let command = format!("START_REPLICATION {slot}PHYSICAL {from}");
            let (mut streamed, _confirmations) = session.copy_both(&command).await.unwrap().split();
            let refused = tokio::time::timeout(PATIENCE, async {
                loop {
                    match streamed.next().await {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("it ended in good order"),
                        Err(error) => return error.to_string(),
                    }
                }
            });
            let refused = refused.await.expect("it is ended");
            assert!(refused.contains("physical replication from a varve compute is refused"), "{refused}");
        }
        // Who decodes goes on.
        client
            .batch_execute("SELECT pg_create_logical_replication_slot('read', 'test_decoding')")
            .await
            .unwrap();
        let session = PgClient::connect(&params).await.unwrap();
        let command = "START_REPLICATION SLOT read LOGICAL 0/0";
        let (mut streamed, _confirmations) = session.copy_both(command).await.unwrap().split();
        for round in 0..5 {
            client
                .batch_execute(&format!("CREATE TABLE t{round} (n int); INSERT INTO t{round} VALUES (1)"))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let last = tokio::time::timeout(PATIENCE, async {
            loop {
                let message = streamed.next().await.unwrap().expect("it goes on");
                if memchr::memmem::find(&message, b"table public.t4: INSERT").is_some() {
                    return;
                }
            }
        });
        last.await.expect("it is sent all of it");
    });
}
