//! Which header values of a request and its response are kept for the log.
//!
//! Owns the list of names and the place of each; leaves finding the values to the data plane. Invariant: a name
//! stands in a list once, whatever its case, so that a format can refer to a value by its place.

/// Most headers captured from a request, and as many from a response: the values of all requests in flight are kept
/// until they are logged, and a line has room for about this many.
pub const CAPTURES_MAX: usize = 32;

/// The headers to capture, in the order in which a [`Record`](crate::Record) must hold their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    request: Vec<String>,
    response: Vec<String>,
}

impl Captures {
    /// Nothing to capture.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Captures a request's header; its place in the list, which it may have had already. `None` when there are
    /// [`CAPTURES_MAX`].
    pub fn add_request(&mut self, name: &str) -> Option<usize> {
        add(&mut self.request, name)
    }

    /// Captures a response's header, as [`Captures::add_request`].
    pub fn add_response(&mut self, name: &str) -> Option<usize> {
        add(&mut self.response, name)
    }

    /// The names of the request's headers, as they were first written.
    #[must_use]
    pub fn request(&self) -> &[String] {
        &self.request
    }

    /// The names of the response's headers, as they were first written.
    #[must_use]
    pub fn response(&self) -> &[String] {
        &self.response
    }
}

fn add(names: &mut Vec<String>, name: &str) -> Option<usize> {
    if let Some(place) = names.iter().position(|known| known.eq_ignore_ascii_case(name)) {
        return Some(place);
    }
    if names.len() == CAPTURES_MAX {
        return None;
    }
    names.push(name.to_owned());
    Some(names.len() - 1)
}

/// A captured value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture<'a> {
    /// The header's name as [`Captures`] has it.
    pub name: &'a str,
    /// Its value; `None` if the message has no such header.
    pub value: Option<&'a [u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_place_whatever_its_case() {
        let mut captures = Captures::new();
        assert_eq!(captures.add_request("Host"), Some(0));
        assert_eq!(captures.add_request("User-Agent"), Some(1));
        assert_eq!(captures.add_request("HOST"), Some(0));
        assert_eq!(captures.add_response("host"), Some(0));
        assert_eq!(captures.request(), ["Host", "User-Agent"]);
        assert_eq!(captures.response(), ["host"]);
    }

    #[test]
    fn there_is_a_limit() {
        let mut captures = Captures::new();
        for number in 0..CAPTURES_MAX {
            assert_eq!(captures.add_request(&format!("X-{number}")), Some(number));
        }
        assert_eq!(captures.add_request("X-0"), Some(0));
        assert_eq!(captures.add_request("X-More"), None);
    }
}
