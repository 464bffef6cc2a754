//! The JSON format: one object a line (RFC 8259).
//!
//! Owns how values become JSON; leaves their choice to `fields` and `value`. Invariant: the line is one valid object
//! whatever the record holds, also when it had to be cut; `"truncated":true` at its end says so.

use crate::captures::Capture;
use crate::date::DateCache;
use crate::fields::FIELDS;
use crate::line::{Line, three_digits};
use crate::record::{Extra, Record, VALUE_BYTES_MAX};
use crate::value::Value;

pub(crate) fn json(record: &Record<'_>, dates: &mut DateCache, line: &mut Line) {
    let mut separator = b'{';
    for row in FIELDS.iter().filter(|row| row.in_json) {
        line.push(separator);
        separator = b',';
        line.push(b'"');
        line.put(row.name.as_bytes());
        line.put_array(b"\":");
        line.json_value(Value::of(row.field, record), dates);
    }
    if line.is_cut() {
        line.put_array(b",\"truncated\":true");
    }
    line.push(b'}');
}

impl Line {
    fn json_value(&mut self, value: Value<'_>, dates: &mut DateCache) {
        match value {
            Value::Absent(_) => self.put_array(b"null"),
            Value::Text(text, bytes_max) => self.json_string(text, bytes_max),
            Value::Millis(time) => {
                self.number(time.0 / 1000);
                self.push(b'.');
                self.put_array(&three_digits(time.0 % 1000));
            }
            Value::Headers(headers) => self.json_headers(headers),
            Value::Extras(extras) => self.json_extras(extras),
            Value::Number(_) | Value::Flag(_) => self.value(value, dates),
            // Words, dates, addresses and letters hold nothing that JSON escapes.
            Value::Word(_)
            | Value::HaproxyDate(..)
            | Value::Rfc3339(..)
            | Value::Ip(_)
            | Value::Letters(..)
            | Value::RequestLine(_) => {
                self.push(b'"');
                self.value(value, dates);
                self.push(b'"');
            }
        }
    }

    fn json_string(&mut self, text: &[u8], bytes_max: usize) {
        self.push(b'"');
        self.json_text(text, bytes_max);
        self.push(b'"');
    }

    fn json_headers(&mut self, headers: &[Capture<'_>]) {
        let present =
            headers.iter().filter_map(|header| header.value.map(|value| (header.name, value)));
        self.json_object(present);
    }

    fn json_extras(&mut self, extras: &[Extra<'_>]) {
        self.json_object(extras.iter().map(|extra| (extra.name, extra.value)));
    }

    /// An object of text; entries for which there is no room are left out.
    fn json_object<'a>(&mut self, entries: impl Iterator<Item = (&'a str, &'a [u8])>) {
        self.push(b'{');
        let mut separated = true;
        for (name, value) in entries {
            if self.text_room() == 0 {
                self.mark_cut();
                break;
            }
            if !separated {
                self.push(b',');
            }
            separated = false;
            self.json_string(name.as_bytes(), VALUE_BYTES_MAX);
            self.push(b':');
            self.json_string(value, VALUE_BYTES_MAX);
        }
        self.push(b'}');
    }
}
