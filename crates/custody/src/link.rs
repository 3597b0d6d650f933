//! Letters between planes, written and read: sealed to one process, signed by one plane.
//!
//! The database carries them and is believed nothing. It holds the cards that say which process is there, so a card
//! counts only where a key signed it that the configuration names for that role; it holds the letters, so a letter
//! counts only where the key of its writer's card signed all of it, its place, its end and what it answers included.
//! Whoever writes rows can lose a letter or hold it back. What they put there again is refused: each process has a key of its own for as long
//! as it lives, so nothing is kept from one start to the next, and [`Seen`] remembers what this one has read.
//!
//! Every way to be refused is the same opaque [`CustodyError::Refused`].

use crate::{
    CustodyError, Secret,
    hpke::{Purpose, Recipient, seal},
    keys::link::LinkKey,
};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{
    clock::{Entropy, Timestamp, random},
    id::PeerId,
    ports::mailbox::{Card, LETTER_MAX_CHARS, Letter, LetterPlace, Role},
    sealed::{Sealed, SealingKey},
    tool::Name,
};
use serde::Serialize;
use std::time::Duration;
use zeroize::Zeroizing;

/// No letter is meant to be acted on later than this after it was written.
pub const LETTER_LIVES_MAX: Duration = Duration::from_secs(120);
/// How far the clocks of two machines may be apart.
pub const SKEW_MAX: Duration = Duration::from_secs(60);
/// Numbers of one writer that may still come behind a later one.
const BEHIND_MAX: u64 = 4096;
const PUBLIC_LEN: usize = 32;

/// The keys that planes are known by.
#[derive(Debug, Clone, Default)]
pub struct Trusted {
    keys: Vec<(Role, [u8; PUBLIC_LEN])>,
}

impl Trusted {
    /// Believes whoever signs with `key` (as [`LinkKey::public`] says it) to be a `role`. A key may be of one role only.
    ///
    /// # Errors
    /// [`CustodyError::BadPeerKey`].
    pub fn add(&mut self, role: Role, key: &str) -> Result<(), CustodyError> {
        let bytes = URL_SAFE_NO_PAD.decode(key).ok().and_then(|bytes| bytes.try_into().ok());
        let key: [u8; PUBLIC_LEN] = bytes.ok_or(CustodyError::BadPeerKey)?;
        if self.keys.iter().any(|(other, known)| *known == key && *other != role) {
            return Err(CustodyError::BadPeerKey);
        }
        self.keys.push((role, key));
        Ok(())
    }
}

/// A process of this installation, by a card that a believed key signed. Only [`End::known`] makes one.
#[derive(Debug, Clone)]
pub struct Known {
    card: Card,
    signed_by: [u8; PUBLIC_LEN],
}

impl Known {
    /// Which process.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.card.peer
    }

    /// What it is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.card.role
    }

    /// What its operator calls it.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.card.name
    }
}

/// The numbers of one writer that were read.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// One above the highest; nothing was read while it is 0.
    next: u64,
    /// Those below that are still to come may be any that is not in here.
    read: std::collections::BTreeSet<u64>,
}

impl Seen {
    fn is_new(&self, number: u64) -> bool {
        number.saturating_add(BEHIND_MAX) >= self.next && !self.read.contains(&number)
    }

    fn note(&mut self, number: u64) {
        self.read.insert(number);
        self.next = self.next.max(number.saturating_add(1));
        let behind = self.next.saturating_sub(BEHIND_MAX);
        self.read = self.read.split_off(&behind);
    }
}

/// This process's end of every link.
pub struct End {
    card: Card,
    key: LinkKey,
    recipient: Recipient,
    trusted: Trusted,
}

impl End {
    /// A new process of a role, with a fresh key for what is sealed to it.
    ///
    /// # Errors
    /// [`CustodyError::NoEntropy`], [`CustodyError::SealFailed`].
    pub fn new(
        (role, name): (Role, Name),
        key: LinkKey,
        trusted: Trusted,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, CustodyError> {
        let seed = Zeroizing::new(random::<32>(entropy)?);
        let recipient = Recipient::from_seed(&seed)?;
        let (peer, sealed_to) = (PeerId::new(now, random(entropy)?), recipient.sealing_key().clone());
        let mut card = Card { peer, role, name, key: sealed_to, signature: String::new() };
        card.signature = key.sign(&card_text(&card)?);
        Ok(Self { card, key, recipient, trusted })
    }

    /// What the others are shown.
    #[must_use]
    pub const fn card(&self) -> &Card {
        &self.card
    }

    /// Whether a card is one of this installation's.
    #[must_use]
    pub fn known(&self, card: &Card) -> Option<Known> {
        let text = card_text(card).ok()?;
        let mut of_role = self.trusted.keys.iter().filter(|(role, _)| *role == card.role);
        let (_, key) = of_role.find(|(_, key)| is_signed(key, &text, &card.signature))?;
        Some(Known { card: card.clone(), signed_by: *key })
    }

    /// Writes a letter.
    ///
    /// # Errors
    /// [`CustodyError::SealFailed`] where it is too long, or the library fails; [`CustodyError::BadRecipient`].
    pub fn write(
        &self,
        to: &Known,
        (number, answers): (u64, Option<u64>),
        expires_at: Timestamp,
        says: &[u8],
    ) -> Result<Letter, CustodyError> {
        let place = LetterPlace { to: to.peer(), from: self.card.peer, number };
        let head = Head { place, answers, expires_at };
        let sealed = seal(&to.card.key, Purpose::Letter, &head.text()?, says)?;
        if sealed.ciphertext.len() > LETTER_MAX_CHARS / 2 {
            return Err(CustodyError::SealFailed);
        }
        let signature = self.key.sign(&head.letter_text(&sealed)?);
        Ok(Letter { place, answers, expires_at, sealed, signature })
    }

    /// Reads a letter that `from` wrote to this process, once.
    ///
    /// # Errors
    /// [`CustodyError::Refused`] where it is another's or for another, was altered, is too old or too long, or was read before.
    pub fn read(
        &self,
        from: &Known,
        letter: &Letter,
        now: Timestamp,
        seen: &mut Seen,
    ) -> Result<Secret, CustodyError> {
        let place = letter.place;
        let is_ours = place.to == self.card.peer && place.from == from.peer();
        if !is_ours || !is_timely(letter.expires_at, now) || !seen.is_new(place.number) {
            return Err(CustodyError::Refused);
        }
        if letter.sealed.ciphertext.len() > LETTER_MAX_CHARS / 2 {
            return Err(CustodyError::Refused);
        }
        let head = Head { place, answers: letter.answers, expires_at: letter.expires_at };
        if !is_signed(&from.signed_by, &head.letter_text(&letter.sealed)?, &letter.signature) {
            return Err(CustodyError::Refused);
        }
        let says = self.recipient.open(Purpose::Letter, &letter.sealed, &head.text()?)?;
        seen.note(place.number);
        Ok(says)
    }
}

/// What stands on a letter. What it says is bound to that.
#[derive(Serialize)]
struct Head {
    place: LetterPlace,
    answers: Option<u64>,
    expires_at: Timestamp,
}

impl Head {
    fn text(&self) -> Result<Vec<u8>, CustodyError> {
        text("nightlatch letter v1", self)
    }

    fn letter_text(&self, sealed: &Sealed) -> Result<Vec<u8>, CustodyError> {
        text("nightlatch letter v1", &(self, sealed))
    }
}

fn card_text(card: &Card) -> Result<Vec<u8>, CustodyError> {
    let parts: (PeerId, Role, &Name, &SealingKey) = (card.peer, card.role, &card.name, &card.key);
    text("nightlatch card v1", &parts)
}

fn text(purpose: &str, value: &impl Serialize) -> Result<Vec<u8>, CustodyError> {
    let value = serde_json::to_vec(value).map_err(|_| CustodyError::SealFailed)?;
    Ok([purpose.as_bytes(), b"\n", &value].concat())
}

fn is_timely(expires_at: Timestamp, now: Timestamp) -> bool {
    let latest = now.plus(LETTER_LIVES_MAX).plus(SKEW_MAX);
    now < expires_at.plus(SKEW_MAX) && expires_at < latest
}

fn is_signed(key: &[u8], text: &[u8], signature: &str) -> bool {
    let signature = URL_SAFE_NO_PAD.decode(signature.get(..128).unwrap_or(signature));
    signature.is_ok_and(|by| UnparsedPublicKey::new(&ED25519, key).verify(text, &by).is_ok())
}

#[cfg(test)]
mod tests;
