//! What must hold for any body at all. The fuzz target and the tests share these functions; each
//! panics when its property is broken.

pub mod stream;
