//! The side of the servers: connections made, lent and kept.

pub(crate) mod connect;
pub(crate) mod connecting;
pub(crate) mod in_use;
pub(crate) mod persist;
pub(crate) mod pick;
pub(crate) mod place;
pub(crate) mod queue;
pub(crate) mod reuse;
pub(crate) mod shelf;
pub(crate) mod states;
pub(crate) mod waiting;
