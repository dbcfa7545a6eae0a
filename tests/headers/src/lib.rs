//! PostgreSQL's headers as a judge: every constant and every place in a struct that the pure crates rely on is
//! compared with what the C compiler says of the server headers of each PostgreSQL that we read. A minor release
//! that changes one of them is found here, by name, before any page is wrong.
//!
//! - [`constants`]: the numbers in `libs/{types,pg_format,wal_decoder,page_redo}`, by their names there and the
//!   tables in `names/`. A constant that is in no table and no header fails the test. Those in a file that is named
//!   after a version are asked of that version alone.
//! - [`layout`]: `layout/*/*.c` say what our readers and writers assume of structs. They are written by hand
//!   from the Rust sources: whoever reads a new field says so there.
//!
//! What is private to a `.c` file of PostgreSQL cannot be asked for; `names/unchecked*.txt` and the heads of the
//! layout files name it.
#![cfg(test)]

mod compiler;
mod constants;
mod expression;
mod layout;
mod names;
mod scanner;
mod tokens;
