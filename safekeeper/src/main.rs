mod wal_store;
fn main() {}
