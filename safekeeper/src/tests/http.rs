//! The HTTP API beside its document. What it does is tested where it is used.

use super::*;

#[tokio::test]
async fn the_api_is_as_its_document_says() {
    let directory = tempfile::tempdir().unwrap();
    let safekeeper = Safekeeper::start(directory.path()).await;
    let served = http_api::Served {
        daemon: "safekeeper",
        address: safekeeper.serve_http(NodeId(1)).await.to_string(),
        authorization: credentials().bearer(),
    };
    assert_eq!(served.check().await, 9, "operations");
    safekeeper.stop().await;
}
