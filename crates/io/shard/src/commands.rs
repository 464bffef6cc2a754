//! The bounded lock-free queue between two threads, with a wake-up for the one that sleeps.
//!
//! Owns nothing but the pairing of an `rtrb` ring with a wake-up; leaves the messages to its users. Invariant: what was
//! pushed is seen: the push comes before the wake-up, and the receiver looks again after it asked to be woken.

use rtrb::{Consumer, Producer, RingBuffer};
use tidegate_ring::Wakeup;

/// The queue was full; the message comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// The sending half.
pub struct Sender<T> {
    producer: Producer<T>,
    wakeup: Option<Wakeup>,
}

/// The receiving half.
pub struct Receiver<T>(Consumer<T>);

/// A queue for `capacity` messages. The receiver polls unless [`Sender::wakes`] names whom to wake.
pub fn queue<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = RingBuffer::new(capacity);
    (Sender { producer, wakeup: None }, Receiver(consumer))
}

impl<T> Sender<T> {
    /// From now on each message wakes the owner of `wakeup`.
    pub fn wakes(&mut self, wakeup: Wakeup) {
        self.wakeup = Some(wakeup);
    }

    /// Sends `message`.
    ///
    /// # Errors
    /// [`Full`] gives the message back when the queue is full or the receiver is gone.
    pub fn send(&mut self, message: T) -> Result<(), Full<T>> {
        if self.producer.is_abandoned() {
            return Err(Full(message));
        }
        self.producer.push(message).map_err(|rtrb::PushError::Full(message)| Full(message))?;
        if let Some(wakeup) = &self.wakeup {
            wakeup.wake();
        }
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.producer.is_abandoned()
    }
}

impl<T> Receiver<T> {
    /// The oldest message, if there is one.
    #[inline]
    pub fn receive(&mut self) -> Option<T> {
        self.0.pop().ok()
    }

    /// Whether the sender is gone and everything it sent has been received.
    pub fn is_finished(&self) -> bool {
        self.0.is_abandoned() && self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_a_full_queue_gives_the_message_back() {
        let (mut sender, mut receiver) = queue(2);
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Ok(()));
        assert_eq!(sender.send(3), Err(Full(3)));
        assert_eq!(
            (receiver.receive(), receiver.receive(), receiver.receive()),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn a_gone_receiver_refuses_and_a_gone_sender_leaves_its_messages() {
        let (mut sender, receiver) = queue(2);
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(1), Err(Full(1)));
        let (mut sender, mut receiver) = queue(2);
        assert_eq!(sender.send(1), Ok(()));
        drop(sender);
        assert!(!receiver.is_finished());
        assert_eq!(receiver.receive(), Some(1));
        assert!(receiver.is_finished());
    }
}
