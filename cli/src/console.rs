//! `varve console`: the cluster in a browser. Pages are made here, of what the same functions say and do that the
//! commands call; scripts only spare a click.
//!
//! ```text
//! guard.rs     who may ask: host names, sessions, foreign pages; what the headers forbid
//! sessions.rs  the link that logs in, cookies, tokens of forms
//! layout.rs    what all pages have in common
//! cluster.rs   the cluster as one request finds it
//! moment.rs    "now", an LSN or a time, as a field of a form says it
//! looks.rs     computes that stand in the past for as long as somebody looks
//! sql.rs       statements there, and what they return, within bounds
//! dump.rs      the schema there, as pg_dump writes it
//! pages/       a module for each page and what its forms do
//! pictures/    drawings as SVG
//! assets/      style, script, icon
//! ```
//! Nothing here runs `varve`, keeps anything between two runs, or asks anybody outside.

mod assets;
mod cluster;
mod dump;
mod guard;
mod layout;
mod looks;
mod moment;
mod pages;
mod pictures;
mod sessions;
mod sql;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::arguments::ConsoleArguments;
use crate::local_env::LocalEnv;
use crate::output::{Output, say};
use crate::storage::local;
use guard::Hosts;
use looks::Looks;
use pages::positions::Samples;
use sessions::Sessions;

/// What all requests share.
struct Console {
    directory: PathBuf,
    output: Output,
    hosts: Hosts,
    sessions: Sessions,
    looks: Looks,
    samples: Samples,
    /// How to reach it, as far as its path.
    base: String,
}

/// Serves until Ctrl-C or SIGTERM.
pub async fn console(directory: &Path, arguments: ConsoleArguments, output: Output) -> anyhow::Result<()> {
    let env = LocalEnv::load(directory)?;
    let _alone = alone(&env)?;
    let asked = arguments.listen.unwrap_or_else(|| local(env.config.ports().console()));
    let listener = TcpListener::bind(asked).await.with_context(|| {
        format!("the console cannot listen on {asked}; --listen 127.0.0.1:0 takes any free port")
    })?;
    let address = listener.local_addr()?;
    let base = format!("http://{}", shown(address, &arguments.name));
    let console = Arc::new(Console {
        directory: env.directory.clone(),
        output,
        hosts: Hosts::new(address.ip(), &arguments.name),
        sessions: Sessions::new(address.port()),
        looks: Looks::new(),
        samples: Samples::default(),
        base,
    });
    looks::end_leftovers(&env).await?;
    // Before it is said that there is something to end.
    let ended = CancellationToken::new();
    telemetry::stop_on_signals(&ended)?;
    console.announce(address)?;
    tokio::select! {
        () = http_server::serve(listener, None, pages::router(Arc::clone(&console)), ended) => {}
        () = looks::watch(Arc::clone(&console)) => {}
    }
    console.looks.end_all().await;
    Ok(())
}

impl Console {
    /// The link that logs in, once.
    fn link(&self) -> String {
        format!("{}/login?token={}", self.base, self.sessions.ticket())
    }

    fn announce(&self, address: SocketAddr) -> anyhow::Result<()> {
        if !address.ip().is_loopback() {
            say("The console speaks HTTP without TLS: whoever listens on the way sees all of it.");
        }
        let link = self.link();
        self.output.result(&json!({ "url": link, "address": address }), || {
            format!("The console is here, for one browser:\n\n  {link}\n\nCtrl-C ends it.")
        })
    }
}

/// One console a cluster: it ends what another one left running.
fn alone(env: &LocalEnv) -> anyhow::Result<Flock<File>> {
    let path = env.directory.join("console.lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        anyhow::anyhow!(
            "this cluster has a console already; it said where when it was started, and Ctrl-C ends it"
        )
    })
}

/// As a browser of this machine calls it.
fn shown(address: SocketAddr, names: &[String]) -> String {
    match (names.first(), address.ip()) {
        (Some(name), _) => format!("{name}:{}", address.port()),
        (None, IpAddr::V4(ip)) if ip.is_unspecified() => format!("127.0.0.1:{}", address.port()),
        (None, IpAddr::V6(ip)) if ip.is_unspecified() => format!("[::1]:{}", address.port()),
        (None, _) => address.to_string(),
    }
}
