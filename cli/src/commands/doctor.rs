//! `doctor`: looks at what a cluster stands on, and says in words what is wrong with it and what to do.
//!
//! `status` says how things are now; this says whether they can be trusted: versions, keys, clocks, certificates,
//! object storage, file systems and their disks.

mod certificates;
mod finding;
mod parts;
mod places;
mod storage;

use std::process::ExitCode;

use crate::local_env::LocalEnv;
use crate::output::Output;

pub async fn doctor(env: &LocalEnv, output: Output) -> anyhow::Result<ExitCode> {
    output.progress("looking at all parts, object storage and disks");
    let mut findings = parts::examine(env).await?;
    findings.extend(certificates::examine(env));
    // What is on the disks of other hosts, those would have to say.
    if env.config.hosts.is_none() {
        findings.extend(storage::examine(env));
        findings.extend(places::examine(env));
    }
    let bad = findings.iter().any(finding::Finding::is_bad);
    output.result(&findings, || finding::draw(&findings))?;
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
