//! Measures Varve beside stock PostgreSQL on this machine.

use clap::Parser as _;

fn main() {
    // `cargo bench` adds this flag of its own.
    let arguments = std::env::args().filter(|argument| argument != "--bench");
    bench::run(&bench::Arguments::parse_from(arguments));
}
