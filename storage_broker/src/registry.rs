//! The pub/sub itself, pure: who publishes what, and what each subscriber has not seen yet.
//!
//! A *position* is what one safekeeper last said of one timeline. A subscriber's queue holds at most one
//! position per safekeeper and timeline: when it is slow, a newer position takes the place of the older
//! one, so it loses what no longer matters, always gets the newest, and its queue cannot grow without
//! bound. A publisher's positions go when its stream ends, so that a dead safekeeper is not advertised; one goes when
//! it says that a timeline is gone.

use std::collections::{BTreeMap, HashMap};

use broker_api::SafekeeperTimelineInfo;
use types::{NodeId, TenantTimelineId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublisherId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(u64);

type PositionKey = (TenantTimelineId, NodeId);

#[derive(Default)]
pub struct Registry {
    last_id: u64,
    positions: BTreeMap<PositionKey, (PublisherId, SafekeeperTimelineInfo)>,
    subscribers: HashMap<SubscriberId, Subscriber>,
}

struct Subscriber {
    timeline: Option<TenantTimelineId>,
    unseen: BTreeMap<PositionKey, SafekeeperTimelineInfo>,
}

impl Subscriber {
    fn wants(&self, ttid: TenantTimelineId) -> bool {
        self.timeline.is_none_or(|timeline| timeline == ttid)
    }
}

/// What became of one published position.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Subscribers that have something to read.
    pub wake: Vec<SubscriberId>,
    /// Positions that were replaced before their subscriber read them.
    pub superseded: u64,
}

impl Registry {
    pub fn add_publisher(&mut self) -> PublisherId {
        self.last_id += 1;
        PublisherId(self.last_id)
    }

    /// Forgets what this publisher said, unless another stream of the same safekeeper has said it since.
    pub fn remove_publisher(&mut self, publisher: PublisherId) {
        self.positions.retain(|_, (owner, _)| *owner != publisher);
    }

    /// A subscriber to one timeline or to all. Its queue begins with all positions known now.
    pub fn add_subscriber(&mut self, timeline: Option<TenantTimelineId>) -> SubscriberId {
        self.last_id += 1;
        let id = SubscriberId(self.last_id);
        let mut subscriber = Subscriber { timeline, unseen: BTreeMap::new() };
        for (key, (_, info)) in &self.positions {
            if subscriber.wants(info.ttid) {
                subscriber.unseen.insert(*key, info.clone());
            }
        }
        self.subscribers.insert(id, subscriber);
        id
    }

    pub fn remove_subscriber(&mut self, id: SubscriberId) {
        self.subscribers.remove(&id);
    }

    pub fn publish(&mut self, publisher: PublisherId, info: SafekeeperTimelineInfo) -> Published {
        let key = (info.ttid, info.safekeeper_id);
        let mut published = Published::default();
        for (id, subscriber) in &mut self.subscribers {
            if subscriber.wants(info.ttid) {
                published.superseded += u64::from(subscriber.unseen.insert(key, info.clone()).is_some());
                published.wake.push(*id);
            }
        }
        if info.gone {
            self.positions.remove(&key);
        } else {
            self.positions.insert(key, (publisher, info));
        }
        published
    }

    /// All that the subscriber has not seen yet.
    pub fn take(&mut self, id: SubscriberId) -> Vec<SafekeeperTimelineInfo> {
        let unseen = self.subscribers.get_mut(&id).map(|subscriber| std::mem::take(&mut subscriber.unseen));
        unseen.unwrap_or_default().into_values().collect()
    }

    /// Number of timelines of which at least one position is known.
    pub fn timelines(&self) -> usize {
        let mut previous = None;
        self.positions.keys().filter(|(ttid, _)| previous.replace(*ttid) != Some(*ttid)).count()
    }
}

#[cfg(test)]
mod tests {
    use types::{Lsn, TenantId, Term, TimelineId};

    use super::*;

    fn info(timeline: u8, safekeeper: u64, flush_lsn: u64) -> SafekeeperTimelineInfo {
        SafekeeperTimelineInfo {
            safekeeper_id: NodeId(safekeeper),
            ttid: TenantTimelineId::new(TenantId([9; 16]), TimelineId([timeline; 16])),
            generation: 1,
            term: Term(1),
            last_log_term: Term(1),
            flush_lsn: Lsn(flush_lsn),
            commit_lsn: Lsn(flush_lsn),
            remote_consistent_lsn: Lsn(0),
            timeline_start_lsn: Lsn(0),
            pg_connstr: String::new(),
            http_connstr: String::new(),
            gone: false,
        }
    }

    #[test]
    fn a_newcomer_hears_what_is_known_and_then_what_changes() {
        let mut registry = Registry::default();
        let publisher = registry.add_publisher();
        registry.publish(publisher, info(1, 1, 10));
        registry.publish(publisher, info(2, 1, 20));
        let (all, one) = (registry.add_subscriber(None), registry.add_subscriber(Some(info(1, 0, 0).ttid)));
        assert_eq!(registry.take(all), vec![info(1, 1, 10), info(2, 1, 20)]);
        assert_eq!(registry.take(one), vec![info(1, 1, 10)]);
        assert_eq!(registry.publish(publisher, info(2, 1, 21)).wake, vec![all]);
        assert_eq!(registry.take(one), vec![]);
        assert_eq!(registry.timelines(), 2);
    }

    #[test]
    fn a_slow_subscriber_loses_the_old_and_is_counted() {
        let mut registry = Registry::default();
        let (publisher, slow) = (registry.add_publisher(), registry.add_subscriber(None));
        let superseded: u64 =
            (1..=100).map(|lsn| registry.publish(publisher, info(1, 1, lsn)).superseded).sum();
        assert_eq!(superseded, 99);
        assert_eq!(registry.take(slow), vec![info(1, 1, 100)]);
    }

    #[test]
    fn a_deleted_timeline_is_told_once_and_kept_no_more() {
        let mut registry = Registry::default();
        let (publisher, listener) = (registry.add_publisher(), registry.add_subscriber(None));
        for safekeeper in [1, 2] {
            registry.publish(publisher, info(1, safekeeper, 10));
        }
        let gone = SafekeeperTimelineInfo { gone: true, ..info(1, 1, 0) };
        registry.publish(publisher, gone.clone());
        assert_eq!(registry.take(listener), vec![gone, info(1, 2, 10)]);
        let newcomer = registry.add_subscriber(None);
        assert_eq!(registry.take(newcomer), vec![info(1, 2, 10)]);
        registry.publish(publisher, SafekeeperTimelineInfo { gone: true, ..info(1, 2, 0) });
        assert_eq!(registry.timelines(), 0);
    }

    #[test]
    fn a_dead_safekeeper_is_not_advertised_but_its_new_stream_is() {
        let mut registry = Registry::default();
        let (old, new) = (registry.add_publisher(), registry.add_publisher());
        registry.publish(old, info(1, 1, 10));
        registry.publish(old, info(2, 1, 10));
        registry.publish(new, info(1, 1, 11));
        registry.remove_publisher(old);
        let subscriber = registry.add_subscriber(None);
        assert_eq!(registry.take(subscriber), vec![info(1, 1, 11)]);
        registry.remove_subscriber(subscriber);
        assert_eq!(registry.publish(new, info(1, 1, 12)), Published::default());
    }
}
