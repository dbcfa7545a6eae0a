//! The store as a process of its own, for tests that are no Rust: it is there until it is killed.
//! Usage: s3_server ADDRESS BUCKET

use s3_server::S3Server;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, bucket] = &arguments[..] else { panic!("usage: s3_server ADDRESS BUCKET") };
    let _server = S3Server::start_at(address, bucket);
    loop {
        std::thread::park();
    }
}
