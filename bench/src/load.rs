//! The load: targets whose connections stay open, asked in slices as commands say.
//!
//! ```text
//! {"open": TARGET}                                  → {"opened": connections}
//! {"ask": {"target", "times"}}                      → {"requests", "failed", "bytes"}: one after another
//! {"freshen": {"target"}}                           → {"anew"}: asks once over each, anew where the other side closed
//! {"closed": {"target", "millis"}}                  → {"requests", "failed", "bytes"}
//! {"paced": {"target", "rate", "millis"}}           → {"requests", "failed", "p50_us", "p99_us"}
//! {"mixed": {"paces": [{"target", "rate"}], "millis"}} → by target, as `paced` says it
//! {"hold": {"target", "connections"}}               → {"held"}: connections that ask nothing
//! {"drop": {"target"}}                              → {}
//! ```
//!
//! **Closed**: every connection asks as soon as it was answered. **Paced**: requests have their times before the run
//! begins, and each is timed from *its* time, so one that had to wait for an answer before it counts that wait
//! (coordinated omission hides exactly those). The times come from a thread that sleeps to the microsecond, which the
//! runtime's own timers do not.

use crate::{
    Fault, runtime,
    tally::Tally,
    target::{Caller, Duplex, Target},
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    io::BufRead as _,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

/// A target and what is open to it.
struct Asked {
    target: Arc<Target>,
    callers: Vec<Caller>,
    held: Vec<Box<dyn Duplex>>,
}

#[derive(Default)]
struct Load(HashMap<String, Asked>);

/// Carries out commands until there are no more.
pub(crate) fn obey() -> Result<(), Fault> {
    let (runtime, mut load) = (runtime()?, Load::default());
    for line in std::io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let answer = runtime.block_on(load.carry_out(&command));
        println!("{}", answer.unwrap_or_else(|fault| json!({ "fault": fault.to_string() })));
    }
    Ok(())
}

impl Load {
    async fn carry_out(&mut self, command: &Value) -> Result<Value, Fault> {
        let (what, facts) =
            command.as_object().and_then(|one| one.iter().next()).ok_or("a command is an object of one")?;
        let number =
            |name: &str| facts.get(name).and_then(Value::as_u64).ok_or(format!("`{name}` is missing"));
        let name = facts.get("name").or(facts.get("target")).and_then(Value::as_str).unwrap_or_default();
        match what.as_str() {
            "open" => self.open(name, facts).await,
            "drop" => {
                self.0.remove(name);
                Ok(json!({}))
            }
            "freshen" => self.asked(name)?.freshen().await,
            "ask" => Ok(self.asked(name)?.ask(number("times")?).await.shown()),
            "closed" => Ok(self.asked(name)?.closed(Duration::from_millis(number("millis")?)).await?.shown()),
            "paced" => {
                let (rate, span) = (number("rate")?, Duration::from_millis(number("millis")?));
                Ok(self.asked(name)?.paced(rate, span).await?.shown())
            }
            "mixed" => self.mixed(facts, Duration::from_millis(number("millis")?)).await,
            "hold" => self.asked(name)?.hold(number("connections")?.try_into()?).await,
            other => Err(format!("`{other}` is no command").into()),
        }
    }

    fn asked(&mut self, name: &str) -> Result<&mut Asked, Fault> {
        self.0.get_mut(name).ok_or_else(|| format!("`{name}` is not open").into())
    }

    /// Several targets at a time, each at its own pace.
    async fn mixed(&mut self, facts: &Value, span: Duration) -> Result<Value, Fault> {
        let mut running = JoinSet::new();
        for pace in facts.get("paces").and_then(Value::as_array).into_iter().flatten() {
            let name = pace.get("target").and_then(Value::as_str).unwrap_or_default().to_owned();
            let rate = pace.get("rate").and_then(Value::as_u64).ok_or("`rate` is missing")?;
            let mut asked = self.0.remove(&name).ok_or_else(|| format!("`{name}` is not open"))?;
            running.spawn(async move {
                let tally = asked.paced(rate, span).await;
                (name, asked, tally)
            });
        }
        let mut all = Map::new();
        while let Some(ended) = running.join_next().await {
            let (name, asked, tally) = ended?;
            all.insert(name.clone(), tally?.shown());
            self.0.insert(name, asked);
        }
        Ok(Value::Object(all))
    }

    async fn open(&mut self, name: &str, facts: &Value) -> Result<Value, Fault> {
        let target = Arc::new(Target::read(facts)?);
        let mut callers = target.open().await?;
        for caller in &mut callers {
            target.ask(caller).await?;
        }
        let opened = callers.len();
        self.0.insert(name.to_owned(), Asked { target, callers, held: Vec::new() });
        Ok(json!({ "opened": opened }))
    }
}

impl Asked {
    /// One connection, so often, one after another.
    async fn ask(&mut self, times: u64) -> Tally {
        let mut tally = Tally::default();
        let Some(caller) = self.callers.first_mut() else { return tally };
        for _ in 0..times {
            tally.count(self.target.ask(caller).await);
        }
        tally
    }

    /// A connection that asked nothing for long may have been closed, which is no fault and no part of a slice.
    async fn freshen(&mut self) -> Result<Value, Fault> {
        let mut anew = 0;
        for caller in &mut self.callers {
            if self.target.ask(caller).await.is_err() {
                *caller = self.target.connect().await?;
                self.target.ask(caller).await?;
                anew += 1;
            }
        }
        Ok(json!({ "anew": anew }))
    }

    async fn closed(&mut self, span: Duration) -> Result<Tally, Fault> {
        let until = Instant::now() + span;
        let mut running = JoinSet::new();
        for caller in std::mem::take(&mut self.callers) {
            let target = Arc::clone(&self.target);
            running.spawn(async move {
                let (mut caller, mut tally) = (caller, Tally::default());
                while Instant::now() < until {
                    let asked = target.ask(&mut caller).await;
                    if asked.is_err()
                        && let Ok(another) = target.connect().await
                    {
                        caller = another;
                    }
                    tally.count(asked);
                }
                (caller, tally)
            });
        }
        self.gather(running).await
    }

    async fn paced(&mut self, rate: u64, span: Duration) -> Result<Tally, Fault> {
        let times = pace(rate, span);
        let times = Arc::new(Mutex::new(times));
        let mut running = JoinSet::new();
        for caller in std::mem::take(&mut self.callers) {
            let (target, times) = (Arc::clone(&self.target), Arc::clone(&times));
            running.spawn(async move {
                let (mut caller, mut tally) = (caller, Tally::default());
                while let Some(due) = next(&times).await {
                    let asked = target.ask(&mut caller).await;
                    tally.took(due.elapsed());
                    if let Err(fault) = &asked {
                        // A long run shows its first fault at once, and all of them counted in the end.
                        if tally.failed == 0 {
                            eprintln!("nightlatch-bench: {fault}");
                        }
                        if let Ok(another) = target.connect().await {
                            caller = another;
                        }
                    }
                    tally.count(asked);
                }
                (caller, tally)
            });
        }
        self.gather(running).await
    }

    async fn gather(&mut self, mut running: JoinSet<(Caller, Tally)>) -> Result<Tally, Fault> {
        let mut all = Tally::default();
        while let Some(ended) = running.join_next().await {
            let (caller, tally) = ended?;
            self.callers.push(caller);
            all.add(tally);
        }
        Ok(all)
    }

    async fn hold(&mut self, connections: usize) -> Result<Value, Fault> {
        for _ in 0..connections {
            self.held.push(self.target.outside().await?);
        }
        Ok(json!({ "held": self.held.len() }))
    }
}

/// The time of the next request, once it has come; a waiting one takes it in line.
async fn next(times: &Mutex<mpsc::UnboundedReceiver<Instant>>) -> Option<Instant> {
    times.lock().await.recv().await
}

/// Times at an even rate, each told when it has come.
fn pace(rate: u64, span: Duration) -> mpsc::UnboundedReceiver<Instant> {
    let (tell, told) = mpsc::unbounded_channel();
    let (begun, count) = (Instant::now(), rate * u64::try_from(span.as_millis()).unwrap_or_default() / 1000);
    let every = Duration::from_nanos(1_000_000_000 / rate.max(1));
    std::thread::spawn(move || {
        for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            let due = begun + every * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if tell.send(due).is_err() {
                return;
            }
        }
    });
    told
}
