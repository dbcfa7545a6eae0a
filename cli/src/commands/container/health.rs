//! `container health`: asks the part in this container over its own API. For HEALTHCHECK.

use anyhow::bail;
use compute_api::ComputeClient;
use http_client::{HttpClient, Method};
use pageserver_api::PageserverClient;
use safekeeper_api::http::Client as SafekeeperClient;
use serde_json::json;

use super::compute::HTTP_ADDRESS;
use crate::arguments::Part;
use crate::local_env::LocalEnv;
use crate::output::Output;
use crate::storage::local;

pub async fn health(env: &LocalEnv, part: Part, output: Output) -> anyhow::Result<()> {
    let ports = env.config.ports();
    let here = |port| local(port).to_string();
    let credentials = env.credentials.clone();
    match part {
        Part::Broker => {
            let broker = HttpClient::new("the storage broker", &here(ports.broker()), credentials);
            broker.send(broker.request(Method::GET, "/status")).await?;
        }
        Part::Safekeeper => {
            SafekeeperClient::new(&here(ports.safekeeper_http(1)), credentials).status().await?;
        }
        Part::Pageserver => {
            PageserverClient::new(&here(ports.pageserver_http()), credentials).status().await?;
        }
        Part::Compute => {
            let status = ComputeClient::new(HTTP_ADDRESS, credentials).status().await?;
            if !status.state.takes_clients() {
                bail!("{:?}: {}", status.state, status.message.unwrap_or_default());
            }
        }
    }
    // Docker keeps what a health check prints: nothing, as long as all is well.
    output.result(&json!({ "healthy": true }), String::new)
}
