//! Calling buffers back from the kernel, which gives them up only filled.
//!
//! Owns a pair of sockets for a moment, and the receives that take one byte and one buffer each; leaves what becomes of the
//! buffers to `buffers`. Invariant: the receiving socket is open until the last of the receives has completed.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::{cqueue, opcode, squeue, types};

use super::Core;
use crate::buffers::{GROUP, RECALLED_MAX};
use crate::operation::{Kind, pack};

/// Receives that call buffers back.
pub(super) struct Recall {
    socket: UnixStream,
    pending: u16,
}

impl Core {
    /// One step of giving back what a burst needed.
    pub(crate) fn trim(&mut self) {
        self.pipes.trim();
        let count = self.buffers.trim();
        if count == 0 || self.recall.is_some() {
            return;
        }
        // Without descriptors buffers come back all the same, with whatever else is received.
        let Ok((socket, mut feeder)) = UnixStream::pair() else { return };
        let bytes = [0; RECALLED_MAX as usize];
        if feeder.write(&bytes[..usize::from(count)]).ok() != Some(usize::from(count)) {
            return;
        }
        let recall = self.recall.insert(Recall { socket, pending: count });
        let fd = types::Fd(recall.socket.as_raw_fd());
        for _ in 0..count {
            let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 1)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
                .user_data(pack(Kind::Recall, 0, 0));
            self.in_flight += 1;
            self.push(&entry);
        }
    }

    pub(super) fn recall_completed(&mut self, flags: u32) {
        self.in_flight -= 1;
        if let Some(id) = cqueue::buffer_select(flags) {
            self.buffers.taken_from_kernel(id);
            self.buffers.give_to_kernel(id);
        }
        if let Some(recall) = &mut self.recall {
            recall.pending -= 1;
            if recall.pending == 0 {
                self.recall = None;
            }
        }
    }
}
