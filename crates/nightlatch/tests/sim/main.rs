//! The keeper that ships, in a world of one seed: crashes, cuts, jumps of the clock and lost answers by chance,
//! providers of every class, and I1 to I5 held against what those providers counted.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on says so and ends; what it is to run may stand in its environment"
)]

mod adapters;
mod cast;
mod house;
mod losses;
mod oracle;
mod run;
mod scripts;
mod weather;

use run::{Bounds, run};

/// The seeds of an ordinary run of the tests.
const SEEDS: [u64; 2] = [1, 2];

#[test]
fn ten_thousand_expiries_in_every_weather_lose_no_family_whose_answer_came() {
    for seed in SEEDS {
        run(Bounds { expiries: 5_000, ..Bounds::small(seed) }).expect_sound();
    }
}

#[test]
fn several_keepers_in_every_weather_lose_no_family_whose_answer_came() {
    for (seed, keepers) in [(1, 2), (2, 3)] {
        let report = run(Bounds { expiries: 800, accounts: 2, keepers, ..Bounds::small(seed) });
        report.expect_sound();
        assert_eq!(report.tickets.get("anchor-mismatch"), None, "{report:?}");
    }
}

#[test]
fn one_seed_run_twice_is_one_history() {
    let first = run(Bounds { expiries: 300, ..Bounds::small(7) });
    let second = run(Bounds { expiries: 300, ..Bounds::small(7) });
    assert_eq!(first.digest, second.digest);
    assert_ne!(first.digest, run(Bounds { expiries: 300, ..Bounds::small(8) }).digest);
}

#[test]
fn in_quiet_weather_everything_is_refreshed_and_nobody_is_asked() {
    let report = run(Bounds { is_quiet: true, expiries: 500, ..Bounds::small(3) });
    report.expect_sound();
    assert_eq!((report.tickets.len(), report.answers_lost), (0, 0), "{report:?}");
}

/// One run, as `cargo xtask sim` asks for it.
#[test]
fn a_run_that_is_asked_for() {
    let report = run(Bounds::asked_for());
    println!("{}", report.json());
    report.expect_sound();
}
