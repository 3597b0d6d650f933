//! Proves that names which an agent chooses hold up nobody else: neither tools, nor the keeper, nor what else
//! blocks in this process.

use crate::world::{HOST, Server, agent, connector, eventually, https};
use nightlatch_egress::{Allow, Alpn, EgressConfig, EgressError, Resolve};
use std::{
    io,
    net::IpAddr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The name servers of `slow.example` do not answer, until they do; all others say loopback.
#[derive(Default)]
struct Stuck {
    under_way: AtomicUsize,
    answers: Mutex<bool>,
    answered: Condvar,
}

impl Stuck {
    fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    fn answer(&self) {
        *self.answers.lock().unwrap() = true;
        self.answered.notify_all();
    }
}

impl Resolve for Stuck {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host.ends_with("slow.example") {
            self.under_way.fetch_add(1, Ordering::SeqCst);
            drop(self.answered.wait_while(self.answers.lock().unwrap(), |answers| !*answers).unwrap());
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(vec!["127.0.0.1".parse().unwrap()])
    }
}

fn allowing() -> EgressConfig {
    let hosts = [HOST, "provider.example", "open.example"];
    let allow = |host| Allow::new(host, "127.0.0.1").unwrap().for_open_egress();
    EgressConfig { allows: hosts.map(allow).into(), ..EgressConfig::default() }
}

#[test]
fn names_that_agents_choose_take_no_place_of_tools_nor_keeper_nor_disk() {
    // One thread for whatever blocks: a lookup on it would hold up everything behind it.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start(|_, _| async {}).await;
        let stuck = Arc::new(Stuck::default());
        let (connector, hand) = connector(allowing(), Arc::<Stuck>::clone(&stuck));
        let asking = (0..=255).map(|number| {
            let (connector, hand) = (Arc::clone(&connector), Arc::clone(&hand));
            tokio::spawn(async move {
                let to = https(&format!("n{number}.slow.example"), 443);
                connector.connect_bare(agent(number), &to, hand.after(60_000)).await
            })
        });
        let asking: Vec<_> = asking.collect();
        eventually(|| stuck.under_way() == 64).await;
        // All of them are gone, as agents that reset their requests at once.
        asking.iter().for_each(tokio::task::JoinHandle::abort);
        let to = https(HOST, server.at.port());
        let failed = connector.connect(&to, Alpn::Http1, hand.after(9000)).await.unwrap_err();
        assert!(matches!(failed, EgressError::Tls { .. }), "the tool was reached: {failed}");
        let to = https("provider.example", server.at.port());
        let failed = connector.fresh_http1(&to, hand.after(9000)).await.err().unwrap();
        assert!(matches!(failed, EgressError::Tls { .. }), "the provider was reached: {failed}");
        assert_eq!((server.came(), stuck.under_way()), (2, 64));
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        // The places come back with the lookups, not with those who asked.
        stuck.answer();
        let to = https("open.example", server.at.port());
        connector.connect_bare(agent(1), &to, hand.after(9000)).await.unwrap();
    });
}
