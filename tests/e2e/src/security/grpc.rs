//! The storage broker: both of its methods, and what it says over HTTP.

use auth::{Credentials, Scope};
use broker_api::BrokerClient;
use futures_util::stream;
use harness::block_on;

use super::tokens::{Bearer, Tokens};

#[test]
fn no_position_is_told_or_taken_without_business() {
    let cluster = super::quiet("security-grpc");
    let tokens = Tokens::of(&cluster);
    let endpoint = format!("http://{}", cluster.http_address("broker"));
    block_on(async {
        for bearer in Bearer::all() {
            // A client of ours cannot even be made without something that looks like a token.
            let token = tokens.sign(bearer).filter(|_| bearer != Bearer::Nonsense);
            let token = token.unwrap_or_else(|| "not.a.token".to_owned());
            let client = BrokerClient::connect_lazy(&endpoint, Credentials::fixed(&token).unwrap()).unwrap();
            let heard = match client.subscribe(None).await {
                Ok(mut positions) => positions.next().await.is_some_and(|position| position.is_ok()),
                Err(_) => false,
            };
            let told = client.publish(stream::empty()).await.is_ok();
            let expected = bearer.is(Scope::Broker);
            assert_eq!((heard, told), (expected, expected), "{bearer:?}");
            for path in ["/status", "/metrics"] {
                let request = http_client::client(None).get(format!("{endpoint}{path}")).bearer_auth(&token);
                let status = request.send().await.unwrap().status().as_u16();
                let open = bearer.is(Scope::Broker) || bearer.is(Scope::Monitor);
                let refusal = if bearer.is_known() { 403 } else { 401 };
                assert_eq!(status, if open { 200 } else { refusal }, "{path} for {bearer:?}");
            }
        }
    });
}
