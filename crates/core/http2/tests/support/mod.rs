//! Owns what the tests of decoded messages share: a sink that writes down what it is given.
//!
//! Leaves heads to the tests of each kind.

use std::ops::Range;

use tidegate_http2::ContentSink;

/// What was sent, as text; adjacent data is joined.
#[derive(Default)]
pub struct Log<'a> {
    pub said: String,
    pub piece: &'a [u8],
    pub in_data: bool,
}

impl Log<'_> {
    /// Writes down fields.
    pub fn say<'a>(&mut self, what: &str, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.in_data = false;
        self.said += what;
        for (name, value) in fields {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            self.said += &format!(" {}={}", text(name).to_lowercase(), text(value));
        }
        self.said += "|";
    }
}

impl ContentSink for Log<'_> {
    fn data(&mut self, part: Range<usize>) {
        assert!(!part.is_empty());
        if !std::mem::replace(&mut self.in_data, true) {
            self.said += "data ";
        }
        self.said += &String::from_utf8_lossy(&self.piece[part]);
    }

    fn trailers<'a>(&mut self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.said += "|";
        self.say("trailers", fields);
    }

    fn end(&mut self) {
        self.said += "|end";
        self.in_data = false;
    }
}
