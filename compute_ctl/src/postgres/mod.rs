//! The PostgreSQL server: which one, with which settings, and the process itself.

mod configuration;
mod installation;
mod process;

pub use configuration::{
    ManagedSettings, POSTGRES_USER, changed_arguments, write_files, write_passfile, write_settings,
};
pub use installation::Installation;
pub use process::{ServerCommand, ServerProcess};
