//! Metrics: everything that the rooms count, as OpenMetrics text.
//!
//! Nothing is counted here. Each room keeps plain numbers of its own, under words of ours and names that operators
//! gave; they are read when somebody asks, and written by `prometheus-client`. The names are a golden file
//! (`metrics.txt`): dashboards depend on them.

use super::traces::Fates;
use nightlatch_control::{Exposition, Standing};
use nightlatch_domain::{
    meters::Durations,
    ports::{Boxed, sight::Sight as _},
};
use nightlatch_egress::Pool;
use nightlatch_gateway::sight::Sight;
use nightlatch_keeper::{Watch, machine::Action};
use nightlatch_ledger::Ledger;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The steps of a refresh that are counted: what it cost, and how it ended.
const STEPS: [&str; 6] = ["claim", "intend", "send", "commit", "settle", "void"];

/// Counts the steps of every refresh.
#[derive(Debug, Default)]
pub(crate) struct Refreshes([AtomicU64; STEPS.len()]);

impl Refreshes {
    const fn step(action: &Action) -> Option<usize> {
        match action {
            Action::Claim => Some(0),
            Action::Intend => Some(1),
            Action::Send { .. } => Some(2),
            Action::Commit => Some(3),
            Action::Settle(_) => Some(4),
            Action::Void => Some(5),
            _ => None,
        }
    }
}

impl Watch for Refreshes {
    fn before(&self, action: &Action) -> Boxed<'_, ()> {
        if let Some(count) = Self::step(action).and_then(|step| self.0.get(step)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(()))
    }
}

/// Where the numbers are, of the planes that this process is.
pub(crate) struct Meters {
    pub(crate) gateway: Option<GatewayMeters>,
    pub(crate) keeper: Option<KeeperMeters>,
    pub(crate) ledger: Ledger,
}

/// What a gateway counts.
pub(crate) struct GatewayMeters {
    pub(crate) sight: Arc<Sight>,
    pub(crate) wakes_live: Box<dyn Fn() -> usize + Send + Sync>,
    pub(crate) pool: Pool,
    pub(crate) traces: Option<Arc<Fates>>,
}

/// What a keeper counts.
pub(crate) struct KeeperMeters {
    pub(crate) refreshes: Arc<Refreshes>,
    pub(crate) late_sends: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Meters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Meters")
    }
}

/// The meters on their way to somebody who collects them.
pub(crate) struct Exposed(pub(crate) Arc<Meters>);

impl Exposition for Exposed {
    fn openmetrics(&self, standing: &Standing) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("nightlatch");
        registry.register_collector(Box::new(Reading {
            meters: Arc::clone(&self.0),
            standing: standing.clone(),
        }));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Reading {
    meters: Arc<Meters>,
    standing: Standing,
}

/// A label, and what it says.
type Label = (&'static str, String);

impl Collector for Reading {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(gateway) = &self.meters.gateway {
            calls(gateway, &mut out)?;
            durations(gateway, &mut out)?;
        }
        self.ledger(&mut out)?;
        if let Some(keeper) = &self.meters.keeper {
            refreshes(keeper, &mut out)?;
        }
        if let Some(gateway) = &self.meters.gateway {
            ways_out(gateway, &mut out)?;
        }
        self.house(&mut out)
    }
}

impl Reading {
    fn ledger(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let ledger = &self.meters.ledger;
        alone(out, "ledger_queued", "Entries that wait for the thread that writes them", ledger.queued())?;
        let help = "Time that the disk took to have what was written to the ledger";
        let one =
            out.encode_descriptor("ledger_sync_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        distribution(one, &ledger.sync_durations())
    }

    fn house(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let states = self.standing.connections.iter();
        let states = states.map(|(state, count)| {
            (vec![("state", state.clone())], usize::try_from(*count).unwrap_or(usize::MAX))
        });
        gauge(out, "connections", "Accounts at tools, by how they are", states)?;
        let open = usize::try_from(self.standing.tickets_open).unwrap_or(usize::MAX);
        alone(out, "tickets_open", "What waits for a human", open)?;
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        gauge(out, "build", "The program that runs", [(version, 1)])
    }
}

fn calls(gateway: &GatewayMeters, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let sight = &gateway.sight;
    let calls = sight.calls().into_iter().map(|call| {
        let tool = call.tool.map_or_else(String::new, |tool| tool.to_string());
        let door = call.door.map_or("", |door| door.as_str()).to_owned();
        let effect = call.effect.map_or("", |effect| effect.as_str()).to_owned();
        let outcome = call.outcome.to_owned();
        (vec![("tool", tool), ("door", door), ("effect", effect), ("outcome", outcome)], call.count)
    });
    counters(out, "calls", "Calls that ended, by tool, door, effect and outcome", None, calls)?;
    let bytes = sight.bytes().into_iter().flat_map(|(tool, sent, received)| {
        let labels = |direction: &str| vec![("tool", tool.to_string()), ("direction", direction.to_owned())];
        [(labels("sent"), sent), (labels("received"), received)]
    });
    counters(out, "body", "Bytes of bodies, to and from tools", Some(&Unit::Bytes), bytes)?;
    let met = sight.limits_met().into_iter().map(|(limit, times)| (vec![("limit", limit.to_owned())], times));
    counters(out, "limits_met", "Calls that a limit refused", None, met)?;
    alone(out, "calls_live", "Calls under way", sight.live_count())?;
    alone(out, "wakes_live", "Wakes under way", (gateway.wakes_live)())
}

fn durations(gateway: &GatewayMeters, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Time that calls spent in each room of the corridor";
    let mut family =
        out.encode_descriptor("phase_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (phase, durations) in gateway.sight.durations() {
        let labels = [("phase", phase)];
        distribution(family.encode_family(&labels)?, &durations)?;
    }
    Ok(())
}

fn refreshes(keeper: &KeeperMeters, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let steps = STEPS.iter().zip(&keeper.refreshes.0);
    let steps =
        steps.map(|(step, count)| (vec![("step", (*step).to_owned())], count.load(Ordering::Relaxed)));
    counters(out, "refresh_steps", "Steps of refreshes that the keeper began", None, steps)?;
    let help = "Refresh tokens that may have left after their send deadline";
    counters(out, "late_sends", help, None, [(Vec::new(), (keeper.late_sends)())])
}

fn ways_out(gateway: &GatewayMeters, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let fates = gateway.traces.iter().flat_map(|fates| fates.read());
    let fates = fates.map(|(fate, spans)| (vec![("fate", fate.to_owned())], spans));
    counters(out, "trace_spans", "Spans of traced calls, by what became of them", None, fates)?;
    alone(out, "pool_connections", "Connections to tools", gateway.pool.open_count())
}

fn distribution(mut out: MetricEncoder<'_>, durations: &Durations) -> fmt::Result {
    let Durations { sum_secs, count, buckets } = durations;
    out.encode_histogram::<NoLabelSet>(*sum_secs, *count, buckets, None)
}

fn counters(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    counts: impl IntoIterator<Item = (Vec<Label>, u64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (labels, count) in counts {
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: impl IntoIterator<Item = (Vec<Label>, usize)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, count) in counts {
        read(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A gauge without labels.
fn alone(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: usize) -> fmt::Result {
    read(count).encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn read(count: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
}
