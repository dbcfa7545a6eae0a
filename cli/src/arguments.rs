//! What can be typed. Verbs and flags are those of neon_local where it has them.

mod auth;
mod block_at;
mod cluster;
mod console;
mod container;
mod daemon;
mod endpoint;
mod help;
mod moment;
mod tenant;
mod timeline;

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, Parser, Subcommand};
use pageserver_api::history::Interval;
use serde::Deserialize as _;
use toml::de::ValueDeserializer;
use types::PgVersion;

pub use auth::AuthCommand;
pub use block_at::BlockAt;
pub use cluster::{
    CompletionsArguments, ConnstrArguments, InitArguments, Lines, LogsArguments, PsqlArguments,
    StopArguments, StopMode,
};
pub use console::ConsoleArguments;
pub use container::{ContainerCommand, ContainerInitArguments, Part};
pub use daemon::{DaemonCommand, PageserverCommand, SafekeeperCommand};
pub use endpoint::EndpointCommand;
pub use moment::Moment;
pub use tenant::TenantCommand;
pub use timeline::TimelineCommand;

#[derive(Parser)]
#[command(
    name = "varve",
    version = VERSION.as_str(),
    about = "Serverless PostgreSQL storage on unmodified PostgreSQL: runs a cluster on this machine.",
    after_help = help::of_varve(),
    styles = help::STYLES,
)]
pub struct Arguments {
    /// Directory that holds the cluster.
    #[arg(long, global = true, env = "VARVE_DIR", default_value = ".varve")]
    pub data_dir: PathBuf,
    /// Answer with one JSON document instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// auto, always or never; auto heeds NO_COLOR and CLICOLOR_FORCE.
    // Read by [`color_asked_for`], before this is.
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    color: ColorChoice,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make the cluster if there is none, start all of it and say how to connect.
    #[command(after_help = cluster::up_examples())]
    Up(InitArguments),
    /// Stop everything; data stays.
    #[command(after_help = cluster::down_examples())]
    Down(StopArguments),
    /// Make keys, configuration and the template database of a new cluster. Starts nothing.
    Init(InitArguments),
    /// Start the storage and every endpoint that was running; repair what died.
    Start,
    /// Stop everything; data stays. The same as `down`.
    Stop(StopArguments),
    /// What runs, where, and how far it is. Ends with 1 if something is down.
    #[command(after_help = cluster::status_examples())]
    Status,
    /// The same again and again, with how much WAL each branch writes.
    #[command(after_help = cluster::top_examples())]
    Top {
        /// How often.
        #[arg(long, value_name = "TIME", default_value = "2s")]
        every: Interval,
        /// End after so many. Default: never.
        #[arg(long, value_name = "N")]
        rounds: Option<u32>,
    },
    /// Look at what the cluster stands on: parts, keys, clocks, certificates, object storage, disks. Ends with 1 if
    /// something is wrong.
    #[command(after_help = cluster::doctor_examples())]
    Doctor,
    /// After all disks were lost: branches go on from what is in object storage. Touches none that a safekeeper has.
    #[command(after_help = cluster::recover_examples())]
    Recover,
    /// Serve pages for a browser: branches, endpoints, layers, queries of the past, differences of schemas.
    #[command(after_help = console::console_examples())]
    Console(ConsoleArguments),
    /// Print the connection string of an endpoint.
    #[command(after_help = cluster::connstr_examples())]
    Connstr(ConnstrArguments),
    /// Run psql on an endpoint. What follows `--` goes to psql.
    #[command(after_help = cluster::psql_examples())]
    Psql(PsqlArguments),
    /// Print logs, or without a name, which logs there are.
    #[command(after_help = cluster::logs_examples())]
    Logs(LogsArguments),
    /// Tenants: PostgreSQL clusters with all their branches.
    #[command(subcommand, after_help = tenant::group_examples())]
    Tenant(TenantCommand),
    /// Timelines: branches of a tenant's history.
    #[command(subcommand, after_help = timeline::group_examples())]
    Timeline(TimelineCommand),
    /// Endpoints: stateless PostgreSQL servers on a branch.
    #[command(subcommand, after_help = endpoint::group_examples())]
    Endpoint(EndpointCommand),
    /// The pageserver alone.
    #[command(subcommand, after_help = daemon::pageserver_examples())]
    Pageserver(PageserverCommand),
    /// One safekeeper, or all.
    #[command(subcommand, after_help = daemon::safekeeper_examples())]
    Safekeeper(SafekeeperCommand),
    /// The storage broker alone.
    #[command(subcommand, after_help = daemon::broker_examples())]
    Broker(DaemonCommand),
    /// Tokens, and the keys that sign them.
    #[command(subcommand, after_help = auth::group_examples())]
    Auth(AuthCommand),
    /// What runs where every part has a host of its own: in containers (docker/README.md) and on machines
    /// (docs/self-hosting.md).
    #[command(subcommand, visible_alias = "machine", after_help = container::group_examples())]
    Container(ContainerCommand),
    /// Print what makes a shell complete the words of varve.
    #[command(after_help = cluster::completions_examples())]
    Completions(CompletionsArguments),
    /// Write the manual pages of all commands to a directory. For who makes packages.
    #[command(hide = true)]
    Man {
        /// It must exist.
        directory: PathBuf,
    },
}

impl Arguments {
    /// What clap cannot know: some commands have no JSON to give.
    pub fn check(&self) -> Result<(), clap::Error> {
        let why = match &self.command {
            _ if !self.json => return Ok(()),
            Command::Psql(_) => "`psql` prints what psql prints: `varve psql -- --csv` is for programs",
            Command::Logs(logs) if logs.follow => "a log that is followed does not end, a JSON document does",
            Command::Top { .. } => "`top` is for people: `varve status --json` is for programs",
            Command::Man { .. } => "manual pages are not JSON",
            Command::Completions(_) => "completions are a program for a shell, not JSON",
            Command::Container(ContainerCommand::Compute { .. }) => "a compute prints its log, not JSON",
            _ => return Ok(()),
        };
        Err(Arguments::command().error(ErrorKind::ArgumentConflict, format!("no --json here: {why}")))
    }
}

/// What `--color` says in words that clap has not seen yet; it will complain of what makes no sense.
pub fn color_asked_for(words: impl IntoIterator<Item = String>) -> ColorChoice {
    let words: Vec<String> = words.into_iter().take_while(|word| word != "--").collect();
    let next = words.iter().skip(1).map(Some).chain([None]);
    let choices = words.iter().zip(next).filter_map(|(word, next)| match word.strip_prefix("--color")? {
        "" => next?.parse().ok(),
        value => value.strip_prefix('=')?.parse().ok(),
    });
    choices.last().unwrap_or_default()
}

/// Its own, and those of PostgreSQL.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let majors: Vec<String> = PgVersion::ALL.iter().map(PgVersion::to_string).collect();
    format!("{} (PostgreSQL {})", env!("CARGO_PKG_VERSION"), majors.join(", "))
});

/// For who asks for another one.
pub const VERSIONS_PAGE: &str =
    "docs/postgresql-versions.md says what each version does, and what is missing for others";

fn parse_pg_version(text: &str) -> Result<PgVersion, String> {
    text.parse().map_err(|_| format!("this is varve {}; {VERSIONS_PAGE}", *VERSION))
}

/// What stands in braces, or line by line.
fn parse_table(text: &str) -> Result<toml::Table, String> {
    let table = match text.trim() {
        text if text.starts_with('{') => ValueDeserializer::parse(text).and_then(toml::Table::deserialize),
        text => toml::from_str(text),
    };
    table.map_err(|error| error.message().to_owned())
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn psql_gets_what_follows_the_dashes() {
        let arguments = Arguments::parse_from(["varve", "psql", "dev", "--", "-c", "\\dt+"]);
        let Command::Psql(psql) = arguments.command else { panic!("not psql") };
        assert_eq!((psql.endpoint.as_str(), psql.psql_arguments), ("dev", vec!["-c".into(), "\\dt+".into()]));
    }

    #[test]
    fn the_colour_is_known_before_anything_is_parsed() {
        for (line, expected) in [
            ("varve status", ColorChoice::Auto),
            ("varve status --color never", ColorChoice::Never),
            ("varve --color=always --help", ColorChoice::Always),
            ("varve --color", ColorChoice::Auto),
            ("varve psql -- --color always", ColorChoice::Auto),
        ] {
            assert_eq!(color_asked_for(line.split(' ').map(str::to_owned)), expected, "{line}");
        }
        assert_eq!(Arguments::parse_from(["varve", "status", "--color", "never"]).color, ColorChoice::Never);
    }

    #[test]
    fn versions_that_cannot_run_are_refused_here() {
        for version in PgVersion::ALL {
            assert_eq!(parse_pg_version(&version.to_string()), Ok(version));
        }
        for bad in ["14", "16", "18", "x", ""] {
            let said = parse_pg_version(bad).unwrap_err();
            assert!(
                said.contains("PostgreSQL 15, 17") && said.contains("docs/postgresql-versions.md"),
                "{said}"
            );
        }
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn tables_are_written_in_braces_or_line_by_line() {
        let table = toml::Table::from_iter([("a".to_owned(), 1.into()), ("b".to_owned(), "c".into())]);
        for text in ["{ a = 1, b = \"c\" }", "a = 1\nb = \"c\""] {
            assert_eq!(parse_table(text), Ok(table.clone()));
        }
        for bad in ["{ a = 1", "a", "{} x"] {
            assert!(parse_table(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_refused_where_there_is_none() {
        let checked = |line: &str| Arguments::parse_from(line.split(' ')).check();
        for line in ["varve --json psql", "varve logs main --follow --json", "varve completions bash --json"]
        {
            assert_eq!(checked(line).unwrap_err().exit_code(), 2, "{line}");
        }
        for line in ["varve --json status", "varve logs main --json", "varve psql"] {
            assert!(checked(line).is_ok(), "{line}");
        }
    }
}
