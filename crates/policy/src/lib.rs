//! May this call happen, for this task, now? Cedar decides, and only here.
//!
//! A handful of generic policies (`policies/base.cedar`) over entities that are built from domain rows;
//! grants are entities and never policies, because evaluation is linear in policies. Files of the data
//! folder (`policies/*.cedar`) may add `forbid`s and nothing else.
//!
//! **Promises.**
//! - Missing means deny: a row that is not there, an entity or attribute that does not resolve, and any
//!   error of evaluation refuse the call ([`Reason`]).
//! - A [`Permit`] is made by [`Decider::decide`] and nowhere else, fits one call only
//!   ([`Permit::fits`]), and cannot be copied.
//! - What Cedar sees is the [`facts`] of the call, and those, by value, are the key of the cache: a
//!   remembered decision is never used for a grant, task or agent that changed. What reads the clock is
//!   not remembered.
//! - A tenant's file that permits, does not validate, or says what can never apply is refused with its
//!   name, its line and what to do.
//!
//! **Never.** No I/O, no clock: files and time are arguments. No body, header or query reaches policy.

mod decide;
mod error;
mod explain;
pub mod facts;
mod policies;
mod question;
mod statements;
mod world;

pub use decide::{Decider, Denied, Permit, Reason};
pub use error::PolicyError;
pub use explain::Explanation;
pub use question::{Question, Sandbox};
