//! What others hold or were confirmed for steers nobody's request: neither which tool answers, nor what is taken for a
//! token endpoint.

use crate::{
    client::{Answer, careless},
    world::{HOST, MANIFEST, Twist, World, hosts},
};
use nightlatch_domain::{
    ports::store::{ControlStore, KeeperStore},
    reference::Reference,
    tool::BoundHost,
};
use nightlatch_ledger::record::{Entry, EventName};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

async fn misused(world: &World) -> usize {
    let is_one =
        |entry: &Entry| matches!(entry, Entry::Event(event) if event.event == EventName::ReferenceMisused);
    world.records().await.iter().filter(|record| is_one(&record.entry)).count()
}

#[tokio::test]
async fn a_foreign_reference_of_another_tool_at_the_host_is_answered_like_an_unknown_one() {
    let world = World::new().await;
    let shape = "shapes = [\"zeta-{core:32}\"]\nname = \"zeta\"";
    let other = MANIFEST.replace("name = \"acme\"", shape);
    world.add_tools(&[("zeta", &other)]).await;
    let own_form = world.granted(&world.alice, "zeta", hosts()).await;
    let shaped = format!("zeta-{}", &Reference::parse(&own_form).unwrap().core()[..32]);
    let unknown = Reference::draw(|| Ok::<_, ()>([9; 64])).unwrap();
    let unknown_shaped = format!("zeta-{}", &unknown.core()[..32]);
    let tunnel = world.tunnel(&world.mallory, "api.acme.test:443", false).await.unwrap();
    let mut wire = tunnel.secured(careless(&["http/1.1"], true), HOST).await.unwrap();
    let mut told = async |reference: &str| -> Answer {
        wire.write(format!(
            "GET /things HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {reference}\r\n\r\n"
        ))
        .await;
        wire.answer().await
    };
    let said = |answer: Answer| {
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("call");
        (answer.status, body)
    };
    let expected = said(told(unknown.as_str()).await);
    assert_eq!(said(told(&unknown_shaped).await), expected);
    for (count, foreign) in [own_form, shaped].iter().enumerate() {
        assert_eq!(said(told(foreign).await), expected, "{foreign}");
        world.eventually("the alarm", || async { misused(&world).await == count + 1 }).await;
    }
}

#[tokio::test]
async fn an_authority_names_a_host_for_as_long_as_a_connection_has_it() {
    let world = World::new().await;
    let manifest = "name = \"zeta\"\ntitle = \"Z\"\ndocs = \"https://d.test\"\nsafe_methods = true\n[[host]]\nhost = \"*.zeta.test\"\nkey = { kind = \"bearer\" }\n";
    world.add_tools(&[("zeta", manifest)]).await;
    let names = async |name: &str| {
        let pem = world.trust(&world.alice).await;
        let mut all = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap);
        all.any(|one| one.windows(name.len()).any(|window| window == name.as_bytes()))
    };
    for name in ["a.zeta.test", "b.zeta.test"] {
        let host = BoundHost { host: name.into(), ..hosts()[0].clone() };
        world.granted(&world.alice, "zeta", vec![host]).await;
        assert!(names(name).await, "{name}");
    }
    let connections = world.store.connections(world.tenant).await.unwrap();
    let taken = connections.iter().find(|row| row.hosts[0].host == "b.zeta.test").unwrap();
    world.store.remove_connection(world.tenant, taken.id, crate::keeper::past()).await.unwrap();
    world.in_effect().await;
    assert!(names("a.zeta.test").await && !names("b.zeta.test").await);
}

#[tokio::test]
async fn where_others_were_confirmed_makes_no_token_endpoint_of_an_own_path() {
    let world = World::twisted(Twist { elsewhere: vec!["api.corp.test"], ..Twist::default() }).await;
    let host = |name: &str| BoundHost { host: name.into(), ..hosts()[0].clone() };
    // At the tool's host this path is its provider's token endpoint; at the other it is the tool's affair.
    world.granted(&world.mallory, "generic", vec![host(HOST)]).await;
    let reference = world.granted(&world.alice, "generic", vec![host("api.corp.test")]).await;
    let mut wire = world.direct(&world.alice).await;
    let bearer = format!("Authorization: Bearer {reference}");
    wire.write(world.request("POST /generic/oauth/token", &[&bearer, "Content-Length: 0"])).await;
    // It is dialled, and the server there has another name in its certificate.
    assert_eq!(wire.answer().await.problem(), "upstream-unreachable");
    let mut wire = world.direct(&world.mallory).await;
    wire.write(world.request("POST /generic/oauth/token", &["Content-Length: 0"])).await;
    assert_eq!(wire.answer().await.text(), "{\"error\":\"invalid_grant\"}");
}
