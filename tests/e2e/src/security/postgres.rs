//! Every command of the ports that speak PostgreSQL's protocol: pages and WAL.

use auth::Scope;
use harness::{Cluster, block_on};
use tokio_postgres::{Config, NoTls};

use super::tokens::{Bearer, Tokens};

struct Port {
    port: u16,
    /// Whose tokens open all of it.
    part: Scope,
    commands: Vec<String>,
}

fn ports(cluster: &Cluster, tenant: &str, timeline: &str) -> [Port; 2] {
    let of_pages = ["pagestream_v3 T L", "basebackup T L", "fullbackup T L --zstd", "lease from T L 0/1"];
    let of_wal = [
        "START_WAL_PUSH (proto_version '1')",
        "START_REPLICATION PHYSICAL 0/1000000",
        "START_REPLICATION PHYSICAL 0/1000000 (term='1')",
        "IDENTIFY_SYSTEM",
        "TIMELINE_STATUS",
        "SHOW wal_segment_size",
        "TIMELINE_HISTORY 2",
        "READ_REPLICATION_SLOT x",
    ];
    let pages = cluster.page_service_address();
    let pages = pages.rsplit_once(':').expect("host:port").1.parse().expect("a port");
    let name = |command: &str| command.replace('T', tenant).replace('L', timeline);
    [
        Port { port: pages, part: Scope::Pageserver, commands: of_pages.map(name).into() },
        Port {
            port: cluster.safekeeper_port(1),
            part: Scope::Safekeeper,
            commands: of_wal.map(str::to_owned).into(),
        },
    ]
}

/// SQLSTATE and words of what refuses the command, if something does.
async fn refusal(
    port: u16,
    ids: (&str, &str),
    command: &str,
    token: Option<String>,
) -> Option<(String, String)> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("stranger").password(token.unwrap_or_else(|| "none".to_owned()));
    config.options(format!("-c tenant_id={} -c timeline_id={}", ids.0, ids.1));
    let said = |error: &tokio_postgres::Error| {
        let error = error.as_db_error()?;
        Some((error.code().code().to_owned(), error.message().to_owned()))
    };
    match config.connect(NoTls).await {
        Err(error) => Some(said(&error).unwrap_or_else(|| panic!("no words: {error}"))),
        Ok((client, connection)) => {
            tokio::spawn(connection);
            // What begins a stream that the driver does not know is no refusal.
            client.simple_query(command).await.err().and_then(|error| said(&error))
        }
    }
}

#[test]
fn no_command_is_open_to_who_has_no_business_there() {
    let cluster = super::quiet("security-postgres");
    let tokens = Tokens::of(&cluster);
    let (tenant, timeline) = cluster.ids("main");
    let absent = "00000000000000000000000000000001";
    block_on(async {
        // The compute holds the timeline's term: a push that is let in must not be in its way.
        let client = cluster.connect("main").await;
        client.batch_execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
        let mut refused = 0;
        for Port { port, part, commands } in ports(&cluster, &tenant, &timeline) {
            for command in &commands {
                for bearer in Bearer::all() {
                    let name = format!("{command} at {part} for {bearer:?}");
                    let found = refusal(port, (&tenant, &timeline), command, tokens.sign(bearer)).await;
                    let codes = ["28P01", "42501"];
                    let no_business = |found: &Option<(String, String)>| {
                        found.as_ref().is_some_and(|(code, _)| codes.contains(&code.as_str()))
                    };
                    if bearer.is(part) || bearer == Bearer::Tenant {
                        assert!(!no_business(&found), "{name}: {found:?}");
                        continue;
                    }
                    let (code, words) = found.clone().unwrap_or_else(|| panic!("{name}: let in"));
                    assert_eq!(code, codes[usize::from(bearer.is_known())], "{name}: {words}");
                    assert!(!words.contains(&tenant) && !words.contains(&timeline), "{name}: {words}");
                    // Whether something exists cannot be found out.
                    let elsewhere = command.replace(&tenant, absent).replace(&timeline, absent);
                    let nobodys = refusal(port, (absent, absent), &elsewhere, tokens.sign(bearer)).await;
                    assert_eq!(found, nobodys, "{name}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 80, "{refused}");
        client.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        assert_eq!(harness::number(&client, "SELECT count(*) FROM t").await, 2);
    });
}
