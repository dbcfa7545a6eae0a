//! control_file
