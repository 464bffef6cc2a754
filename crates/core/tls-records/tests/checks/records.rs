//! Whatever comes as a record: nothing panics, nothing is shown that was not sealed, and records that a peer with the key made are
//! judged as RFC 8446 §5.4 and RFC 5246 §6.2 say.

use super::forge::{ALERT, DATA, HANDSHAKE, SUITES, Suite};
use tidegate_tls_records::{
    Kind, Opened, RECORD_BYTES_MAX, RECORDS_WITHOUT_DATA_MAX, RecordError, Version,
};

/// The first byte chooses the suite; then the bytes are opened as they are, and taken as the contents of sealed records.
pub fn check(data: &[u8]) {
    let [choice, bytes @ ..] = data else { return };
    let suite = SUITES[usize::from(*choice) % SUITES.len()];
    open_raw(suite, bytes);
    open_sealed(suite, bytes);
}

/// Bytes without the key: never a record.
fn open_raw(suite: Suite, bytes: &[u8]) {
    let (mut opener, mut received) = (suite.opener(0), bytes.to_vec());
    match opener.open(&mut received) {
        Ok(Opened::Incomplete { needed }) => {
            assert!(needed > bytes.len() && needed <= RECORD_BYTES_MAX);
            assert_eq!(received, bytes, "an incomplete record was touched");
        }
        Ok(opened) => panic!("opened what was never sealed: {opened:?}"),
        Err(error) => assert_ne!(error, RecordError::Flood),
    }
}

/// Contents of sealed records: a byte for the type of TLS 1.2, a byte for the length, and so many bytes.
fn open_sealed(suite: Suite, mut script: &[u8]) {
    let mut opener = suite.opener(0);
    let (mut sequence, mut without_data) = (0, 0);
    while let [code, length, rest @ ..] = script {
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        script = rest;
        let outer = match suite.version {
            Version::Tls13 => DATA,
            Version::Tls12 => *code,
        };
        let mut record = suite.record(sequence, outer, content);
        let expected = judge(suite, *code, content, &mut without_data);
        let found = opener.open(&mut record).map(|opened| match opened {
            Opened::Record { kind, plaintext, taken } => {
                assert_eq!(taken, record.len());
                (kind, record[plaintext].to_vec())
            }
            Opened::Incomplete { .. } => panic!("the record is whole"),
        });
        assert_eq!(found, expected, "{suite:?}, type {code}, {content:?}");
        if found.is_err() {
            return;
        }
        sequence += 1;
    }
}

fn judge(
    suite: Suite,
    code: u8,
    content: &[u8],
    without_data: &mut u8,
) -> Result<(Kind, Vec<u8>), RecordError> {
    let (code, plaintext) = match suite.version {
        Version::Tls12 => (code, content),
        Version::Tls13 => {
            let padding = content.iter().rev().take_while(|byte| **byte == 0).count();
            let (code, plaintext) =
                content[..content.len() - padding].split_last().ok_or(RecordError::OnlyPadding)?;
            (*code, plaintext)
        }
    };
    let kind = match code {
        ALERT => Kind::Alert,
        HANDSHAKE => Kind::Handshake,
        DATA => Kind::ApplicationData,
        other => return Err(RecordError::UnexpectedType(other)),
    };
    if plaintext.is_empty() && kind != Kind::ApplicationData {
        return Err(RecordError::Empty);
    }
    if kind == Kind::ApplicationData && !plaintext.is_empty() {
        *without_data = 0;
    } else if *without_data == RECORDS_WITHOUT_DATA_MAX {
        return Err(RecordError::Flood);
    } else {
        *without_data += 1;
    }
    Ok((kind, plaintext.to_vec()))
}
