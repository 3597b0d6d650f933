//! The store's ports, one plane after the other.

mod control;
mod gateway;
mod keeper;
