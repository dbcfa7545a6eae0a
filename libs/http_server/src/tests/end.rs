//! The end of the service: who is waited for, and who is not.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{LIMITS, Limits, Port, get_request, to_the_end};

#[tokio::test]
async fn a_client_that_is_never_finished_with_does_not_hold_up_the_end() {
    let port = Port::open(Limits { farewell: Duration::from_millis(50), ..LIMITS }).await;
    let mut asking = port.connect().await;
    asking.write_all(get_request("/never", Some(&port.token()), "").as_bytes()).await.unwrap();
    // Until it is under way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    port.stop().await;
    assert_eq!(to_the_end(&mut asking).await, "");
}

#[tokio::test]
async fn who_wants_nothing_is_not_waited_for_and_who_wants_something_is() {
    let port = Port::open(LIMITS).await;
    let token = port.token();
    let mut silent = port.connect().await;
    let mut idle = port.connect().await;
    idle.write_all(get_request("/v1/status", Some(&token), "").as_bytes()).await.unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    let mut asking = port.connect().await;
    asking.write_all(get_request("/late", Some(&token), "").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;

    let address = port.address;
    tokio::time::timeout(LIMITS.farewell, port.stop()).await.unwrap();
    assert!(to_the_end(&mut asking).await.ends_with("late"));
    assert!(to_the_end(&mut idle).await.ends_with("fine"));
    assert_eq!(to_the_end(&mut silent).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}
