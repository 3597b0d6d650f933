//! Attach: the one place of the gateway where a lease is opened.
//!
//! It takes a decision and a ledger entry, both by value, so no request with a credential can be built
//! without them. What was opened decides: the very host of this call (name, port, path prefix, placement)
//! must stand in the seal, whatever the directory says, and the lease must be the one that this wake, this
//! grant and this connection were given. The agent chooses neither the place nor the form of the secret.

use super::hold::Holding;
use crate::fields;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header, request};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    exchange::{Exchange, Target},
    ports::gateway_keeper::{LeaseBinding, LeaseBody},
    problem::{Problem, ProblemKind},
    tool::{BoundHost, Placement},
};
use nightlatch_egress::Destination;
use nightlatch_ledger::Recorded;
use nightlatch_policy::Permit;
use nightlatch_scrub::{Masks, Needles};

/// A head that carries a credential, and where it may go.
pub(crate) struct Prepared {
    pub(crate) head: request::Parts,
    pub(crate) to: Destination,
    pub(crate) scrub: Masks,
}

/// # Errors
/// [`ProblemKind::LeaseRefused`] where permit, record or lease are not this call's or the lease does not
/// open; [`ProblemKind::DestinationDenied`] where the seal does not name this host and path;
/// [`ProblemKind::CredentialPending`] where the wake ended meanwhile.
pub(crate) fn attach(
    holding: &Holding,
    permit: Permit,
    recorded: &Recorded,
    exchange: &Exchange,
    (headers, request_sha256): (&HeaderMap, Option<&str>),
) -> Result<Prepared, Problem> {
    let refused = || Problem::new(ProblemKind::LeaseRefused).of_tool(&exchange.tool);
    let kept = &holding.kept;
    if !permit.fits(exchange)
        || recorded.call() != exchange.call
        || !is_for(&kept.lease.binding, holding, exchange)
        || !is_of_request(&kept.lease.binding, holding, request_sha256)
    {
        return Err(refused());
    }
    let opened = holding.awake.with_key(|key| (kept.open(key), kept.windows(key)));
    // The wake ended while the call was held: over a fresh connection it may be proved again.
    let over = || Problem::new(ProblemKind::CredentialPending).of_tool(&exchange.tool).retry_after(1);
    let opened = opened.ok_or_else(over)?;
    let (Ok((body, secret)), Some(windows)) = opened else { return Err(refused()) };
    drop(permit);
    let host = sealed_host(body, exchange)
        .ok_or_else(|| Problem::new(ProblemKind::DestinationDenied).of_tool(&exchange.tool))?;
    let to = Destination::try_from(host).map_err(|_| refused())?;
    let mut head = written(exchange, headers).ok_or_else(refused)?;
    let rendered = place(&mut head.headers, &host.placement, &secret).ok_or_else(refused)?;
    let needles = Needles::of(secret.expose(), rendered.as_ref().map(Secret::expose));
    Ok(Prepared { head, to, scrub: Masks::new(windows, needles) })
}

fn is_for(binding: &LeaseBinding, holding: &Holding, exchange: &Exchange) -> bool {
    binding.tenant == exchange.caller.tenant
        && binding.wake == holding.awake.wake()
        && binding.grant == exchange.grant
        && binding.connection == exchange.connection
}

/// A lease that was given on a mandate is good for the one request that the agent signed, and says so in its seal.
fn is_of_request(binding: &LeaseBinding, holding: &Holding, request_sha256: Option<&str>) -> bool {
    let bound = binding.request_sha256.as_deref();
    bound == holding.awake.for_request() && (bound.is_none() || bound == request_sha256)
}

/// The host of this call as the seal has it, in every fact.
fn sealed_host<'a>(body: &'a LeaseBody, exchange: &Exchange) -> Option<&'a BoundHost> {
    let host = body.hosts.iter().find(|host| **host == exchange.host)?;
    host.covers_path(&exchange.target.path).then_some(host)
}

/// The head written anew: the canonical target, and those fields that may go on.
fn written(exchange: &Exchange, headers: &HeaderMap) -> Option<request::Parts> {
    let mut head = http::Request::new(()).into_parts().0;
    head.method = Method::from_bytes(exchange.target.method.as_bytes()).ok()?;
    head.uri = uri(&exchange.target)?;
    head.version = Version::HTTP_11;
    let named = fields::connection_named(headers)?;
    let carriers = [header::AUTHORIZATION, header::COOKIE];
    for (name, value) in headers {
        let dropped = named.iter().any(|option| option == name.as_str()) || carriers.contains(name);
        if fields::goes_on(name) && !dropped {
            head.headers.append(name, value.clone());
        }
    }
    keep_cookies(&mut head.headers, headers);
    // Scrub reads plain bytes; other codings come with the encoded scrub.
    head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Some(head)
}

/// `resolve` has let through only cookies that the manifest calls harmless.
fn keep_cookies(out: &mut HeaderMap, headers: &HeaderMap) {
    for cookie in headers.get_all(header::COOKIE) {
        out.append(header::COOKIE, cookie.clone());
    }
}

fn uri(target: &Target) -> Option<Uri> {
    let text = match &target.query {
        Some(query) => format!("{}?{query}", target.path),
        None => target.path.clone(),
    };
    text.parse().ok()
}

/// Renders the secret where the seal says, and gives what it was rendered as where that hides it.
fn place(headers: &mut HeaderMap, placement: &Placement, secret: &Secret) -> Option<Option<Secret>> {
    let mut hidden = None;
    let (name, rendered) = match placement {
        Placement::Bearer => (header::AUTHORIZATION, prefixed(b"Bearer ", secret)),
        Placement::Basic { user } => {
            let pair = prefixed(format!("{user}:").as_bytes(), secret);
            let encoded = Secret::from_string(STANDARD.encode(pair.expose()));
            let rendered = prefixed(b"Basic ", &encoded);
            hidden = Some(encoded);
            (header::AUTHORIZATION, rendered)
        }
        Placement::Header { name, prefix } => {
            (name.parse::<HeaderName>().ok()?, prefixed(prefix.as_bytes(), secret))
        }
    };
    let mut value = HeaderValue::from_bytes(rendered.expose()).ok()?;
    // RFC 7541 §7.1.3: never in a compression table.
    value.set_sensitive(true);
    // Whatever the agent put there is replaced: there is one value, and it is ours.
    headers.insert(name, value);
    Some(hidden)
}

fn prefixed(prefix: &[u8], secret: &Secret) -> Secret {
    let mut bytes = Vec::with_capacity(prefix.len() + secret.len());
    bytes.extend_from_slice(prefix);
    bytes.extend_from_slice(secret.expose());
    Secret::new(bytes)
}

#[cfg(test)]
mod tests {
    //! A seal is held against the path too, whatever was decided before; a credential is never written into a
    //! compression table.

    use super::{place, sealed_host};
    use crate::brakes::testing::exchange;
    use http::HeaderMap;
    use nightlatch_custody::Secret;
    use nightlatch_domain::{
        exchange::{Exchange, Target},
        ports::gateway_keeper::LeaseBody,
        tool::{BoundHost, Placement},
    };

    /// A call to a host that was confirmed for what lies under `/v2`, and what its lease says.
    fn under_v2(path: &str) -> (Exchange, LeaseBody) {
        let plain = exchange(1, 1);
        let host = BoundHost { path_prefix: "/v2".into(), ..plain.host.clone() };
        let target = Target { path: path.into(), ..plain.target.clone() };
        let body = LeaseBody { hosts: vec![host.clone()], chain: None };
        (Exchange { host, target, ..plain }, body)
    }

    #[test]
    fn a_credential_goes_only_under_the_path_that_its_seal_names() {
        for (path, is_in) in
            [("/v2", true), ("/v2/things", true), ("/v20", false), ("/v1/things", false), ("/", false)]
        {
            let (exchange, body) = under_v2(path);
            assert_eq!(sealed_host(&body, &exchange).is_some(), is_in, "{path}");
        }
        // And to the host that it names, in every fact.
        let (exchange, body) = under_v2("/v2/things");
        let elsewhere: [fn(&mut BoundHost); 5] = [
            |host| host.host = "evil.test".into(),
            |host| host.port += 1,
            |host| host.path_prefix = "/".into(),
            |host| host.placement = Placement::Basic { user: "x".into() },
            |host| host.route = "other".into(),
        ];
        for (place, bend) in elsewhere.into_iter().enumerate() {
            let mut body = body.clone();
            body.hosts.iter_mut().for_each(bend);
            assert!(sealed_host(&body, &exchange).is_none(), "{place}");
        }
    }

    #[test]
    fn a_credential_is_sensitive_wherever_it_stands_and_the_only_value_there() {
        let header = Placement::Header { name: "x-acme-key".into(), prefix: "key=".into() };
        for (placement, name, expected) in [
            (Placement::Bearer, "authorization", "Bearer s3cret"),
            (Placement::Basic { user: "robot".into() }, "authorization", "Basic cm9ib3Q6czNjcmV0"),
            (header, "x-acme-key", "key=s3cret"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(name, "an agent's own".parse().unwrap());
            assert!(place(&mut headers, &placement, &Secret::from_string("s3cret".into())).is_some());
            let values: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(values, [expected], "{placement:?}");
            // RFC 7541 §7.1.3.
            assert!(values.iter().all(|value| value.is_sensitive()), "{placement:?}");
        }
    }
}
