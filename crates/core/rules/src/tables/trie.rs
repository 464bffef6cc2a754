//! Owns a radix trie over the beginnings or the ends of strings.
//!
//! Leaves what the numbers are to its users. The children of a node are neighbours, sorted by their
//! first byte. Invariant: a walk costs at most one step for each byte of what is looked up, however
//! many keys there are.

/// A node that ends no key.
const NONE: u32 = u32::MAX;

/// Which end of a string the keys stand at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    Front,
    Back,
}

#[derive(Clone, Debug)]
struct Node {
    /// The bytes of the edge to it, in `Trie::bytes`.
    label_start: u32,
    label_length: u32,
    value: u32,
    children_start: u32,
    children_count: u32,
}

/// Keys at one end of a string, each with a number.
#[derive(Clone, Debug)]
pub(crate) struct Trie {
    end: End,
    nodes: Vec<Node>,
    /// The byte that leads to each node.
    firsts: Vec<u8>,
    bytes: Vec<u8>,
}

/// Keys that share all that stands above a node which is still to be made.
struct Pending {
    node: usize,
    keys: std::ops::Range<usize>,
    depth: usize,
}

impl Trie {
    /// A trie of these keys; of a key given twice the first value stays.
    pub(crate) fn new<'a>(end: End, keys: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let oriented = |key: &[u8]| match end {
            End::Front => key.to_vec(),
            End::Back => key.iter().rev().copied().collect(),
        };
        let mut keys: Vec<(Vec<u8>, u32)> =
            keys.into_iter().map(|(key, value)| (oriented(key), value)).collect();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        keys.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut trie = Self { end, nodes: Vec::new(), firsts: Vec::new(), bytes: Vec::new() };
        trie.push_node(&[]);
        let mut pending = vec![Pending { node: 0, keys: 0..keys.len(), depth: 0 }];
        while let Some(next) = pending.pop() {
            trie.fill(&next, &keys, &mut pending);
        }
        trie
    }

    /// Gives a node its value and its children.
    fn fill(&mut self, next: &Pending, keys: &[(Vec<u8>, u32)], pending: &mut Vec<Pending>) {
        let mut rest = next.keys.clone();
        if let Some((key, value)) = keys.get(rest.start)
            && !rest.is_empty()
            && key.len() == next.depth
        {
            self.nodes[next.node].value = *value;
            rest.start += 1;
        }
        self.nodes[next.node].children_start = number(self.nodes.len());
        while !rest.is_empty() {
            let first = &keys[rest.start].0;
            let same = |key: &[u8]| key[next.depth] == first[next.depth];
            let count = keys[rest.clone()].iter().take_while(|(key, _)| same(key)).count();
            let last = &keys[rest.start + count - 1].0;
            // Sorted: what the first and the last share, all share.
            let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            let node = self.push_node(&first[next.depth..shared]);
            self.nodes[next.node].children_count += 1;
            pending.push(Pending { node, keys: rest.start..rest.start + count, depth: shared });
            rest.start += count;
        }
    }

    fn push_node(&mut self, label: &[u8]) -> usize {
        self.firsts.push(label.first().copied().unwrap_or(0));
        let label_start = number(self.bytes.len());
        match self.end {
            End::Front => self.bytes.extend_from_slice(label),
            End::Back => self.bytes.extend(label.iter().rev()),
        }
        self.nodes.push(Node {
            label_start,
            label_length: number(label.len()),
            value: NONE,
            children_start: 0,
            children_count: 0,
        });
        self.nodes.len() - 1
    }

    /// Calls `visit` with the number of every key that `bytes` begins or ends with, the shortest
    /// first, until it returns true; whether it did.
    #[inline]
    pub(crate) fn walk(&self, bytes: &[u8], mut visit: impl FnMut(u32) -> bool) -> bool {
        let mut rest = bytes;
        let mut node = &self.nodes[0];
        loop {
            if node.value != NONE && visit(node.value) {
                return true;
            }
            let first = match self.end {
                End::Front => rest.first(),
                End::Back => rest.last(),
            };
            let Some(child) = first.and_then(|first| self.child(node, *first)) else {
                return false;
            };
            let start = child.label_start as usize;
            let Some(label) = self.bytes.get(start..start + child.label_length as usize) else {
                return false;
            };
            let stripped = match self.end {
                End::Front => rest.strip_prefix(label),
                End::Back => rest.strip_suffix(label),
            };
            let Some(stripped) = stripped else { return false };
            (rest, node) = (stripped, child);
        }
    }

    #[inline]
    fn child(&self, node: &Node, first: u8) -> Option<&Node> {
        let start = node.children_start as usize;
        let firsts = self.firsts.get(start..start + node.children_count as usize)?;
        let place = if firsts.len() <= 8 {
            firsts.iter().position(|byte| *byte == first)?
        } else {
            firsts.binary_search(&first).ok()?
        };
        self.nodes.get(start + place)
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("keys come from texts of a configuration, far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(end: End, keys: &[&str], bytes: &str) -> Vec<u32> {
        let trie = Trie::new(end, keys.iter().map(|key| key.as_bytes()).zip(0..));
        let mut found = Vec::new();
        trie.walk(bytes.as_bytes(), |value| {
            found.push(value);
            false
        });
        found
    }

    #[test]
    fn every_prefix_is_found_the_shortest_first() {
        let keys = ["/a/b", "/", "/a", "/b", "/a/c", "/a", "/abc"];
        assert_eq!(found(End::Front, &keys, "/a/b/c"), [1, 2, 0]);
        assert_eq!(found(End::Front, &keys, "/ab"), [1, 2]);
        assert_eq!(found(End::Front, &keys, "x"), []);
        assert_eq!(found(End::Front, &["", "a"], ""), [0]);
        assert_eq!(found(End::Front, &[], "a"), []);
    }

    #[test]
    fn every_suffix_is_found_the_shortest_first() {
        let keys = [".example", "a.example", "b.example", ".com", ""];
        assert_eq!(found(End::Back, &keys, "www.a.example"), [4, 0, 1]);
        assert_eq!(found(End::Back, &keys, ".com"), [4, 3]);
        assert_eq!(found(End::Back, &keys, "com"), [4]);
    }

    #[test]
    fn wide_nodes_are_searched() {
        let keys: Vec<String> = (33..127_u8).map(|byte| format!("{}x", byte as char)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        assert_eq!(found(End::Front, &keys, "~x"), [93]);
        assert_eq!(found(End::Back, &keys, "ax"), [64]);
        assert_eq!(found(End::Front, &keys, " x"), []);
    }
}
