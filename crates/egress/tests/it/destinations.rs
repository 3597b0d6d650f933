//! Proves that no address is dialled that the operator or the Internet did not give out.

use crate::world::{HOST, Names, Server, Silent, agent, connector, eventually, http, https, mapped};
use nightlatch_egress::{Allow, Alpn, EgressConfig, EgressError, Fault, Map};
use std::sync::{Arc, atomic::Ordering};

fn allowing(host: &str, address: &str) -> EgressConfig {
    EgressConfig { allows: vec![Allow::new(host, address).unwrap()], ..EgressConfig::default() }
}

async fn serves_nothing() -> Server {
    Server::start(|_, _| async {}).await
}

#[tokio::test]
async fn a_name_that_leads_to_a_special_address_is_refused() {
    let special = [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "255.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:93.184.216.34",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:1::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
    ];
    for address in special {
        let (connector, hand) = connector(EgressConfig::default(), Names::saying(&[&[address]]));
        let refused = connector.connect(&https(HOST, 443), Alpn::Http1, hand.after(1000)).await.unwrap_err();
        assert!(matches!(refused, EgressError::Forbidden { .. }), "{address}: {refused}");
        assert_eq!(refused.fault(), Fault::Refused);
    }
}

#[tokio::test]
async fn a_literal_address_is_judged_like_a_name() {
    let server = serves_nothing().await;
    let to = http("127.0.0.1", server.at.port());
    let (shut, hand) = connector(EgressConfig::default(), Names::saying(&[]));
    assert!(shut.connect(&to, Alpn::Http1, hand.after(1000)).await.is_err());
    let secure = https("127.0.0.1", server.at.port());
    let refused = shut.connect(&secure, Alpn::Http1, hand.after(1000)).await.unwrap_err();
    assert!(matches!(refused, EgressError::Forbidden { .. }));
    let (open, hand) = connector(allowing("127.0.0.1", "127.0.0.1"), Names::saying(&[]));
    assert!(open.connect(&to, Alpn::Http1, hand.after(9000)).await.is_ok());
    eventually(|| server.came() == 1).await;
}

#[tokio::test]
async fn one_bad_address_among_several_refuses_all() {
    let server = serves_nothing().await;
    for answer in [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]] {
        let (connector, hand) = connector(allowing(HOST, "127.0.0.1"), Names::saying(&[&answer]));
        let to = http(HOST, server.at.port());
        assert!(connector.connect(&to, Alpn::Http1, hand.after(9000)).await.is_err());
        let to = https(HOST, server.at.port());
        let refused = connector.connect(&to, Alpn::Http1, hand.after(9000)).await.unwrap_err();
        assert!(matches!(refused, EgressError::Forbidden { .. }), "{answer:?}");
    }
    assert_eq!(server.came(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_again_and_dialled_as_judged() {
    let first = serves_nothing().await;
    let second =
        Server::start_at(format!("127.0.0.2:{}", first.at.port()).parse().unwrap(), |_, _| async {}).await;
    let names = Names::saying(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let (connector, hand) = connector(allowing(HOST, "127.0.0.1"), Arc::<Names>::clone(&names));
    let to = http(HOST, first.at.port());
    let connected = connector.connect(&to, Alpn::Http1, hand.after(9000)).await.unwrap();
    assert_eq!((connected.peer, names.asked.load(Ordering::SeqCst)), (first.at, 1));
    assert!(connector.connect(&to, Alpn::Http1, hand.after(9000)).await.is_err());
    assert_eq!((names.asked.load(Ordering::SeqCst), second.came()), (2, 0));
}

#[tokio::test]
async fn a_host_that_looks_alike_is_not_the_allowed_one() {
    let server = serves_nothing().await;
    let alike =
        ["tool.example.evil.example", "xtool.example", "a.tool.example", "tool.example0", "tool-example"];
    for host in alike {
        let config = EgressConfig {
            maps: vec![Map::new(HOST, server.at, None).unwrap()],
            allows: vec![Allow::new(HOST, "127.0.0.1").unwrap()],
        };
        let (connector, hand) = connector(config, Names::saying(&[&["127.0.0.1"]]));
        for to in [https(host, server.at.port()), http(host, server.at.port())] {
            let refused = connector.connect(&to, Alpn::Http1, hand.after(1000)).await.unwrap_err();
            assert_eq!(refused.fault(), Fault::Refused, "{to}");
        }
    }
    assert_eq!(server.came(), 0);
}

#[tokio::test]
async fn plain_http_goes_to_loopback_only_and_only_where_the_operator_named_the_host() {
    let server = serves_nothing().await;
    let to = http(HOST, server.at.port());
    let map = |to: &str| EgressConfig {
        maps: vec![Map::new(HOST, to.parse().unwrap(), None).unwrap()],
        ..EgressConfig::default()
    };
    let refused = [
        (EgressConfig::default(), "127.0.0.1"),
        (EgressConfig::default(), "93.184.216.34"),
        (allowing("other.example", "127.0.0.1"), "127.0.0.1"),
        (allowing(HOST, "10.0.0.1"), "10.0.0.1"),
        (map("10.0.0.1:80"), "127.0.0.1"),
        (map("93.184.216.34:80"), "127.0.0.1"),
    ];
    for (config, address) in refused {
        let (connector, hand) = connector(config, Names::saying(&[&[address]]));
        let refused = connector.connect(&to, Alpn::Http1, hand.after(1000)).await.unwrap_err();
        assert!(matches!(refused, EgressError::PlainHttp(_)), "{address}: {refused}");
    }
    assert_eq!(server.came(), 0);
    let (allowed, hand) = connector(allowing(HOST, "127.0.0.1"), Names::saying(&[&["127.0.0.1"]]));
    assert!(allowed.connect(&to, Alpn::Http1, hand.after(9000)).await.is_ok());
    let (named, hand) = mapped(server.at, None);
    assert!(named.connect(&http(HOST, 80), Alpn::Http1, hand.after(9000)).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_reached_says_that_nothing_was_sent() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (connector_closed, hand) = mapped(closed, None);
    let failed = connector_closed.connect(&http(HOST, 80), Alpn::Http1, hand.after(9000)).await.unwrap_err();
    assert!(matches!(failed, EgressError::Unreachable { .. }) && failed.nothing_was_sent());
    let (nameless, hand) = connector(EgressConfig::default(), Names::saying(&[]));
    let failed = nameless.connect(&https(HOST, 443), Alpn::Http1, hand.after(9000)).await.unwrap_err();
    assert!(matches!(failed, EgressError::Unresolved { .. }) && failed.nothing_was_sent());
    let (silent, hand) = connector(EgressConfig::default(), Arc::new(Silent));
    let failed = silent.connect(&https(HOST, 443), Alpn::Http1, hand.after(20)).await.unwrap_err();
    assert!(matches!(failed, EgressError::ConnectTimeout(_)) && failed.nothing_was_sent());
}

#[tokio::test]
async fn a_bare_connection_is_judged_by_address_like_any_other() {
    let special =
        ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00:ec2::254"];
    for address in special {
        for to in [https(HOST, 443), http(HOST, 80)] {
            let (connector, hand) = connector(EgressConfig::default(), Names::saying(&[&[address]]));
            let refused = connector.connect_bare(agent(1), &to, hand.after(1000)).await.unwrap_err();
            assert!(matches!(refused, EgressError::Forbidden { .. }), "{address}: {refused}");
        }
    }
}

#[tokio::test]
async fn what_the_operator_opened_for_tools_is_not_open_to_agents() {
    let server = serves_nothing().await;
    let map = Map::new(HOST, server.at, None).unwrap();
    let allow = allowing(HOST, "127.0.0.1");
    for config in [EgressConfig { maps: vec![map], ..EgressConfig::default() }, allow] {
        for to in [https(HOST, server.at.port()), http(HOST, server.at.port())] {
            let (connector, hand) = connector(config.clone(), Names::saying(&[&["127.0.0.1"]]));
            let refused = connector.connect_bare(agent(1), &to, hand.after(9000)).await.unwrap_err();
            assert!(matches!(refused, EgressError::Forbidden { .. }), "{refused}");
        }
    }
    assert_eq!(server.came(), 0);
}

#[tokio::test]
async fn what_the_operator_allows_to_agents_is_open_to_them_for_that_host_and_address_only() {
    let server = serves_nothing().await;
    let allow = Allow::new(HOST, "127.0.0.1").unwrap().for_open_egress();
    let config = EgressConfig { allows: vec![allow], ..EgressConfig::default() };
    let (connector, hand) =
        connector(config, Names::saying(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1"]]));
    assert!(connector.connect_bare(agent(1), &https(HOST, server.at.port()), hand.after(9000)).await.is_ok());
    let elsewhere = connector.connect_bare(agent(1), &https(HOST, server.at.port()), hand.after(9000)).await;
    assert!(matches!(elsewhere, Err(EgressError::Forbidden { .. })));
    let other = https("other.example", server.at.port());
    assert!(connector.connect_bare(agent(1), &other, hand.after(9000)).await.is_err());
}

#[tokio::test]
async fn a_bare_connection_goes_where_the_operator_maps_agents_and_sends_nothing_of_its_own() {
    let server = serves_nothing().await;
    for to in [https(HOST, 443), http(HOST, 80)] {
        let map = Map::new(HOST, server.at, None).unwrap().for_open_egress();
        let config = EgressConfig { maps: vec![map], ..EgressConfig::default() };
        let (connector, hand) = connector(config, Names::saying(&[]));
        let before = server.came();
        let socket = connector.connect_bare(agent(1), &to, hand.after(9000)).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), server.at);
        eventually(|| server.came() == before + 1).await;
    }
}
