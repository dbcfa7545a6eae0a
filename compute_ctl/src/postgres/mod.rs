//! The PostgreSQL server: which one, with which settings, and the process itself.

mod configuration;
mod installation;
mod process;
mod storage;

pub use configuration::{
    Listen, ManagedSettings, POSTGRES_USER, changed_arguments, write_files, write_primary, write_settings,
};
pub use installation::Installation;
pub use process::{ServerCommand, ServerProcess};
pub use storage::{StorageTls, primary_conninfo};
