//! `container`: what the images run where every part has a container of its own (docker/README.md), and `machine`,
//! the same where they are machines with our packages (docs/self-hosting.md).
//!
//! Parts are started and ended by whoever runs them, Compose or systemd; here is only what a part has to know and to do
//! itself. The cluster's directory is a volume that all of them mount, or is copied: `init` writes it, the others read it.

mod compute;
mod first_start;
mod first_tenant;
mod health;
mod init;

use std::path::Path;

use compute_api::ComputeMode;

use crate::arguments::ContainerCommand;
use crate::local_env::LocalEnv;
use crate::output::Output;

pub async fn run(directory: &Path, command: ContainerCommand, output: Output) -> anyhow::Result<()> {
    match command {
        ContainerCommand::Init(arguments) => init::init(directory, &arguments, output).await,
        ContainerCommand::Compute {
            branch_name,
            hot_standby,
            lsn,
            settings,
            suspend_timeout,
            pg_port,
            listen_http,
            advertise,
            home,
        } => {
            let mode = match lsn {
                Some(lsn) => ComputeMode::Static { lsn },
                None if hot_standby => ComputeMode::Replica,
                None => ComputeMode::Primary,
            };
            let wanted = compute::Wanted {
                branch_name,
                mode,
                settings,
                suspend_timeout,
                pg_port,
                listen_http,
                advertise,
            };
            compute::compute(LocalEnv::load(directory)?, &wanted, &home)
        }
        ContainerCommand::Health { part } => health::health(&LocalEnv::load(directory)?, part, output).await,
    }
}
