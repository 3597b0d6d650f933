//! A letter is read once, by whom it was written to, as it was written, in its time; and whoever writes rows writes none.

use super::{End, Head, Known, LETTER_LIVES_MAX, SKEW_MAX, Seen, Trusted};
use crate::{
    CustodyError,
    entropy::SystemEntropy,
    hpke::{Purpose, seal},
    keys::link::LinkKey,
    testing::altered,
};
use nightlatch_domain::{
    clock::Timestamp,
    ports::mailbox::{LETTER_MAX_CHARS, Letter, LetterPlace, Role},
};
use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);
const IN_TIME: Timestamp = Timestamp::from_millis(1_750_000_030_000);

/// An installation with a gateway, a control plane and two keepers, and a key that nobody believes.
struct House {
    _folder: TempDir,
    gateway: End,
    control: End,
    keeper: End,
    other: End,
    stranger: End,
}

fn key(folder: &TempDir, name: &str) -> LinkKey {
    LinkKey::load_or_create(&folder.path().join(name), true, &SystemEntropy::new()).unwrap()
}

fn end(folder: &TempDir, role: Role, key_of: &str, trusted: &Trusted) -> End {
    let who = (role, key_of.parse().unwrap());
    End::new(who, key(folder, key_of), trusted.clone(), NOW, &SystemEntropy::new()).unwrap()
}

impl House {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut trusted = Trusted::default();
        for (role, name) in [(Role::Gateway, "gateway"), (Role::Control, "control"), (Role::Keeper, "keeper")]
        {
            trusted.add(role, &key(&folder, name).public()).unwrap();
        }
        Self {
            gateway: end(&folder, Role::Gateway, "gateway", &trusted),
            control: end(&folder, Role::Control, "control", &trusted),
            keeper: end(&folder, Role::Keeper, "keeper", &trusted),
            other: end(&folder, Role::Keeper, "keeper", &trusted),
            stranger: end(&folder, Role::Gateway, "stranger", &trusted),
            _folder: folder,
        }
    }

    fn known(&self, end: &End) -> Known {
        self.keeper.known(end.card()).unwrap()
    }

    fn letter(&self, number: u64) -> Letter {
        let to = self.gateway.known(self.keeper.card()).unwrap();
        self.gateway.write(&to, (number, None), IN_TIME, b"wake me").unwrap()
    }

    fn reads(&self, letter: &Letter) -> Result<Vec<u8>, CustodyError> {
        self.reads_at(letter, NOW, &mut Seen::default())
    }

    fn reads_at(&self, letter: &Letter, now: Timestamp, seen: &mut Seen) -> Result<Vec<u8>, CustodyError> {
        let read = self.keeper.read(&self.known(&self.gateway), letter, now, seen);
        read.map(|says| says.expose().to_vec())
    }
}

fn is_refused<T>(read: &Result<T, CustodyError>) -> bool {
    matches!(read, Err(CustodyError::Refused))
}

#[test]
fn a_letter_says_what_was_written_and_shows_nothing_of_it() {
    let house = House::new();
    let letter = house.letter(1);
    assert_eq!(house.reads(&letter).unwrap(), b"wake me");
    assert!(!serde_json::to_string(&letter).unwrap().contains("wake"));
    // Only whom it is for can open it, though the other keeper has the same plane's key.
    let read = house.other.read(&house.known(&house.gateway), &letter, NOW, &mut Seen::default());
    assert!(is_refused(&read));
    let mut moved = letter;
    moved.place.to = house.other.card().peer;
    let read = house.other.read(&house.known(&house.gateway), &moved, NOW, &mut Seen::default());
    assert!(is_refused(&read));
}

#[test]
fn a_card_counts_only_where_a_key_of_its_role_signed_it() {
    let house = House::new();
    assert!(house.keeper.known(house.gateway.card()).is_some());
    assert!(house.keeper.known(house.stranger.card()).is_none(), "nobody believes this key");
    let mut promoted = house.gateway.card().clone();
    promoted.role = Role::Control;
    assert!(house.keeper.known(&promoted).is_none(), "a gateway is no control plane");
    let mut swapped = house.keeper.card().clone();
    swapped.key = house.stranger.card().key.clone();
    assert!(house.gateway.known(&swapped).is_none(), "what is sealed to it would be another's to read");
    let mut renamed = house.gateway.card().clone();
    renamed.peer = house.control.card().peer;
    assert!(house.keeper.known(&renamed).is_none());
}

#[test]
fn a_forged_letter_is_refused() {
    let house = House::new();
    let to = house.stranger.known(house.keeper.card()).unwrap();
    let mut forged = house.stranger.write(&to, (1, None), IN_TIME, b"wake me").unwrap();
    forged.place.from = house.gateway.card().peer;
    assert!(is_refused(&house.reads(&forged)), "signed by a key that nobody believes");
    // Whoever may write as control still does not write as the gateway.
    let to = house.control.known(house.keeper.card()).unwrap();
    let mut forged = house.control.write(&to, (1, None), IN_TIME, b"wake me").unwrap();
    forged.place.from = house.gateway.card().peer;
    assert!(is_refused(&house.reads(&forged)));
    for signature in [String::new(), "x".repeat(4000), altered(&house.letter(1).signature)] {
        assert!(is_refused(&house.reads(&Letter { signature, ..house.letter(1) })));
    }
}

#[test]
fn whatever_is_altered_on_a_letter_has_it_refused() {
    let house = House::new();
    let (letter, another) = (house.letter(1), house.letter(2));
    let alter: [fn(&mut Letter, &Letter); 6] = [
        |letter, _| letter.place.number = 7,
        |letter, _| letter.answers = Some(1),
        |letter, _| letter.expires_at = letter.expires_at.plus(Duration::from_secs(1)),
        |letter, another| letter.sealed = another.sealed.clone(),
        |letter, another| letter.signature = another.signature.clone(),
        |letter, _| letter.sealed.ciphertext = altered(&letter.sealed.ciphertext),
    ];
    for (n, alter) in alter.into_iter().enumerate() {
        let mut altered = letter.clone();
        alter(&mut altered, &another);
        assert!(is_refused(&house.reads(&altered)), "{n}");
    }
    assert!(house.reads(&letter).is_ok());
}

#[test]
fn a_letter_is_read_once_whatever_comes_between() {
    let house = House::new();
    let mut seen = Seen::default();
    let (first, late) = (house.letter(10), house.letter(9));
    assert!(house.reads_at(&first, NOW, &mut seen).is_ok());
    assert!(is_refused(&house.reads_at(&first, NOW, &mut seen)), "repeated");
    assert!(house.reads_at(&late, NOW, &mut seen).is_ok(), "an earlier number may come later");
    assert!(is_refused(&house.reads_at(&late, NOW, &mut seen)));
    // One that was refused uses up no number.
    let whole = house.letter(11);
    let broken = Letter { signature: altered(&whole.signature), ..whole.clone() };
    assert!(is_refused(&house.reads_at(&broken, NOW, &mut seen)));
    assert!(house.reads_at(&whole, NOW, &mut seen).is_ok());
    // So far behind that nobody remembers: then it is not believed to be new.
    assert!(house.reads_at(&house.letter(10_000), NOW, &mut seen).is_ok());
    assert!(is_refused(&house.reads_at(&house.letter(12), NOW, &mut seen)));
    assert!(is_refused(&house.reads_at(&first, NOW, &mut seen)));
}

#[test]
fn a_letter_has_its_time() {
    let house = House::new();
    let letter = house.letter(1);
    let at = |now| house.reads_at(&letter, now, &mut Seen::default());
    assert!(at(IN_TIME.plus(SKEW_MAX).minus(Duration::from_millis(1))).is_ok(), "clocks are apart");
    assert!(is_refused(&at(IN_TIME.plus(SKEW_MAX))));
    assert!(is_refused(&at(IN_TIME.minus(LETTER_LIVES_MAX).minus(SKEW_MAX))), "of the future");
}

#[test]
fn a_letter_of_an_earlier_process_is_refused() {
    let house = House::new();
    let letter = house.letter(1);
    // The keeper starts anew: same plane, same key, another process.
    let read = house.other.read(&house.known(&house.gateway), &letter, NOW, &mut Seen::default());
    assert!(is_refused(&read));
}

#[test]
fn what_is_too_long_is_neither_written_nor_read() {
    let house = House::new();
    let to = house.gateway.known(house.keeper.card()).unwrap();
    let long = vec![b'x'; LETTER_MAX_CHARS];
    let written = house.gateway.write(&to, (1, None), IN_TIME, &long);
    assert!(matches!(written, Err(CustodyError::SealFailed)));
    // A plane that is believed and keeps to no bound: sealed and signed as it should be, and too long all the same.
    let place = LetterPlace { number: 2, ..house.letter(1).place };
    let head = Head { place, answers: None, expires_at: IN_TIME };
    let sealed = seal(&to.card.key, Purpose::Letter, &head.text().unwrap(), &long).unwrap();
    let signature = house.gateway.key.sign(&head.letter_text(&sealed).unwrap());
    let letter = Letter { place, answers: None, expires_at: IN_TIME, sealed, signature };
    assert!(is_refused(&house.reads(&letter)));
}

#[test]
fn a_plane_is_known_by_a_key_of_its_own() {
    let folder = TempDir::new().unwrap();
    let public = key(&folder, "one").public();
    let mut trusted = Trusted::default();
    trusted.add(Role::Gateway, &public).unwrap();
    assert!(matches!(trusted.add(Role::Keeper, &public), Err(CustodyError::BadPeerKey)), "of two roles");
    for bad in ["", "AAAA", "not base64!", &format!("{public}AA")] {
        assert!(matches!(trusted.add(Role::Control, bad), Err(CustodyError::BadPeerKey)), "{bad}");
    }
    assert_eq!(key(&folder, "one").public(), public, "it stays in its file");
    let file = folder.path().join("one");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let load = |name: &str| LinkKey::load_or_create(&folder.path().join(name), false, &SystemEntropy::new());
    assert!(matches!(load("one"), Err(CustodyError::KeyExposed { .. })));
    assert!(matches!(load("none"), Err(CustodyError::KeyMissing { .. })));
}
