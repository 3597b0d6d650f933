//! Proves what the model promises: over schedules that are drawn anew each time, and over those that once broke it.

use super::{World, provider::class};
use proptest::prelude::{ProptestConfig, any, proptest};

fn play(seed: u64, keepers: usize, number: u8) {
    let mut world = World::new(seed, keepers, class(number));
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.run();
        world.check();
    }));
    if let Err(why) = ran {
        let from = world.told.len().saturating_sub(120);
        eprintln!("{}", world.told[from..].join("\n"));
        std::panic::resume_unwind(why);
    }
}

#[test]
fn schedules_that_once_broke_a_promise_do_not_any_more() {
    // Another keeper read that a presentation was none; the log that anchored it was not told.
    play(11_740_812_827_704_146_110, 2, 201);
    // An answer beside the head came when the head had been refused.
    play(16_703_758_017_867_899_847, 3, 12);
    // That an answer was lost was said over one that had come in the meantime.
    play(4_250_266_000_193_165_269, 2, 118);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_schedule_of_several_keepers_breaks_what_they_promise(
        seed in any::<u64>(), keepers in 1usize..4, number in any::<u8>(),
    ) {
        play(seed, keepers, number);
    }
}
