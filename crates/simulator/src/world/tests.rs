//! Proves what the executor promises: one seed is one history, the dead do nothing, the paused stand still,
//! and time is what the queue says.

use super::{Moment, Process, World};
use nightlatch_domain::{
    clock::{Clock, Entropy, NoEntropy, random},
    ports::work::Work,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Counts on, once a second, for ever.
fn counting(process: &Process) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let (own, shared) = (process.clone(), Arc::clone(&count));
    process.spawn(Box::pin(async move {
        loop {
            own.sleep(secs(1)).await;
            shared.fetch_add(1, Ordering::Relaxed);
        }
    }));
    count
}

/// A few workers that wake each other, work aside and draw random numbers, and a machine that is killed.
fn busy(seed: u64) -> (u64, u64) {
    let world = World::new(seed);
    let told = Arc::new(Notify::new());
    let nodes: Vec<_> = (0..3).map(|number| world.node(&format!("n{number}"))).collect();
    for node in &nodes {
        let process = node.start();
        for worker in 0..4u64 {
            let (own, told) = (process.clone(), Arc::clone(&told));
            process.spawn(Box::pin(async move {
                for round in 0..20u64 {
                    own.sleep(Duration::from_millis(worker + round % 3)).await;
                    own.blocking(Box::new(|| ())).await;
                    told.notify_waiters();
                    let drawn = random::<2>(&own).unwrap();
                    own.world().note(format_args!("{} {worker} {round} {drawn:?}", own.node().name()));
                    let _ = tokio::join!(told.notified(), own.sleep(secs(1)));
                }
            }));
        }
    }
    let killed = nodes[0].clone();
    world.after(secs(5), move |_| killed.kill());
    world.run_for(secs(60));
    world.digest()
}

#[test]
fn one_seed_run_twice_gives_the_same_log_and_another_seed_another() {
    let first = busy(7);
    assert_eq!(first, busy(7));
    assert!(first.0 > 40, "something was logged");
    assert_ne!(first, busy(8));
}

#[test]
fn time_passes_in_order_and_only_when_nothing_else_can_happen() {
    let world = World::new(1);
    let process = world.node("a").start();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for span in [3, 1, 2] {
        let (own, seen) = (process.clone(), Arc::clone(&seen));
        process.spawn(Box::pin(async move {
            own.sleep(secs(span)).await;
            seen.lock().unwrap().push((span, own.world().now().since(Moment::BEGIN)));
        }));
    }
    assert_eq!(world.now(), Moment::BEGIN);
    world.run_for(secs(2));
    assert_eq!(*seen.lock().unwrap(), [(1, secs(1)), (2, secs(2))]);
    world.run_for(secs(9));
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert_eq!(world.now(), Moment::BEGIN.plus(secs(11)), "time goes on where nothing happens");
    assert!(!world.step(), "nothing is left");
}

#[test]
fn a_killed_process_is_polled_no_more_and_what_it_begins_is_dropped() {
    let world = World::new(1);
    let node = world.node("a");
    let process = node.start();
    let count = counting(&process);
    world.run_for(secs(3));
    node.kill();
    world.run_for(secs(10));
    assert_eq!(count.load(Ordering::Relaxed), 3);
    assert!(!process.lives() && !node.is_up());
    let late = counting(&process);
    let next = node.start();
    let again = counting(&next);
    world.run_for(secs(2));
    assert_eq!((late.load(Ordering::Relaxed), again.load(Ordering::Relaxed)), (0, 2));
    assert!(!process.lives() && next.lives(), "a later life does not bring the earlier one back");
    assert_eq!(world.finish(&process, async { 1 }), None);
    assert_eq!(world.finish(&next, async { 1 }), Some(1));
}

#[test]
fn a_process_that_ends_within_its_own_step_takes_no_other() {
    let world = World::new(1);
    let node = world.node("a");
    let process = node.start();
    let (own, after) = (node.clone(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&after);
    process.spawn(Box::pin(async move {
        own.kill();
        std::future::pending::<()>().await;
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    world.run_for(secs(1));
    assert!(!process.lives());
    assert_eq!(after.load(Ordering::Relaxed), 0);
}

#[test]
fn a_paused_process_stands_still_while_its_clocks_go_on() {
    let world = World::new(1);
    let node = world.node("a");
    let process = node.start();
    let count = counting(&process);
    world.run_for(secs(2));
    let (wall, boot) = (process.now(), process.boot());
    node.pause();
    world.run_for(secs(60));
    assert_eq!(count.load(Ordering::Relaxed), 2);
    assert_eq!((process.now().since(wall), process.boot().since(boot)), (secs(60), secs(60)));
    node.resume();
    world.run_for(secs(1));
    assert!((3..=4).contains(&count.load(Ordering::Relaxed)), "the rest that was over while it stood still");
    world.run_for(secs(3));
    assert!(count.load(Ordering::Relaxed) >= 6);
}

#[test]
fn a_wall_clock_jumps_and_the_boot_clock_does_not() {
    let world = World::new(1);
    let (one, other) = (world.node("a"), world.node("b"));
    let (process, neighbour) = (one.start(), other.start());
    let (wall, boot) = (process.now(), process.boot());
    one.jump(-5000);
    assert_eq!((wall.since(process.now()), process.boot()), (secs(5), boot));
    assert_eq!(neighbour.now(), wall, "each machine has its own");
    let (began, before) = (one.boot(), other.boot());
    drop(one.start());
    assert_eq!(one.boot(), began, "a process that starts is no boot");
    one.reboot();
    let next = one.start();
    assert_eq!(next.boot().millis(), 0, "a boot clock begins with its machine");
    assert!(one.boot() != began && other.boot() == before && before != began);
}

#[test]
fn what_befell_a_machine_is_dated_by_a_clock_that_is_right() {
    let world = World::new(1);
    let node = world.node("a");
    let began = node.start().now();
    let at = |seconds| began.plus(secs(seconds));
    world.run_for(secs(10));
    node.jump(-40_000);
    world.run_for(secs(10));
    node.jump(30_000);
    node.jump(-20_000);
    node.pause();
    world.run_for(secs(10));
    node.kill();
    world.run_for(secs(10));
    node.reboot();
    let _process = node.start();
    world.run_for(secs(10));
    node.kill();
    assert_eq!(node.gained(at(12), at(20)), secs(30), "the most, though it lost some again");
    assert_eq!(node.gained(at(12), at(19)), secs(0), "nothing that came afterwards");
    assert_eq!(node.gained(at(5), at(50)), secs(0), "less than it said is no gain");
    assert!(
        node.was_booted(at(40), at(50))
            && !node.was_booted(at(41), at(50))
            && !node.was_booted(at(0), at(39))
    );
    let still = node.stood_still();
    assert_eq!((still[0], still[1].0, still.len()), ((at(20), at(40)), at(50), 2));
    assert!(still[1].1 > at(1_000_000), "it has no end yet");
}

#[test]
fn work_aside_is_carried_through_by_the_living_and_not_by_the_dead() {
    let world = World::new(1);
    let node = world.node("a");
    let process = node.start();
    let done = Arc::new(AtomicU32::new(0));
    let aside = |process: &Process| {
        let done = Arc::clone(&done);
        process.blocking(Box::new(move || {
            done.fetch_add(1, Ordering::Relaxed);
        }))
    };
    drop(aside(&process));
    world.run_for(secs(1));
    assert_eq!(done.load(Ordering::Relaxed), 1, "nobody waited");
    let waits = aside(&process);
    node.kill();
    world.run_for(secs(1));
    drop(waits);
    assert_eq!(done.load(Ordering::Relaxed), 1);
}

#[test]
fn a_drained_generator_refuses() {
    let world = World::new(1);
    let node = world.node("a");
    let process = node.start();
    assert!(random::<10>(&process).is_ok());
    node.drain(true);
    assert_eq!(process.fill(&mut [0; 4]), Err(NoEntropy));
}
