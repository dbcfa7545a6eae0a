//! TLS between parts that have hosts of their own: a cluster that has it from the beginning, and one that takes it on.

use std::fs;
use std::time::{Duration, Instant};

use harness::{block_on, eventually, prometheus_program};

use super::services::{STORAGE, Services, root, said};

const PATIENCE: Duration = Duration::from_secs(60);
const AUTHORITY: &str = "/var/lib/varve/cluster/tls/parts-ca.pem";
/// Every port of every part, but for PostgreSQL's own.
const HTTP: [(&str, u16); 6] = [
    ("storage_broker", 50051),
    ("safekeeper1", 7676),
    ("safekeeper2", 7676),
    ("safekeeper3", 7676),
    ("pageserver", 9898),
    ("compute", 3080),
];
const POSTGRES: [(&str, u16); 4] =
    [("safekeeper1", 5454), ("safekeeper2", 5454), ("safekeeper3", 5454), ("pageserver", 64000)];

/// A request over HTTP from another host, with the token of who may look: the answer's text and curl's complaint.
fn curl(services: &Services, url: &str) -> Result<String, String> {
    let token = fs::read_to_string(services.volume("cluster/auth/tokens/monitor")).unwrap();
    let header = format!("Authorization: Bearer {}", token.trim());
    let output =
        services.exec("client", &["curl", "-sS", "-m", "20", "--cacert", AUTHORITY, "-H", &header, url]);
    if output.status.success() { Ok(said(&output)) } else { Err(said(&output)) }
}

/// The certificate that a port shows, in PEM.
fn shown(services: &Services, host: &str, port: u16) -> String {
    let address = format!("{host}:{port}");
    let said = said(&services.exec("client", &["openssl", "s_client", "-connect", &address]));
    let begin = said.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{address}: {said}"));
    said[begin..said.find("-----END CERTIFICATE-----").expect("an end")].to_owned()
}

fn nobody_speaks_in_clear(services: &Services) {
    for (host, port) in HTTP {
        let path = if host == "storage_broker" { "/status" } else { "/v1/status" };
        curl(services, &format!("https://{host}:{port}{path}"))
            .unwrap_or_else(|error| panic!("{host}: {error}"));
        let said = curl(services, &format!("http://{host}:{port}{path}"));
        assert!(said.as_ref().is_ok_and(|said| said.contains("speaks TLS only")), "{host}:{port}: {said:?}");
    }
    for (host, port) in POSTGRES {
        let said = services.psql(host, port, "sslmode=disable", "x", "x").unwrap_err();
        assert!(said.contains("speaks TLS only"), "{host}:{port}: {said}");
        let over_tls = format!("sslmode=verify-full sslrootcert={AUTHORITY}");
        let said = services.psql(host, port, &over_tls, "x", "x").unwrap_err();
        // Its token is looked at, so TLS has been agreed upon with a host of that name.
        assert!(said.contains("no token was presented"), "{host}:{port}: {said}");
    }
}

#[test]
fn a_cluster_has_it_from_the_beginning_and_every_host_its_own() {
    let mut services = Services::with_storage(true);
    for (advertised, complaint) in
        [("", "VARVE_ADVERTISE has to name"), ("other", "auth certificate --host other")]
    {
        let mut compute = services.command("compute", &["varve", "container", "compute"]);
        let refused = said(&compute.env("VARVE_ADVERTISE", advertised).output().unwrap());
        assert!(refused.contains(complaint), "{refused}");
    }
    services.start("compute");
    for service in STORAGE.iter().chain(&["compute"]) {
        services.becomes_healthy(service);
    }
    services.sql("CREATE TABLE marks AS SELECT 0 AS n").unwrap();
    nobody_speaks_in_clear(&services);
    let mark =
        |services: &Services, n: u32| services.sql(&format!("INSERT INTO marks VALUES ({n})")).unwrap();
    let status = services.varve(&["status"]);
    assert!(!status.contains("no answer"), "{status}");
    let doctor = services.varve(&["doctor"]);
    assert!(doctor.contains("8 of this cluster's are as they should be"), "{doctor}");
    prometheus_asks_everybody(&services);

    for (n, service) in (1..).zip(STORAGE) {
        services.kill(service);
        services.start(service);
        services.becomes_healthy(service);
        mark(&services, n);
    }
    services.kill("compute");
    services.start("compute");
    services.becomes_healthy("compute");
    assert_eq!(services.sql("SELECT count(*), sum(n) FROM marks").as_deref(), Ok("6|15"));

    // All are replaced while they run, and connections go on.
    let before = HTTP.map(|(host, port)| shown(&services, host, port));
    let told = services.varve(&["auth", "certificate", "--parts"]);
    assert!(told.contains("The parts take on those of their hosts"), "{told}");
    for ((host, port), before) in HTTP.into_iter().zip(before) {
        block_on(eventually(&format!("{host} shows another one"), PATIENCE, async || {
            shown(&services, host, port) != before
        }));
    }
    mark(&services, 6);
    assert!(!services.volume("cluster/tls/server.pem").exists(), "clients are let in as before");

    // Nothing of it changes when init runs again.
    let before = shown(&services, "pageserver", 9898);
    assert!(services.init().status.success());
    assert_eq!(shown(&services, "pageserver", 9898), before);
    a_safekeeper_comes(&mut services);
    mark(&services, 7);
}

/// By the file that docker/tls.yml has it read.
fn prometheus_asks_everybody(services: &Services) {
    let configuration =
        format!("--config.file={}", root().join("docker/observe/prometheus-tls.yml").display());
    let data = format!("--storage.tsdb.path={}", services.volume("prometheus").display());
    let program = prometheus_program("prometheus").display().to_string();
    let words = [&program, &configuration, &data, "--web.listen-address=127.0.0.1:9090"];
    let log = fs::File::create(services.volume("prometheus.log")).unwrap();
    let mut command = services.command("client", &words);
    let mut process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let query = ["curl", "-sS", "-m", "5", "-G", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode"];
    block_on(eventually("Prometheus has an answer of all", PATIENCE, async || {
        let answer = said(&services.exec("client", &[&query[..], &["query=count(up == 1)"]].concat()));
        answer.contains("\"6\"]")
    }));
    process.kill().unwrap();
    process.wait().unwrap();
}

/// One that has no certificate says so, and one that has is let in.
fn a_safekeeper_comes(services: &mut Services) {
    services.start("safekeeper4");
    block_on(eventually("it says what it lacks", PATIENCE, async || {
        services.log("safekeeper4").contains("auth certificate --host safekeeper4")
    }));
    let told = services.varve(&["auth", "certificate", "--host", "safekeeper4"]);
    assert!(told.contains("auth/hosts/safekeeper4"), "{told}");
    services.start("safekeeper4");
    services.becomes_healthy("safekeeper4");
    services.varve(&["safekeeper", "add", "4", "--host", "safekeeper4"]);
    let doctor = services.varve(&["doctor"]);
    assert!(doctor.contains("9 of this cluster's are as they should be"), "{doctor}");
}

#[test]
fn who_shows_the_certificate_of_another_is_believed_by_nobody() {
    let mut services = Services::with_storage(true);
    services.start("compute");
    services.becomes_healthy("compute");
    services.sql("CREATE TABLE marks (n int)").unwrap();

    for file in ["parts.pem", "parts-key.pem"] {
        let of = |host: &str| services.volume("storage_keys").join(host).join(file);
        fs::copy(of("safekeeper2"), of("safekeeper3")).unwrap();
    }
    services.kill("safekeeper3");
    services.start("safekeeper3");
    // By an address of its own it is who it should be.
    services.becomes_healthy("safekeeper3");
    let refused = curl(&services, "https://safekeeper3:7676/v1/status").unwrap_err();
    assert!(refused.contains("SSL") && refused.contains("safekeeper3"), "{refused}");
    let status = said(&services.exec("init", &["varve", "status"]));
    assert!(status.contains("safekeeper 3") || status.contains("safekeeper-3"), "{status}");
    let doctor = services.exec("init", &["varve", "doctor"]);
    let told = said(&doctor);
    assert!(!doctor.status.success() && told.contains("it is not of safekeeper3"), "{told}");
    assert!(told.contains("auth certificate --host safekeeper3`"), "{told}");
    // Two are a quorum, one is none: what the third says counts for nothing.
    services.sql("INSERT INTO marks VALUES (1)").unwrap();
    services.kill("safekeeper1");
    let began = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let insert = scope.spawn(|| services.sql("INSERT INTO marks VALUES (2)"));
        std::thread::sleep(Duration::from_secs(6));
        assert!(!insert.is_finished(), "a commit was acknowledged by {:?}", services.log("safekeeper3"));
        services.varve(&["auth", "certificate", "--host", "safekeeper3"]);
        insert.join().unwrap()
    });
    assert!(outcome.is_ok(), "after {:?}: {outcome:?}", began.elapsed());
    assert_eq!(services.sql("SELECT count(*) FROM marks").as_deref(), Ok("2"));
}

#[test]
fn a_cluster_of_a_time_without_takes_it_on_when_all_start_anew() {
    let mut services = Services::with_storage(false);
    services.start("compute");
    services.becomes_healthy("compute");
    services.sql("CREATE TABLE marks AS SELECT 'before' AS mark").unwrap();
    assert!(curl(&services, "http://pageserver:9898/v1/status").unwrap().contains("version"));
    for service in ["compute"].iter().chain(&STORAGE) {
        services.stop(service);
    }

    services.tls = true;
    // They come up together: nobody starts in clear because init is late.
    services.start_storage();
    block_on(eventually("they wait", PATIENCE, async || {
        STORAGE.iter().all(|service| services.log(service).contains("and for certificates"))
    }));
    let told = said(&services.init());
    assert!(
        told.contains("all of them have to be stopped once") && told.contains("was made before"),
        "{told}"
    );
    services.start("compute");
    for service in STORAGE.iter().chain(&["compute"]) {
        services.becomes_healthy(service);
    }
    services.sql("INSERT INTO marks VALUES ('after')").unwrap();
    nobody_speaks_in_clear(&services);
    assert_eq!(
        services.sql("SELECT string_agg(mark, ',' ORDER BY mark) FROM marks").as_deref(),
        Ok("after,before")
    );

    // Without keys of its own nobody falls back to what was before.
    services.stop("pageserver");
    services.tls = false;
    services.start("pageserver");
    block_on(eventually("it refuses", PATIENCE, async || {
        services.log("pageserver").contains("pageserver has no certificate")
    }));
}
