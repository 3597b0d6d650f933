//! What goes wrong by chance, and how long it lasts. Each spell begins and ends by itself; when the sky clears,
//! everything works again.

use crate::house::{DISK_BYTES, House};
use nightlatch_simulator::world::{
    Dice,
    disk::DiskOdds,
    net::{NetOdds, Way},
    store::StoreOdds,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The weather of a run.
pub(crate) struct Weather {
    house: Arc<House>,
    dice: Mutex<Dice>,
    is_over: AtomicBool,
}

/// Seconds between two spells.
const BETWEEN: std::ops::Range<u64> = 60..5400;

impl Weather {
    /// Lets it begin.
    pub(crate) fn begin(house: &Arc<House>) -> Arc<Self> {
        let dice = Mutex::new(house.world.dice());
        let weather = Arc::new(Self { house: Arc::clone(house), dice, is_over: AtomicBool::new(false) });
        weather.next();
        weather
    }

    /// Nothing begins any more, and what lasts ends now.
    pub(crate) fn clear(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let house = &self.house;
        house.clears();
        house.net.set_odds(NetOdds::default());
        house.database.set_odds(StoreOdds::default());
        house.killed_at_step.store(0, Ordering::Relaxed);
        for (number, post) in house.posts.iter().enumerate() {
            house.net.heal(&post.node.name());
            house.database.cut_off(&post.node.name(), false);
            post.disk.set_odds(DiskOdds::default());
            post.disk.set_room(DISK_BYTES);
            post.node.resume();
            if !post.node.is_up() {
                house.start(number);
            }
        }
    }

    fn draw(&self, range: std::ops::Range<u64>) -> u64 {
        self.dice.lock().expect("nobody panics with it").within(range)
    }

    fn next(self: &Arc<Self>) {
        let (own, pause) = (Arc::clone(self), Duration::from_secs(self.draw(BETWEEN)));
        self.house.world.after(pause, move |_| {
            if own.is_over.load(Ordering::Relaxed) {
                return;
            }
            own.breaks();
            own.next();
        });
    }

    /// Something goes wrong at one machine, or between it and everybody.
    fn breaks(self: &Arc<Self>) {
        let house = &self.house;
        let number = usize::try_from(self.draw(0..house.posts.len() as u64)).unwrap_or(0);
        let post = &house.posts[number];
        let name = post.node.name();
        let lasts = self.draw(1..400);
        let spell = self.draw(0..14);
        match spell {
            4 | 8 => house.hinders(None, Duration::from_secs(lasts)),
            5..=7 | 9 | 10 => house.hinders(Some(number), Duration::from_secs(lasts)),
            // A process that does not run its machine tells of; and while packets are lost everybody is at work.
            _ => {}
        }
        match spell {
            0 => {
                post.node.kill();
                self.restart(number);
            }
            1 => {
                post.disk.lose_power();
                self.restart(number);
            }
            2 => {
                post.node.pause();
                self.ends(lasts, move |house| house.posts[number].node.resume());
            }
            3 => {
                house.net.set_odds(NetOdds {
                    lost: 300_000,
                    reset: 200_000,
                    torn: 50_000,
                    late: 100_000,
                    ..NetOdds::default()
                });
                self.ends(lasts, |house| house.net.set_odds(NetOdds::default()));
            }
            4 => {
                house.net.set_odds(NetOdds { unreachable: 700_000, ..NetOdds::default() });
                self.ends(lasts, |house| house.net.set_odds(NetOdds::default()));
            }
            way @ (5 | 6) => {
                let way = if way == 5 { Way::There } else { Way::Back };
                for tool in &house.tools {
                    house.net.cut(&name, &format!("{}:443", tool.host), way);
                    house.net.cut(&name, &tool.host, way);
                }
                self.ends(lasts, move |house| house.net.heal(&name));
            }
            7 => {
                house.database.cut_off(&name, true);
                self.ends(lasts, move |house| house.database.cut_off(&name, false));
            }
            8 => {
                house.database.set_odds(StoreOdds {
                    unavailable: 200_000,
                    lost_answer: 200_000,
                    slow: 100_000,
                });
                self.ends(lasts, |house| house.database.set_odds(StoreOdds::default()));
            }
            9 => {
                post.disk.set_room(0);
                self.ends(lasts, move |house| house.posts[number].disk.set_room(DISK_BYTES));
            }
            10 => {
                post.disk.set_odds(DiskOdds { failed_write: 100_000, failed_sync: 100_000, killed: 0 });
                self.ends(lasts, move |house| house.posts[number].disk.set_odds(DiskOdds::default()));
            }
            11 => {
                post.disk.set_odds(DiskOdds { killed: 50_000, ..DiskOdds::default() });
                self.ends(lasts, move |house| house.posts[number].disk.set_odds(DiskOdds::default()));
            }
            12 => {
                house.killed_at_step.store(60_000, Ordering::Relaxed);
                self.ends(lasts, |house| house.killed_at_step.store(0, Ordering::Relaxed));
            }
            _ => {
                let by = (i64::try_from(self.draw(0..7200)).unwrap_or(0) - 3600) * 1000;
                let servers_too = house.posts.len() > 1 && self.draw(0..4) == 0;
                house.hinders(Some(number).filter(|_| !servers_too), Duration::from_secs(lasts));
                let jump = move |house: &House, by| match servers_too {
                    true => house.database.jump(by),
                    false => house.posts[number].node.jump(by),
                };
                jump(house, by);
                self.ends(lasts, move |house| jump(house, -by));
            }
        }
        self.raise_the_dead(number);
    }

    fn ends(self: &Arc<Self>, after_secs: u64, end: impl FnOnce(&Arc<House>) + Send + 'static) {
        let own = Arc::clone(self);
        self.house.world.after(Duration::from_secs(after_secs), move |_| {
            end(&own.house);
            own.house.posts.iter().enumerate().for_each(|(number, _)| own.raise_the_dead(number));
        });
    }

    /// A supervisor that looks after its process.
    fn restart(self: &Arc<Self>, number: usize) {
        let (own, pause) = (Arc::clone(self), self.draw(1..120));
        self.house.world.after(Duration::from_secs(pause), move |_| own.raise_the_dead(number));
    }

    fn raise_the_dead(self: &Arc<Self>, number: usize) {
        if !self.house.posts[number].node.is_up() && !self.is_over.load(Ordering::Relaxed) {
            self.house.start(number);
        }
    }
}
