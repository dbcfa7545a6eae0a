//! `timeline list`: the branches of a tenant as a tree, each below the one that it left.

use std::collections::BTreeMap;

use pageserver_api::models::TimelineInfo;
use types::TimelineId;

use crate::output::bytes;
use crate::output::table::{Cell, Look, table};

/// `names` are those of the tenant's branches. A name whose timeline the pageserver does not have is listed too,
/// and so is a timeline that has no name.
pub fn draw_tree(infos: &[TimelineInfo], names: &BTreeMap<String, TimelineId>) -> String {
    let name_of =
        |id: TimelineId| names.iter().find(|(_, named)| **named == id).map(|(name, _)| name.as_str());
    let mut children: BTreeMap<Option<TimelineId>, Vec<&TimelineInfo>> = BTreeMap::new();
    let is_known = |id: &TimelineId| infos.iter().any(|info| info.timeline_id == *id);
    for info in infos {
        // A branch whose ancestor is not in the list stands at the left too, rather than nowhere.
        children.entry(info.ancestor_timeline_id.filter(is_known)).or_default().push(info);
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|info| (info.ancestor_lsn, name_of(info.timeline_id), info.timeline_id));
    }
    let mut rows = Vec::new();
    // (timeline, what stands before its name, what stands before the names below it), drawn depth first.
    let mut stack: Vec<(&TimelineInfo, String, String)> = Vec::new();
    for root in children.get(&None).into_iter().flatten().rev() {
        stack.push((root, String::new(), String::new()));
    }
    while let Some((info, head, rest)) = stack.pop() {
        let name = name_of(info.timeline_id).unwrap_or("(no name)");
        let archived = if info.is_archived { " (archived)" } else { "" };
        rows.push(row(format!("{head}{name}{archived}"), info));
        let below = children.get(&Some(info.timeline_id)).map_or(&[][..], Vec::as_slice);
        for (at, child) in below.iter().enumerate().rev() {
            let (corner, bar) = if at + 1 == below.len() { ("┗━ ", "   ") } else { ("┣━ ", "┃  ") };
            stack.push((child, format!("{rest}{corner}"), format!("{rest}{bar}")));
        }
    }
    rows.extend(names.iter().filter(|(_, id)| !is_known(id)).map(|(name, id)| {
        let missing = Cell::new("missing", Look::Bad);
        vec![name.as_str().into(), missing, "-".into(), "-".into(), id.to_string().into()]
    }));
    table(&["BRANCH", "LEFT AT", "HEAD", "SIZE", "TIMELINE"], rows)
}

fn row(name: String, info: &TimelineInfo) -> Vec<Cell> {
    let left = info.ancestor_lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
    vec![
        name.into(),
        left.into(),
        info.last_record_lsn.to_string().into(),
        info.current_logical_size.map_or_else(|| "-".to_owned(), bytes).into(),
        Cell::new(info.timeline_id.to_string(), Look::Faint),
    ]
}

#[cfg(test)]
mod tests {
    use pageserver_api::models::TimelineState;
    use types::{Lsn, PgVersion, TenantId, WalSegmentSize};

    use super::*;

    const fn id(number: u8) -> TimelineId {
        TimelineId([number; 16])
    }

    fn timeline(number: u8, ancestor: Option<(u8, u64)>) -> TimelineInfo {
        TimelineInfo {
            tenant_id: TenantId([9; 16]),
            timeline_id: id(number),
            ancestor_timeline_id: ancestor.map(|(number, _)| id(number)),
            ancestor_lsn: ancestor.map(|(_, lsn)| Lsn(lsn)),
            last_record_lsn: Lsn(0x100_0000),
            prev_record_lsn: Lsn(0),
            disk_consistent_lsn: Lsn(0),
            remote_consistent_lsn: Lsn(0),
            initdb_lsn: Lsn(0),
            gc_cutoff_lsn: Lsn(0),
            current_logical_size: Some(3 << 20),
            current_physical_size: 0,
            pg_version: PgVersion::V15,
            system_identifier: String::new(),
            wal_seg_size: WalSegmentSize::DEFAULT,
            is_archived: false,
            walreceiver_status: String::new(),
            state: TimelineState::Active,
        }
    }

    /// The first two columns of the tree.
    fn drawn(infos: &[TimelineInfo], names: &[(&str, u8)]) -> Vec<String> {
        let names = names.iter().map(|(name, number)| ((*name).to_owned(), id(*number))).collect();
        let text = anstream::adapter::strip_str(&draw_tree(infos, &names)).to_string();
        text.lines()
            .skip(1)
            .map(|line| line.split("  0/1000000").next().unwrap().trim_end().to_owned())
            .collect()
    }

    #[test]
    fn branches_of_branches_stand_below_them_in_the_order_in_which_they_left() {
        let infos = [
            timeline(4, Some((2, 0x50))),
            timeline(3, Some((1, 0x30))),
            timeline(1, None),
            timeline(5, Some((4, 0x60))),
            timeline(2, Some((1, 0x20))),
        ];
        let names = [("main", 1), ("early", 2), ("late", 3), ("deep", 4), ("deeper", 5)];
        let expected = [
            "main             -",
            "┣━ early         0/20",
            "┃  ┗━ deep       0/50",
            "┃     ┗━ deeper  0/60",
            "┗━ late          0/30",
        ];
        assert_eq!(drawn(&infos, &names), expected);
    }

    #[test]
    fn nothing_is_left_out() {
        // One without a name, one whose ancestor is gone, and a name whose timeline is gone.
        let infos = [timeline(1, None), timeline(2, Some((1, 0x20))), timeline(3, Some((7, 0x40)))];
        let lines = drawn(&infos, &[("main", 1), ("orphan", 3), ("lost", 8)]);
        assert_eq!(lines[..3], ["main          -", "┗━ (no name)  0/20", "orphan        0/40"]);
        assert!(lines[3].starts_with("lost          missing") && lines.len() == 4, "{lines:?}");
        assert_eq!(drawn(&[], &[]), Vec::<String>::new());
    }
}
