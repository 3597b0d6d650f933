//! Letters: each taken out once, by whom it is for; bounded; and told of.

use super::world::{NOW, later};
use nightlatch_domain::{
    clock::Timestamp,
    id::{KeyId, PeerId},
    ports::{
        mailbox::{Card, LETTER_MAX_CHARS, Letter, LetterPlace, Mailbox, Posted, Role, WAITING_MAX},
        store::StoreError,
    },
    sealed::{Sealed, SealingKey},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Somewhere a mailbox lives. Each process opens it for itself.
pub trait MailPlace: Send + Sync {
    /// The mailbox as one more process has it.
    fn open_mailbox(&self) -> Arc<dyn Mailbox>;
}

fn peer(n: u8) -> PeerId {
    PeerId::new(NOW, [n; 10])
}

fn card(n: u8) -> Card {
    let key = SealingKey { id: KeyId::new(Timestamp::from_millis(0), [n; 10]), public: format!("key {n}") };
    let signature = format!("signed {n}");
    Card { peer: peer(n), role: Role::Keeper, name: format!("keeper-{n}").parse().unwrap(), key, signature }
}

fn letter(to: u8, from: u8, number: u64) -> Letter {
    let recipient = card(to).key.id;
    let (encapsulated, ciphertext) = ("caps".to_owned(), format!("from {from}, number {number}"));
    Letter {
        place: LetterPlace { to: peer(to), from: peer(from), number },
        answers: (number > 1).then(|| number - 1),
        expires_at: later(60),
        sealed: Sealed { recipient, encapsulated, ciphertext },
        signature: format!("by {from}"),
    }
}

async fn with(place: &dyn MailPlace, peers: &[u8]) -> Arc<dyn Mailbox> {
    let mailbox = place.open_mailbox();
    for n in peers {
        mailbox.arrive(card(*n)).await.unwrap();
    }
    mailbox
}

/// A letter comes as it was posted, to whom it is for, once.
pub async fn a_letter_comes_as_it_was_posted_and_once(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2]).await;
    let letters = [letter(1, 2, 1), letter(1, 2, 2), letter(1, 2, 10)];
    for one in letters.iter().rev().chain([&letter(2, 1, 1)]) {
        assert_eq!(mailbox.post(one.clone()).await, Ok(Posted::Lies));
    }
    let reader = place.open_mailbox();
    assert_eq!(reader.collect(peer(1), 2).await.unwrap(), letters[..2], "the first two of them");
    assert_eq!(reader.collect(peer(1), 2).await.unwrap(), letters[2..]);
    assert_eq!(reader.collect(peer(1), 2).await.unwrap(), []);
    assert_eq!(reader.collect(peer(2), 2).await.unwrap(), [letter(2, 1, 1)]);
}

/// Of many who take letters out at once, one gets each.
pub async fn of_eight_takers_one_gets_each_letter(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2]).await;
    for number in 1..=40 {
        mailbox.post(letter(1, 2, number)).await.unwrap();
    }
    let takers = (0..8).map(|_| {
        let mailbox = place.open_mailbox();
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Ok(letters) = mailbox.collect(peer(1), 3).await {
                if letters.is_empty() {
                    break;
                }
                taken.extend(letters.into_iter().map(|letter| letter.place.number));
            }
            taken
        })
    });
    let mut all = Vec::new();
    for taker in takers.collect::<Vec<_>>() {
        all.extend(taker.await.unwrap());
    }
    // One who found nothing may have looked while another held the last ones.
    all.extend(mailbox.collect(peer(1), 100).await.unwrap().into_iter().map(|letter| letter.place.number));
    assert_eq!((all.len(), BTreeSet::from_iter(all)), (40, (1..=40).collect()));
}

/// A letter is either taken out or taken back.
pub async fn a_letter_is_taken_out_or_taken_back(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2]).await;
    let reader = place.open_mailbox();
    let (mut out, mut back) = (0, 0);
    for number in 1..=30 {
        let posted = letter(1, 2, number);
        mailbox.post(posted.clone()).await.unwrap();
        let (taken, withdrawn) = tokio::join!(reader.collect(peer(1), 1), mailbox.withdraw(posted.place));
        let (taken, withdrawn) = (taken.unwrap().len(), withdrawn.unwrap());
        assert_eq!((taken == 1, taken == 0), (!withdrawn, withdrawn), "letter {number}");
        (out, back) = (out + taken, back + usize::from(withdrawn));
    }
    assert_eq!(out + back, 30);
    assert_eq!(mailbox.withdraw(letter(1, 2, 1).place).await, Ok(false), "it is gone");
    assert_eq!(mailbox.withdraw(letter(2, 1, 1).place).await, Ok(false), "there never was one");
}

/// While a letter lies there, no other takes its place.
pub async fn a_number_lies_there_once(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2, 3]).await;
    assert_eq!(mailbox.post(letter(1, 2, 1)).await, Ok(Posted::Lies));
    let other = Letter { signature: "forged".to_owned(), ..letter(1, 2, 1) };
    assert_eq!(mailbox.post(other).await, Err(StoreError::Exists("letter")));
    assert_eq!(mailbox.post(letter(1, 3, 1)).await, Ok(Posted::Lies), "another writer's number");
    assert_eq!(mailbox.collect(peer(1), 9).await.unwrap(), [letter(1, 2, 1), letter(1, 3, 1)]);
}

/// No more letters lie there for one process than there is room for.
pub async fn a_full_box_takes_no_further_letter(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2]).await;
    for number in 0..u64::from(WAITING_MAX) {
        assert_eq!(mailbox.post(letter(1, 2, number)).await, Ok(Posted::Lies));
    }
    assert_eq!(mailbox.post(letter(1, 2, 5000)).await, Ok(Posted::Full));
    assert_eq!(mailbox.post(letter(2, 1, 1)).await, Ok(Posted::Lies), "another's box is not full");
    assert_eq!(mailbox.collect(peer(1), 1).await.unwrap().len(), 1);
    assert_eq!(mailbox.post(letter(1, 2, 5000)).await, Ok(Posted::Lies));
}

/// A letter that is too long is not kept.
pub async fn what_is_too_long_is_not_kept(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2]).await;
    let mut long = letter(1, 2, 1);
    long.sealed.ciphertext = "x".repeat(LETTER_MAX_CHARS - 100);
    assert_eq!(mailbox.post(long.clone()).await, Ok(Posted::Lies));
    assert_eq!(mailbox.collect(peer(1), 9).await.unwrap(), [long.clone()]);
    long.sealed.ciphertext = "x".repeat(LETTER_MAX_CHARS);
    assert_eq!(mailbox.post(long).await, Err(StoreError::Corrupt("letter")));
    assert_eq!(mailbox.collect(peer(1), 9).await.unwrap(), []);
}

/// Who is not there gets no letter, and who leaves takes theirs along.
pub async fn who_is_not_there_gets_no_letter(place: &dyn MailPlace) {
    let mailbox = with(place, &[2]).await;
    assert_eq!(mailbox.post(letter(1, 2, 1)).await, Ok(Posted::Absent));
    mailbox.arrive(card(1)).await.unwrap();
    assert_eq!(mailbox.post(letter(1, 2, 1)).await, Ok(Posted::Lies));
    mailbox.leave(peer(1)).await.unwrap();
    assert_eq!(mailbox.post(letter(1, 2, 2)).await, Ok(Posted::Absent));
    assert_eq!(mailbox.collect(peer(1), 9).await.unwrap(), []);
    mailbox.arrive(card(1)).await.unwrap();
    assert_eq!(mailbox.collect(peer(1), 9).await.unwrap(), [], "what lay there is gone");
}

/// Everybody sees who is there, and that they live.
pub async fn who_is_there_is_seen_by_all(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2]).await;
    let other = place.open_mailbox();
    let seen = |n: u8, beats: u64| nightlatch_domain::ports::mailbox::Present { card: card(n), beats };
    assert_eq!(other.present().await.unwrap(), [seen(1, 0), seen(2, 0)]);
    assert_eq!(mailbox.beat(peer(1)).await, Ok(true));
    assert_eq!(mailbox.beat(peer(1)).await, Ok(true));
    mailbox.leave(peer(2)).await.unwrap();
    assert_eq!(other.present().await.unwrap(), [seen(1, 2)]);
    assert_eq!(mailbox.beat(peer(2)).await, Ok(false), "it has to arrive again");
}

/// What nobody took out in its time is thrown away, and nothing else is.
pub async fn what_expired_is_thrown_away(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2]).await;
    let young = Letter { expires_at: later(61), ..letter(1, 2, 2) };
    mailbox.post(letter(1, 2, 1)).await.unwrap();
    mailbox.post(young.clone()).await.unwrap();
    assert_eq!(mailbox.throw_away(later(60)).await, Ok(0));
    assert_eq!(mailbox.throw_away(later(61)).await, Ok(1));
    assert_eq!(mailbox.collect(peer(1), 9).await.unwrap(), [young]);
}

/// Who waits for a letter is woken by one that another process posts, and by none for another.
pub async fn a_waiter_is_woken_by_a_letter_for_it(place: &dyn MailPlace) {
    let mailbox = with(place, &[1, 2]).await;
    let reader = place.open_mailbox();
    mailbox.post(letter(2, 1, 1)).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_millis(300), reader.arrived(peer(1), 60_000)).await;
    assert!(woken.is_err(), "another's letter woke it");
    tokio::time::timeout(Duration::from_secs(5), reader.arrived(peer(1), 100)).await.unwrap();
    let waits = tokio::spawn({
        let reader = Arc::clone(&reader);
        async move { reader.arrived(peer(1), 60_000).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waits.is_finished());
    mailbox.post(letter(1, 2, 1)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), waits).await.unwrap().unwrap();
    // And at once by one that lies there.
    tokio::time::timeout(Duration::from_secs(5), reader.arrived(peer(1), 60_000)).await.unwrap();
}
