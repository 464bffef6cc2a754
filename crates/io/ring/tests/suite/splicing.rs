//! Splices: bytes that go from socket to socket, beside receives and sends, and dropped at any stage.
//!
//! Owns claims, order, pipes and the non-blocking mode; leaves when to splice to the ring's users. Invariant: every byte that
//! the sink's peer reads is the next of the source's stream.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::Poll;
use std::thread;

use tidegate_ring::{Filled, PIPE_BYTES, ParkToken, Ring, SendBuf, Settings, Socket, Splice};
use tidegate_testkit::{Rng, seed};

use crate::peers::{Pattern, Peer, TRANSPORTS, Transport, connection, pair, with_small_queue};
use crate::rig::{Bell, Rig, Task, small, with_ring};
use crate::traffic::{read_to_end, receive_all, send_all, write_all};

/// Two connections of one ring: a source with its peer, and a sink with its own.
fn connections(ring: &Ring, transport: Transport) -> ((Socket, Peer), (Socket, Peer)) {
    let (ours, peer) = with_small_queue(pair(transport));
    (connection(ring, transport), (ring.adopt(ours), peer))
}

async fn fill(splice: &mut Splice<'_>, bytes_max: usize) -> Filled {
    poll_fn(|context| splice.poll_fill(context, bytes_max)).await.expect("the source is there")
}

async fn drain(splice: &mut Splice<'_>) -> usize {
    let mut sent = 0;
    while splice.held() > 0 {
        sent += poll_fn(|context| splice.poll_drain(context)).await.expect("the sink is there");
    }
    sent
}

/// Splices until the source ends; how many bytes.
async fn splice_to_end(splice: &mut Splice<'_>) -> u64 {
    let mut moved = 0;
    while let Filled::Bytes(bytes) = fill(splice, usize::MAX).await {
        assert_eq!(drain(splice).await, bytes.get());
        moved += bytes.get() as u64;
    }
    moved
}

/// Passes the source's stream on, now by receives and now by splices. The first bytes are spliced: where the writer is always
/// ahead, a receive that has begun may leave no moment for another splice.
async fn pass_mixed(source: &Socket, sink: &Socket, mut rng: Rng) -> u64 {
    let mut spliced = 0;
    loop {
        if (spliced == 0 || rng.below(3) > 0)
            && let Some(mut splice) = Splice::begin(source, sink)
        {
            for _ in 0..rng.below(5).max(usize::from(spliced == 0)) {
                match fill(&mut splice, 1 + rng.below(2 * PIPE_BYTES)).await {
                    Filled::Bytes(bytes) => spliced += bytes.get() as u64,
                    Filled::End => break,
                    Filled::Unable => panic!("a pipe is there"),
                }
                drain(&mut splice).await;
            }
            continue;
        }
        source.set_recv_on_demand(rng.below(2) == 0);
        match source.recv().await.expect("the stream ends in order") {
            Some(bytes) => sink.queue(SendBuf::Recv(bytes)),
            None => break,
        }
        sink.flush();
    }
    sink.flushed(0).await.expect("the peer reads");
    sink.shutdown_write();
    spliced
}

#[test]
fn bytes_keep_their_order_whatever_way_they_go() {
    const TOTAL: u64 = 3 << 20;
    let seed = seed();
    for transport in TRANSPORTS {
        let mut rng = seed.rng();
        let pattern = Pattern::new(rng.next_u64());
        with_ring(&small(), |rig| {
            let ((source, writer), (sink, reader)) = connections(&rig.ring, transport);
            let rngs = [(); 3].map(|()| Rng::new(rng.next_u64()));
            let [writing, passing, reading] = rngs;
            thread::scope(|scope| {
                let pattern = &pattern;
                scope.spawn(move || {
                    write_all(&writer, pattern, TOTAL, writing);
                    writer.shutdown_write();
                    writer
                });
                let read =
                    scope.spawn(move || (read_to_end(&reader, pattern, 50_000, reading), reader));
                let spliced = rig.block_on(pass_mixed(&source, &sink, passing));
                assert!(spliced > 0, "nothing was spliced");
                assert_eq!(rig.ring.counters().spliced_bytes, spliced);
                rig.until("the reader to finish", || read.is_finished());
                assert_eq!(read.join().expect("the reader checked all").0, TOTAL);
            });
            assert_eq!((sink.sent_bytes(), rig.ring.pipes().0), (TOTAL, 0));
        });
    }
}

#[test]
fn both_directions_at_once_and_neither_waits_in_a_system_call() {
    const TOTAL: u64 = 1 << 20;
    let pattern = Pattern::new(3);
    for transport in TRANSPORTS {
        with_ring(&small(), |rig| {
            let ((left, left_peer), (right, right_peer)) = connections(&rig.ring, transport);
            // Leftwards bytes are received and sent on sockets that are in non-blocking mode all the while.
            thread::scope(|scope| {
                let pattern = &pattern;
                let both = |peer: Peer| {
                    scope.spawn(move || {
                        thread::scope(|scope| {
                            scope.spawn(|| {
                                write_all(&peer, pattern, TOTAL, Rng::new(5));
                                peer.shutdown_write();
                            });
                            assert_eq!(read_to_end(&peer, pattern, 4000, Rng::new(6)), TOTAL);
                        });
                    })
                };
                let peers = [both(left_peer), both(right_peer)];
                let mut splice = Splice::begin(&left, &right).expect("nothing has begun");
                let ended = RefCell::new(0);
                let end = |socket: &Socket| {
                    socket.shutdown_write();
                    *ended.borrow_mut() += 1;
                };
                rig.run_all([
                    Task::new(async {
                        assert_eq!(splice_to_end(&mut splice).await, TOTAL);
                        end(&right);
                    }),
                    Task::new(async {
                        receive_all(&right, pattern, TOTAL).await;
                    }),
                    Task::new(async {
                        send_all(&left, pattern, TOTAL, Rng::new(7)).await;
                        end(&left);
                    }),
                ]);
                assert_eq!(*ended.borrow(), 2);
                rig.until("the peers to finish", || peers.iter().all(|peer| peer.is_finished()));
            });
        });
    }
}

#[test]
fn a_splice_begins_only_where_no_byte_could_be_overtaken() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            let ((source, peer), (sink, reader)) = connections(&rig.ring, transport);
            assert!(Splice::begin(&source, &source).is_none(), "a socket into itself");
            let mut task = Task::new(source.recv());
            assert!(task.poll().is_pending());
            assert!(Splice::begin(&source, &sink).is_none(), "a receive is in flight");
            rig.turns(1);
            peer.write(b"first ");
            drop(task);
            rig.until("the bytes", || source.has_arrived());
            source.set_recv_on_demand(true);
            rig.turns(3);
            assert!(Splice::begin(&source, &sink).is_none(), "bytes wait to be taken");
            let first = rig.block_on(source.recv()).expect("no error").expect("no end");
            sink.queue(SendBuf::Recv(first));
            let splice = Splice::begin(&source, &sink);
            let mut splice = splice.expect("nothing is in the way of the source");
            assert!(Splice::begin(&source, &sink).is_none(), "both are claimed");
            let opposite = Splice::begin(&sink, &source);
            assert!(opposite.is_some(), "the other direction is free");
            drop(opposite);
            peer.write(b"second");
            // Nobody flushed what is queued: the splice does, and waits.
            rig.block_on(async {
                assert_eq!(
                    fill(&mut splice, 100).await,
                    Filled::Bytes(6.try_into().expect("not 0"))
                );
                assert_eq!((drain(&mut splice).await, splice.held()), (6, 0));
            });
            drop(splice);
            assert_eq!(sink.sent_bytes(), 12);
            let mut read = [0; 12];
            reader.read_exact(&mut read);
            assert_eq!(&read, b"first second");
            peer.shutdown_write();
            assert!(matches!(rig.block_on(source.recv()), Ok(None)));
            assert!(Splice::begin(&source, &sink).is_none(), "the source has ended");
        }
    });
}

#[test]
fn a_refused_splice_changes_nothing() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            let ((source, peer), (sink, _reader)) = connections(&rig.ring, transport);
            let submitted = || rig.ring.counters().submitted;
            let mut task = Task::new(source.recv());
            assert!(task.poll().is_pending());
            rig.turns(1);
            let before = submitted();
            assert!(Splice::begin(&source, &sink).is_none());
            assert!(task.poll().is_pending());
            rig.turns(1);
            assert_eq!(submitted(), before, "a second receive was started");
            peer.reset();
            drop(task);
            drop((source, sink));
            rig.settle();
            let ((source, peer), (sink, _reader)) = connections(&rig.ring, transport);
            let mut splice = Splice::begin(&source, &sink).expect("nothing is in the way");
            assert!(Splice::begin(&source, &sink).is_none());
            let bell = Bell::new();
            // Still in non-blocking mode: otherwise this call would wait.
            assert!(bell.poll(|context| splice.poll_fill(context, 100)).is_pending());
            assert!(bell.poll(|context| source.poll_gone(context)).is_pending());
            peer.write(b"all");
            let filled = rig.block_on(fill(&mut splice, 100));
            assert_eq!(filled, Filled::Bytes(3.try_into().expect("not 0")));
        }
    });
}

#[test]
fn no_more_is_taken_than_asked_for() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            let ((source, peer), (sink, reader)) = connections(&rig.ring, transport);
            peer.write(b"bodynext");
            let mut splice = Splice::begin(&source, &sink).expect("nothing is in the way");
            let filled = rig.block_on(fill(&mut splice, 4));
            assert_eq!(filled, Filled::Bytes(4.try_into().expect("not 0")));
            rig.block_on(drain(&mut splice));
            drop(splice);
            assert!(source.has_unread());
            let next = rig.block_on(source.recv()).expect("no error").expect("no end");
            assert_eq!(&next[..], b"next");
            assert!(!source.has_unread());
            drop(sink);
            rig.turns(1);
            assert_eq!(reader.read_to_end(), b"body");
        }
    });
}

/// The steps of a splice at which it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begun,
    AwaitsSource,
    SourceAnnounced,
    Holds,
    AwaitsSink,
    SinkAnnounced,
}

const STEPS: [Step; 6] = [
    Step::Begun,
    Step::AwaitsSource,
    Step::SourceAnnounced,
    Step::Holds,
    Step::AwaitsSink,
    Step::SinkAnnounced,
];

/// Brings a splice to `step` and drops it there; whether it had taken bytes.
fn drop_at(rig: &Rig, step: Step, (source, writer): (&Socket, &Peer), sink: &Socket) -> bool {
    let bell = Bell::new();
    let mut splice = Splice::begin(source, sink).expect("nothing is in the way");
    if matches!(step, Step::AwaitsSource | Step::SourceAnnounced) {
        assert!(bell.poll(|context| splice.poll_fill(context, 100)).is_pending());
        assert_eq!(rig.ring.pipes().0, 0, "a pipe is held for nothing");
        rig.turns(1);
    }
    if step == Step::SourceAnnounced {
        writer.write(b"x");
        rig.until("the announcement", || bell.answer());
    }
    if !matches!(step, Step::Holds | Step::AwaitsSink | Step::SinkAnnounced) {
        return false;
    }
    // More than the sink takes at once.
    writer.0.set_nonblocking(true).expect("the socket is open");
    while std::io::Write::write(&mut &writer.0, &[7; 4096]).is_ok() {}
    writer.0.set_nonblocking(false).expect("the socket is open");
    loop {
        let filled = rig.block_on(fill(&mut splice, usize::MAX));
        assert!(matches!(filled, Filled::Bytes(_)), "{filled:?}");
        if step == Step::Holds {
            break;
        }
        while splice.held() > 0 {
            if bell.poll(|context| splice.poll_drain(context)).is_pending() {
                break;
            }
        }
        if splice.held() > 0 {
            break;
        }
    }
    rig.turns(1);
    assert_eq!(rig.ring.pipes().0, 1);
    true
}

#[test]
fn a_splice_dropped_at_every_step_leaves_both_sockets_usable() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            for step in STEPS {
                let ((source, writer), (sink, reader)) = connections(&rig.ring, transport);
                let taken = drop_at(rig, step, (&source, &writer), &sink);
                assert_eq!(rig.ring.pipes().0, 0, "{transport:?}, {step:?}");
                if step == Step::SinkAnnounced {
                    let mut some = vec![0; 1000];
                    reader.read_exact(&mut some);
                }
                if !taken {
                    writer.write(b"y");
                    let first = rig.block_on(source.recv()).expect("no error").expect("no end");
                    assert!(first.starts_with(if step == Step::SourceAnnounced {
                        b"x"
                    } else {
                        b"y"
                    }));
                }
                thread::scope(|scope| {
                    let reading = scope.spawn(|| reader.read_to_end());
                    sink.queue(SendBuf::Static(b"the end"));
                    sink.flush();
                    rig.block_on(sink.flushed(0)).expect("the peer reads");
                    sink.shutdown_write();
                    let read = reading.join().expect("it reads to the end");
                    assert!(read.ends_with(b"the end"), "{transport:?}, {step:?}");
                });
            }
        }
    });
}

#[test]
fn sockets_dropped_after_a_splice_return_everything() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            for step in STEPS {
                for turns in [0, 1, 3] {
                    let ((source, writer), (sink, _reader)) = connections(&rig.ring, transport);
                    drop_at(rig, step, (&source, &writer), &sink);
                    rig.turns(turns);
                    drop((source, sink));
                    rig.settle();
                }
            }
        }
    });
}

#[test]
fn a_source_parked_after_a_splice_gives_its_token_when_something_comes() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            for step in [Step::Begun, Step::AwaitsSource] {
                let ((source, writer), (sink, _reader)) = connections(&rig.ring, transport);
                drop_at(rig, step, (&source, &writer), &sink);
                assert!(source.park(ParkToken(9)));
                rig.turns(3);
                assert_eq!(rig.ring.next_unparked(), None);
                writer.write(b"z");
                rig.until("the bytes", || source.has_arrived());
                assert_eq!(rig.ring.next_unparked(), Some(ParkToken(9)));
            }
        }
    });
}

#[test]
fn pipes_are_bounded_and_counted() {
    let settings = Settings { pipes_max: 1, ..small() };
    with_ring(&settings, |rig| {
        let ((source, writer), (sink, _reader)) = connections(&rig.ring, Transport::Tcp);
        let ((other, other_writer), (other_sink, _other)) = connections(&rig.ring, Transport::Tcp);
        writer.write(b"held");
        other_writer.write(b"refused");
        let mut first = Splice::begin(&source, &sink).expect("nothing is in the way");
        let mut second = Splice::begin(&other, &other_sink).expect("nothing is in the way");
        assert!(matches!(rig.block_on(fill(&mut first, 100)), Filled::Bytes(_)));
        assert_eq!(rig.block_on(fill(&mut second, 100)), Filled::Unable);
        assert_eq!((rig.ring.counters().pipes_exhausted, rig.ring.pipes()), (1, (1, 0)));
        rig.block_on(drain(&mut first));
        // It goes back when the splice waits, not before.
        let bell = Bell::new();
        assert!(bell.poll(|context| first.poll_fill(context, 100)).is_pending());
        assert_eq!(rig.ring.pipes(), (0, 1));
        assert!(matches!(rig.block_on(fill(&mut second, 100)), Filled::Bytes(_)));
        drop((first, second));
        assert_eq!(rig.ring.pipes(), (0, 0), "a pipe with bytes in it was kept");
    });
}

#[test]
fn ends_and_resets_on_either_side_are_told() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            let ((source, writer), (sink, reader)) = connections(&rig.ring, transport);
            let mut splice = Splice::begin(&source, &sink).expect("nothing is in the way");
            let mut task = Task::new(fill(&mut splice, 100));
            assert!(task.poll().is_pending());
            rig.turns(1);
            writer.shutdown_write();
            assert_eq!(rig.block_on(task_of(task)), Filled::End);
            assert_eq!(rig.block_on(fill(&mut splice, 100)), Filled::End, "asked again");
            drop(splice);
            assert!(matches!(rig.block_on(source.recv()), Ok(None)), "and to a receive");
            drop(reader);
        }
        let ((source, writer), (sink, reader)) = connections(&rig.ring, Transport::Tcp);
        writer.write(b"to nobody");
        let mut splice = Splice::begin(&source, &sink).expect("nothing is in the way");
        assert!(matches!(rig.block_on(fill(&mut splice, 100)), Filled::Bytes(_)));
        reader.reset();
        let error = rig.block_on(async {
            loop {
                if let Err(error) = poll_fn(|context| splice.poll_drain(context)).await {
                    return error;
                }
                writer.write(b"more");
                fill(&mut splice, 100).await;
            }
        });
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
        let asked_again = rig.block_on(poll_fn(|context| splice.poll_drain(context)));
        assert_eq!(asked_again.expect_err("it stays broken").kind(), error.kind());
        drop(splice);
        let ((source, writer), (sink, _reader)) = connections(&rig.ring, Transport::Tcp);
        let mut splice = Splice::begin(&source, &sink).expect("nothing is in the way");
        let waiting = Bell::new().poll(|context| splice.poll_fill(context, 100));
        assert!(waiting.is_pending());
        rig.turns(1);
        writer.reset();
        let reset = rig.block_on(poll_fn(|context| splice.poll_fill(context, 100)));
        assert_eq!(reset.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    });
}

async fn task_of<T>(mut task: Task<'_, T>) -> T {
    poll_fn(|context| match task.poll() {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[test]
fn urgent_data_is_left_to_a_receive_and_costs_no_turning_in_vain() {
    with_ring(&small(), |rig| {
        let ((source, writer), (sink, _reader)) = connections(&rig.ring, Transport::Tcp);
        let mut splice = Splice::begin(&source, &sink).expect("nothing is in the way");
        writer.0.send_out_of_band(b"!").expect("TCP has it");
        writer.write(b"and more");
        assert_eq!(rig.block_on(fill(&mut splice, 100)), Filled::Unable);
        drop(splice);
        let rest = rig.block_on(source.recv()).expect("no error").expect("no end");
        assert_eq!(&rest[..], b"and more");
    });
}

#[test]
fn a_source_that_disappears_is_seen_by_who_watches_it() {
    with_ring(&small(), |rig| {
        let ((source, writer), (sink, _reader)) = connections(&rig.ring, Transport::Tcp);
        let splice = Splice::begin(&source, &sink).expect("nothing is in the way");
        let bell = Bell::new();
        assert!(bell.poll(|context| source.poll_gone(context)).is_pending());
        rig.turns(1);
        writer.write(b"unread");
        rig.turns(3);
        assert!(bell.poll(|context| source.poll_gone(context)).is_pending());
        writer.reset();
        rig.block_on(poll_fn(|context| source.poll_gone(context)));
        drop(splice);
    });
}
