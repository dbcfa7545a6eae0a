//! Every route of every HTTP API, as the documents in docs/openapi name them.

use auth::Scope;
use harness::block_on;
use reqwest::Method;
use serde_json::Value;

use super::tokens::{Bearer, Tokens};

/// An API, the daemon to ask, and whose tokens open all of it.
const APIS: [(&str, &str, Scope); 3] = [
    ("pageserver", "pageserver", Scope::Pageserver),
    ("safekeeper", "safekeeper-1", Scope::Safekeeper),
    ("compute_ctl", "endpoint-main", Scope::Admin),
];

struct Route {
    method: Method,
    path: String,
}

impl Route {
    fn is_of_tenant(&self) -> bool {
        self.path.starts_with("/v1/tenant/{")
    }

    /// What is to be let in. It is said here once more, and not asked of the code that decides.
    fn lets_in(&self, part: Scope, bearer: Bearer) -> bool {
        let looks = self.method == Method::GET;
        let may_look = bearer.is(Scope::Monitor) || (bearer == Bearer::Tenant && self.is_of_tenant());
        bearer.is(part) || (looks && may_look)
    }
}

fn routes(api: &str) -> Vec<Route> {
    let path = format!("{}/../../docs/openapi/{api}.json", env!("CARGO_MANIFEST_DIR"));
    let document: Value = serde_json::from_slice(&std::fs::read(path).expect("a document")).expect("JSON");
    let mut routes = vec![Route { method: Method::GET, path: "/metrics".to_owned() }];
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            routes
                .push(Route { method: method.to_uppercase().parse().expect("a method"), path: path.clone() });
        }
    }
    routes
}

async fn ask(address: &str, route: &Route, ids: (&str, &str), token: Option<String>) -> (u16, String) {
    let mut path = route.path.clone();
    for (variable, value) in
        [("tenant", ids.0), ("tenant_id", ids.0), ("timeline", ids.1), ("timeline_id", ids.1)]
    {
        path = path.replace(&format!("{{{variable}}}"), value);
    }
    let mut request =
        http_client::client(None).request(route.method.clone(), format!("http://{address}{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

#[test]
fn no_route_is_open_to_who_has_no_business_there() {
    let cluster = super::quiet("security-http");
    let tokens = Tokens::of(&cluster);
    let (tenant, timeline) = cluster.ids("main");
    let absent = "00000000000000000000000000000001";
    block_on(async {
        let (mut refused, mut let_in) = (0, 0);
        for (api, daemon, part) in APIS {
            let (address, routes) = (cluster.http_address(daemon), routes(api));
            assert!(routes.len() > 3, "{api} has hardly any routes");
            for route in &routes {
                for bearer in Bearer::all() {
                    let name = format!("{} {} of {daemon} for {bearer:?}", route.method, route.path);
                    if route.lets_in(part, bearer) {
                        // Only what changes nothing is really done.
                        if route.method == Method::GET {
                            let (status, _) =
                                ask(&address, route, (&tenant, &timeline), tokens.sign(bearer)).await;
                            assert!(!matches!(status, 401 | 403), "{name}: {status}");
                            let_in += 1;
                        }
                        continue;
                    }
                    let theirs = ask(&address, route, (&tenant, &timeline), tokens.sign(bearer)).await;
                    assert_eq!(theirs.0, if bearer.is_known() { 403 } else { 401 }, "{name}: {}", theirs.1);
                    assert!(
                        !theirs.1.contains(&tenant) && !theirs.1.contains(&timeline),
                        "{name}: {}",
                        theirs.1
                    );
                    // Whether something exists cannot be found out.
                    let nobodys = ask(&address, route, (absent, absent), tokens.sign(bearer)).await;
                    let other_tenant = route.is_of_tenant() && bearer == Bearer::Tenant;
                    assert!(theirs == nobodys || other_tenant, "{name}: {theirs:?}, {nobodys:?}");
                    refused += 1;
                }
            }
            nobody_learns_what_routes_there_are(&address).await;
        }
        assert!(refused > 200 && let_in > 50, "{refused} refused, {let_in} let in");
        // Nothing of it stopped or deleted anything.
        let client = cluster.connect("main").await;
        assert_eq!(harness::number(&client, "SELECT 1::bigint").await, 1);
    });
    assert!(cluster.varve(&["timeline", "list"]).contains("main"));
}

async fn nobody_learns_what_routes_there_are(address: &str) {
    for path in ["/v1/nothing", "/", "/v1/tenant/../status"] {
        let route = Route { method: Method::GET, path: path.to_owned() };
        assert_eq!(ask(address, &route, ("", ""), None).await.0, 401, "{path}");
    }
}
