//! What has to be decoded before rules can ask about it: made once, when it is first asked for.
//!
//! Owns the keeping. Leaves the readings to `tidegate-semantics`, and forgetting what an edit made
//! stale to the overlay. Invariant: what needs no decoding is never copied, and nothing is allocated
//! once the buffers have grown.

use std::cell::{OnceCell, RefCell};

use tidegate_semantics::{arguments, host, path};

/// The decoded parts of one request.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    path: Lazy,
    host: Lazy,
    uri: Lazy,
    arguments: Arguments,
}

impl Derived {
    pub(crate) fn clear(&mut self) {
        self.forget_host();
        self.path.forget();
        self.forget_query();
    }

    pub(crate) fn forget_host(&mut self) {
        self.host.forget();
    }

    pub(crate) fn forget_path(&mut self) {
        self.path.forget();
        self.uri.forget();
    }

    pub(crate) fn forget_query(&mut self) {
        self.arguments.forget();
        self.uri.forget();
    }

    /// The normal form of the path.
    #[inline]
    pub(crate) fn path<'a>(&'a self, current: &'a [u8]) -> &'a [u8] {
        self.path.find(current, |out| {
            let is_made = !path::is_normal(current);
            if is_made {
                path::normalise(current, out);
            }
            is_made
        })
    }

    /// The host in lower case, without the port.
    #[inline]
    pub(crate) fn host<'a>(&'a self, authority: &'a [u8]) -> &'a [u8] {
        let plain = host::host_without_port(authority);
        self.host.find(plain, |out| {
            let is_made = !host::is_lowercase(plain);
            if is_made {
                host::lowercase(plain, out);
            }
            is_made
        })
    }

    /// The target that was put together from an edited path or query.
    pub(crate) fn uri<'a>(&'a self, path: &[u8], query: Option<&[u8]>) -> &'a [u8] {
        self.uri.find(b"", |out| {
            out.extend_from_slice(path);
            if let Some(query) = query {
                out.push(b'?');
                out.extend_from_slice(query);
            }
            true
        })
    }

    /// The first argument of the name, decoded.
    #[inline]
    pub(crate) fn argument<'a>(&'a self, query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
        self.arguments.find(query, name)
    }
}

/// A string that may have to be made.
#[derive(Debug, Default)]
struct Lazy {
    made: OnceCell<Made>,
    /// The buffer while nothing is made in it.
    spare: RefCell<Vec<u8>>,
}

#[derive(Debug)]
enum Made {
    AsItIs,
    New(Vec<u8>),
}

impl Lazy {
    /// `plain`, or what `make` says it made in the empty buffer.
    #[inline]
    fn find<'a>(&'a self, plain: &'a [u8], make: impl FnOnce(&mut Vec<u8>) -> bool) -> &'a [u8] {
        let made = self.made.get_or_init(|| {
            let mut out = self.spare.take();
            out.clear();
            if make(&mut out) {
                return Made::New(out);
            }
            self.spare.replace(out);
            Made::AsItIs
        });
        match made {
            Made::AsItIs => plain,
            Made::New(bytes) => bytes,
        }
    }

    fn forget(&mut self) {
        if let Some(Made::New(bytes)) = self.made.take() {
            self.spare.replace(bytes);
        }
    }
}

/// The arguments of a query.
#[derive(Debug, Default)]
struct Arguments {
    made: OnceCell<Decoded>,
    spare: RefCell<Pairs>,
}

#[derive(Debug)]
enum Decoded {
    /// Nothing is encoded: they are read from the query.
    Plain,
    Pairs(Pairs),
}

/// Names and values, one after the other.
#[derive(Debug, Default)]
struct Pairs {
    bytes: Vec<u8>,
    /// Where the name and the value of each end.
    ends: Vec<(usize, usize)>,
}

impl Arguments {
    #[inline]
    fn find<'a>(&'a self, query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
        match self.made.get_or_init(|| self.decode(query)) {
            Decoded::Plain => Some(arguments::find(query, name)?.raw()),
            Decoded::Pairs(pairs) => pairs.find(name),
        }
    }

    fn decode(&self, query: &[u8]) -> Decoded {
        if !query.iter().any(|byte| matches!(byte, b'%' | b'+')) {
            return Decoded::Plain;
        }
        let mut pairs = self.spare.take();
        pairs.bytes.clear();
        pairs.ends.clear();
        for (name, value) in arguments::iter(query) {
            arguments::decode(name.raw(), &mut pairs.bytes);
            let name_end = pairs.bytes.len();
            arguments::decode(value.raw(), &mut pairs.bytes);
            pairs.ends.push((name_end, pairs.bytes.len()));
        }
        Decoded::Pairs(pairs)
    }

    fn forget(&mut self) {
        if let Some(Decoded::Pairs(pairs)) = self.made.take() {
            self.spare.replace(pairs);
        }
    }
}

impl Pairs {
    fn find(&self, name: &[u8]) -> Option<&[u8]> {
        let mut start = 0;
        for (name_end, end) in &self.ends {
            if self.bytes.get(start..*name_end) == Some(name) {
                return self.bytes.get(*name_end..*end);
            }
            start = *end;
        }
        None
    }
}
