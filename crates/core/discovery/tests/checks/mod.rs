//! What must hold for any input, for the fuzz targets and the tests over their corpora.

pub mod dns;
