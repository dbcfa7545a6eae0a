//! How a cluster's state looks on a terminal of 80 columns: its processes, its branches, its troubles.

use std::collections::BTreeMap;

use types::{Lsn, TenantId, TenantTimelineId};

use super::{Part, Position, Rates, Row, State};
use crate::local_env::{Branches, LocalEnv};
use crate::output::bytes;
use crate::output::table::{Cell, Look, table, wrap};
use crate::storage::Daemon;

const COLUMNS: usize = 80;

pub fn draw(
    rows: &[Row],
    troubles: &[String],
    env: &LocalEnv,
    branches: &Branches,
    rates: Option<&Rates>,
) -> String {
    let mut sections = vec![headline(rows, troubles, env), processes(rows)];
    sections.extend(positions(rows, branches, rates));
    let troubles = troubles.iter().map(|trouble| Look::Bad.paint(&wrap(trouble, COLUMNS, "  ")));
    sections.extend(Some(troubles.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty()));
    sections.join("\n\n")
}

fn headline(rows: &[Row], troubles: &[String], env: &LocalEnv) -> String {
    let wanted = rows.iter().filter(|row| row.state != State::Stopped);
    let up = wanted.clone().filter(|row| row.state.is_well()).count();
    let verdict = match (up, wanted.count()) {
        (up, wanted) if up < wanted => Look::Bad.paint(&format!("{up} of {wanted} parts are up")),
        _ if troubles.is_empty() => Look::Good.paint("everything is up"),
        _ => Look::Bad.paint("everything is up, but see below"),
    };
    format!("{}: {verdict}", env.directory.display())
}

fn processes(rows: &[Row]) -> String {
    let lines = rows.iter().map(|row| {
        let [pg, http] = match row.ports.as_slice() {
            // The broker speaks gRPC, which is HTTP.
            [http] => ["-".to_owned(), http.to_string()],
            [pg, http, ..] => [pg.to_string(), http.to_string()],
            [] => [String::new(), String::new()],
        };
        let branch = match (&row.part, row.positions.first()) {
            (Part::Endpoint { branch, follows: true, .. }, Some(position)) if position.lag > 0 => {
                format!("{branch}, {} behind", bytes(position.lag))
            }
            (Part::Endpoint { branch, .. }, _) => branch.clone(),
            (Part::Daemon(_), _) => String::new(),
        };
        let pid = row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let state = Cell::new(row.state.name(), row.state.look());
        vec![row.name.as_str().into(), state, pid.into(), pg.into(), http.into(), branch.into()]
    });
    table(&["PART", "STATE", "PID", "PG", "HTTP", "BRANCH"], lines)
}

/// A table of branches, one for each tenant.
fn positions(rows: &[Row], branches: &Branches, rates: Option<&Rates>) -> Vec<String> {
    let mut heads: BTreeMap<TenantId, BTreeMap<(Option<&str>, TenantTimelineId), Lsn>> = BTreeMap::new();
    for position in rows.iter().flat_map(|row| &row.positions) {
        let tenant = heads.entry(position.timeline.tenant_id).or_default();
        let head = tenant.entry((position.branch.as_deref(), position.timeline)).or_insert(Lsn::INVALID);
        *head = (*head).max(position.lsn);
    }
    let storage: Vec<(&Row, String)> = rows
        .iter()
        .filter_map(|row| match row.part {
            Part::Daemon(Daemon::Safekeeper(id)) => Some((row, format!("SK {id}"))),
            Part::Daemon(Daemon::Pageserver) => Some((row, "PAGESERVER".to_owned())),
            Part::Daemon(Daemon::Broker) | Part::Endpoint { .. } => None,
        })
        .collect();
    let mut header = vec!["BRANCH", "HEAD"];
    header.extend(rates.map(|_| "WAL/S"));
    header.extend(storage.iter().map(|(_, title)| title.as_str()));
    let several = heads.len() > 1;
    let section = |(tenant, heads): (&TenantId, &BTreeMap<(Option<&str>, TenantTimelineId), Lsn>)| {
        let mut text = String::new();
        if several {
            let is_default = branches.default_tenant() == Some(*tenant);
            text = format!("Tenant {tenant}{}\n", if is_default { ", the default" } else { "" });
        }
        let lines = heads.iter().map(|((branch, ttid), head)| {
            let mut line = vec![Cell::from(branch.unwrap_or("(no name)")), head.to_string().into()];
            line.extend(
                rates.map(|rates| Cell::from(rates.get(ttid).copied().map_or_else(String::new, bytes))),
            );
            line.extend(storage.iter().map(|(row, _)| behind(row, *ttid)));
            line
        });
        text + &table(&header, lines)
    };
    let mut tenants: Vec<_> = heads.iter().collect();
    tenants.sort_by_key(|(tenant, _)| branches.default_tenant() != Some(**tenant));
    let mut sections: Vec<String> = tenants.into_iter().map(section).collect();
    if let Some(first) = sections.first_mut() {
        let legend = "How far storage (SK: safekeeper) is behind the head of each branch:";
        first.insert_str(0, &format!("{legend}\n{}", if several { "\n" } else { "" }));
    }
    sections
}

fn behind(row: &Row, ttid: TenantTimelineId) -> Cell {
    let position: Option<&Position> = row.positions.iter().find(|position| position.timeline == ttid);
    match position {
        _ if row.state != State::Up => Cell::new("?", Look::Bad),
        None => Cell::new("none", Look::Bad),
        Some(position) if position.broken => Cell::new(bytes(position.lag), Look::Bad),
        Some(position) if position.lag == 0 => Cell::new("0", Look::Faint),
        Some(position) => Cell::new(bytes(position.lag), Look::Plain),
    }
}

impl State {
    fn is_well(self) -> bool {
        self.look() == Look::Good
    }

    fn look(self) -> Look {
        use compute_api::ComputeState;
        match self {
            State::Up | State::Compute(ComputeState::Running | ComputeState::Suspended) => Look::Good,
            State::Compute(ComputeState::Starting | ComputeState::Stopping) => Look::Warning,
            State::Stopped | State::Compute(ComputeState::Stopped) => Look::Faint,
            State::Down
            | State::NoAnswer
            | State::Unreadable
            | State::Compute(ComputeState::Crashed | ComputeState::Fenced | ComputeState::Failed) => {
                Look::Bad
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{TTID, cluster, down, replica};
    use super::super::{fill_lag, troubles};
    use super::*;
    use crate::local_env::Config;

    fn drawn(change: impl FnOnce(&mut Vec<Row>)) -> String {
        let place = tempfile::tempdir().unwrap();
        let env = LocalEnv::create(
            place.path(),
            Config::new(None, 3, crate::local_env::Installation::of_a_test()).unwrap(),
        )
        .unwrap();
        let mut branches = env.branches().unwrap();
        branches.add_tenant(TTID.tenant_id, true).unwrap();
        branches.add_branch(TTID.tenant_id, "main", TTID.timeline_id, types::PgVersion::V15).unwrap();
        let mut rows = cluster(&branches);
        change(&mut rows);
        let text = draw(&rows, &troubles::find(&rows, &env), &env, &branches, None);
        anstream::adapter::strip_str(&text)
            .to_string()
            .replace(&env.directory.display().to_string(), "/place")
    }

    #[test]
    fn a_sound_cluster_is_a_page_of_80_columns() {
        let text = drawn(|_| ());
        let expected = "\
/place: everything is up

PART           STATE    PID    PG     HTTP   BRANCH
broker         up       12345  28011  28031
safekeeper-1   up       12345  28011  28031
safekeeper-2   up       12345  28011  28031
safekeeper-3   up       12345  28011  28031
pageserver     up       12345  28011  28031
endpoint main  running  12345  28100  28150  main

How far storage (SK: safekeeper) is behind the head of each branch:
BRANCH  HEAD       SK 1  SK 2  SK 3   PAGESERVER
main    0/2000000  0     0     256 B  16.0 MiB";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_replica_says_how_far_it_is_behind() {
        let text = drawn(|rows| {
            rows.push(replica(Lsn(0x1FF_0000)));
            fill_lag(rows);
        });
        assert!(
            text.contains("endpoint ro    running  12345  28101  28151  main, 64.0 KiB behind"),
            "{text}"
        );
        assert!(text.contains("endpoint main  running  12345  28100  28150  main\n"), "{text}");
    }

    #[test]
    fn what_is_down_stands_out_and_lines_stay_short() {
        let text = drawn(|rows| {
            down(&mut rows[1]);
            down(&mut rows[2]);
            rows[4].positions.clear();
        });
        for words in ["/place: 4 of 6 parts are up", "down     -", "none", "Down: safekeeper-1", "no quorum"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }
}
