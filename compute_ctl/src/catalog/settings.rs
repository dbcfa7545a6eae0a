//! Settings of a running server: read postgresql.conf again, and say what that could not change.

use std::time::Duration;

use super::Superuser;
use crate::error::ComputeError;

const POLL: Duration = Duration::from_millis(10);
/// The postmaster is told by a signal and tells us by another; on a very busy machine that takes a while.
const MOST_POLLS: u32 = 300;

/// Makes the server read its configuration, and returns what has to wait for the next start.
pub async fn reload_settings(session: &mut Superuser) -> Result<Vec<String>, ComputeError> {
    let loaded = "SELECT pg_conf_load_time()";
    let action = "reload the settings";
    let before = session.run(action, loaded).await?;
    session.run(action, "SELECT pg_reload_conf()").await?;
    for _ in 0..MOST_POLLS {
        if session.run(action, loaded).await? != before {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let pending = session.run(action, "SELECT name FROM pg_settings WHERE pending_restart").await?;
    Ok(pending.into_iter().flatten().flatten().collect())
}

/// An error for the first setting of postgresql.conf, as it stands on disk now, that the running server does not know
/// or whose value it refuses. What it could only take at its next start is not judged.
pub async fn check_settings(session: &mut Superuser) -> Result<(), ComputeError> {
    let query = "SELECT f.name, f.error FROM pg_file_settings f LEFT JOIN pg_settings s USING (name)
                 WHERE f.error IS NOT NULL AND s.context IS DISTINCT FROM 'postmaster'
                   AND (f.name IS NOT NULL OR f.sourcefile IS NOT NULL) LIMIT 1";
    let refused = session.run("look through the settings", query).await?;
    match refused.into_iter().next().as_deref() {
        Some([name, Some(reason)]) => {
            // A syntax error has a place and no name: the whole file is refused. What has neither is a setting that is
            // not in the file any more, and goes back to its default at the next start.
            let name = name.clone().unwrap_or_else(|| "postgresql.conf".to_owned());
            Err(ComputeError::Setting { name, reason: reason.clone() })
        }
        Some(_) | None => Ok(()),
    }
}
