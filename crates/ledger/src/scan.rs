//! Walks the chain, file after file, and stops at the first record that does not fit.
//!
//! A line that was altered is found by the line after it, which names other bytes; then the altered one
//! is reported, and not the one that told. (If it was the later line's own `prev` that was altered, the
//! report is one record early: never late.)

use crate::{
    LedgerError,
    chain::{Link, Linked},
    error::{Broken, What},
    segments::{LINE_MAX_BYTES, Segment, failed},
};
use nightlatch_domain::ports::store::LedgerHead;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
};

/// A walk under way.
pub(crate) struct Scan<'a> {
    link: Link,
    /// Where the last record stands.
    at: Place,
    head: Option<&'a LedgerHead>,
    /// Whether the first record is taken as it is: the walk begins in the middle.
    mid_chain: bool,
}

#[derive(Clone)]
struct Place {
    file: String,
    line: u64,
}

/// How a segment ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Bytes of whole lines.
    pub(crate) whole_bytes: u64,
    /// Bytes of a last line without its newline.
    pub(crate) torn_bytes: u64,
}

impl<'a> Scan<'a> {
    /// From the first record.
    pub(crate) fn from_root(head: Option<&'a LedgerHead>) -> Self {
        Self {
            link: Link::root(),
            at: Place { file: crate::segments::name(1), line: 0 },
            head,
            mid_chain: false,
        }
    }

    /// From the first record of some segment, whatever came before it.
    pub(crate) fn from_middle(head: Option<&'a LedgerHead>) -> Self {
        Self { mid_chain: true, ..Self::from_root(head) }
    }

    /// The last record that was read.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Walks one segment. A torn end is reported to the caller and not judged.
    pub(crate) fn segment(&mut self, segment: &Segment) -> Result<End, LedgerError> {
        let file = File::open(&segment.path).map_err(|error| failed(&segment.path, &error))?;
        let mut reader = BufReader::new(file);
        let (mut end, mut number, mut line) = (End { whole_bytes: 0, torn_bytes: 0 }, 0, Vec::new());
        loop {
            line.clear();
            number += 1;
            (&mut reader)
                .take(LINE_MAX_BYTES)
                .read_until(b'\n', &mut line)
                .map_err(|error| failed(&segment.path, &error))?;
            let place = Place { file: segment.name(), line: number };
            match line.split_last() {
                None => return Ok(end),
                Some((b'\n', whole)) => self.line(whole, place)?,
                Some(_) if line.len() as u64 == LINE_MAX_BYTES => {
                    return Err(self.broken(place, What::Unreadable).into());
                }
                Some(_) => {
                    end.torn_bytes = line.len() as u64;
                    return Ok(end);
                }
            }
            end.whole_bytes += line.len() as u64;
        }
    }

    /// Judges the end of the walk: all that the head knows of must have been read.
    pub(crate) fn finish(&self) -> Result<(), Broken> {
        match self.head {
            Some(head) if head.seq > self.link.seq => {
                Err(self.broken(Place { line: self.at.line + 1, ..self.at.clone() }, What::Missing))
            }
            _ => Ok(()),
        }
    }

    /// The record that should have followed, at a place where it is not.
    pub(crate) fn torn(&self, segment: &Segment) -> Broken {
        let line = if self.at.file == segment.name() { self.at.line + 1 } else { 1 };
        self.broken(Place { file: segment.name(), line }, What::Unreadable)
    }

    /// The record that should have followed is not in any file.
    pub(crate) fn file_missing(&self, name: String) -> Broken {
        self.broken(Place { file: name, line: 1 }, What::Misplaced)
    }

    fn line(&mut self, line: &[u8], place: Place) -> Result<(), Broken> {
        let Ok(linked) = serde_json::from_slice::<Linked>(line) else {
            return Err(self.broken(place, What::Unreadable));
        };
        if std::mem::take(&mut self.mid_chain) {
            self.link = Link { seq: linked.seq.saturating_sub(1), hash: linked.prev.clone() };
        }
        if linked.seq != self.link.seq.saturating_add(1) {
            return Err(self.broken(place, What::Misplaced));
        }
        if linked.prev != self.link.hash {
            return Err(self.altered_before(place));
        }
        self.link = Link::of(linked.seq, line);
        self.at = place;
        self.held_against_head()
    }

    /// The line before `place` is the one that was altered; before the first there is none.
    fn altered_before(&self, place: Place) -> Broken {
        if self.link.seq == 0 {
            return self.broken(place, What::Unreadable);
        }
        Broken { file: self.at.file.clone(), line: self.at.line, seq: self.link.seq, what: What::Altered }
    }

    fn held_against_head(&self) -> Result<(), Broken> {
        match self.head {
            Some(head) if head.seq == self.link.seq && head.hash != self.link.hash => Err(Broken {
                file: self.at.file.clone(),
                line: self.at.line,
                seq: self.link.seq,
                what: What::NotTheSigned,
            }),
            _ => Ok(()),
        }
    }

    fn broken(&self, place: Place, what: What) -> Broken {
        Broken { file: place.file, line: place.line, seq: self.link.seq.saturating_add(1), what }
    }
}
