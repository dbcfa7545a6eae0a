//! Whose WAL it is: asked of the first safekeeper that answers. The others are held to it by the greeting.

use std::time::Duration;

use consensus::{Configuration, Member, TimelineIdentity};
use pg_frontend::{Address, PgClient, PgError};
use safekeeper_api::replication::connect_params;
use tokio::task::JoinSet;
use types::{PgVersion, WalSegmentSize};

use super::{NAME, Reach};

const RETRY: Duration = Duration::from_millis(500);

/// Tries all members at once, and again, until one answers.
pub async fn of_timeline(
    configuration: &Configuration,
    reach: &Reach,
    pg_version: PgVersion,
) -> Result<TimelineIdentity, PgError> {
    let mut attempts = JoinSet::new();
    for member in configuration.all_members() {
        let address = Address::parse(&member.pg_connstr)?;
        let (member, reach) = (member.clone(), reach.clone());
        attempts.spawn(async move { ask_until_answered(member, address, reach).await });
    }
    match attempts.join_next().await {
        Some(Ok((system_id, wal_seg_size))) => {
            Ok(TimelineIdentity { ttid: reach.ttid, pg_version, system_id, wal_seg_size })
        }
        Some(Err(_)) | None => Err(PgError::Protocol("no safekeeper was asked".to_owned())),
    }
}

async fn ask_until_answered(member: Member, address: Address, reach: Reach) -> (u64, WalSegmentSize) {
    let mut told = String::new();
    loop {
        match ask(&address, &reach).await {
            Ok(answer) => return answer,
            Err(error) => {
                let error = error.to_string();
                if error != told {
                    tracing::warn!(timeline = %reach.ttid, safekeeper = %member.id, "not reached: {error}");
                    told = error;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn ask(address: &Address, reach: &Reach) -> Result<(u64, WalSegmentSize), PgError> {
    let mut client =
        PgClient::connect(&connect_params(address.clone(), reach.ttid, &reach.credentials, NAME)).await?;
    let system_id = one_value(client.simple_query("IDENTIFY_SYSTEM").await?)?;
    let system_id =
        system_id.parse().map_err(|_| PgError::Protocol(format!("system identifier {system_id:?}")))?;
    let size = one_value(client.simple_query("SHOW wal_segment_size").await?)?;
    let segment_size =
        parse_size(&size).ok_or_else(|| PgError::Protocol(format!("segment size {size:?}")))?;
    Ok((system_id, segment_size))
}

/// The first column of the first row.
pub fn one_value(rows: Vec<pg_frontend::Row>) -> Result<String, PgError> {
    let first = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
    first.ok_or_else(|| PgError::Protocol("an empty answer".to_owned()))
}

/// As PostgreSQL shows it: `16MB`, `1GB`.
fn parse_size(text: &str) -> Option<WalSegmentSize> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return None,
    };
    let bytes = digits.parse::<u32>().ok()?.checked_mul(1 << unit)?;
    WalSegmentSize::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_postgres_shows_them() {
        assert_eq!(parse_size("16MB"), Some(WalSegmentSize::DEFAULT));
        assert_eq!(parse_size("1GB").map(WalSegmentSize::bytes), Some(1 << 30));
        assert_eq!(parse_size("16777216"), Some(WalSegmentSize::DEFAULT));
        for bad in ["", "MB", "16 MB", "3MB", "5GB", "16TB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
