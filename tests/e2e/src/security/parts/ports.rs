//! The ports of a cluster's parts, and how they answer to a stranger's clients: curl, openssl, psql, and bytes by hand.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Cluster, pg_program};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http,
    Postgres,
}

#[derive(Clone)]
pub struct Port {
    pub part: String,
    pub number: u16,
    pub speaks: Speaks,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({:?})", self.number, self.part, self.speaks)
    }
}

impl Port {
    /// Of everything that runs but PostgreSQL itself.
    pub fn all(cluster: &Cluster) -> Vec<Port> {
        let number = |address: String| address.rsplit(':').next().unwrap().parse().unwrap();
        let daemons =
            ["broker", "pageserver", "safekeeper-1", "safekeeper-2", "safekeeper-3", "endpoint-main"];
        let http = daemons.map(|part| Port {
            part: part.to_owned(),
            number: number(cluster.http_address(part)),
            speaks: Speaks::Http,
        });
        let pageserver = ("pageserver".to_owned(), number(cluster.page_service_address()));
        let safekeepers = (1..=3).map(|id| (format!("safekeeper-{id}"), cluster.safekeeper_port(id)));
        let postgres = [pageserver].into_iter().chain(safekeepers);
        let postgres = postgres.map(|(part, number)| Port { part, number, speaks: Speaks::Postgres });
        http.into_iter().chain(postgres).collect()
    }

    /// What openssl says of the certificate, if it is not satisfied; it does not trust the machine's authorities.
    pub fn verified(&self, authority: &Path) -> Result<(), String> {
        let (status, said) = self.openssl(authority);
        if status && said.contains("Verify return code: 0 (ok)") { Ok(()) } else { Err(said) }
    }

    /// The certificate, in PEM.
    pub fn shown(&self, authority: &Path) -> String {
        let (_, said) = self.openssl(authority);
        let begin = said.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{self:?}: {said}"));
        let end = said.find("-----END CERTIFICATE-----").expect("an end");
        said[begin..end].to_owned()
    }

    fn openssl(&self, authority: &Path) -> (bool, String) {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{}", self.number)]);
        command.args(["-verify_ip", "127.0.0.1", "-verify_return_error", "-no-CApath", "-no-CAstore"]);
        command.arg("-CAfile").arg(authority).stdin(Stdio::null());
        if self.speaks == Speaks::Postgres {
            command.args(["-starttls", "postgres"]);
        }
        let output = command.output().expect("openssl runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// The answer to a client that does not know of TLS.
    pub fn plain(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.number)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request: &[u8] = match self.speaks {
            Speaks::Http => b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
            Speaks::Postgres => b"\0\0\0\x0e\0\x03\0\0user\0\0",
        };
        stream.write_all(request).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// What psql says that comes with the administrator's token and these parameters.
    pub fn psql(&self, cluster: &Cluster, parameters: &str) -> Result<String, String> {
        let connstr = format!("host=127.0.0.1 port={} user=stranger {parameters}", self.number);
        let output = Command::new(pg_program("psql"))
            .args([&connstr, "-XAtc", "no command of anybody's"])
            .env("PGPASSWORD", &*cluster.credentials().token())
            .output()
            .expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}
