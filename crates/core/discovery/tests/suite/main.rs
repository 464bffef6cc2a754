//! Names, messages, rounds and slots: by the case, by properties, and simulated.

mod lookups;
mod messages;
mod over_time;
mod rounds;
mod support;
