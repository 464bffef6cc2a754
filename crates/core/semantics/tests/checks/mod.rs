//! What must hold for any bytes at all. The fuzz targets and the tests over their corpora share
//! these functions; each panics when its property is broken.

pub mod accept_encoding;
pub mod arguments;
pub mod cookies;
pub mod path;
