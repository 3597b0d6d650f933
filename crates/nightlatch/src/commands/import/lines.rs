//! Standard input, line by line.
//!
//! Read past the buffers of the standard library, which nobody wipes, into one that is. A line that is too long is skipped to
//! its end without being kept. A thread of its own, since nothing can call a read of standard input back.

use super::row::Fault;
use nightlatch_custody::Secret;
use rustix::io::Errno;
use std::io;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use zeroize::Zeroizing;

/// The longest line: two tokens of 16 KiB, as long as they may be, and room for the rest.
pub(super) const LINE_MAX_BYTES: usize = 64 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;
/// Lines that are read ahead.
const AHEAD: usize = 256;

/// A line and its number, from 1; blank ones are left out. An error of standard input ends it.
pub(super) type Line = (u64, Result<Secret, Broken>);

/// Why a line is none.
#[derive(Debug)]
pub(super) enum Broken {
    /// It is not what it must be.
    Fault(Fault),
    /// Standard input failed.
    Input(io::Error),
}

/// The lines of standard input.
pub(super) fn read() -> Receiver<Line> {
    let (lines, read) = channel(AHEAD);
    std::thread::spawn(move || {
        let stdin = rustix::stdio::stdin();
        read_all(|into| rustix::io::read(stdin, into), &lines);
    });
    read
}

fn read_all(mut input: impl FnMut(&mut [u8]) -> Result<usize, Errno>, lines: &Sender<Line>) {
    let mut chunk = Zeroizing::new(vec![0; CHUNK_BYTES]);
    let mut line = Gathered::new();
    loop {
        let len = match input(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(Errno::INTR) => continue,
            Err(error) => {
                let _ = lines.blocking_send((line.number, Err(Broken::Input(error.into()))));
                return;
            }
        };
        let mut rest = chunk.get(..len).unwrap_or_default();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (part, after) = rest.split_at(end);
            line.add(part);
            if !line.hand_on(lines) {
                return;
            }
            rest = after.get(1..).unwrap_or_default();
        }
        line.add(rest);
    }
    line.hand_on(lines);
}

/// A line that is being gathered.
struct Gathered {
    bytes: Zeroizing<Vec<u8>>,
    is_too_long: bool,
    number: u64,
}

impl Gathered {
    fn new() -> Self {
        // Room for the longest at once: a vector that grows leaves copies behind.
        Self { bytes: Zeroizing::new(Vec::with_capacity(LINE_MAX_BYTES)), is_too_long: false, number: 1 }
    }

    fn add(&mut self, part: &[u8]) {
        if self.is_too_long || self.bytes.len() + part.len() > LINE_MAX_BYTES {
            self.is_too_long = true;
            return;
        }
        self.bytes.extend_from_slice(part);
    }

    /// Hands the line on, unless it is blank, and begins the next; `false` where nobody reads any more.
    fn hand_on(&mut self, lines: &Sender<Line>) -> bool {
        let line = self.taken();
        let number = self.number;
        self.number += 1;
        line.is_none_or(|line| lines.blocking_send((number, line.map_err(Broken::Fault))).is_ok())
    }

    fn taken(&mut self) -> Option<Result<Secret, Fault>> {
        let is_too_long = std::mem::take(&mut self.is_too_long);
        let mut text = self.bytes.as_slice();
        if self.number == 1 {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        let text = text.trim_ascii();
        let line = match (is_too_long, text.is_empty()) {
            (true, _) => Some(Err(Fault::TooLong)),
            (false, true) => None,
            (false, false) => Some(Ok(Secret::new(text.to_vec()))),
        };
        self.bytes.clear();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::{Broken, LINE_MAX_BYTES, read_all};
    use crate::commands::import::row::Fault;
    use rustix::io::Errno;
    use tokio::sync::mpsc::channel;

    /// What comes of it when it is read in pieces of this size.
    fn lines(text: &[u8], piece: usize) -> Vec<(u64, Result<Vec<u8>, Fault>)> {
        let (tell, mut told) = channel(99);
        let mut rest = text;
        let input = |into: &mut [u8]| {
            let len = piece.min(rest.len()).min(into.len());
            into[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            Ok::<_, Errno>(len)
        };
        read_all(input, &tell);
        drop(tell);
        let mut all = Vec::new();
        while let Some((number, line)) = told.blocking_recv() {
            all.push((
                number,
                match line {
                    Ok(line) => Ok(line.expose().to_vec()),
                    Err(Broken::Fault(fault)) => Err(fault),
                    Err(Broken::Input(error)) => panic!("{error}"),
                },
            ));
        }
        all
    }

    #[test]
    fn lines_end_as_any_system_ends_them_and_blank_ones_count_and_are_left_out() {
        let text = b"\xef\xbb\xbfone\r\n\n  \t\r\n two \nthree";
        let expected = [(1, Ok(b"one".to_vec())), (4, Ok(b"two".to_vec())), (5, Ok(b"three".to_vec()))];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(lines(text, piece), expected, "{piece}");
        }
        assert_eq!(lines(b"", 9), []);
        assert_eq!(lines(b"\xef\xbb\xbf\n\n", 9), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_the_next_one_is_read() {
        let mut text = vec![b'x'; LINE_MAX_BYTES + 1];
        text.extend_from_slice(b"\nnext\n");
        text.extend(vec![b'y'; LINE_MAX_BYTES]);
        for piece in [1000, 65_536] {
            let found = lines(&text, piece);
            assert_eq!(found[0], (1, Err(Fault::TooLong)), "{piece}");
            assert_eq!(found[1], (2, Ok(b"next".to_vec())));
            assert_eq!(found[2].1.as_ref().unwrap().len(), LINE_MAX_BYTES);
        }
    }

    #[test]
    fn a_mark_of_the_byte_order_is_one_at_the_beginning_alone() {
        assert_eq!(lines(b"a\n\xef\xbb\xbfb\n", 9)[1], (2, Ok(b"\xef\xbb\xbfb".to_vec())));
    }

    #[test]
    fn an_error_of_the_input_is_told_and_ends_it() {
        let (tell, mut told) = channel(9);
        read_all(|_| Err(Errno::IO), &tell);
        assert!(matches!(told.blocking_recv(), Some((1, Err(Broken::Input(_))))));
    }
}
