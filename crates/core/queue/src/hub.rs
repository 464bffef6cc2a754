//! What shards send each other: slots on their way, and calls for idle ones.
//!
//! Owns one bounded inbox for each shard with its bell; leaves what a parcel means to `transfer`. Invariant: a full inbox loses
//! nothing that is waited for: its shard is told to look everywhere.

use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

use crate::cell::{Flag, step};
use crate::limit::Limit;

/// Parcels that wait in one inbox: the slots that all others free during one turn of a shard, with room to spare. 24 KiB a
/// shard.
pub const INBOX_MAX: usize = 1024;

/// Something for another shard.
#[derive(Debug)]
pub enum Parcel<C> {
    /// A slot of this server, and perhaps its connection.
    Slot(Arc<Limit>, Option<C>),
    /// Somebody waits for the idle connections of this server.
    Recall(Arc<Limit>),
}

type Bell = Box<dyn Fn() + Send + Sync>;

struct Inbox<C> {
    parcels: ArrayQueue<Parcel<C>>,
    overflowed: Flag,
    /// The bell was rung, and the shard has not looked since.
    rung: Flag,
    bell: OnceLock<Bell>,
}

/// The inboxes of all shards. `C` is a connection that can be sent.
pub struct Hub<C>(Box<[Inbox<C>]>);

impl<C> Hub<C> {
    /// Empty inboxes without bells.
    #[must_use]
    pub fn new(shards_count: usize) -> Hub<C> {
        let inbox = || Inbox {
            parcels: ArrayQueue::new(INBOX_MAX),
            overflowed: Flag::default(),
            rung: Flag::default(),
            bell: OnceLock::new(),
        };
        Hub((0..shards_count).map(|_| inbox()).collect())
    }

    /// Gives `shard` its bell, once: what wakes it. Until then it has to look by itself.
    pub fn set_bell(&self, shard: usize, bell: impl Fn() + Send + Sync + 'static) {
        if let Some(inbox) = self.0.get(shard) {
            // A second bell would be a second shard with this number.
            let is_first = inbox.bell.set(Box::new(bell)).is_ok();
            debug_assert!(is_first, "a shard has one bell");
        }
    }

    /// Whether a parcel may be there for `shard`.
    #[inline]
    #[must_use]
    pub fn has_rung(&self, shard: usize) -> bool {
        self.0.get(shard).is_some_and(|inbox| inbox.rung.load())
    }

    /// To be called before [`Hub::receive`] is called until it gives nothing.
    pub fn answer(&self, shard: usize) {
        if let Some(inbox) = self.0.get(shard) {
            inbox.rung.lower();
        }
    }

    /// The oldest parcel for `shard`.
    pub fn receive(&self, shard: usize) -> Option<Parcel<C>> {
        step();
        self.0.get(shard)?.parcels.pop()
    }

    /// Whether parcels for `shard` found no room since the last call: it has to [`muster`](crate::muster) for everybody who waits,
    /// and to [`recall`](crate::recall) all that is idle.
    pub fn take_overflow(&self, shard: usize) -> bool {
        self.0.get(shard).is_some_and(|inbox| inbox.overflowed.lower())
    }

    /// Sends a parcel; what found no room comes back, with a slot that is still taken.
    pub(crate) fn send(&self, shard: usize, parcel: Parcel<C>) -> Result<(), Parcel<C>> {
        let Some(inbox) = self.0.get(shard) else { return Err(parcel) };
        step();
        inbox.parcels.push(parcel)?;
        inbox.ring();
        Ok(())
    }

    /// Has `shard` look everywhere.
    pub(crate) fn overflow(&self, shard: usize) {
        if let Some(inbox) = self.0.get(shard) {
            inbox.overflowed.raise();
            inbox.ring();
        }
    }
}

impl<C> Inbox<C> {
    fn ring(&self) {
        if !self.rung.raise()
            && let Some(bell) = self.bell.get()
        {
            bell();
        }
    }
}

impl<C> std::fmt::Debug for Hub<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("shards_count", &self.0.len()).finish_non_exhaustive()
    }
}
