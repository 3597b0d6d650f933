//! Proves that an agent does not reach this machine by an address that looks like anybody's: the class of an
//! address does not say whose it is, so the addresses here are handed in as judged.

use super::Connector;
use crate::{Allow, Destination, EgressConfig, EgressError, Fault, Resolve};
use nightlatch_domain::{
    clock::{Boot, Clock, Timestamp},
    tool::Scheme,
};
use std::{io, net::IpAddr, sync::Arc, task::Poll};
use tokio::net::TcpListener;

struct Nothing;

impl Clock for Nothing {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
    fn boot(&self) -> Boot {
        Boot::from_millis(0)
    }
}

impl Resolve for Nothing {
    fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_bare_connection_to_an_address_of_this_machine_is_not_even_begun() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let to = Destination::new(Scheme::Https, "tool.example", at.port()).unwrap();
    let allow = || Allow::new("tool.example", "127.0.0.1").unwrap();
    for (allows, taken) in
        [(Vec::new(), false), (vec![allow()], false), (vec![allow().for_open_egress()], true)]
    {
        let config = EgressConfig { allows, ..EgressConfig::default() };
        let connector = Connector::new(config, Arc::new(Nothing), Arc::new(Nothing));
        let dialled = connector.dial_elsewhere(&to, None, &[at]).await;
        assert_eq!(dialled.is_ok(), taken);
        if let Err(refused) = dialled {
            assert!(matches!(refused, EgressError::OwnAddress { .. }), "{refused}");
            assert_eq!(refused.fault(), Fault::Refused);
        }
        // A handshake is done by the kernel: it would lie there by now.
        let came =
            std::future::poll_fn(|context| Poll::Ready(listener.poll_accept(context).is_ready())).await;
        assert_eq!(came, taken);
    }
}
