//! The text of one line while it is written.
//!
//! Owns the buffer, its limit, and how numbers become digits; leaves what is written to the formats. Invariant: text
//! from outside stops at [`TEXT_END`], so that what must follow it (quotes, braces, numbers) has room, and nothing is
//! ever written past [`LINE_BYTES_MAX`].

/// The longest line, in bytes. Syslog daemons take 8 KiB by default (rsyslog's `maxMessageSize`), and what is longer
/// is cut or split by them; the syslog header comes on top and is small.
pub const LINE_BYTES_MAX: usize = 8192;

/// What may follow the last text from outside: in JSON 50 keys of at most 24 bytes and 30 numbers of at most 20,
/// 1,800 bytes; in every other format far less.
const STRUCTURE_BYTES_MAX: usize = 2048;

/// Where text from outside stops.
pub(crate) const TEXT_END: usize = LINE_BYTES_MAX - STRUCTURE_BYTES_MAX;

/// The numbers from 00 to 99, two digits each.
static PAIRS: [[u8; 2]; 100] = pairs();

/// The numbers from 0 to 999: their digits from the left, and how many there are. 4 KB, of which a line uses a few.
static SMALL: [u32; 1000] = small();

/// The line being written. It is made once for each shard and used for all its lines.
#[derive(Clone, Debug)]
pub struct Line {
    bytes: Box<[u8; LINE_BYTES_MAX]>,
    len: usize,
    cut: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// An empty line. Allocates [`LINE_BYTES_MAX`] bytes.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: Box::new([0; LINE_BYTES_MAX]), len: 0, cut: false }
    }

    /// The line without a line break at its end.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Whether something was left out because the line had no room.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.cut = false;
    }

    pub(crate) fn mark_cut(&mut self) {
        self.cut = true;
    }

    /// How many bytes of text from outside still fit.
    #[inline]
    pub(crate) fn text_room(&self) -> usize {
        TEXT_END.saturating_sub(self.len)
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.cut = true,
        }
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.cut = true,
        }
    }

    /// As [`Line::put`] for a length that the compiler knows: moves in registers, no call.
    #[inline]
    pub(crate) fn put_array<const N: usize>(&mut self, bytes: &[u8; N]) {
        let room = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut::<N>());
        match room {
            Some(place) => {
                *place = *bytes;
                self.len += N;
            }
            None => self.cut = true,
        }
    }

    /// The decimal digits of `number`.
    #[inline]
    pub(crate) fn number(&mut self, number: u64) {
        self.digits(number, b' ', 0);
    }

    /// The decimal digits of `number`, and one character after them.
    #[inline]
    pub(crate) fn number_and(&mut self, number: u64, after: u8) {
        self.digits(number, after, 1);
    }

    /// Writes the digits and `after`, of which `kept` is 1 to keep it and 0 to let it be overwritten. Most numbers of
    /// a line are small; inlined, one costs half of what it costs behind a call.
    #[inline(always)]
    fn digits(&mut self, number: u64, after: u8, kept: usize) {
        let small = usize::try_from(number).ok().and_then(|number| SMALL.get(number));
        let Some(text) = small else {
            return self.long_number(number, after, kept);
        };
        let room = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut::<4>());
        match room {
            Some(place) => {
                *place = text.to_le_bytes();
                let count = usize::from(place[3] & 3);
                place[count] = after;
                self.len += count + kept;
            }
            // Within the last bytes of the line, where only a line that is cut ends.
            None => self.cut = true,
        }
    }

    /// Three digits at a time from the front; at most seven levels deep.
    #[inline(never)]
    fn long_number(&mut self, number: u64, after: u8, kept: usize) {
        self.digits(number / 1000, b' ', 0);
        let [first, second, third] = three_digits(number % 1000);
        match kept {
            0 => self.put_array(&[first, second, third]),
            _ => self.put_array(&[first, second, third, after]),
        }
    }
}

/// `number` below 100 as two digits.
#[inline]
pub(crate) fn two_digits(number: u64) -> [u8; 2] {
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    PAIRS.get(index).copied().unwrap_or(*b"99")
}

/// `number` below 1000 as three digits.
#[inline]
pub(crate) fn three_digits(number: u64) -> [u8; 3] {
    let [_, hundreds] = two_digits(number / 100);
    let [tens, ones] = two_digits(number % 100);
    [hundreds, tens, ones]
}

const fn small() -> [u32; 1000] {
    let mut small = [0; 1000];
    let pairs = pairs();
    let (mut number, mut hundreds, mut below) = (0, b'0', 0);
    while number < small.len() {
        let [tens, ones] = pairs[below];
        small[number] = u32::from_le_bytes(match number {
            0..10 => [ones, 0, 0, 1],
            10..100 => [tens, ones, 0, 2],
            _ => [hundreds, tens, ones, 3],
        });
        number += 1;
        (hundreds, below) = if below == 99 { (hundreds + 1, 0) } else { (hundreds, below + 1) };
    }
    small
}

const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[b'0'; 2]; 100];
    let (mut at, mut tens, mut ones) = (0, b'0', b'0');
    while at < pairs.len() {
        pairs[at] = [tens, ones];
        (tens, ones) = if ones == b'9' { (tens + 1, b'0') } else { (tens, ones + 1) };
        at += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_testkit::seed;

    fn digits(number: u64) -> String {
        let mut line = Line::new();
        line.number(number);
        String::from_utf8(line.as_bytes().to_vec()).expect("digits are text")
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        let seed = seed();
        let mut rng = seed.rng();
        let edges = (0..20).flat_map(|power| {
            let number = 10_u64.pow(power);
            [number - 1, number, number + 1]
        });
        let random = (0..2000).map(|at| rng.next_u64() >> (at % 64));
        for number in edges.chain(random).chain([u64::MAX]) {
            assert_eq!(digits(number), number.to_string());
        }
    }

    #[test]
    fn digits_of_fixed_width_keep_their_zeros() {
        assert_eq!((two_digits(7), two_digits(99)), (*b"07", *b"99"));
        assert_eq!(
            (three_digits(5), three_digits(120), three_digits(999)),
            (*b"005", *b"120", *b"999")
        );
    }

    #[test]
    fn nothing_is_written_past_the_end() {
        let mut line = Line::new();
        for _ in 0..LINE_BYTES_MAX - 2 {
            line.push(b'x');
        }
        assert!(!line.is_cut());
        line.number(12_345);
        line.number(u64::MAX);
        line.put(b"abc");
        line.put_array(b"abc");
        assert!(line.is_cut());
        assert_eq!(line.as_bytes().len(), LINE_BYTES_MAX - 2);
        line.push(b'x');
        line.push(b'x');
        line.push(b'x');
        assert_eq!(line.as_bytes().len(), LINE_BYTES_MAX);
    }
}
