//! The two servers: an endpoint, and stock PostgreSQL on what was exported from it before anything was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Cluster, StockServer, run};

use crate::suite::Socket;

/// Where libpq looks for a server when nobody says otherwise; the modules that connect from inside a server rely on
/// it.
const USUAL_DIRECTORY: &str = "/var/run/postgresql";

/// Tests connect as roles that they made. Both servers get it.
const EVERYBODY: &str = "local replication postgres trust\nlocal all all trust\n";

fn as_root(arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/as-root");
    run(Command::new(script).args(arguments));
}

/// A name for a server's socket where libpq looks for one. Ports are the cluster's alone, so it is nobody else's.
pub struct UsualPlace(String);

impl UsualPlace {
    pub fn of(socket: &Socket) -> UsualPlace {
        as_root(&["mkdir", "-p", USUAL_DIRECTORY]);
        let name = format!(".s.PGSQL.{}", socket.port);
        let link = format!("{USUAL_DIRECTORY}/{name}");
        as_root(&["ln", "-sfn", &socket.directory.join(name).display().to_string(), &link]);
        UsualPlace(link)
    }
}

impl Drop for UsualPlace {
    fn drop(&mut self) {
        as_root(&["rm", "-f", &self.0]);
    }
}

/// The endpoint's, as its running server says.
pub fn endpoint(cluster: &Cluster) -> Socket {
    let pgdata = cluster.pgdata("main");
    let text = fs::read_to_string(pgdata.join("postmaster.pid")).expect("postmaster.pid");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    Socket { directory: lines[4].into(), port: lines[3].parse().expect("a port") }
}

/// Lets everybody in until the next start.
pub fn open_to_everybody(cluster: &Cluster) {
    let file = cluster.pgdata("main").join("pg_hba.conf");
    let text = fs::read_to_string(&file).expect("pg_hba.conf");
    fs::write(&file, format!("{EVERYBODY}{text}")).expect("pg_hba.conf");
    let reload = nix::sys::signal::Signal::SIGHUP;
    let postmaster = nix::unistd::Pid::from_raw(cluster.postmaster_pid("main"));
    nix::sys::signal::kill(postmaster, reload).expect("a running postmaster");
}

/// What the stock server will run on.
pub struct Exported {
    directory: PathBuf,
    port: u16,
}

impl Exported {
    /// So that both have the same catalogs.
    pub fn of(cluster: &Cluster) -> Exported {
        let directory = cluster.directory().join("stock");
        cluster.export("main", &directory);
        fs::write(directory.join("pg_hba.conf"), EVERYBODY).expect("pg_hba.conf");
        Exported { directory, port: cluster.safekeeper_port(100) }
    }

    pub fn socket(&self) -> Socket {
        Socket { directory: self.directory.clone(), port: self.port }
    }

    pub fn start(&self, settings: &[&str]) -> StockServer<'_> {
        let socket_directory = format!("unix_socket_directories={}", self.directory.display());
        StockServer::start_with(
            &self.directory,
            self.port,
            &[settings, &[&socket_directory, "fsync=off"]].concat(),
        )
    }
}
