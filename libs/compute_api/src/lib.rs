//! The contract of `compute_ctl`: what a compute is to be ([`ComputeSpec`]), what it says about itself
//! ([`ComputeStatus`]), and a thin client for its HTTP API. No server code, no
//! files; only where one of them is.

mod client;
mod settings;
mod socket;
mod spec;
mod status;

pub use client::ComputeClient;
pub use settings::{LEAST_SETTINGS, RESERVED_SETTINGS};
pub use socket::{SOCKET_USER, socket_directory};
pub use spec::{
    ComputeMode, ComputeSpec, ConfigureRequest, ConfigureResponse, DatabaseSpec, PageserverAddress, RoleSpec,
    SPEC_FORMAT_VERSION, SafekeeperAddress, SettingSpec, SpecError,
};
pub use status::{
    ComputeState, ComputeStatus, ElectedStatus, ReplicaStatus, STATUS_FORMAT_VERSION, SafekeeperPeerStatus,
    StartStep, StepTime, WalproposerStatus,
};
