//! What goes wrong by script: databases that were put back or lost their last transactions, logs that are gone
//! or came along with a copy, removals in flight. Quiet weather otherwise, so that what is seen follows from that.

use crate::{
    house::{Account, DISK_BYTES},
    run::{Bounds, Play, Report},
};
use nightlatch_domain::{
    connection::Source,
    id::{ConnectionId, FamilyId, KeeperId, PrincipalId, TenantId},
    ports::{
        control_keeper::{ControlReply, ControlRequest, KeeperRoll},
        store::KeeperStore as _,
    },
};
use nightlatch_simulator::world::{
    issuer::Grown,
    net::{NetOdds, Way},
    store::Copy,
};
use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const HOURS: Duration = Duration::from_secs(3 * 3600);

fn quiet(seed: u64) -> Play {
    quiet_with(seed, 1)
}

fn quiet_with(seed: u64, keepers: usize) -> Play {
    let play = Play::begin(Bounds { is_quiet: true, accounts: 2, keepers, ..Bounds::small(seed) });
    play.rest(HOURS);
    play
}

/// Nothing consumed was presented, and no provider saw a theft.
fn presents_nothing(play: Play) -> Report {
    let report = play.end();
    report.expect_sound();
    assert_eq!(report.reuse_detected, 0, "{report:?}");
    report
}

/// And whoever could not be vouched for asks a human.
fn asks_and_presents_nothing(play: Play) -> Report {
    let report = presents_nothing(play);
    assert!(report.tickets.contains_key("anchor-mismatch"), "{report:?}");
    report
}

/// The same where no log contradicts the database, and none vouches for it.
fn asks_unvouched_and_presents_nothing(play: Play) {
    let report = presents_nothing(play);
    assert!(report.tickets.contains_key("unvouched"), "{report:?}");
}

#[test]
fn a_database_that_was_put_back_presents_nothing_that_was_consumed() {
    let play = quiet(21);
    let copy = play.house.database.copy();
    play.rest(HOURS);
    play.house.database.put_back(&copy);
    let report = asks_and_presents_nothing(play);
    // Whoever was given a refresh token last has it again from the kept answer, and where none is ever consumed nothing is
    // lost: one class gives one now and then.
    assert!(report.tickets["anchor-mismatch"] <= 2, "{report:?}");
}

#[test]
fn a_database_that_was_put_back_while_its_keeper_was_down_presents_nothing_that_was_consumed() {
    let play = quiet(22);
    let copy = play.house.database.copy();
    play.rest(HOURS);
    play.house.posts[0].node.kill();
    play.house.database.put_back(&copy);
    play.house.start(0);
    asks_and_presents_nothing(play);
}

#[test]
fn a_standby_without_the_last_transactions_presents_nothing_that_was_consumed() {
    for (seed, lacking, keepers) in [(23, 1, 1), (24, 7, 1), (25, 60, 1), (52, 7, 2), (53, 60, 3)] {
        let play = quiet_with(seed, keepers);
        play.rest(HOURS);
        play.house.database.fail_over(lacking);
        let report = play.end();
        report.expect_sound();
        assert_eq!(report.reuse_detected, 0, "{report:?}");
    }
}

#[test]
fn a_standby_that_lacks_what_one_of_several_keepers_did_last_presents_nothing_that_was_consumed() {
    for (seed, keepers) in [(61, 2), (62, 3)] {
        let play = quiet_with(seed, keepers);
        for lacking in [4, 5] {
            // What its keeper claimed, intended, was answered and committed: no other one saw a move after it.
            play.house.takes_over.store(lacking, Ordering::Relaxed);
            play.rest(HOURS);
            for (number, post) in play.house.posts.iter().enumerate() {
                if !post.node.is_up() {
                    play.house.start(number);
                }
            }
            play.rest(HOURS);
        }
        let report = play.end();
        report.expect_sound();
        assert_eq!((report.reuse_detected, report.tickets.len()), (0, 0), "healed: {report:?}");
    }
}

#[test]
fn beside_several_keepers_a_database_that_was_put_back_presents_nothing_that_any_of_them_consumed() {
    for (seed, keepers) in [(41, 2), (42, 3)] {
        let play = quiet_with(seed, keepers);
        let copy = play.house.database.copy();
        play.rest(HOURS);
        play.house.database.put_back(&copy);
        // It was noticed, since no wake outlived it; and those that refreshed last kept what heals it.
        let report = presents_nothing(play);
        assert!(report.refused.contains_key("no such wake") && report.tickets.len() <= 2, "{report:?}");
    }
}

/// By chance: answers that are lost at one keeper, keepers that die, copies, one of which is put back, and at last a keeper
/// that a human gives up.
fn misfortunes(seed: u64) -> Report {
    let play = quiet_with(seed, 3);
    let (house, mut dice) = (Arc::clone(&play.house), play.house.world.dice());
    let mut copies = vec![house.database.copy()];
    for _ in 0..dice.within(4..10) {
        let number = dice.place(house.posts.len());
        let post = &house.posts[number];
        match dice.within(0..6) {
            0 => copies.push(house.database.copy()),
            1 => {
                for tool in &house.tools {
                    house.net.cut(&post.node.name(), &format!("{}:443", tool.host), Way::Back);
                    house.net.cut(&post.node.name(), &tool.host, Way::Back);
                }
            }
            2 => house.net.heal(&post.node.name()),
            3 => house.database.put_back(&copies[dice.place(copies.len())]),
            4 => post.node.kill(),
            _ => give_up(&play, number, dice.place(house.posts.len())),
        }
        play.rest(Duration::from_secs(dice.within(20..5000)));
        if !post.node.is_up() {
            house.start(number);
        }
    }
    for post in &house.posts {
        house.net.heal(&post.node.name());
    }
    play.end()
}

/// One keeper dies for good, as far as a human can tell, who says so at another.
fn give_up(play: &Play, gone: usize, told: usize) {
    let (own, house) = (Arc::clone(&play.house), &play.house);
    house.world.finish(&house.office.clone(), async move {
        let roll = own.posts[gone].control(ControlRequest::Keepers).await;
        let Some(Ok(ControlReply::Keepers(KeeperRoll { own: keeper, .. }))) = roll else { return None };
        own.posts[gone].node.kill();
        let human = (own.tenant, own.human);
        own.posts[told].control(ControlRequest::Forget { keeper, human }).await
    });
}

/// Several keepers at work, and a copy that knows nothing of the second one.
fn with_a_copy_without_the_second(seed: u64, keepers: usize) -> (Play, Copy) {
    let play = quiet_with(seed, keepers);
    give_up(&play, 1, 0);
    let copy = play.house.database.copy();
    (play, copy)
}

/// One keeper at work and no other, for as long as every access token lives.
fn alone(play: &Play, number: usize) {
    play.house.posts.iter().for_each(|post| post.node.kill());
    play.house.start(number);
    play.rest(Duration::from_secs(3900));
}

#[test]
fn what_a_forgotten_keeper_presented_is_presented_by_nobody_though_its_database_forgot_it_too() {
    let (play, copy) = with_a_copy_without_the_second(57, 2);
    let house = &play.house;
    house.net.set_odds(NetOdds { reset: 1_000_000, ..NetOdds::default() });
    alone(&play, 1);
    house.net.set_odds(NetOdds::default());
    house.start(0);
    play.rest(Duration::from_secs(30));
    give_up(&play, 1, 0);
    house.database.put_back(&copy);
    asks_and_presents_nothing(play);
}

#[test]
fn where_heads_were_taken_over_no_older_answer_heals() {
    let (play, copy) = with_a_copy_without_the_second(58, 3);
    let house = &play.house;
    alone(&play, 0);
    alone(&play, 1);
    house.start(0);
    house.start(2);
    play.rest(Duration::from_secs(30));
    give_up(&play, 1, 0);
    house.database.put_back(&copy);
    // Whoever took them over compares, and is gone: the third one knows nothing of what came after the copy.
    play.rest(Duration::from_secs(10));
    house.posts[0].node.kill();
    asks_and_presents_nothing(play);
}

#[test]
fn whatever_befalls_several_keepers_and_their_database_nothing_that_was_consumed_is_presented() {
    for seed in 300..308 {
        let report = misfortunes(seed);
        assert_eq!((report.violations.len(), report.reuse_detected), (0, 0), "seed {seed}: {report:?}");
    }
}

#[test]
fn while_one_of_several_keepers_is_down_nothing_is_claimed_of_a_database_that_was_put_back() {
    let play = quiet_with(43, 3);
    let copy = play.house.database.copy();
    play.rest(HOURS);
    play.house.posts[1].node.kill();
    play.house.database.put_back(&copy);
    play.rest(Duration::from_secs(600));
    let before = (play.expiries(), play.leases());
    play.rest(HOURS);
    let after = (play.expiries(), play.leases());
    assert_eq!(after, before, "a log that was not compared may know of a presentation, or of a removal");
    play.house.start(1);
    asks_and_presents_nothing(play);
}

#[test]
fn what_was_removed_is_removed_again_in_a_database_that_was_put_back() {
    let play = quiet_with(45, 2);
    let copy = play.house.database.copy();
    let removed = play.accounts[0].connection;
    remove(&play, removed);
    play.house.judge.was_removed(removed, play.house.world.now());
    play.rest(HOURS);
    play.house.database.put_back(&copy);
    play.rest(HOURS);
    assert!(is_gone(&play, removed), "only a log knew of its removal");
    play.end().expect_sound();
}

#[test]
fn a_keeper_with_an_empty_log_waits_until_another_vouches_for_it_and_nobody_is_asked() {
    let play = quiet_with(44, 2);
    play.house.posts[1].node.kill();
    play.house.posts[1].disk.lose_folder(Path::new("/state"));
    play.house.start(1);
    play.rest(HOURS);
    let report = play.end();
    report.expect_sound();
    assert_eq!((report.reuse_detected, report.tickets.len()), (0, 0), "{report:?}");
}

#[test]
fn a_keeper_with_an_empty_log_presents_nothing_of_a_database_that_is_not_new() {
    let play = quiet(26);
    play.house.posts[0].node.kill();
    play.house.posts[0].disk.lose_folder(Path::new("/state"));
    play.house.start(0);
    asks_unvouched_and_presents_nothing(play);
}

#[test]
fn a_log_that_came_along_with_a_copy_vouches_for_nothing() {
    let play = quiet(27);
    copy_state(&play);
    asks_unvouched_and_presents_nothing(play);
}

#[test]
fn where_a_human_vouches_for_a_copied_log_everything_goes_on_and_nobody_is_asked_again() {
    let play = quiet(54);
    copy_state(&play);
    play.rest(HOURS);
    let own = own_keeper(&play, 0);
    let (play, said) = says(play, |human| ControlRequest::Adopt { keeper: own, human });
    assert!(matches!(said, ControlReply::Adopted { released: 1.., contradicted: 0 }), "{said:?}");
    let before = play.expiries();
    play.rest(HOURS);
    assert!(play.expiries() > before, "it is refreshed again");
    let report = play.end();
    report.expect_sound();
    assert_eq!(report.reuse_detected, 0, "{report:?}");
}

#[test]
fn where_a_keeper_is_forgotten_whose_log_was_not_compared_nothing_is_presented_without_a_login() {
    let play = quiet_with(55, 2);
    let copy = play.house.database.copy();
    // The first keeper sees the history go on. What is refreshed afterwards, the second one's log alone knows.
    play.rest(HOURS);
    play.house.posts[0].node.kill();
    play.rest(HOURS);
    let gone = own_keeper(&play, 1);
    play.house.posts[1].node.kill();
    play.house.database.put_back(&copy);
    play.house.start(0);
    play.rest(Duration::from_secs(600));
    let before = play.leases();
    let (play, said) = says(play, |human| ControlRequest::Forget { keeper: gone, human });
    assert!(matches!(said, ControlReply::Forgotten { behind: true, quarantined: 1.. }), "{said:?}");
    play.rest(HOURS * 8);
    assert!(play.leases() > before, "humans logged in again");
    let report = play.end();
    report.expect_sound();
    assert_eq!(report.reuse_detected, 0, "{report:?}");
    assert!(report.tickets.contains_key("log-lost"), "{report:?}");
}

#[test]
fn where_a_keeper_is_forgotten_whose_log_was_compared_everything_goes_on_and_nobody_is_asked() {
    let play = quiet_with(56, 2);
    play.rest(HOURS);
    let gone = own_keeper(&play, 1);
    play.house.posts[1].node.kill();
    let (play, said) = says(play, |human| ControlRequest::Forget { keeper: gone, human });
    assert!(matches!(said, ControlReply::Forgotten { behind: false, quarantined: 0 }), "{said:?}");
    let before = play.expiries();
    play.rest(HOURS);
    assert!(play.expiries() > before, "it is refreshed by the other one");
    let report = play.end();
    report.expect_sound();
    assert_eq!((report.reuse_detected, report.tickets.get("unvouched")), (0, None), "{report:?}");
}

/// The keeper's folder becomes a copy of what it was.
fn copy_state(play: &Play) {
    let post = &play.house.posts[0];
    post.node.kill();
    let state = Path::new("/state");
    let elsewhere = Path::new("/elsewhere");
    post.disk.copy_folder(state, &post.disk, elsewhere);
    post.disk.lose_folder(state);
    post.disk.copy_folder(elsewhere, &post.disk, state);
    play.house.start(0);
}

#[test]
fn a_keeper_that_cannot_write_its_log_waits_and_does_not_spin() {
    let play = quiet(31);
    play.house.posts[0].disk.set_room(0);
    let (before, _) = play.house.world.digest();
    play.rest(HOURS);
    let (after, _) = play.house.world.digest();
    // Every account is due; each look at one is a few lines.
    assert!(after - before < 100_000, "{}", after - before);
    play.house.posts[0].disk.set_room(DISK_BYTES);
    let report = play.end();
    report.expect_sound();
    assert_eq!(report.reuse_detected, 0, "{report:?}");
}

#[test]
fn what_is_removed_in_flight_gets_no_head_and_no_lease() {
    for seed in 28..31 {
        let play = Play::begin(Bounds { accounts: 2, ..Bounds::small(seed) });
        play.rest(HOURS);
        let removed = play.accounts[usize::try_from(seed).expect("small") % 8].connection;
        let family = remove(&play, removed);
        let before = head_of(&play, family);
        play.house.judge.was_removed(removed, play.house.world.now());
        play.rest(HOURS);
        assert_eq!(head_of(&play, family), before, "a head moved after its removal was confirmed");
        play.end().expect_sound();
    }
}

/// What the first keeper answers, asked until it does.
fn asked(play: &Play, post: usize, request: ControlRequest) -> ControlReply {
    let house = Arc::clone(&play.house);
    let answered = play.house.world.finish(&play.house.office.clone(), async move {
        loop {
            if let Some(Ok(reply)) = house.posts[post].control(request.clone()).await {
                return reply;
            }
            house.pause(Duration::from_secs(7)).await;
        }
    });
    answered.expect("the office never ends")
}

/// What a human says to the first keeper, and what comes of it.
fn says(play: Play, what: impl Fn((TenantId, PrincipalId)) -> ControlRequest) -> (Play, ControlReply) {
    let human = (play.house.tenant, play.house.human);
    let reply = asked(&play, 0, what(human));
    (play, reply)
}

fn own_keeper(play: &Play, post: usize) -> KeeperId {
    let ControlReply::Keepers(roll) = asked(play, post, ControlRequest::Keepers) else { panic!("no roll") };
    roll.own
}

/// Removes a connection, and asks until that is confirmed, whatever the weather; answers its family.
fn remove(play: &Play, connection: ConnectionId) -> FamilyId {
    let (house, tenant) = (Arc::clone(&play.house), play.house.tenant);
    let removed = play.house.world.finish(&play.house.office.clone(), async move {
        let row = house.at_hand().connection(tenant, connection).await.expect("at hand").expect("it lives");
        let Source::Chain { chain } = row.source else { panic!("{row:?}") };
        let view = house.at_hand().chain(tenant, chain).await.expect("at hand").expect("it lives");
        loop {
            let request = ControlRequest::Remove { tenant, connection };
            if let Some(Ok(_)) = house.posts[0].control(request).await {
                return view.family.id;
            }
            house.pause(Duration::from_secs(7)).await;
        }
    });
    removed.expect("the office never ends")
}

/// Every provider here ends all that an account was given when one of its tokens is revoked.
#[test]
fn what_is_removed_ends_at_its_provider_in_every_weather_and_what_is_connected_again_does_not() {
    for seed in 61..64 {
        let play = Play::begin(Bounds { accounts: 2, keepers: 2, ..Bounds::small(seed) });
        play.rest(HOURS);
        let removed: Vec<_> = play.accounts.iter().step_by(2).cloned().collect();
        // What is owed at the removal stays owed: nobody can be reached then.
        play.house.net.set_odds(NetOdds { unreachable: 1_000_000, ..NetOdds::default() });
        for account in &removed {
            remove(&play, account.connection);
            play.house.judge.was_removed(account.connection, play.house.world.now());
        }
        play.rest(Duration::from_secs(10));
        play.house.net.set_odds(NetOdds::default());
        for account in removed.iter().step_by(2) {
            connect_again(&play, account);
        }
        play.rest(HOURS * 4);
        play.clear();
        play.rest(HOURS * 16);
        for (number, account) in removed.iter().enumerate() {
            let books = play.house.tools[account.tool].issuer.books();
            let of_account = |family: &&Grown| family.account == account.login;
            let living = books.families().iter().filter(of_account).filter(|one| one.ended.is_none()).count();
            if number % 2 == 0 {
                assert!(living > 0, "seed {seed}: {} was revoked though it lives", account.login);
            } else {
                assert_eq!(living, 0, "seed {seed}: {} lives on at its provider", account.login);
            }
        }
        let report = play.end();
        report.expect_sound();
        assert_eq!(report.reuse_detected, 0, "seed {seed}: {report:?}");
    }
}

fn connect_again(play: &Play, account: &Account) {
    let (house, account) = (Arc::clone(&play.house), account.clone());
    let connected = play.house.world.finish(&play.house.office.clone(), async move {
        loop {
            let Account { tool, client, ref login, .. } = account;
            if let Some(Ok(_)) = house.connect(&house.posts[0], tool, client, login, None).await {
                return;
            }
            house.pause(Duration::from_secs(20)).await;
        }
    });
    connected.expect("the office never ends");
}

fn is_gone(play: &Play, connection: ConnectionId) -> bool {
    let (house, tenant) = (Arc::clone(&play.house), play.house.tenant);
    let found = play.house.world.finish(&play.house.office.clone(), async move {
        house.at_hand().connection(tenant, connection).await.expect("at hand").is_none()
    });
    found.expect("the office never ends")
}

fn head_of(play: &Play, family: FamilyId) -> Option<u64> {
    let house = Arc::clone(&play.house);
    let heads = play
        .house
        .world
        .finish(&play.house.office.clone(), async move { house.at_hand().heads().await.expect("at hand") });
    let heads = heads.expect("the office never ends");
    heads.into_iter().find(|(_, own, _)| *own == family).map(|(_, _, head)| head)
}
