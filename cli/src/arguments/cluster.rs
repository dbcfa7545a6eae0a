//! Commands on the cluster as a whole, and how a person gets at what is in it.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::StyledStr;
use clap::{Args, ValueEnum};
use clap_complete::Shell;

use types::PgVersion;

use super::help::examples;
use super::{parse_pg_version, parse_table};

#[derive(Args, Clone, Default)]
pub struct InitArguments {
    /// First of the ports of this cluster, so that several can share a machine. Default: each part's own port.
    #[arg(long)]
    pub port_base: Option<u16>,
    /// Major version of PostgreSQL where none is named. Default: 15, or what is installed.
    #[arg(long, value_parser = parse_pg_version)]
    pub pg_version: Option<PgVersion>,
    /// Directory of that version's programs. Default: /usr/lib/postgresql/VERSION/bin.
    #[arg(long)]
    pub pg_bin_dir: Option<PathBuf>,
    /// Number of safekeepers: 3, 5, 7 or 9.
    #[arg(long)]
    pub num_safekeepers: Option<u64>,
    /// Object storage, such as '{ bucket_name = "varve", endpoint = "https://s3.example.org" }'. Default: a directory of
    /// the cluster's own. Credentials are in the environment of whoever starts the cluster.
    #[arg(long, value_name = "TOML", value_parser = parse_table)]
    pub remote_storage: Option<toml::Table>,
    /// Make certificates for endpoints and for the parts: clients then come in over TLS alone, and parts speak nothing else among
    /// themselves.
    #[arg(long)]
    pub tls: bool,
    /// With --tls: a name or an address under which clients reach endpoints. May be given several times; this machine's own are
    /// always among them.
    #[arg(long, value_name = "NAME", requires = "tls")]
    pub tls_name: Vec<String>,
    /// OpenTelemetry collector that all parts send traces to, by OTLP over HTTP, such as http://127.0.0.1:4318.
    #[arg(long, value_name = "URL", value_parser = parse_endpoint)]
    pub otlp_endpoint: Option<String>,
    /// With --otlp-endpoint: share, from 0 to 1, of what begins without a trace that is traced. Default: 0.01.
    #[arg(long, value_name = "RATIO", requires = "otlp_endpoint", value_parser = telemetry::traces::parse_ratio)]
    pub trace_ratio: Option<f64>,
}

/// As it was given, if a daemon takes it.
fn parse_endpoint(text: &str) -> Result<String, String> {
    telemetry::traces::parse_endpoint(text).map(|_| text.to_owned())
}

#[derive(Args, Clone, Copy)]
pub struct StopArguments {
    /// fast: all WAL is durable before PostgreSQL ends. immediate: as if the power failed.
    #[arg(short, long, value_enum, default_value_t)]
    pub mode: StopMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StopMode {
    #[default]
    Fast,
    Immediate,
}

#[derive(Args)]
pub struct ConnstrArguments {
    /// Name of the endpoint.
    #[arg(default_value = "main")]
    pub endpoint: String,
    /// Database to name in it.
    #[arg(long, default_value = "postgres")]
    pub database: String,
}

#[derive(Args)]
pub struct PsqlArguments {
    /// Name of the endpoint.
    #[arg(default_value = "main")]
    pub endpoint: String,
    /// For psql.
    #[arg(last = true)]
    pub psql_arguments: Vec<String>,
}

#[derive(Args)]
pub struct LogsArguments {
    /// broker, safekeeper-1, pageserver; an endpoint's name, or NAME/postgres for its PostgreSQL's own log.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Go on printing what is added, whatever is restarted, until Ctrl-C.
    #[arg(short, long, requires = "names")]
    pub follow: bool,
    /// Begin that many lines before the end. Default: all, or with --follow, 10.
    #[arg(short = 'n', long, value_name = "N|all", requires = "names")]
    pub lines: Option<Lines>,
}

/// How much of a log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    All,
    Last(u64),
}

impl FromStr for Lines {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Lines, Self::Err> {
        if text == "all" { Ok(Lines::All) } else { text.parse().map(Lines::Last) }
    }
}

#[derive(Args)]
pub struct CompletionsArguments {
    /// The shell that is to read it.
    pub shell: Shell,
}

pub fn up_examples() -> StyledStr {
    examples(&[
        ("varve up", "make a cluster in .varve, or start the one that is there"),
        ("varve --data-dir /srv/two up --port-base 20000", "a second one on this machine"),
    ])
}

pub fn down_examples() -> StyledStr {
    examples(&[
        ("varve down", "in order: endpoints, then storage"),
        ("varve down --mode immediate", "as if the power failed; nothing that was committed is lost"),
    ])
}

pub fn status_examples() -> StyledStr {
    examples(&[
        ("varve status", "for people"),
        ("varve status --json > status.json", "for programs; every LSN of every part"),
    ])
}

pub fn top_examples() -> StyledStr {
    examples(&[
        ("varve top", "every two seconds"),
        ("varve top --every 1s --rounds 3 > top.txt", "three looks, for a file"),
    ])
}

pub fn doctor_examples() -> StyledStr {
    examples(&[
        ("varve doctor", "before trusting a machine with data, and when something is odd"),
        ("varve doctor --json > doctor.json", "for programs"),
    ])
}

pub fn recover_examples() -> StyledStr {
    examples(&[
        ("varve recover", "which branches go on, and from where"),
        ("varve recover --json > recovered.json", "the same for programs"),
    ])
}

pub fn connstr_examples() -> StyledStr {
    examples(&[
        ("psql \"$(varve connstr)\" -c 'SELECT 1'", "the endpoint main"),
        ("pg_isready -d \"$(varve connstr main --database postgres)\"", "any client will do"),
    ])
}

pub fn psql_examples() -> StyledStr {
    examples(&[
        ("varve psql", "on the endpoint main"),
        ("varve psql main -- -c 'SELECT version()'", "one statement"),
    ])
}

pub fn logs_examples() -> StyledStr {
    examples(&[
        ("varve logs", "which logs there are"),
        ("varve logs pageserver -n 100", "the last 100 lines"),
        ("varve logs main main/postgres", "an endpoint and its PostgreSQL"),
        ("varve logs -f safekeeper-1 safekeeper-2", "go on, until Ctrl-C"),
    ])
}

pub fn completions_examples() -> StyledStr {
    examples(&[
        ("source <(varve completions bash)", "For this bash; as a line of ~/.bashrc, for every one"),
        ("varve completions zsh > ~/.zfunc/_varve", "zsh, with ~/.zfunc in its fpath before compinit"),
        ("varve completions fish > ~/.config/fish/completions/varve.fish", "fish"),
        ("varve completions elvish >> ~/.config/elvish/rc.elv", "elvish"),
        ("varve completions powershell >> $PROFILE", "PowerShell"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_a_number_or_all() {
        assert_eq!("all".parse(), Ok(Lines::All));
        assert_eq!("0".parse(), Ok(Lines::Last(0)));
        assert!("-1".parse::<Lines>().is_err() && "some".parse::<Lines>().is_err());
    }
}
