//! The servers at which a request has failed already.
//!
//! Owns the set; leaves picking another one to whoever balances. Invariant: no server is in it twice.

/// A few servers by their index in the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Avoided {
    servers: [u32; Self::SERVERS_MAX],
    count: u8,
}

impl Avoided {
    /// Most servers that are avoided: more failures than this are the backend's, not a server's. The longest avoided one
    /// makes room.
    pub const SERVERS_MAX: usize = 4;

    /// No server.
    pub const NONE: Self = Self { servers: [0; Self::SERVERS_MAX], count: 0 };

    /// Only this one.
    #[must_use]
    pub const fn one(server: u32) -> Self {
        Self { servers: [server, 0, 0, 0], count: 1 }
    }

    /// The servers, the one that failed first before the others.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.servers.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether this one is avoided.
    #[inline]
    #[must_use]
    pub fn contains(&self, server: u32) -> bool {
        self.as_slice().contains(&server)
    }

    /// Avoids one more.
    pub fn add(&mut self, server: u32) {
        if self.contains(server) {
            return;
        }
        let count = usize::from(self.count);
        match self.servers.get_mut(count) {
            Some(free) => {
                *free = server;
                self.count += 1;
            }
            None => {
                self.servers.rotate_left(1);
                self.servers[Self::SERVERS_MAX - 1] = server;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_avoided_server_makes_room() {
        let mut avoided = Avoided::NONE;
        assert!(avoided.is_empty());
        for server in [3, 1, 3, 4, 0] {
            avoided.add(server);
        }
        assert_eq!(avoided.as_slice(), [3, 1, 4, 0]);
        avoided.add(9);
        assert_eq!(avoided.as_slice(), [1, 4, 0, 9]);
        assert!(avoided.contains(9) && !avoided.contains(3));
        assert_eq!(Avoided::one(5).as_slice(), [5]);
    }
}
