//! Keys at rest: which plane holds which, and the files that they lie in.
//!
//! A key service (KMS, Transit, PKCS#11) would stand here beside [`keeper`]'s file.

pub mod calls;
mod file;
pub mod gateway;
pub mod interception;
pub mod keeper;
pub mod link;
pub mod webhooks;
