//! Ends: what cuts a WebSocket, what each side is told, and what the ledger has of it.

use super::{GoesOn, echoing, frames, going_on, live, masked, open, outcome, outcomes, plain, speaking};
use crate::{
    door::Door,
    world::{Actor, Twist, World},
};
use nightlatch_domain::{ports::store::ControlStore, principal::AgentStatus, task::TaskState};
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::{Entry, FindingKind};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(2);

/// Echoes, and counts the connections that have ended.
fn watched(ended: &Arc<AtomicUsize>) -> GoesOn {
    let ended = Arc::clone(ended);
    going_on(move |stream, unread| {
        let ended = Arc::clone(&ended);
        Box::pin(async move {
            echoing()(stream, unread).await;
            ended.fetch_add(1, Ordering::SeqCst);
        })
    })
}

async fn end(world: &World, actor: &Actor, end: &str) {
    match end {
        "sleep" => world.set_task(actor, |task| task.state = TaskState::Dormant).await,
        "complete" => world.set_task(actor, |task| task.state = TaskState::Completed).await,
        "kill" => world.set_task(actor, |task| task.state = TaskState::Killed).await,
        "revoke" => world.set_grant(actor, |grant| grant.revoked_at = Some(grant.created_at)).await,
        _ => {
            let agents = world.store.agents(world.tenant).await.unwrap();
            let mut row = agents.into_iter().find(|row| row.id == actor.agent).unwrap();
            row.status = AgentStatus::Disabled;
            world.store.put_agent(row).await.unwrap();
        }
    }
}

async fn echoes(wire: &mut crate::client::Wire) -> bool {
    wire.write(masked(0x81, b"still there")).await;
    frames::message(wire).await == Some((1, b"still there".to_vec()))
}

#[tokio::test]
pub(crate) async fn what_ends_a_task_cuts_its_websocket_and_nobody_elses() {
    for by in ["sleep", "complete", "disable", "revoke", "kill"] {
        let (world, ended) = (World::new().await, Arc::new(AtomicUsize::new(0)));
        live(&world, watched(&ended));
        let (mut cut, mut kept) = (open(&world, &world.mallory).await, open(&world, &world.alice).await);
        assert!(echoes(&mut cut).await && echoes(&mut kept).await);
        end(&world, &world.mallory, by).await;
        let last = timeout(SOON, frames::message(&mut cut)).await.expect("it was not cut");
        let code = last.as_ref().map(|(opcode, payload)| (*opcode, payload[..2].to_vec()));
        // In a stream of HTTP/2 the connection around it, which ends too, may be quicker.
        let is_told = code == Some((8, 1008_u16.to_be_bytes().to_vec()));
        assert!(is_told || (code.is_none() && world.door == Door::Stream), "{by}: {last:?}");
        assert!(timeout(SOON, cut.is_closed()).await.unwrap(), "{by}");
        world.eventually("the tool's side is closed", || async { ended.load(Ordering::SeqCst) == 1 }).await;
        assert!(echoes(&mut kept).await, "{by}");
        let outcome = outcome(&world).await;
        assert!(!outcome.complete, "{by}");
        world.eventually("a finding", || async {
            let is_cut = |entry: &Entry| matches!(entry, Entry::Finding(found) if found.finding == FindingKind::AnswerCut);
            world.records().await.iter().any(|record| is_cut(&record.entry))
        })
        .await;
    }
}

#[tokio::test]
async fn one_in_which_nothing_moves_is_cut_and_one_that_moves_is_not() {
    let limits = Limits { body_idle: Duration::from_millis(600), ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    live(&world, echoing());
    let mut wire = open(&world, &world.alice).await;
    for _ in 0..4 {
        // tidy: sleeps because time is what is tested
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(echoes(&mut wire).await, "it was cut while it moved");
    }
    let last = timeout(SOON, frames::message(&mut wire)).await.expect("it was not cut");
    assert_eq!(
        last.map(|(opcode, payload)| (opcode, payload[..2].to_vec())),
        Some((8, 1008_u16.to_be_bytes().to_vec()))
    );
}

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_ends_it_and_nothing_of_that_reaches_the_tool() {
    for broken in [
        plain(0x81, b"no mask"),
        masked(0xc1, b"a reserved bit"),
        masked(0x83, b"an unknown opcode"),
        masked(0x80, b"it continues nothing"),
        masked(0x09, b"a fragmented ping"),
        masked(0x89, &[0; 126]),
        masked(0x88, &1005_u16.to_be_bytes()),
        vec![0x81, 0xfe, 0x00, 0x05, 1, 2, 3, 4],
        vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
    ] {
        let (world, heard) = (World::new().await, Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&heard);
        live(
            &world,
            speaking(move |frame| {
                counted.fetch_add(1, Ordering::SeqCst);
                plain(0x80 | frame.opcode, &frame.payload)
            }),
        );
        let mut wire = open(&world, &world.alice).await;
        assert!(echoes(&mut wire).await);
        wire.write(&broken).await;
        let last = timeout(SOON, frames::message(&mut wire)).await.expect("it goes on");
        let code = last.map(|(opcode, payload)| (opcode, payload[..2].to_vec()));
        assert_eq!(code, Some((8, 1002_u16.to_be_bytes().to_vec())), "{broken:?}");
        assert!(wire.is_closed().await);
        assert!(!outcome(&world).await.complete);
        assert_eq!(heard.load(Ordering::SeqCst), 1, "{broken:?}");
    }
}

#[tokio::test]
async fn a_tool_that_breaks_the_protocol_or_breaks_off_ends_it() {
    for broken in [Some(masked(0x81, b"a mask")), Some(plain(0xa1, b"a reserved bit")), None] {
        let world = World::new().await;
        let said = broken.clone();
        live(
            &world,
            going_on(move |mut stream, _| {
                let said = said.clone();
                Box::pin(async move {
                    stream.write_all(&plain(0x81, b"first")).await.unwrap();
                    match said {
                        Some(said) => {
                            stream.write_all(&said).await.unwrap();
                            stream.flush().await.unwrap();
                            drop(stream.read(&mut [0; 1]).await);
                        }
                        None => stream.shutdown().await.unwrap(),
                    }
                })
            }),
        );
        let mut wire = open(&world, &world.alice).await;
        assert_eq!(frames::message(&mut wire).await, Some((1, b"first".to_vec())));
        let last = timeout(SOON, frames::message(&mut wire)).await.expect("it goes on");
        let code = last.map(|(opcode, payload)| (opcode, payload[..2].to_vec()));
        assert_eq!(code, Some((8, 1014_u16.to_be_bytes().to_vec())), "{broken:?}");
        assert!(!outcome(&world).await.complete);
    }
}

/// Half of a frame is never made to look whole: no other frame comes after it.
#[tokio::test]
async fn a_frame_that_is_cut_in_its_middle_is_followed_by_nothing() {
    let world = World::new().await;
    live(
        &world,
        going_on(move |mut stream, _| {
            Box::pin(async move {
                stream.write_all(&plain(0x82, &[7; 100])[..50]).await.unwrap();
                stream.flush().await.unwrap();
                drop(stream.read(&mut [0; 1]).await);
            })
        }),
    );
    let mut wire = open(&world, &world.alice).await;
    assert_eq!(wire.bytes(50).await.unwrap()[..2], [0x82, 100]);
    end(&world, &world.alice, "kill").await;
    assert!(timeout(SOON, wire.is_closed()).await.unwrap());
}

#[tokio::test]
async fn it_counts_as_a_call_of_its_agent_until_it_ends() {
    let limits = Limits { calls_each_max: 1, ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    live(&world, echoing());
    let mut wire = open(&world, &world.alice).await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.problem(), "too-many-calls");
    wire.write(masked(0x88, b"")).await;
    assert_eq!(frames::message(&mut wire).await, Some((8, Vec::new())));
    world
        .eventually("a free place", || async {
            world.call(&world.alice, "GET /acme/things", &[]).await.status == 200
        })
        .await;
}

#[tokio::test]
async fn an_agent_that_leaves_ends_the_tools_side() {
    let (world, ended) = (World::new().await, Arc::new(AtomicUsize::new(0)));
    live(&world, watched(&ended));
    drop(open(&world, &world.alice).await);
    world.eventually("the tool's side is closed", || async { ended.load(Ordering::SeqCst) == 1 }).await;
    assert!(!outcome(&world).await.complete);
    assert_eq!(outcomes(&world).await.len(), 1);
}

#[tokio::test]
async fn a_gateway_that_closes_says_so() {
    let mut world = World::new().await;
    live(&world, echoing());
    let mut wire = open(&world, &world.alice).await;
    assert!(echoes(&mut wire).await);
    world.close();
    let last = timeout(SOON, frames::message(&mut wire)).await.expect("it goes on");
    assert_eq!(
        last.map(|(opcode, payload)| (opcode, payload[..2].to_vec())),
        Some((8, 1001_u16.to_be_bytes().to_vec()))
    );
}
