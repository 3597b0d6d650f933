//! Wash: what an answer's body goes through, piece by piece. Its coding is taken off, secrets are masked, and new
//! ones are noticed in what is left.

use crate::error::BodyError;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use nightlatch_scrub::{
    Masks, Scrubber,
    coding::{Coding, Decoder},
    reveal::{self, Detector},
};
use tokio::sync::OwnedSemaphorePermit;

/// A body on its way through.
pub(super) struct Wash {
    coded: Option<Coded>,
    scrubber: Scrubber,
    detector: Option<Detector>,
    /// What was washed and not yet taken.
    ready: Bytes,
    /// All of it, where none may pass before it is known to reveal nothing.
    withheld: Option<BytesMut>,
}

/// The longest answer that is withheld until it was looked through: what says that a key is gone is short.
const WITHHELD_MAX_BYTES: usize = 64 * 1024;

/// The coding of a body.
pub(super) struct Coded {
    decoder: Decoder,
    /// The place of a window that is large.
    _window: Option<OwnedSemaphorePermit>,
    /// A body of no length is one in any coding.
    has_begun: bool,
}

impl Coded {
    pub(super) fn new(coding: Coding, window: Option<OwnedSemaphorePermit>) -> Self {
        Self { decoder: Decoder::new(coding), _window: window, has_begun: false }
    }
}

impl Wash {
    pub(super) fn new(coded: Option<Coded>, masks: Masks, detector: Option<Detector>) -> Self {
        Self { coded, scrubber: Scrubber::new(masks), detector, ready: Bytes::new(), withheld: None }
    }

    /// Of an answer that must reveal no new secret: nothing passes before all of it was looked through.
    pub(super) fn withholding(coded: Option<Coded>, masks: Masks) -> Self {
        let detector = Some(Detector::new(WITHHELD_MAX_BYTES));
        Self { withheld: Some(BytesMut::new()), ..Self::new(coded, masks, detector) }
    }

    /// Takes the next piece. All of the one before was taken by then.
    pub(super) fn push(&mut self, piece: Bytes) {
        match &mut self.coded {
            None => self.ready = self.clean(piece),
            Some(coded) => {
                coded.has_begun |= !piece.is_empty();
                coded.decoder.push(piece);
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        if let Some(coded) = self.coded.as_mut().filter(|coded| coded.has_begun) {
            coded.decoder.end();
        }
    }

    /// What is certain by now, a piece at a time.
    ///
    /// # Errors
    /// [`BodyError::Coding`], [`BodyError::Revealing`].
    pub(super) fn take(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(piece) = self.next()? {
            match &mut self.withheld {
                None => return Ok(Some(piece)),
                Some(withheld) if withheld.len() + piece.len() > WITHHELD_MAX_BYTES => {
                    return Err(BodyError::Revealing);
                }
                Some(withheld) => withheld.extend_from_slice(&piece),
            }
        }
        Ok(None)
    }

    fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        while self.ready.is_empty() {
            let Some(coded) = &mut self.coded else { return Ok(None) };
            let piece = coded.decoder.take().map_err(|_| BodyError::Coding)?;
            let Some(piece) = piece else { return Ok(None) };
            self.ready = self.clean(piece);
        }
        Ok(Some(std::mem::take(&mut self.ready)))
    }

    /// What was held back to the end.
    ///
    /// # Errors
    /// [`BodyError::Revealing`].
    pub(super) fn finish(&mut self) -> Result<Bytes, BodyError> {
        let rest = self.scrubber.finish();
        self.look(&rest);
        let Some(mut withheld) = self.withheld.take() else { return Ok(rest) };
        withheld.extend_from_slice(&rest);
        match self.noticed() {
            (_, 0) if withheld.len() <= WITHHELD_MAX_BYTES => Ok(withheld.freeze()),
            _ => Err(BodyError::Revealing),
        }
    }

    /// How many secrets were masked, and how many new ones were noticed.
    pub(super) fn noticed(&mut self) -> (u64, u64) {
        let revealed = self.detector.as_mut().map_or(0, |detector| {
            detector.finish();
            detector.found()
        });
        (self.scrubber.masked(), revealed)
    }

    /// Whether nothing is held, and what comes has the length that it had.
    pub(super) fn is_empty(&self) -> bool {
        self.held_len() == Some(0)
    }

    /// How many bytes are held; none where nobody can say how many will come of what comes.
    pub(super) fn held_len(&self) -> Option<u64> {
        let is_as_long = self.coded.is_none() && self.withheld.is_none();
        is_as_long.then(|| self.scrubber.held_len() + self.ready.len() as u64)
    }

    fn clean(&mut self, piece: Bytes) -> Bytes {
        let clean = self.scrubber.push(piece);
        self.look(&clean);
        clean
    }

    fn look(&mut self, clean: &[u8]) {
        if let Some(detector) = &mut self.detector {
            detector.push(clean);
        }
    }
}

/// How many new secrets stand in the values of a head.
pub(super) fn revealed_by(head: &HeaderMap) -> u64 {
    head.values().map(|value| reveal::in_value(value.as_bytes())).sum()
}

/// What stands in the type of an answer that is a text.
const TEXTS: [&[u8]; 7] =
    [b"text/", b"json", b"xml", b"javascript", b"x-www-form-urlencoded", b"x-pem-file", b"yaml"];

/// Whether an answer is a text, in which a new secret would be noticed.
pub(super) fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) else { return true };
    let begins = |rest: &[u8]| {
        let is_one = |word: &&[u8]| rest.get(..word.len()).is_some_and(|own| own.eq_ignore_ascii_case(word));
        TEXTS.iter().any(is_one)
    };
    (0..kind.len()).any(|at| kind.get(at..).is_some_and(begins))
}
