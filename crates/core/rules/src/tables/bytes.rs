//! Owns a hash table from strings of bytes to numbers.
//!
//! Leaves what the numbers are to its users. Open addressing in a table at most half full, all keys in
//! one allocation. The hash is fixed: whoever sends requests does not choose the keys, only what is
//! looked for, and a lookup ends at the first free slot. Invariant: a key is there once.

/// A slot without an entry.
const FREE: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    hash: u32,
    start: u32,
    length: u32,
    value: u32,
}

/// What makes letters the same in both cases, and some other bytes, which matters little to a hash.
const FOLD: u64 = u64::from_ne_bytes([0x20; 8]);

/// Strings of bytes, each with a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByteTable {
    /// The bits that the hash ignores.
    fold: u64,
    slots: Vec<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl ByteTable {
    /// A table of these keys; of a key given twice the first value stays.
    pub(crate) fn new<'a>(keys: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let mut table = Self::default();
        for (key, value) in keys {
            table.insert(key, value);
        }
        table
    }

    /// An empty table of names, which are given in lower case and found in any.
    pub(crate) fn of_names() -> Self {
        Self { fold: FOLD, ..Self::default() }
    }

    /// Adds a key; the value it already has, if it is there.
    pub(crate) fn insert(&mut self, key: &[u8], value: u32) -> Option<u32> {
        if let Some(value) = self.find(key) {
            return Some(value);
        }
        let size =
            |length: usize| u32::try_from(length).expect("lists are bounded far below 4 GiB");
        let entry = Entry {
            hash: hash(key, self.fold),
            start: size(self.bytes.len()),
            length: size(key.len()),
            value,
        };
        self.bytes.extend_from_slice(key);
        self.entries.push(entry);
        if self.entries.len() * 2 > self.slots.len() {
            self.slots = vec![FREE; (self.entries.len() * 4).next_power_of_two().max(8)];
            for index in 0..self.entries.len() {
                self.place(index);
            }
        } else {
            self.place(self.entries.len() - 1);
        }
        None
    }

    fn place(&mut self, index: usize) {
        let mask = self.slots.len() - 1;
        let mut slot = self.entries[index].hash as usize & mask;
        while self.slots[slot] != FREE {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = u32::try_from(index).expect("fewer entries than bytes");
    }

    /// The number of the key.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        self.find_hashed(hash(key, self.fold), |bytes| bytes == key)
    }

    /// The number of the key that is `name` in lower case, in a table of names.
    #[inline]
    pub(crate) fn find_ignoring_case(&self, name: &[u8]) -> Option<u32> {
        self.find_hashed(hash(name, self.fold), |bytes| bytes.eq_ignore_ascii_case(name))
    }

    #[inline]
    fn find_hashed(&self, hash: u32, is_key: impl Fn(&[u8]) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = hash as usize & mask;
        loop {
            // A free slot holds no entry's number.
            let entry = self.entries.get(*self.slots.get(slot)? as usize)?;
            let start = entry.start as usize;
            if entry.hash == hash
                && self.bytes.get(start..start + entry.length as usize).is_some_and(&is_key)
            {
                return Some(entry.value);
            }
            slot = (slot + 1) & mask;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys, in the order in which they were added.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = |entry: &Entry| entry.start as usize..(entry.start + entry.length) as usize;
        self.entries.iter().map(move |entry| &self.bytes[bytes(entry)])
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn mix(state: u64, word: u64) -> u64 {
    (state.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER)
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the upper half of the product is the mixed one"
)]
fn finish(state: u64) -> u32 {
    (state ^ (state >> 29)).wrapping_mul(MULTIPLIER).rotate_left(32) as u32
}

/// Eight bytes at a time, each with the bits of `fold` set; the last eight may overlap those before.
#[inline]
fn hash(bytes: &[u8], fold: u64) -> u32 {
    let length = bytes.len() as u64;
    let mut state = length;
    if let Some(last) = bytes.last_chunk::<8>() {
        let (words, _) = bytes.as_chunks::<8>();
        for word in words {
            state = mix(state, u64::from_le_bytes(*word) | fold);
        }
        return finish(mix(state, u64::from_le_bytes(*last) | fold));
    }
    let word = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    finish(mix(state, word | fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_nothing_else() {
        let keys: Vec<String> = (0..3000).map(|number| format!("key-{}", number * 7)).collect();
        let numbered = keys.iter().zip(0..).map(|(key, value)| (key.as_bytes(), value));
        let table = ByteTable::new(numbered.clone());
        let mut names = ByteTable::of_names();
        for (key, value) in numbered {
            assert_eq!(table.find(key), Some(value));
            assert_eq!(names.insert(key, value), None);
        }
        for (key, value) in keys.iter().zip(0..) {
            let name = key.to_ascii_uppercase();
            assert_eq!(names.find_ignoring_case(name.as_bytes()), Some(value));
        }
        assert_eq!(table.find(b"key-1"), None);
        assert_eq!(table.find(b""), None);
        assert_eq!(ByteTable::default().find(b""), None);
    }

    #[test]
    fn keys_of_every_length_are_told_apart() {
        let long: Vec<u8> = (0..40).collect();
        let table = ByteTable::new((0..=40).map(|length| &long[..length]).zip(0..));
        for (length, value) in (0..=40).zip(0..) {
            assert_eq!(table.find(&long[..length]), Some(value));
            let mut other = long[..length].to_vec();
            for place in 0..length {
                other[place] ^= 0x80;
                assert_eq!(table.find(&other), None, "{length} {place}");
                other[place] ^= 0x80;
            }
        }
    }

    #[test]
    fn a_key_is_kept_once() {
        let mut table = ByteTable::new([(&b"a"[..], 1), (b"", 2)]);
        assert_eq!(table.insert(b"a", 3), Some(1));
        assert_eq!((table.find(b"a"), table.find(b""), table.len()), (Some(1), Some(2), 2));
    }
}
