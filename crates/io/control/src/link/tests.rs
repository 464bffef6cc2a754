//! Shards that take their commands late, played by the test.
//!
//! Owns the receiving end of the queue; a socket is one end of a pair, whose other end tells whether it is open.
//! Invariant: nothing here waits; the test decides when the shard takes a command.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Weak;

use proptest::prelude::*;
use tidegate_balance::{Availability, Weight};
use tidegate_health::Standing;
use tidegate_shard::queue;

use super::*;
use crate::publish::Publisher;

struct Rig {
    link: ShardLink,
    commands: Receiver<Command>,
    publisher: Publisher,
    now: Instant,
}

impl Rig {
    fn new(capacity: usize) -> Rig {
        let (sender, commands) = queue(capacity);
        let (_, reports) = queue(1);
        let link = ShardLink::new(sender, reports, None);
        Rig { link, commands, publisher: Publisher::new(1), now: Instant::now() }
    }

    fn apply(&mut self, listeners: Vec<ListenerSpec>) -> Weak<Snapshot> {
        let text = "[frontends.web]\nbind = [\"127.0.0.1:0\"]\n";
        let config = tidegate_config::parse("test.toml", text).expect("valid");
        let snapshot = self.publisher.publish(&config, Vec::new());
        let weak = Arc::downgrade(&snapshot);
        self.link.send(Command::Apply(snapshot, listeners), self.now);
        weak
    }

    /// What the shard takes next: a generation with its listeners, or an order to end.
    fn take(&mut self) -> Option<Taken> {
        let taken = self.commands.receive().map(|command| match command {
            Command::Apply(snapshot, listeners) => Taken::Apply(snapshot.generation, listeners),
            Command::ServerStates(states) => Taken::States(states),
            Command::Drain => Taken::Drain,
            Command::Stop => Taken::Stop,
        });
        self.link.deliver();
        taken
    }

    fn take_all(&mut self) -> Vec<Taken> {
        std::iter::from_fn(|| self.take()).collect()
    }
}

#[derive(Debug)]
enum Taken {
    Apply(u64, Vec<ListenerSpec>),
    States(Arc<ServerStates>),
    Drain,
    Stop,
}

fn described(taken: &[Taken]) -> Vec<String> {
    let described = |taken: &Taken| match taken {
        Taken::Apply(generation, _) => generation.to_string(),
        Taken::States(states) => {
            let changes = states.changes.iter();
            let weights: Vec<_> =
                changes.map(|c| format!("{}:{}", c.server, c.standing.weight.value())).collect();
            format!("{} {}", states.generation, weights.join(" "))
        }
        Taken::Drain => "drain".to_owned(),
        Taken::Stop => "stop".to_owned(),
    };
    taken.iter().map(described).collect()
}

fn spec(id: u32, socket: Option<OwnedFd>) -> ListenerSpec {
    ListenerSpec { id: ListenerId(id), frontend: 0, bind: 0, shared: false, backlog: None, socket }
}

/// A socket, and what tells whether it is open.
fn socket() -> (Option<OwnedFd>, UnixStream) {
    let (socket, other) = UnixStream::pair().expect("a pair of sockets");
    other.set_nonblocking(true).expect("an open socket");
    (Some(socket.into()), other)
}

/// Reading from the other end finds nothing yet, rather than the end.
fn is_open(mut other: &UnixStream) -> bool {
    std::io::Read::read(&mut other, &mut [0]).is_err()
}

#[test]
fn a_full_queue_holds_the_newest_configuration_until_there_is_room() {
    let mut rig = Rig::new(2);
    let snapshots: Vec<_> = (1..=5).map(|_| rig.apply(Vec::new())).collect();
    assert_eq!(rig.link.held_total(), 3);
    assert!(!rig.link.has_handed_over() && rig.link.is_behind());
    // Those that the shard will never see are freed at once.
    let alive: Vec<_> = snapshots.iter().map(|weak| weak.strong_count()).collect();
    assert_eq!(alive, [1, 1, 0, 0, 1]);
    assert_eq!(described(&rig.take_all()), ["1", "2", "5"]);
    assert!(rig.link.has_handed_over());
    assert!(snapshots.iter().all(|weak| weak.strong_count() == 0));
}

impl Rig {
    /// Servers of the first backend with their new weights, which tell one state from another here.
    fn states(&mut self, generation: u64, weights: &[(usize, u16)]) {
        let change = |(server, weight): &(usize, u16)| ServerChange {
            spot: None,
            backend: 0,
            server: *server,
            standing: Standing {
                availability: Availability::Up,
                weight: Weight::new(*weight).expect("in range"),
                since: None,
                healthy: true,
                max_connections: None,
            },
        };
        let changes = weights.iter().map(change).collect();
        let states = Arc::new(ServerStates { generation, decided: self.now, changes });
        self.link.send(Command::ServerStates(states), self.now);
    }
}

#[test]
fn a_full_queue_holds_the_newest_state_of_each_server_behind_its_configuration() {
    let mut rig = Rig::new(1);
    rig.apply(Vec::new());
    rig.states(1, &[(0, 1), (1, 2)]);
    rig.states(1, &[(0, 3)]);
    rig.states(1, &[(2, 4)]);
    assert!(!rig.link.has_handed_over());
    assert_eq!(described(&rig.take_all()), ["1", "1 0:3 1:2 2:4"]);
    // What is held is as old as the first of it.
    let first = rig.now;
    rig.states(1, &[(0, 1)]);
    for server in 0..3 {
        rig.now += LAG_PATIENCE;
        rig.states(1, &[(server, 2)]);
    }
    let decided = |taken: &Taken| match taken {
        Taken::States(states) => states.decided - first,
        other => panic!("{other:?}"),
    };
    let ages: Vec<_> = rig.take_all().iter().map(decided).collect();
    assert_eq!(ages, [Duration::ZERO, LAG_PATIENCE]);
    // A newer configuration brings the states of its servers with it.
    rig.apply(Vec::new());
    rig.states(2, &[(0, 5)]);
    rig.apply(Vec::new());
    rig.states(3, &[(1, 6)]);
    rig.link.send(Command::Drain, rig.now);
    assert_eq!(described(&rig.take_all()), ["2", "3", "3 1:6", "drain"]);
    assert!(rig.link.has_handed_over());
}

#[test]
fn sockets_of_a_configuration_that_was_never_taken_are_handed_on_or_closed() {
    let mut rig = Rig::new(1);
    rig.apply(Vec::new());
    let ((first, first_other), (second, second_other)) = (socket(), socket());
    rig.apply(vec![spec(1, first), spec(2, second)]);
    rig.apply(vec![spec(2, None), spec(1, None)]);
    assert!(is_open(&first_other) && is_open(&second_other));
    rig.apply(vec![spec(1, None)]);
    assert!(!is_open(&second_other), "an address that went before the shard heard of it");
    let taken = rig.take_all();
    let [Taken::Apply(1, _), Taken::Apply(4, listeners)] = &taken[..] else {
        panic!("{taken:?}");
    };
    assert!(listeners.len() == 1 && listeners[0].socket.is_some(), "{listeners:?}");
    assert!(is_open(&first_other));
}

#[test]
fn orders_to_end_are_kept_in_their_order_and_the_last_one_needs_no_configuration() {
    let mut rig = Rig::new(1);
    rig.apply(Vec::new());
    let held = rig.apply(Vec::new());
    rig.link.send(Command::Drain, rig.now);
    assert_eq!(described(&rig.take_all()), ["1", "2", "drain"]);
    assert_eq!(held.strong_count(), 0);

    rig.apply(Vec::new());
    let held = rig.apply(Vec::new());
    rig.link.send(Command::Drain, rig.now);
    rig.link.send(Command::Stop, rig.now);
    assert_eq!(held.strong_count(), 0);
    assert_eq!(described(&rig.take_all()), ["3", "stop"]);
}

#[test]
fn a_shard_that_is_gone_holds_nothing_up() {
    let mut rig = Rig::new(1);
    rig.apply(Vec::new());
    let held = rig.apply(Vec::new());
    rig.commands = queue(1).1;
    rig.link.deliver();
    assert!(rig.link.has_handed_over());
    assert_eq!(held.strong_count(), 0);
    rig.link.send(Command::Stop, rig.now);
    assert!(rig.link.has_handed_over());
}

#[test]
fn a_shard_lags_once_it_has_been_behind_for_long_and_until_it_has_the_newest() {
    let mut rig = Rig::new(1);
    let start = rig.now;
    rig.apply(Vec::new());
    rig.now += LAG_PATIENCE / 2;
    rig.apply(Vec::new());
    assert!(!rig.link.begins_to_lag(start + LAG_PATIENCE - Duration::from_millis(1)));
    assert!(rig.link.begins_to_lag(start + LAG_PATIENCE), "counted from the first that it missed");
    assert!(!rig.link.begins_to_lag(start + LAG_PATIENCE * 2), "said once");
    assert!(!rig.link.note_applied(1) && rig.link.is_behind());
    assert!(rig.link.note_applied(2), "caught up");
    assert!(!rig.link.note_applied(2), "said once");
    rig.take_all();
    assert!(!rig.link.is_behind());

    rig.apply(Vec::new());
    assert!(!rig.link.note_applied(3), "in time");
    assert!(!rig.link.begins_to_lag(start + LAG_PATIENCE * 100));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Configurations of up to six addresses, taken whenever it pleases the shard.
    #[test]
    fn a_shard_that_takes_commands_late_listens_on_what_the_newest_says(
        steps in proptest::collection::vec(prop_oneof![(0_u8..64).prop_map(Some), Just(None)], 0..60),
        capacity in 1_usize..4,
    ) {
        let mut rig = Rig::new(capacity);
        let (mut open, mut ids) = (BTreeMap::new(), 0..);
        let mut others = BTreeMap::new();
        let mut shard = BTreeMap::new();
        let mut generation = 0;
        let take = |rig: &mut Rig, shard: &mut BTreeMap<u32, OwnedFd>, generation: &mut u64| {
            let taken = rig.take();
            if let Some(Taken::Apply(newer, listeners)) = taken {
                assert!(newer > *generation);
                *generation = newer;
                let listed = |spec: ListenerSpec| {
                    let known = shard.remove(&spec.id.0);
                    (spec.id.0, known.or(spec.socket).expect("it has a socket or is given one"))
                };
                *shard = listeners.into_iter().map(listed).collect();
                return true;
            }
            false
        };
        for step in steps {
            let Some(places) = step else {
                take(&mut rig, &mut shard, &mut generation);
                continue;
            };
            let before = std::mem::take(&mut open);
            let mut listeners = Vec::new();
            for place in (0..6).filter(|place| places & 1 << place != 0) {
                let known: Option<u32> = before.get(&place).copied();
                let id = known.or_else(|| ids.next()).expect("there are more numbers than steps");
                let new = known.is_none().then(socket);
                let (socket, other) = new.map_or((None, None), |(socket, other)| (socket, Some(other)));
                others.extend(other.map(|other| (id, other)));
                open.insert(place, id);
                listeners.push(spec(id, socket));
            }
            rig.apply(listeners);
        }
        while take(&mut rig, &mut shard, &mut generation) {}
        let wanted: Vec<u32> = open.into_values().collect();
        for (id, other) in &others {
            prop_assert_eq!(is_open(other), wanted.contains(id), "{}", id);
        }
        prop_assert!(shard.into_keys().eq(others.into_keys().filter(|id| wanted.contains(id))));
    }
}
