//! Wires the parts of this program together, and nothing else.
fn main() {}
