//! PostgreSQL's own programs as judges.

use super::*;

/// Runs one of PostgreSQL's own programs; what it printed.
async fn stock_tool(name: &str, arguments: &[&str], environment: &[(&str, String)]) -> String {
    let directory = std::env::var("PG_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".to_owned());
    let output = tokio::process::Command::new(format!("{directory}/{name}"))
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(60), output).await.expect("it should have ended").unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {text}");
    text
}

/// Three segments and more, with a segment switch among them.
#[tokio::test(flavor = "multi_thread")]
async fn stock_tools_read_what_is_kept() {
    let place = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(place.path()).await;
    // pg_receivewal goes on behind the segments that it finds, but does not count segment 0 as one.
    let start = START + SEGMENT;
    let (timeline, _) = safekeeper.manager.create(TimelineSpec { start_lsn: start, ..spec() }).await.unwrap();
    let mut proposer = safekeeper.proposer().await;
    proposer.lead(1, &[(0, start), (1, start)], start).await;
    let mut wal = TestWal::new(start);
    for number in 0..400 {
        let begin = wal.position();
        let record = if number == 200 { wal.switch() } else { wal.record(100_000, number as u8) };
        for (piece, bytes) in record.chunks(128 << 10).enumerate() {
            let begin = begin + (piece * (128 << 10)) as u64;
            proposer.append(1, begin, start, Bytes::copy_from_slice(bytes)).await;
        }
    }
    let end = wal.position();
    proposer.await_flush(end).await;
    proposer.append(1, end, end, Bytes::new()).await;
    assert_eq!(proposer.hear_position().await.commit_lsn, end);

    let received = tempfile::tempdir().unwrap();
    let ttid = identity().ttid;
    let environment = [
        ("PGPASSWORD", credentials().token().to_string()),
        ("PGOPTIONS", format!("-c tenant_id={} -c timeline_id={}", ttid.tenant_id, ttid.timeline_id)),
    ];
    let directory = received.path().to_str().unwrap();
    let port = safekeeper.address.port().to_string();
    let connection = ["-h", "127.0.0.1", "-p", &port, "-U", "anyone"];
    // It ends when it has something behind this position.
    let endpos = format!("--endpos={}", Lsn(end.0 - 1));
    // With an empty directory it would begin with the last segment.
    std::fs::write(received.path().join("000000010000000000000001"), vec![0; SEGMENT as usize]).unwrap();
    let arguments = [&connection[..], &["-D", directory, "--no-loop", &endpos]].concat();
    stock_tool("pg_receivewal", &arguments, &environment).await;

    let numbers = timeline.segments().existing().unwrap();
    assert!(numbers.len() >= 4, "{numbers:?}");
    for number in &numbers {
        let path = timeline.segments().path(*number);
        let name = path.file_name().unwrap().to_str().unwrap();
        let last = number == numbers.last().unwrap();
        let theirs = received.path().join(if last { format!("{name}.partial") } else { name.to_owned() });
        assert!(
            std::fs::read(&path).unwrap() == std::fs::read(&theirs).unwrap(),
            "{} differs",
            theirs.display()
        );
    }
    // By name, from the first segment on, which begins with what was made up before the timeline's start.
    let path = |number| timeline.segments().path(number).to_str().unwrap().to_owned();
    let (first, last) = (path(numbers[0]), path(numbers[numbers.len() - 1]));
    let printed = stock_tool("pg_waldump", &["-e", &end.to_string(), &first, &last], &[]).await;
    assert_eq!(printed.matches("rmgr: XLOG").count(), 400);
    stock_tool("pg_waldump", &[&first], &[]).await;

    let psql = [&connection[..], &["-d", "x", "-At", "-c", "IDENTIFY_SYSTEM"]].concat();
    let answer = stock_tool("psql", &psql, &environment).await;
    assert_eq!(answer.trim(), format!("{}|1|{end}|", IDENTITY.system_identifier));
    safekeeper.stop().await;
}
