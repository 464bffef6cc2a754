//! Messages after the handshake, cut into records in any way, are read as they are in one record; nothing panics, and nothing is held
//! between messages.

use tidegate_tls_records::{Kind, Message, MessageError, Messages, Peer, Version};

const SIDES: [(Version, Peer); 4] = [
    (Version::Tls13, Peer::Client),
    (Version::Tls13, Peer::Server),
    (Version::Tls12, Peer::Client),
    (Version::Tls12, Peer::Server),
];

/// The first byte chooses the side, the second where the records are cut; the rest are the messages.
pub fn check(data: &[u8]) {
    let [side, cut, stream @ ..] = data else { return };
    let side = SIDES[usize::from(*side) % SIDES.len()];
    let whole = read(side, stream.chunks(stream.len().max(1)));
    let pieces = read(side, stream.chunks(usize::from(*cut).max(1)));
    match (&whole, &pieces) {
        // Where a record ends decides whether a KeyUpdate may stand there, and what was said before an error is the same.
        ((whole, Some(MessageError::BeforeKeyChange)), (pieces, _))
        | ((whole, _), (pieces, Some(MessageError::BeforeKeyChange))) => {
            let least = whole.len().min(pieces.len());
            assert_eq!(whole[..least], pieces[..least]);
        }
        _ => assert_eq!(whole, pieces),
    }
}

/// What the messages say, until one is refused.
fn read<'a>(
    (version, peer): (Version, Peer),
    records: impl Iterator<Item = &'a [u8]>,
) -> (Vec<String>, Option<MessageError>) {
    let (mut messages, mut said) = (Messages::new(version, peer), Vec::new());
    for record in records {
        if let Err(error) = messages.push(record) {
            return (said, Some(error));
        }
        loop {
            match messages.next() {
                Ok(None) => break,
                Ok(Some(Message::NewSessionTicket(bytes))) => {
                    said.push(format!("ticket {bytes:?}"));
                }
                Ok(Some(message)) => said.push(format!("{message:?}")),
                Err(error) => return (said, Some(error)),
            }
        }
        assert_eq!(messages.check_order(Kind::Handshake), Ok(()));
    }
    (said, None)
}
