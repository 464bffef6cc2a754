//! Tests of the whole: every schedule of small scripts, long random histories, and real threads.
//!
//! Owns the world that they share (`world`) and the scheduler (`schedule`). Invariant: each history ends with everybody served or
//! gone and every slot accounted for.

mod interleavings;
pub(crate) mod schedule;
mod simulation;
mod threads;
mod waiting;
mod world;
