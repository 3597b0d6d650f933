//! Cards and letters as rows of either engine. What cannot be read is thrown away: nobody believes a row here.

use crate::record::Record;
use nightlatch_domain::{
    id::PeerId,
    ports::{
        mailbox::{Card, LETTER_MAX_CHARS, Letter, LetterPlace, Present},
        store::StoreError,
    },
    sealed::Sealed,
};

/// Characters of a card that are read; an ordinary one has three hundred.
pub(crate) const CARD_MAX_CHARS: i64 = 4096;
/// Characters of what is sealed in a row, which is JSON: the ciphertext and some two hundred more.
pub(crate) const SEALED_MAX_CHARS: i64 = LETTER_MAX_CHARS as i64 + 1024;

/// Refuses what is too long to be a letter.
pub(crate) fn fits(letter: &Letter) -> Result<(), StoreError> {
    let length = letter.sealed.ciphertext.len() + letter.sealed.encapsulated.len() + letter.signature.len();
    if length > LETTER_MAX_CHARS { Err(StoreError::Corrupt("letter")) } else { Ok(()) }
}

/// Who is there by one row; none where its card is damaged, or another's.
pub(crate) fn present(row: &Record<'_>) -> Option<Present> {
    let (peer, card): (PeerId, Card) = (row.word("peer_id").ok()?, row.doc("card").ok()?);
    (card.peer == peer).then_some(Present { card, beats: row.count("beats").ok()? })
}

/// One letter.
pub(crate) fn letter(row: &Record<'_>) -> Result<Letter, StoreError> {
    let place =
        LetterPlace { to: row.word("to_peer")?, from: row.word("from_peer")?, number: row.count("number")? };
    let sealed: Sealed = row.doc("sealed")?;
    let answers = row.count_or_none("answers")?;
    let (expires_at, signature) = (row.time("expires_at")?, row.text("signature")?);
    let letter = Letter { place, answers, expires_at, sealed, signature };
    fits(&letter)?;
    Ok(letter)
}

/// In the order of each writer's numbers.
pub(crate) fn in_order(letters: Vec<Option<Letter>>) -> Vec<Letter> {
    let mut letters: Vec<Letter> = letters.into_iter().flatten().collect();
    letters.sort_by_key(|letter| letter.place);
    letters
}
