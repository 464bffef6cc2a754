//! One question to resolvers over the control executor's ring.
//!
//! Owns the sockets and the time; leaves whom to ask and what an answer says to `tidegate_discovery`. Invariant: each try has a
//! port of its own, ends at its timeout at the latest, and leaves no socket behind.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use rustix::io::Errno;
use tidegate_discovery::{Ask, Fault, Finding, Lookup, Next, Taken, Transport};
use tidegate_ring::{SendBuf, Socket};
use tidegate_shard::{Alarm, Shard};

use super::Begun;

/// The longest message over a connection (RFC 1035 §4.2.2), with its length before it.
const STREAM_BYTES_MAX: usize = 2 + u16::MAX as usize;

/// Numbers that nobody outside can guess: a keyed hash of a count.
#[derive(Default)]
pub(crate) struct Ids {
    key: RandomState,
    drawn: Cell<u64>,
}

impl Ids {
    fn draw(&self) -> u16 {
        self.drawn.set(self.drawn.get() + 1);
        let [low, high, ..] = self.key.hash_one(self.drawn.get()).to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

/// Asks until there is an answer or nobody is left to ask. Must run as a task of `shard`; `tried` is told of each try whether the
/// resolver answered.
pub(crate) async fn run(
    shard: &Rc<Shard>,
    ids: &Ids,
    begun: &mut Begun,
    tried: impl Fn(&Begun, SocketAddr, bool),
) -> Finding {
    let Some(task) = shard.tasks.current() else { return Finding::Failed(Fault::NoResolver) };
    let alarm = Alarm::new(shard, task);
    loop {
        let ask = match begun.lookup.next(ids.draw()) {
            Next::Done(finding) => return finding,
            Next::Ask(ask) => ask,
        };
        let Some(address) = begun.addresses.get(ask.server).copied() else {
            begun.lookup.failed(Fault::NoResolver);
            continue;
        };
        let deadline = alarm.now() + begun.settings.timeout;
        let outcome = one_try(shard, &alarm, deadline, address, ask, &mut begun.lookup).await;
        tried(begun, address, outcome.unwrap_or_default());
        if let Err(fault) = outcome {
            begun.lookup.failed(fault);
        }
    }
}

/// One try; whether the resolver did what it is there for.
async fn one_try(
    shard: &Rc<Shard>,
    alarm: &Alarm,
    deadline: Instant,
    address: SocketAddr,
    ask: Ask,
    lookup: &mut Lookup,
) -> Result<bool, Fault> {
    let is_stream = ask.transport == Transport::Stream;
    let connected = match ask.transport {
        Transport::Datagram => shard.ring.connect_datagram(&address.into()),
        Transport::Stream => shard.ring.connect(&address.into()),
    };
    let socket = connected.map_err(|error| fault(&error))?;
    if is_stream {
        let connecting = alarm.within(deadline, |context| socket.poll_connected(context)).await;
        connecting.map_err(|_| Fault::TimedOut)?.map_err(|error| fault(&error))?;
    }
    let mut message = Vec::with_capacity(2 + ask.query.len());
    if is_stream {
        let length = u16::try_from(ask.query.len()).map_err(|_| Fault::Malformed)?;
        message.extend_from_slice(&length.to_be_bytes());
    }
    message.extend_from_slice(&ask.query);
    socket.queue(SendBuf::Vec(message));
    socket.flush();
    socket.set_recv_on_demand(true);
    if is_stream {
        let bytes = read_message(&socket, alarm, deadline).await?;
        return match lookup.received(&bytes) {
            Taken::Answered { well } => Ok(well),
            Taken::Ignored => Err(Fault::Malformed),
        };
    }
    loop {
        let received = alarm.within(deadline, |context| socket.poll_recv(context)).await;
        let bytes = received.map_err(|_| Fault::TimedOut)?.map_err(|error| fault(&error))?;
        // A datagram without bytes looks like an end.
        let bytes = bytes.ok_or(Fault::Malformed)?;
        if let Taken::Answered { well } = lookup.received(&bytes) {
            return Ok(well);
        }
    }
}

async fn read_message(socket: &Socket, alarm: &Alarm, deadline: Instant) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    loop {
        if let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if rest.len() >= length {
                return Ok(rest[..length].to_vec());
            }
        }
        let received = alarm.within(deadline, |context| socket.poll_recv(context)).await;
        let piece = received.map_err(|_| Fault::TimedOut)?.map_err(|error| fault(&error))?;
        let piece = piece.ok_or(Fault::Unreachable)?;
        if bytes.len() + piece.len() > STREAM_BYTES_MAX {
            return Err(Fault::Malformed);
        }
        bytes.extend_from_slice(&piece);
    }
}

fn fault(error: &io::Error) -> Fault {
    match Errno::from_io_error(error) {
        Some(Errno::TIMEDOUT) => Fault::TimedOut,
        _ => Fault::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_differ_from_one_process_to_the_next_and_do_not_count_up() {
        let draw = || {
            let ids = Ids::default();
            (0..1000).map(|_| ids.draw()).collect::<Vec<_>>()
        };
        let (one, other) = (draw(), draw());
        assert_ne!(one, other);
        assert!(one.iter().collect::<BTreeSet<_>>().len() > 950, "they are spread");
        assert!(one.windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(1)).count() < 5);
    }
}
