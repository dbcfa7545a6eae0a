//! `top`: `status` again and again, with the WAL that each branch has written meanwhile.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use types::{Lsn, TenantTimelineId};

use crate::commands::status::{self, Rates};
use crate::local_env::LocalEnv;
use crate::output::write_raw;

/// Every round asks every part.
const SHORTEST: Duration = Duration::from_millis(200);
/// Cursor home, and everything below it erased (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Ends with Ctrl-C, or after so many rounds.
pub async fn top(env: &LocalEnv, every: Duration, rounds: Option<u32>) -> anyhow::Result<()> {
    tokio::select! {
        shown = show(env, every.max(SHORTEST), rounds) => shown,
        // That is how it is ended: no failure.
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

async fn show(env: &LocalEnv, every: Duration, rounds: Option<u32>) -> anyhow::Result<()> {
    let on_screen = std::io::stdout().is_terminal();
    let mut before: Option<(Instant, BTreeMap<TenantTimelineId, Lsn>)> = None;
    let mut round = 0;
    loop {
        let began = Instant::now();
        let rows = status::rows(env).await?;
        let heads = rows.heads();
        let rates = before.map(|(then, earlier)| rates(&earlier, &heads, began - then));
        let mut screen = Vec::new();
        if on_screen {
            write!(screen, "{CLEAR}")?;
        }
        // What cannot be seen as a colour is taken out again.
        let text = rows.draw(env, rates.as_ref());
        match on_screen {
            true => writeln!(screen, "{text}\n\nEvery {} s. Ctrl-C ends it.", every.as_secs_f32())?,
            false => writeln!(screen, "{}\n", anstream::adapter::strip_str(&text))?,
        }
        write_raw(&screen)?;
        round += 1;
        if rounds.is_some_and(|rounds| round >= rounds) {
            return Ok(());
        }
        before = Some((began, heads));
        tokio::time::sleep(every.saturating_sub(began.elapsed())).await;
    }
}

/// Bytes of WAL a second. A branch that was not there before has none yet.
pub fn rates(
    earlier: &BTreeMap<TenantTimelineId, Lsn>,
    now: &BTreeMap<TenantTimelineId, Lsn>,
    time: Duration,
) -> Rates {
    let rate = |(ttid, lsn): (&TenantTimelineId, &Lsn)| {
        let written = lsn.saturating_distance(*earlier.get(ttid)?);
        Some((*ttid, (written as f64 / time.as_secs_f64()) as u64))
    };
    now.iter().filter_map(rate).collect()
}

#[cfg(test)]
mod tests {
    use types::{TenantId, TimelineId};

    use super::*;

    #[test]
    fn rates_are_of_what_was_there_before() {
        let ttid = |n| TenantTimelineId::new(TenantId([1; 16]), TimelineId([n; 16]));
        let earlier = BTreeMap::from([(ttid(1), Lsn(1000)), (ttid(2), Lsn(50))]);
        let now = BTreeMap::from([(ttid(1), Lsn(5000)), (ttid(2), Lsn(50)), (ttid(3), Lsn(9))]);
        let expected = BTreeMap::from([(ttid(1), 2000), (ttid(2), 0)]);
        assert_eq!(rates(&earlier, &now, Duration::from_secs(2)), expected);
    }
}
