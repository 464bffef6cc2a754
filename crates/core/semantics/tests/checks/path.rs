//! Normal paths: an independent reading of RFC 3986 agrees, normalising is idempotent, and the fast
//! test says exactly what it would change.

use tidegate_semantics::path::{is_normal, normal, normalise, split_query};

/// Decodes first and removes dot segments after, by the letter of RFC 3986 §5.2.4.
fn reference(path: &[u8]) -> Vec<u8> {
    match path {
        [] => b"/".to_vec(),
        [b'/', ..] => without_dot_segments(&with_normal_escapes(path)),
        _ => path.to_vec(),
    }
}

fn with_normal_escapes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut place = 0;
    while place < path.len() {
        if path[place] != b'%' {
            out.push(path[place]);
            place += 1;
            continue;
        }
        let digits = path.get(place + 1..place + 3).and_then(|digits| {
            let is_escape = digits.iter().all(u8::is_ascii_hexdigit);
            let text = std::str::from_utf8(digits).ok().filter(|_| is_escape)?;
            u8::from_str_radix(text, 16).ok()
        });
        match digits {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte),
            Some(byte) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            None => out.extend_from_slice(b"%25"),
        }
        place += if digits.is_some() { 3 } else { 1 };
    }
    out
}

fn without_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut input = path.to_vec();
    let mut output: Vec<u8> = Vec::new();
    while !input.is_empty() {
        let replace_start = |input: &mut Vec<u8>, length: usize| {
            input.splice(..length, *b"/");
        };
        if input.starts_with(b"/./") {
            replace_start(&mut input, 3);
        } else if input == b"/." {
            replace_start(&mut input, 2);
        } else if input.starts_with(b"/../") || input == b"/.." {
            let length = input.len().min(4);
            replace_start(&mut input, length);
            let slash = output.iter().rposition(|&b| b == b'/').unwrap_or(0);
            output.truncate(slash);
        } else {
            let end = input[1..].iter().position(|&b| b == b'/');
            let segment = end.map_or(input.len(), |end| end + 1);
            output.extend(input.drain(..segment));
        }
    }
    output
}

/// Checks `data` as a path, and as a target.
pub fn check(data: &[u8]) {
    let mut once = b"what was there before".to_vec();
    normalise(data, &mut once);
    assert_eq!(once, reference(data));
    assert_eq!(is_normal(data), once == data, "the fast test agrees");
    assert!(is_normal(&once), "what is normalised is normal");
    let mut twice = Vec::new();
    normalise(&once, &mut twice);
    assert_eq!(twice, once, "once is enough");
    assert!(once.len() <= (3 * data.len()).max(1));
    let mut scratch = Vec::new();
    assert_eq!(normal(data, &mut scratch), once);

    let (path, query) = split_query(data);
    assert!(!path.contains(&b'?'));
    let joined = match query {
        Some(query) => [path, b"?", query].concat(),
        None => path.to_vec(),
    };
    assert_eq!(joined, data);
}
