//! The way of a slot from who had it to who has waited longest.
//!
//! Owns the order of writes and reads that loses no slot and wakes every waiter; leaves connections and the waiters of a shard
//! to its [`Desk`]. Invariant: a slot that comes in here is afterwards held by a waiter, by an idle connection, by a parcel on its
//! way, or is not taken any more, and nobody waits in that case.

use std::sync::Arc;

use crate::hub::{Hub, Parcel};
use crate::limit::Limit;
use crate::line::Line;

/// Where a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the queue of the server.
    Server,
    /// In the queue of the backend.
    Backend,
}

/// One shard's side of one server.
pub trait Desk {
    /// A connection as this shard has it.
    type Connection;
    /// A connection on its way to another shard.
    type Sent;

    /// Which shard this is.
    fn shard(&self) -> usize;

    /// Between the shards.
    fn hub(&self) -> &Hub<Self::Sent>;

    /// Gives the slot to the first of this shard's waiters there and publishes the next one. Without a waiter everything comes
    /// back.
    ///
    /// # Errors
    /// The connection, when nobody waits there.
    fn serve(
        &self,
        place: Place,
        connection: Option<Self::Connection>,
    ) -> Result<(), Option<Self::Connection>>;

    /// Makes a connection ready to be sent, or closes it: at its return it is closed for the server too.
    fn pack(&self, connection: Self::Connection) -> Option<Self::Sent>;

    /// Closes a connection: at its return it is closed for the server too.
    fn close(&self, connection: Self::Connection);

    /// Keeps a connection that nobody waits for and publishes their number. One that cannot be kept comes back.
    ///
    /// # Errors
    /// The connection.
    fn park(&self, connection: Self::Connection) -> Result<(), Self::Connection>;

    /// Takes one of those back and publishes their number.
    fn unpark(&self) -> Option<Self::Connection>;
}

/// Who gets the next slot.
enum Next {
    Nobody,
    Here(Place),
    There(usize),
}

fn next(limit: &Limit, line: &Line, shard: usize) -> Next {
    let server = limit.own().first().map(|(key, at)| (key, at, Place::Server));
    let backend = line.first().map(|(key, at)| (key, at, Place::Backend));
    match server.into_iter().chain(backend).min_by_key(|(key, ..)| *key) {
        None => Next::Nobody,
        Some((_, at, place)) if at == shard => Next::Here(place),
        Some((_, at, _)) => Next::There(at),
    }
}

/// What a request that has just come finds at a server.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<C> {
    /// An idle connection, with its slot.
    Connection(C),
    /// A slot, for a connection that is to be made.
    Slot,
    /// Nothing, or somebody who waits already.
    Full,
}

/// Takes an idle connection of this shard or a free slot, unless somebody waits.
#[inline]
pub fn acquire<D: Desk>(desk: &D, limit: &Limit, line: &Line) -> Found<D::Connection> {
    if limit.is_waited_for(line) {
        return Found::Full;
    }
    match desk.unpark() {
        Some(connection) => Found::Connection(connection),
        None if limit.take() => Found::Slot,
        None => Found::Full,
    }
}

/// Passes a slot on that is not needed here any more, with its connection if that goes on, or gives it back.
pub fn settle<D: Desk>(
    desk: &D,
    limit: &Arc<Limit>,
    line: &Line,
    mut connection: Option<D::Connection>,
) {
    loop {
        if limit.has_surplus() {
            // Closed before it is given up: the server must not see another one meanwhile.
            connection.take().into_iter().for_each(|connection| desk.close(connection));
            if limit.give_up_surplus() {
                return;
            }
        }
        match next(limit, line, desk.shard()) {
            Next::Here(place) => match desk.serve(place, connection.take()) {
                Ok(()) => return,
                Err(back) => connection = back,
            },
            Next::There(shard) => {
                let sent = connection.take().and_then(|connection| desk.pack(connection));
                if let Err(parcel) = desk.hub().send(shard, Parcel::Slot(limit.clone(), sent)) {
                    // The connection is closed by its drop.
                    drop(parcel);
                    limit.give_back();
                    desk.hub().overflow(shard);
                }
                return;
            }
            Next::Nobody => {
                connection.take().into_iter().for_each(|connection| desk.close(connection));
                limit.give_back();
                // Who has begun to wait meanwhile may have looked before that.
                if matches!(next(limit, line, desk.shard()), Next::Nobody) || !limit.take() {
                    return;
                }
            }
        }
    }
}

/// Keeps a connection that is not needed here any more, or passes it on.
pub fn keep<D: Desk>(desk: &D, limit: &Arc<Limit>, line: &Line, connection: D::Connection) {
    let is_wanted = || !matches!(next(limit, line, desk.shard()), Next::Nobody);
    if is_wanted() || limit.has_surplus() {
        return settle(desk, limit, line, Some(connection));
    }
    if let Err(connection) = desk.park(connection) {
        return settle(desk, limit, line, Some(connection));
    }
    // Who has begun to wait meanwhile may have looked before it was published.
    if is_wanted() {
        recall(desk, limit, line);
    }
}

/// Passes idle connections of this shard on, as long as somebody waits or there are too many.
pub fn recall<D: Desk>(desk: &D, limit: &Arc<Limit>, line: &Line) {
    limit.note_recalled(desk.shard());
    while !matches!(next(limit, line, desk.shard()), Next::Nobody) || limit.has_surplus() {
        let Some(connection) = desk.unpark() else { return };
        settle(desk, limit, line, Some(connection));
    }
}

/// Finds the slots that nobody uses for those who wait: to be called after a waiter was published, and after a limit was raised.
pub fn muster<D: Desk>(desk: &D, limit: &Arc<Limit>, line: &Line) {
    recall(desk, limit, line);
    while !matches!(next(limit, line, desk.shard()), Next::Nobody) {
        if !limit.take() {
            break;
        }
        settle(desk, limit, line, None);
    }
    if matches!(next(limit, line, desk.shard()), Next::Nobody) {
        return;
    }
    let mut from = 0;
    while let Some(shard) = limit.next_to_recall(from, desk.shard()) {
        if desk.hub().send(shard, Parcel::Recall(limit.clone())).is_err() {
            desk.hub().overflow(shard);
        }
        from = shard + 1;
    }
}
