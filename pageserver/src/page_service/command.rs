//! The commands of the page service. Pure.

use pageserver_api::BackupRequest;
use types::{Lsn, TenantTimelineId};

#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    PageStream(TenantTimelineId),
    Backup(TenantTimelineId, BackupRequest),
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
        "basebackup" => backup(&words, false),
        "fullbackup" => backup(&words, true),
        "set" => Ok(Command::Set),
        _ => Err(format!("unknown command {command:?}: expected pagestream_v3, basebackup or fullbackup")),
    }
}

fn backup(words: &[&str], full: bool) -> Result<Command, String> {
    let (options, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    if let Some(unknown) = options.iter().find(|option| **option != "--zstd") {
        return Err(format!("unknown option {unknown}: expected --zstd"));
    }
    let (id, lsn) = match words[..] {
        [tenant, timeline] => (ids(tenant, timeline)?, None),
        [tenant, timeline, lsn] => {
            let lsn: Lsn = lsn.parse().map_err(|error: types::ParseLsnError| error.to_string())?;
            (ids(tenant, timeline)?, Some(lsn))
        }
        _ => return Err("expected: basebackup|fullbackup TENANT TIMELINE [LSN] [--zstd]".to_owned()),
    };
    Ok(Command::Backup(id, BackupRequest { full, lsn, zstd: !options.is_empty() }))
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
        assert!(request.full && request.zstd);
        assert_eq!(request.lsn, Some(Lsn(0x16B_9188)));
    }

    #[test]
    fn mistakes_are_told() {
        for bad in ["", "select 1", "pagestream_v3 x y", "basebackup", "pagestream_v2 a b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("basebackup {ID} {ID} 16B")).is_err());
        assert!(parse(&format!("basebackup {ID} {ID} --gzip")).unwrap_err().contains("--gzip"));
    }
}
