//! What must hold for any bytes at all. The fuzz targets and the tests over their corpora share these functions; each panics
//! when its property is broken.

pub mod meter;
pub mod request;
pub mod response;
mod sent;
pub mod server_request;
