//! Proves nothing yet.
