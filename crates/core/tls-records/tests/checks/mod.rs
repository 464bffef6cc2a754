//! What the tests and the fuzz targets share.

#![allow(dead_code, reason = "each test uses what it needs")]

pub mod forge;
pub mod handshake_messages;
pub mod records;
