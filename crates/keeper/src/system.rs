//! The keeper's ports over the system that it really runs on: tokio's runtime, the disk, the boot's name.
//!
//! Everything else in this room names neither, so that it runs in a simulated world as well.

mod boot;
mod files;
mod work;

pub use boot::boot_id;
pub use files::SystemFiles;
pub use work::TokioWork;
