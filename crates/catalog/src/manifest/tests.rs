//! Proves what a manifest's reader accepts and refuses, with the line and the remedy.
