//! What a file of a data directory is, by its path. Pure.

use types::{Fork, Oid, RELSEG_BLOCKS, RelTag, SlruKind};

/// So many hold all blocks that a relation can have.
const MOST_SEGMENTS: u32 = u32::MAX / RELSEG_BLOCKS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TemplateFile {
    Control,
    RelMap {
        spc: Oid,
        db: Oid,
    },
    DatabaseVersion {
        spc: Oid,
        db: Oid,
    },
    Relation {
        rel: RelTag,
        segment: u32,
    },
    Slru {
        slru: SlruKind,
        segment: u32,
    },
    /// How far its subscriptions are.
    Origins,
}

/// None for files that are not part of a timeline: WAL, configuration, caches.
pub(super) fn classify(path: &str) -> Option<TemplateFile> {
    let path = path.trim_start_matches("./");
    for slru in SlruKind::ALL {
        if let Some(name) = path.strip_prefix(slru.directory()).and_then(|rest| rest.strip_prefix('/')) {
            return Some(TemplateFile::Slru { slru, segment: u32::from_str_radix(name, 16).ok()? });
        }
    }
    if path == "pg_logical/replorigin_checkpoint" {
        return Some(TemplateFile::Origins);
    }
    if let Some(name) = path.strip_prefix("global/") {
        return match name {
            "pg_control" => Some(TemplateFile::Control),
            name => in_database(RelTag::GLOBAL_TABLESPACE, 0, name),
        };
    }
    let (db, name) = path.strip_prefix("base/")?.split_once('/')?;
    in_database(RelTag::DEFAULT_TABLESPACE, db.parse().ok()?, name)
}

fn in_database(spc: Oid, db: Oid, name: &str) -> Option<TemplateFile> {
    match name {
        "pg_filenode.map" => Some(TemplateFile::RelMap { spc, db }),
        "PG_VERSION" => Some(TemplateFile::DatabaseVersion { spc, db }),
        name => relation(spc, db, name),
    }
}

/// `NUMBER[_fsm|_vm|_init][.SEGMENT]`
fn relation(spc: Oid, db: Oid, name: &str) -> Option<TemplateFile> {
    let (name, segment) = match name.split_once('.') {
        Some((name, segment)) => (name, segment.parse().ok().filter(|segment| *segment < MOST_SEGMENTS)?),
        None => (name, 0),
    };
    let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    let fork = Fork::ALL.into_iter().find(|fork| fork.file_suffix() == &name[digits..])?;
    Some(TemplateFile::Relation { rel: RelTag { spc, db, rel: name[..digits].parse().ok()?, fork }, segment })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_paths() {
        let rel = RelTag { spc: 1663, db: 5, rel: 2619, fork: Fork::Vm };
        let shared = RelTag { spc: 1664, db: 0, rel: 1260, fork: Fork::Main };
        let known = [
            ("global/pg_control", TemplateFile::Control),
            ("./base/5/2619_vm", TemplateFile::Relation { rel, segment: 0 }),
            ("base/5/2619_vm.2", TemplateFile::Relation { rel, segment: 2 }),
            ("global/1260", TemplateFile::Relation { rel: shared, segment: 0 }),
            ("global/pg_filenode.map", TemplateFile::RelMap { spc: 1664, db: 0 }),
            ("base/5/PG_VERSION", TemplateFile::DatabaseVersion { spc: 1663, db: 5 }),
            ("pg_logical/replorigin_checkpoint", TemplateFile::Origins),
            ("pg_xact/001F", TemplateFile::Slru { slru: SlruKind::Clog, segment: 0x1f }),
            (
                "pg_multixact/members/0000",
                TemplateFile::Slru { slru: SlruKind::MultiXactMembers, segment: 0 },
            ),
        ];
        for (path, file) in known {
            assert_eq!(classify(path), Some(file), "{path}");
        }
        for path in [
            "PG_VERSION",
            "postgresql.conf",
            "pg_wal/000000010000000000000001",
            "base/5/pg_internal.init",
            "base/5/2619.32768",
            "pg_replslot/sub/state",
        ] {
            assert_eq!(classify(path), None, "{path}");
        }
    }
}
