//! What the broker says of all timelines, by one subscription: each timeline's task sees what is said of its own.
//!
//! One for each timeline would be so many requests on one connection, of which a server of HTTP/2 answers a few hundred
//! and lets all others wait for ever.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use broker_api::{BrokerClient, BrokerError, SafekeeperTimelineInfo};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use types::{NodeId, TenantTimelineId};

/// Between two attempts to reach the broker.
const PAUSE: Duration = Duration::from_millis(500);
/// For the broker to take a subscription.
const PATIENCE: Duration = Duration::from_secs(5);

/// What each safekeeper said last of one timeline.
pub(super) type TimelinePositions = BTreeMap<NodeId, SafekeeperTimelineInfo>;

/// Also of timelines that nobody here receives WAL for yet: the broker says what it knows once.
#[derive(Default)]
pub(super) struct Positions(Mutex<HashMap<TenantTimelineId, watch::Sender<TimelinePositions>>>);

impl Positions {
    /// What is known of a timeline, and each change.
    pub(super) fn of(&self, ttid: TenantTimelineId) -> watch::Receiver<TimelinePositions> {
        let mut receiver = self.0.lock().expect("no holder panics").entry(ttid).or_default().subscribe();
        receiver.mark_changed();
        receiver
    }

    fn heard(&self, info: SafekeeperTimelineInfo) {
        let ttid = info.ttid;
        let mut all = self.0.lock().expect("no holder panics");
        let positions = all.entry(ttid).or_default();
        positions.send_modify(|known| {
            if info.gone {
                known.remove(&info.safekeeper_id);
            } else {
                known.insert(info.safekeeper_id, info);
            }
        });
        if positions.receiver_count() == 0 && positions.borrow().is_empty() {
            all.remove(&ttid);
        }
    }

    /// The broker is about to say all that it knows.
    fn forget_unwatched(&self) {
        self.0.lock().expect("no holder panics").retain(|_, known| known.receiver_count() > 0);
    }

    /// Hears the broker until `shutdown`.
    pub(super) async fn hear(&self, broker: &BrokerClient, shutdown: &CancellationToken) {
        shutdown.run_until_cancelled(self.hear_on_and_on(broker)).await;
    }

    async fn hear_on_and_on(&self, broker: &BrokerClient) -> Infallible {
        let mut silent = false;
        loop {
            let outcome = self.hear_once(broker, &mut silent).await;
            note_silence(&mut silent, outcome.err());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends with the subscription.
    async fn hear_once(&self, broker: &BrokerClient, silent: &mut bool) -> Result<(), BrokerError> {
        let subscribing = timeout(PATIENCE, broker.subscribe(None));
        let mut subscription = subscribing.await.map_err(|_| BrokerError::Silent(PATIENCE))??;
        self.forget_unwatched();
        while let Some(info) = subscription.next().await {
            match info {
                Ok(info) => self.heard(info),
                Err(BrokerError::Malformed(error)) => {
                    tracing::warn!(%error, "the storage broker makes no sense");
                }
                Err(error) => return Err(error),
            }
            if std::mem::take(silent) {
                tracing::info!("the storage broker says again where safekeepers are");
            }
        }
        Ok(())
    }
}

/// Once when the broker is lost and not each time that it is looked for.
fn note_silence(silent: &mut bool, error: Option<BrokerError>) {
    if !std::mem::replace(silent, true) {
        let reason = error.map_or_else(|| "it ended the subscription".to_owned(), |error| error.to_string());
        tracing::warn!(
            reason,
            "the storage broker does not say where safekeepers are: no new WAL is looked for"
        );
    }
}
