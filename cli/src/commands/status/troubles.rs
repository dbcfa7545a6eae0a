//! What is wrong with a cluster, and the command that mends it.

use compute_api::ComputeState;

use super::{Part, Row, State};
use crate::local_env::LocalEnv;
use crate::storage::Daemon;

/// One sentence or two, with the commands in backquotes.
pub fn find(rows: &[Row], env: &LocalEnv) -> Vec<String> {
    let varve = env.varve();
    if env.config.hosts.is_none() && rows.iter().all(|row| row.pid.is_none()) {
        let nothing = format!("Nothing runs. `{varve} up` starts everything; the data is where it was.");
        return std::iter::once(nothing).chain(rows.iter().filter_map(unreadable)).collect();
    }
    let mut troubles = Vec::new();
    troubles.extend(down(rows, env, &varve));
    troubles.extend(no_quorum(rows));
    troubles.extend(rows.iter().filter_map(|row| unwell(row, &varve)));
    troubles.extend(rows.iter().filter_map(unreadable));
    troubles.extend(rows.iter().filter_map(|row| without_timelines(row, rows)));
    troubles.extend(rows.iter().flat_map(|row| wrong_wal(row, &varve)));
    troubles
}

fn down(rows: &[Row], env: &LocalEnv, varve: &str) -> Option<String> {
    let down: Vec<&Row> = rows.iter().filter(|row| row.state == State::Down).collect();
    let first = down.first()?;
    let names: Vec<&str> = down.iter().map(|row| row.name.as_str()).collect();
    let names = names.join(", ");
    if env.config.hosts.is_some() {
        return Some(format!(
            "Down or out of reach: {names}. `docker compose up --detach` starts what is down."
        ));
    }
    let log = log_name(first);
    Some(format!(
        "Down: {names}. `{varve} start` starts what is down, `{varve} logs -n 20 {log}` says why it ended."
    ))
}

fn log_name(row: &Row) -> &str {
    match &row.part {
        Part::Daemon(_) => &row.name,
        Part::Endpoint { name, .. } => name,
    }
}

fn no_quorum(rows: &[Row]) -> Option<String> {
    let safekeepers = rows.iter().filter(|row| matches!(row.part, Part::Daemon(Daemon::Safekeeper(_))));
    let all = safekeepers.clone().count();
    let up = safekeepers.filter(|row| row.state == State::Up).count();
    (up * 2 <= all).then(|| {
        format!("Only {up} of {all} safekeepers are up, which is no quorum: commits wait until more are.")
    })
}

/// A safekeeper that does not have what another has: its disk was lost, or a branch was made without it.
fn without_timelines(row: &Row, rows: &[Row]) -> Option<String> {
    let is_safekeeper = |row: &Row| matches!(row.part, Part::Daemon(Daemon::Safekeeper(_)));
    if !is_safekeeper(row) || row.state != State::Up {
        return None;
    }
    let others = rows.iter().filter(|other| is_safekeeper(other)).flat_map(|other| &other.positions);
    let has = |ttid| row.positions.iter().any(|position| position.timeline == ttid);
    let mut missing: Vec<String> = others
        .filter(|position| !has(position.timeline))
        .map(|position| position.branch.clone().unwrap_or_else(|| position.timeline.timeline_id.to_string()))
        .collect();
    missing.sort();
    missing.dedup();
    (!missing.is_empty()).then(|| {
        format!(
            "{} does not have: {}. Their commits rest on the other safekeepers alone; one loss more may stop them.",
            row.name,
            missing.join(", ")
        )
    })
}

/// A process that runs and does not do its work.
fn unwell(row: &Row, varve: &str) -> Option<String> {
    let (name, log) = (&row.name, log_name(row));
    let said = row.message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default();
    match row.state {
        State::NoAnswer => Some(format!(
            "{name} runs (pid {}) but does not answer: `{varve} logs -n 20 {log}` may say why.",
            row.pid.unwrap_or_default()
        )),
        State::Compute(ComputeState::Crashed) => Some(format!(
            "{name}: PostgreSQL crashed and starts anew{said}. Its log: `{varve} logs {log}/postgres`."
        )),
        State::Compute(ComputeState::Fenced) => Some(format!(
            "{name} was fenced off by a newer compute{said}. `{varve} endpoint start {log}` takes over."
        )),
        State::Compute(ComputeState::Failed) => {
            Some(format!("{name} failed{said}. `{varve} logs -n 20 {log}` says more."))
        }
        State::Compute(
            ComputeState::Starting
            | ComputeState::Running
            | ComputeState::Stopping
            | ComputeState::Suspended
            | ComputeState::Stopped,
        )
        | State::Up
        | State::Unreadable
        | State::Stopped
        | State::Down => None,
    }
}

fn unreadable(row: &Row) -> Option<String> {
    let why = row.message.as_deref().unwrap_or_default();
    (row.state == State::Unreadable).then(|| format!("{} cannot be read. {why}.", row.name))
}

fn wrong_wal<'a>(row: &'a Row, varve: &'a str) -> impl Iterator<Item = String> + 'a {
    row.positions.iter().filter_map(move |position| {
        let branch = position.branch.as_deref().unwrap_or("(no name)");
        if position.broken {
            Some(format!(
                "Branch {branch}: the pageserver met WAL at {} that it cannot pass: see `{varve} logs pageserver`.",
                position.lsn
            ))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{cluster, down};
    use super::*;
    use crate::local_env::Config;

    fn world() -> (tempfile::TempDir, LocalEnv, Vec<Row>) {
        let place = tempfile::tempdir().unwrap();
        let env = LocalEnv::create(
            place.path(),
            Config::new(None, 3, crate::local_env::Installation::of_a_test()).unwrap(),
        )
        .unwrap();
        let rows = cluster(&env.branches().unwrap());
        (place, env, rows)
    }

    #[test]
    fn a_sound_cluster_has_no_troubles() {
        let (_place, env, mut rows) = world();
        rows[5].state = State::Stopped;
        assert_eq!(find(&rows, &env), Vec::<String>::new());
    }

    #[test]
    fn what_is_down_is_named_with_what_starts_it() {
        let (_place, env, mut rows) = world();
        down(&mut rows[2]);
        let troubles = find(&rows, &env);
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert!(troubles[0].starts_with("Down: safekeeper-2. `varve --data-dir "), "{troubles:?}");
        assert!(troubles[0].contains(" start` starts") && troubles[0].contains(" logs -n 20 safekeeper-2`"));

        down(&mut rows[1]);
        down(&mut rows[5]);
        let troubles = find(&rows, &env);
        assert!(troubles[0].starts_with("Down: safekeeper-1, safekeeper-2, endpoint main."), "{troubles:?}");
        assert!(troubles[1].contains("1 of 3 safekeepers") && troubles.len() == 2, "{troubles:?}");

        rows.iter_mut().for_each(down);
        let troubles = find(&rows, &env);
        assert!(troubles.len() == 1 && troubles[0].contains(" up` starts everything"), "{troubles:?}");
    }

    #[test]
    fn a_safekeeper_without_a_timeline_is_named() {
        let (_place, env, mut rows) = world();
        rows[3].positions.clear();
        let troubles = find(&rows, &env);
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert!(troubles[0].starts_with("safekeeper-3 does not have: "), "{troubles:?}");
        // One that does not answer may have all of them.
        down(&mut rows[3]);
        assert!(find(&rows, &env).iter().all(|trouble| !trouble.contains("does not have")));
    }

    #[test]
    fn what_runs_and_does_not_work_is_named() {
        let (_place, env, mut rows) = world();
        rows[4].state = State::NoAnswer;
        rows[5].state = State::Compute(ComputeState::Failed);
        rows[5].message = Some("no quorum".into());
        rows[4].positions[0].broken = true;
        let troubles = find(&rows, &env).join("\n");
        for words in ["pageserver runs (pid 12345)", "endpoint main failed (no quorum)", "cannot pass"] {
            assert!(troubles.contains(words), "{words}: {troubles}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_whether_anything_runs_or_not() {
        let (_place, env, mut rows) = world();
        let unreadable = |rows: &mut Vec<Row>| {
            rows[5].state = State::Unreadable;
            rows[5].message = Some("endpoint.json is not understood".into());
        };
        unreadable(&mut rows);
        let told = ["endpoint main cannot be read. endpoint.json is not understood."];
        assert_eq!(find(&rows, &env), told);
        rows.iter_mut().for_each(down);
        unreadable(&mut rows);
        assert_eq!(find(&rows, &env)[1..], told);
    }
}
