//! The WAL service: proposers bring WAL, readers take it, stock tools find what they ask for.
//!
//! A client names the timeline by `options='-c tenant_id=… -c timeline_id=…'` when it connects.

mod command;
mod configurations;
mod errors;
mod push;
mod replication;

use std::sync::Arc;

use auth::{Need, Scope};
use pg_backend::{Handler, QueryError, Session, sqlstate};
use types::TenantTimelineId;

use crate::timeline::{Manager, Timeline};
use crate::wal_service::command::Command;

/// Proposers send WAL in pieces far smaller than this. With the length of a timeline's queue it bounds the
/// memory that a client can make us use.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

pub struct WalService {
    manager: Arc<Manager>,
}

impl WalService {
    pub fn new(manager: Arc<Manager>) -> Self {
        Self { manager }
    }

    async fn timeline(&self, session: &Session) -> Result<Arc<Timeline>, QueryError> {
        let tenant_id = parse_option(session, "tenant_id")?;
        let timeline_id = parse_option(session, "timeline_id")?;
        // Before it is looked for: who may not know of it does not learn whether it exists.
        session.check(Need::Data { tenant: tenant_id, part: Scope::Safekeeper })?;
        self.manager.get(TenantTimelineId { tenant_id, timeline_id }).await.map_err(errors::lookup)
    }
}

fn parse_option<T: std::str::FromStr<Err: std::fmt::Display>>(
    session: &Session,
    name: &str,
) -> Result<T, QueryError> {
    let error = |reason: String| {
        QueryError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("connection option {name}: {reason}"))
            .with_hint("connect with options='-c tenant_id=<32 hex digits> -c timeline_id=<32 hex digits>'")
    };
    let text = session.option(name).ok_or_else(|| error("it is missing".to_owned()))?;
    text.parse().map_err(|reason: T::Err| error(reason.to_string()))
}

impl Handler for WalService {
    async fn handle_query(&self, session: &mut Session, query: &str) -> Result<(), QueryError> {
        let command = Command::parse(query)
            .map_err(|error| QueryError::new(sqlstate::SYNTAX_ERROR, error.to_string()))?;
        let timeline = self.timeline(session).await?;
        match command {
            Command::StartWalPush { proto_version, standby_feedback } => {
                push::receive_wal(&self.manager, timeline, session, proto_version, standby_feedback).await
            }
            Command::StartReplication { start, tli, until } => {
                replication::stream_wal(timeline, session, start, tli, until).await
            }
            Command::IdentifySystem => {
                identify_system(&timeline, session);
                Ok(())
            }
            Command::TimelineStatus => {
                timeline_status(&timeline, session);
                Ok(())
            }
            Command::Show { setting } => show(&timeline, session, &setting),
            Command::TimelineHistory { tli } => Err(QueryError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!(
                    "there is no history file of timeline {tli}: PostgreSQL's timeline here is {} from the beginning",
                    timeline.tli()
                ),
            )),
            Command::CreateReplicationSlot | Command::ReadReplicationSlot | Command::DropReplicationSlot => {
                Err(errors::not_offered(
                    "a replication slot",
                    "it keeps WAL until the pageserver has it, not for a slot",
                ))
            }
        }
    }
}

fn identify_system(timeline: &Timeline, session: &mut Session) {
    let system_id = timeline.identity().system_id.to_string();
    let tli = timeline.tli().to_string();
    let commit_lsn = timeline.positions().commit_lsn.to_string();
    let columns = ["systemid", "timeline", "xlogpos", "dbname"];
    let values = [Some(system_id.as_str()), Some(tli.as_str()), Some(commit_lsn.as_str()), None];
    session.send_single_row(&columns, &values, "IDENTIFY_SYSTEM");
}

fn timeline_status(timeline: &Timeline, session: &mut Session) {
    let positions = timeline.positions();
    let (flush_lsn, commit_lsn) = (positions.flush_lsn.to_string(), positions.commit_lsn.to_string());
    session.send_single_row(
        &["flush_lsn", "commit_lsn"],
        &[Some(&flush_lsn), Some(&commit_lsn)],
        "TIMELINE_STATUS",
    );
}

/// What libpq-based tools ask for before they stream.
fn show(timeline: &Timeline, session: &mut Session, setting: &str) -> Result<(), QueryError> {
    let value = match setting {
        "wal_segment_size" => match timeline.segments().size() >> 20 {
            megabytes if megabytes >= 1024 => format!("{}GB", megabytes >> 10),
            megabytes => format!("{megabytes}MB"),
        },
        "data_directory_mode" => "0700".to_owned(),
        other => {
            let message = format!("unrecognized configuration parameter \"{other}\"");
            return Err(QueryError::new(sqlstate::UNDEFINED_OBJECT, message));
        }
    };
    session.send_single_row(&[setting], &[Some(&value)], "SHOW");
    Ok(())
}
