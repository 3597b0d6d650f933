//! The keeper's ports over the system that it really runs on: tokio's runtime, the disk.
//!
//! Everything else in this room names neither, so that it runs in a simulated world as well.

mod files;
mod work;

pub use files::SystemFiles;
pub use work::TokioWork;
