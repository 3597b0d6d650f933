//! Proves that the SQLite store keeps what the store's ports promise, and what its file promises besides.

mod file;
