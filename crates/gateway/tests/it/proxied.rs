//! A tool through the proxy: every way in reaches the same corridor, with a certificate that a real verifier takes.

use crate::{
    client::{careless, empty, trusting},
    door::Door,
    world::{HOST, SECRET, World},
};

#[tokio::test]
async fn a_call_through_a_tunnel_arrives_with_the_exact_credential() {
    let world = World::new().await;
    let trust = world.trust(&world.alice).await;
    for in_stream in [false, true] {
        let tunnel = world.tunnel(&world.alice, &format!("{HOST}:443"), in_stream).await.unwrap();
        let mut wire =
            tunnel.secured(trusting(&trust, &["http/1.1"], world.clock.time()), HOST).await.unwrap();
        for _ in 0..2 {
            let bearer = World::bearer(&world.alice);
            wire.write(format!("GET /things?q=1 HTTP/1.1\r\nHost: {HOST}\r\n{bearer}\r\n\r\n")).await;
            let answer = wire.answer().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = world.tool.take().pop().unwrap();
            assert_eq!(seen.line(), "GET /things?q=1 HTTP/1.1");
            assert_eq!(seen.all("authorization"), [format!("Bearer {SECRET}")]);
            assert_eq!(seen.all("host"), [HOST]);
            assert!(wire.certificate.is_some());
        }
    }
}

#[tokio::test]
async fn http2_is_spoken_inside_of_a_tunnel_of_either_kind() {
    let world = World::new().await;
    for in_stream in [false, true] {
        let tunnel = world.tunnel(&world.alice, &format!("{HOST}:443"), in_stream).await.unwrap();
        let mut sender = tunnel.secured(careless(&["h2"], true), HOST).await.unwrap().http2().await;
        let request = http::Request::get(format!("https://{HOST}/things"))
            .header("authorization", format!("Bearer {}", world.alice.reference));
        let answer = sender.send_request(request.body(empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(world.tool.take()[0].all("authorization"), [format!("Bearer {SECRET}")]);
    }
}

#[test]
fn what_one_tells_a_proxy_goes_no_further_and_is_no_second_credential() {
    for door in [Door::Absolute, Door::AbsoluteInStream] {
        door.during(|| {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let world = World::new().await;
                let answer =
                    world.call(&world.alice, "GET /acme/things", &["Proxy-Authorization: Basic eDp5"]).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let seen = world.tool.take().pop().unwrap();
                assert!(seen.all("proxy-authorization").is_empty());
                assert_eq!(seen.all("authorization"), [format!("Bearer {SECRET}")]);
            });
        });
    }
}
