//! How our connections are set up, at either end, whatever is spoken on them.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// Seconds without a byte, after which the other machine is asked whether it is still there.
const IDLE: u32 = 60;
/// Seconds between one such question and the next.
const INTERVAL: u32 = 10;
/// Questions without an answer, after which it is not.
const QUESTIONS: u32 = 6;

/// Small messages do not wait for more; that a machine went away without a word is found out within two minutes, where Linux
/// by itself would take two hours. It does not judge a peer that is there and says nothing.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &IDLE)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &INTERVAL)?;
    setsockopt(stream, sockopt::TcpKeepCount, &QUESTIONS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_machine_that_vanished_is_noticed_in_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&stream).unwrap();
        assert!(stream.nodelay().unwrap() && getsockopt(&stream, sockopt::KeepAlive).unwrap());
        let idle = getsockopt(&stream, sockopt::TcpKeepIdle).unwrap();
        let interval = getsockopt(&stream, sockopt::TcpKeepInterval).unwrap();
        let questions = getsockopt(&stream, sockopt::TcpKeepCount).unwrap();
        assert!(idle + interval * questions <= 120, "{idle} s and {questions} times {interval} s");
    }
}
