//! The commands of the page service. Pure.

use pageserver_api::{BackupRequest, RequestedKind};
use types::{Lsn, TenantTimelineId};

use crate::storage::Reach;

#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    PageStream(TenantTimelineId),
    Backup(TenantTimelineId, BackupRequest),
    /// What can be read there, or there and behind, stays readable for a while.
    Lease(TenantTimelineId, Lsn, Reach),
    /// Drivers like to set things; none of them matters here.
    Set,
}

pub(super) fn parse(query: &str) -> Result<Command, String> {
    let mut words = query.trim().trim_end_matches(';').split_ascii_whitespace();
    let command = words.next().unwrap_or_default();
    let words: Vec<&str> = words.collect();
    match command.to_ascii_lowercase().as_str() {
        "pagestream_v3" => match words[..] {
            [tenant, timeline] => Ok(Command::PageStream(ids(tenant, timeline)?)),
            _ => Err("expected: pagestream_v3 TENANT TIMELINE".to_owned()),
        },
        "basebackup" => backup(&words, RequestedKind::Sparse),
        "fullbackup" => backup(&words, RequestedKind::Full),
        "lease" => match words[..] {
            [reach @ ("lsn" | "from"), tenant, timeline, lsn] => {
                let reach = if reach == "lsn" { Reach::At } else { Reach::From };
                Ok(Command::Lease(ids(tenant, timeline)?, parse_lsn(lsn)?, reach))
            }
            _ => Err("expected: lease lsn|from TENANT TIMELINE LSN".to_owned()),
        },
        "set" => Ok(Command::Set),
        _ => Err(format!(
            "unknown command {command:?}: expected pagestream_v3, basebackup, fullbackup or lease"
        )),
    }
}

fn backup(words: &[&str], kind: RequestedKind) -> Result<Command, String> {
    let (options, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    let (mut kind, mut zstd, mut trace) = (kind, false, None);
    for option in options {
        if let Some(parent) = option.strip_prefix("--traceparent=") {
            trace = Some(parent.parse().map_err(|error: types::ParseTraceParentError| error.to_string())?);
            continue;
        }
        match (option, kind) {
            ("--zstd", _) => zstd = true,
            ("--standby", RequestedKind::Sparse) => kind = RequestedKind::Standby,
            ("--standby", _) => return Err("--standby belongs to basebackup".to_owned()),
            _ => return Err(format!("unknown option {option}: expected --zstd, --standby or --traceparent")),
        }
    }
    let (id, lsn) = match words[..] {
        [tenant, timeline] => (ids(tenant, timeline)?, None),
        [tenant, timeline, lsn] => (ids(tenant, timeline)?, Some(parse_lsn(lsn)?)),
        _ => {
            return Err(
                "expected: basebackup|fullbackup TENANT TIMELINE [LSN] [--zstd] [--standby] [--traceparent=…]"
                    .to_owned(),
            );
        }
    };
    Ok(Command::Backup(id, BackupRequest { kind, lsn, zstd, trace }))
}

fn parse_lsn(text: &str) -> Result<Lsn, String> {
    text.parse().map_err(|error: types::ParseLsnError| error.to_string())
}

fn ids(tenant: &str, timeline: &str) -> Result<TenantTimelineId, String> {
    let tenant = tenant.parse().map_err(|error: types::ParseIdError| error.to_string())?;
    let timeline = timeline.parse().map_err(|error: types::ParseIdError| error.to_string())?;
    Ok(TenantTimelineId::new(tenant, timeline))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn commands_are_read() {
        assert!(matches!(parse(&format!("pagestream_v3 {ID} {ID}")), Ok(Command::PageStream(_))));
        let backup = parse(&format!("fullbackup {ID} {ID} 0/16B9188 --zstd;")).unwrap();
        let Command::Backup(_, request) = backup else { panic!("{backup:?}") };
        assert!(request.kind == RequestedKind::Full && request.zstd);
        assert_eq!(request.lsn, Some(Lsn(0x16B_9188)));
    }

    #[test]
    fn a_backup_says_which_trace_it_is_of() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        let timeline = TenantTimelineId::new(ID.parse().unwrap(), ID.parse().unwrap());
        let asked =
            BackupRequest { kind: RequestedKind::Standby, lsn: None, zstd: false, trace: Some(trace) };
        let Ok(Command::Backup(id, request)) = parse(&asked.query(timeline)) else { panic!("{asked:?}") };
        assert_eq!((id, request.kind, request.trace), (timeline, RequestedKind::Standby, Some(trace)));
        assert!(
            parse(&format!("basebackup {ID} {ID} --traceparent=1")).unwrap_err().contains("trace context")
        );
    }

    #[test]
    fn leases_are_read() {
        let lease = parse(&format!("lease lsn {ID} {ID} 0/16B9188"));
        assert!(matches!(lease, Ok(Command::Lease(_, Lsn(0x16B_9188), Reach::At))));
        let lease = parse(&format!("lease from {ID} {ID} 0/16B9188"));
        assert!(matches!(lease, Ok(Command::Lease(_, _, Reach::From))));
        assert!(parse(&format!("lease to {ID} {ID} 0/16B9188")).is_err());
        assert!(parse(&format!("lease lsn {ID} {ID}")).is_err());
    }

    #[test]
    fn mistakes_are_told() {
        for bad in ["", "select 1", "pagestream_v3 x y", "basebackup", "pagestream_v2 a b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("basebackup {ID} {ID} 16B")).is_err());
        assert!(parse(&format!("fullbackup {ID} {ID} --standby")).is_err());
        assert!(parse(&format!("basebackup {ID} {ID} --gzip")).unwrap_err().contains("--gzip"));
    }
}
