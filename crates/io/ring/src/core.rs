//! The driver's state: submissions, completions and what each means for its slot.
//!
//! Owns the kernel ring, the slots and everything in flight; leaves handles to `socket`,
//! `listener`. Invariant: `in_flight` counts the operations whose last completion has not come, and memory that one
//! of them points to (a slot's transmit box, a connect's address box) is kept until then.
#![allow(unsafe_code, reason = "hands entries to the kernel; each block says why it is sound")]

mod listen;
mod recall;
mod splicing;
mod transmit;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use socket2::SockAddr;

use crate::buffers::{Buffers, GROUP, RecvBuf};
use crate::operation::{GENERATION_MASK, Kind, pack, unpack};
use crate::pipe::Pipes;
use crate::send::{Recycled, Transmit};
use crate::slots::{Arrived, Flags, RECV_QUEUE_MAX, Slot, Slots};

use self::recall::Recall;

pub(crate) use listen::Shots;
pub(crate) use splicing::descriptor;

/// Transmit boxes kept for reuse: as many as sends that one turn may have in flight in the usual case.
const TRANSMITS_KEPT_MAX: usize = 1024;

/// What the ring has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Entries submitted.
    pub submitted: u64,
    /// Completions handled.
    pub completed: u64,
    /// Receives that ended because the kernel had no buffer left.
    pub buffers_exhausted: u64,
    /// Receives copied out of their buffer because few were left.
    pub receives_copied: u64,
    /// Receives paused because a socket's queue reached [`RECV_QUEUE_MAX`].
    pub receives_paused: u64,
    /// Completions of detached operations that failed, other than cancels that came too late.
    pub detached_failures: u64,
    /// Times the shard slept.
    pub parks: u64,
    /// Bytes that splices took from sockets.
    pub spliced_bytes: u64,
    /// Splices that found no pipe: all were in use, or no more could be made.
    pub pipes_exhausted: u64,
}

/// Completions between asking for the memory of a waiting task's waker and calling it.
const WAKERS_AHEAD: usize = 4;

/// The token of a socket on which something arrived while it was parked.
struct Unparked {
    token: u32,
    index: u32,
}

pub(crate) struct Core {
    pub(crate) ring: IoUring,
    pub(crate) slots: Slots,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) recycled: Recycled,
    pub(crate) counters: Counters,
    /// Tokens of parked sockets on which something arrived, first come first served.
    parked_ready: VecDeque<Unparked>,
    /// Operations whose last completion has not come.
    pub(crate) in_flight: usize,
    /// A wait for wake-ups is in flight; it points to no memory and is not counted above.
    pub(crate) wakeup_armed: bool,
    #[allow(
        clippy::vec_box,
        reason = "boxes move between here and the slots; the kernel needs them in place"
    )]
    transmits: Vec<Box<Transmit>>,
    addresses: HashMap<u32, Box<SockAddr>>,
    /// Sockets that wait for a buffer, in the order of their waiting.
    starved: VecDeque<u32>,
    recall: Option<Recall>,
    pub(crate) pipes: Pipes,
}

impl Core {
    pub(crate) fn new(ring: IoUring, buffers: Rc<Buffers>, pipes: Pipes) -> Core {
        Core {
            ring,
            slots: Slots::new(),
            buffers,
            recycled: Recycled::default(),
            counters: Counters::default(),
            parked_ready: VecDeque::new(),
            in_flight: 0,
            wakeup_armed: false,
            transmits: Vec::new(),
            addresses: HashMap::new(),
            starved: VecDeque::new(),
            recall: None,
            pipes,
        }
    }

    /// Queues `entry` for the next submission; a full queue is submitted first.
    pub(super) fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: every entry is built in this crate. What it points to is a transmit box held by its slot, an
            // address box held in `addresses`, or the registered buffer group, each kept until the completion.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                return;
            }
            self.enter(0);
        }
    }

    pub(super) fn push_detached(&mut self, entry: squeue::Entry) {
        self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(pack(Kind::Detached, 0, 0)));
    }

    pub(super) fn push_for(&mut self, kind: Kind, index: u32, entry: squeue::Entry) {
        let user_data = pack(kind, index, self.slots.get(index).generation);
        self.in_flight += 1;
        self.push(&entry.user_data(user_data));
    }

    /// Submits what is queued and runs deferred kernel work, waiting for `want` completions.
    ///
    /// Errors other than "completions first" and "interrupted" cannot be provoked by peers; they are counted by the
    /// caller through the missing progress and end in the operations' own deadlines.
    pub(crate) fn enter(&mut self, want: usize) -> usize {
        self.counters.enters += 1;
        let queued = self.ring.submission().len();
        let to_submit = u32::try_from(queued).unwrap_or(u32::MAX);
        // SAFETY: no argument structure is passed; the flag asks for completions, as DEFER_TASKRUN needs.
        let entered = unsafe {
            let want = u32::try_from(want).unwrap_or(u32::MAX);
            self.ring.submitter().enter::<libc::sigset_t>(to_submit, want, ENTER_GETEVENTS, None)
        };
        let submitted = entered.unwrap_or(0);
        self.counters.submitted += submitted as u64;
        submitted
    }

    /// As [`Core::enter`], sleeping until a completion comes or `timeout` has passed.
    pub(crate) fn enter_and_sleep(&mut self, eventfd: i32, timeout: Option<Duration>) {
        if !self.wakeup_armed {
            self.wakeup_armed = true;
            let entry = opcode::PollAdd::new(types::Fd(eventfd), READABLE).build();
            self.push(&entry.user_data(pack(Kind::Wakeup, 0, 0)));
        }
        self.counters.enters += 1;
        self.counters.parks += 1;
        let queued = self.ring.submission().len();
        let entered = match timeout {
            None => self.ring.submitter().submit_and_wait(1),
            Some(timeout) => {
                let timespec = types::Timespec::from(timeout);
                self.ring
                    .submitter()
                    .submit_with_args(1, &types::SubmitArgs::new().timespec(&timespec))
            }
        };
        // A timeout is an error that says nothing of how much was submitted before it.
        let left = self.ring.submission().len();
        self.counters.submitted += entered.unwrap_or(queued - left) as u64;
    }

    /// Handles at most `budget` completions that have come; how many.
    pub(crate) fn reap(&mut self, budget: usize) -> usize {
        let mut handled = 0;
        let mut batch = [const { std::mem::MaybeUninit::uninit() }; 64];
        while handled < budget {
            let room = batch.len().min(budget - handled);
            let completions = self.ring.completion().fill(&mut batch[..room]).len();
            for completion in &batch[..completions] {
                // SAFETY: `fill` initialised the first `completions` entries.
                self.slots.prefetch(unpack(unsafe { completion.assume_init_ref() }.user_data()).1);
            }
            for (at, completion) in batch[..completions].iter().enumerate() {
                if let Some(later) = batch[..completions].get(at + WAKERS_AHEAD) {
                    // SAFETY: as above.
                    let later = unsafe { later.assume_init_ref() };
                    self.slots.prefetch_waiter(unpack(later.user_data()).1);
                }
                // SAFETY: as above.
                let completion = unsafe { completion.assume_init_ref() };
                self.complete(completion.user_data(), completion.result(), completion.flags());
            }
            handled += completions;
            if completions < room {
                break;
            }
        }
        self.counters.completed += handled as u64;
        self.buffers.grow_if_low();
        self.feed_starved();
        handled
    }

    /// Whether a socket waits for a buffer and there is one: it may have no use for it yet, and others wait behind it.
    pub(crate) fn can_feed(&self) -> bool {
        !self.starved.is_empty() && self.buffers.available() > 0
    }

    /// Receives that ran out of buffers start again once some are back, as many as there are buffers.
    pub(crate) fn feed_starved(&mut self) {
        for _ in 0..self.buffers.available() {
            let Some(index) = self.starved.pop_front() else { return };
            let slot = self.slots.get_mut(index);
            slot.flags.clear(Flags::STARVED);
            if slot.flags.has(Flags::RELEASED) {
                self.remove_if_done(index);
            } else if !slot.flags.has(Flags::ARMED) {
                self.arm_recv(index);
            }
        }
    }

    fn complete(&mut self, user_data: u64, result: i32, flags: u32) {
        let (kind, index, generation) = unpack(user_data);
        if kind == Kind::Detached {
            let too_late = matches!(-result, libc::ENOENT | libc::EALREADY | libc::ENOTCONN);
            self.counters.detached_failures += u64::from(result < 0 && !too_late);
            return;
        }
        if kind == Kind::Wakeup {
            self.wakeup_armed = false;
            return;
        }
        if kind == Kind::Recall {
            self.recall_completed(flags);
            return;
        }
        assert_eq!(
            self.slots.get(index).generation & GENERATION_MASK,
            generation,
            "a completion of {kind:?} ({result}) outlived its slot"
        );
        let more = cqueue::more(flags);
        if !more {
            self.in_flight -= 1;
        }
        match kind {
            Kind::Recv => self.recv_completed(index, result, flags, more),
            Kind::Send => self.send_completed(index, result),
            Kind::Connect => self.connect_completed(index, result),
            Kind::Accept => self.accept_completed(index, result, more),
            Kind::Readable => self.readable_completed(index, result),
            Kind::Hangup => self.hangup_completed(index, result),
            Kind::Incoming => self.incoming_completed(index, result),
            Kind::Outgoing => self.outgoing_completed(index, result),
            Kind::Detached | Kind::Wakeup | Kind::Recall => {}
        }
        if self.slots.get(index).flags.has(Flags::RELEASED) {
            self.remove_if_done(index);
        }
    }

    fn recv_completed(&mut self, index: u32, result: i32, flags: u32, more: bool) {
        let buffer = cqueue::buffer_select(flags);
        if let Some(id) = buffer {
            self.buffers.taken_from_kernel(id);
        }
        let slot = self.slots.get_mut(index);
        if !more {
            slot.flags.clear(Flags::ARMED);
            slot.flags.clear(Flags::CANCELLING);
        }
        let released = slot.flags.has(Flags::RELEASED);
        match (result, buffer) {
            (1.., Some(id)) if !released => {
                let arrived = self.keep_or_copy(id, result.cast_unsigned());
                self.slots.push_arrived(index, arrived);
                self.pause_if_full(index);
            }
            (_, Some(id)) => {
                self.buffers.give_to_kernel(id);
                if result <= 0 {
                    slot.flags.set(Flags::EOF);
                }
            }
            (0, None) => slot.flags.set(Flags::EOF),
            (result, None) if result == -libc::ENOBUFS => {
                self.counters.buffers_exhausted += 1;
                if !released && !slot.flags.has(Flags::STARVED) {
                    slot.flags.set(Flags::STARVED);
                    self.starved.push_back(index);
                }
                return;
            }
            (result, None) if result == -libc::ECANCELED => {
                self.recv_cancelled(index);
                return;
            }
            (result, None) if result == -libc::EAGAIN => {
                // In non-blocking mode the kernel does not wait with a receive.
                if !released {
                    self.await_incoming(index);
                }
                return;
            }
            (result, None) => slot.recv_errno = -result,
        }
        self.notify_recv(index);
    }

    /// Bytes stay in their buffer until they are asked for, unless few buffers are left: what is not asked for soon must
    /// not keep others from receiving.
    fn keep_or_copy(&mut self, id: u16, len: u32) -> Arrived {
        if !self.buffers.is_scarce() {
            return Arrived::Buffer { id, len };
        }
        self.counters.receives_copied += 1;
        Arrived::Copied(RecvBuf::new(self.buffers.clone(), id, len).to_vec().into_boxed_slice())
    }

    /// A receive was ended on request. Who began to wait between the request and now waits for a new one.
    fn recv_cancelled(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if slot.flags.has(Flags::RELEASED) || slot.queued > 0 {
            return;
        }
        if slot.is_parked() {
            self.arm_recv(index);
        } else if let Some(waker) = &slot.recv_waker {
            waker.wake_by_ref();
        }
    }

    /// A socket whose owner does not keep up stops receiving, so that it cannot drain the shared buffers.
    fn pause_if_full(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        let armed = slot.flags.has(Flags::ARMED) && !slot.flags.has(Flags::CANCELLING);
        if slot.queued >= RECV_QUEUE_MAX && armed {
            self.counters.receives_paused += 1;
            self.cancel_recv(index);
        }
    }

    /// Asks the kernel to end the receive in flight; its last completion still comes.
    pub(crate) fn cancel_recv(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if slot.flags.has(Flags::ARMED) && !slot.flags.has(Flags::CANCELLING) {
            let kind = match (slot.flags.has(Flags::POLLING), slot.splicing.awaits_incoming) {
                (false, _) => Kind::Recv,
                (true, true) => Kind::Incoming,
                (true, false) => return,
            };
            slot.flags.set(Flags::CANCELLING);
            let target = pack(kind, index, slot.generation);
            self.push_detached(opcode::AsyncCancel::new(target).build());
        }
    }

    pub(super) fn notify_recv(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if slot.is_parked() {
            let token = std::mem::replace(&mut slot.parked, Slot::TOKEN_DUE);
            self.parked_ready.push_back(Unparked { token, index });
        } else if let Some(waker) = &slot.recv_waker {
            waker.wake_by_ref();
        }
    }

    /// Takes back the token, which its owner may give to another socket now.
    pub(crate) fn end_parking(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if std::mem::replace(&mut slot.parked, Slot::NOT_PARKED) == Slot::TOKEN_DUE {
            self.parked_ready.retain(|unparked| unparked.index != index);
        }
    }

    /// The token of the parked socket that has waited longest since something arrived on it.
    pub(crate) fn next_unparked(&mut self) -> Option<u32> {
        let Unparked { token, index } = self.parked_ready.pop_front()?;
        self.slots.get_mut(index).parked = Slot::NOT_PARKED;
        Some(token)
    }

    pub(crate) fn unparked_count(&self) -> usize {
        self.parked_ready.len()
    }

    pub(crate) fn arm_recv(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        debug_assert!(!slot.flags.has(Flags::ARMED) && !slot.flags.has(Flags::RELEASED));
        slot.flags.set(Flags::ARMED);
        let fd = types::Fd(slot.fd);
        let entry = if slot.flags.has(Flags::ON_DEMAND) {
            opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        } else {
            opcode::RecvMulti::new(fd, GROUP).build()
        };
        self.push_for(Kind::Recv, index, entry);
    }

    /// The connection counts as reset from now on; its holder is told.
    pub(crate) fn abort(&mut self, index: u32, generation: u32) {
        let slot = self.slots.get_mut(index);
        if slot.generation != generation || slot.flags.has(Flags::RELEASED) {
            return;
        }
        (slot.recv_errno, slot.send_errno) = (libc::ECONNRESET, libc::ECONNRESET);
        if let Some(waker) = &slot.send_waker {
            waker.wake_by_ref();
        }
        self.notify_recv(index);
    }

    /// The handle is gone: cancels what is in flight and closes. The slot returns with its last completion.
    pub(crate) fn release(&mut self, index: u32, accepts: bool) {
        while let Some(arrived) = self.slots.pop_arrived(index) {
            match arrived {
                Arrived::Buffer { id, .. } => self.buffers.give_to_kernel(id),
                Arrived::Copied(bytes) => drop(bytes),
                Arrived::Descriptor(fd) => {
                    self.push_detached(opcode::Close::new(types::Fd(fd)).build());
                }
            }
        }
        self.end_parking(index);
        if accepts {
            self.cancel_accept(index);
        } else {
            self.cancel_recv(index);
        }
        let slot = self.slots.get_mut(index);
        slot.flags.set(Flags::RELEASED);
        slot.recv_waker = None;
        slot.send_waker = None;
        let (fd, flags, generation) =
            (std::mem::replace(&mut slot.fd, -1), slot.flags, slot.generation);
        let pending = [
            (flags.has(Flags::SENDING) && !slot.splicing.send_due, Kind::Send),
            (flags.has(Flags::CONNECTING), Kind::Connect),
            (flags.has(Flags::WATCHED), Kind::Hangup),
            (slot.splicing.awaits_outgoing, Kind::Outgoing),
        ];
        for (is_pending, kind) in pending {
            if is_pending {
                self.push_detached(opcode::AsyncCancel::new(pack(kind, index, generation)).build());
            }
        }
        if fd >= 0 {
            self.push_detached(opcode::Close::new(types::Fd(fd)).build());
        }
        self.remove_if_done(index);
    }

    pub(super) fn remove_if_done(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if slot.in_flight() || slot.flags.has(Flags::STARVED) {
            return;
        }
        if let Some(transmit) = &mut slot.transmit {
            transmit.clear(&mut self.recycled);
            self.recycle_transmit(index);
        }
        self.slots.remove(index);
    }

    /// Asks the kernel to end everything, for the end of the ring.
    pub(crate) fn cancel_everything(&mut self) {
        self.push_detached(opcode::AsyncCancel2::new(types::CancelBuilder::any()).build());
    }

    pub(crate) fn register(&self) -> io::Result<()> {
        let (address, entries) = self.buffers.registration();
        // SAFETY: the entries are mapped until `buffers` is dropped, which happens after the ring is closed.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(address, entries, GROUP, 0) }
    }
}

/// `POLLIN` of `poll(2)`.
const READABLE: u32 = 1;

/// `IORING_ENTER_GETEVENTS` of `io_uring_enter(2)`.
const ENTER_GETEVENTS: u32 = 1;
