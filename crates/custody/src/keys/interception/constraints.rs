//! The name constraints of an authority (RFC 5280 §4.2.1.10), encoded here, because no library that we use has
//! constraints of URIs.
//!
//! A kind of name that is not constrained is permitted whole. So each kind that verifiers know has its word:
//! host names and addresses are the tool's own, and of mail addresses and URIs only those of a host that
//! nobody has (RFC 6761 §6.4) are permitted: an empty constraint that excludes all is read differently by
//! different verifiers. Directory names have none: Go refuses every certificate under such a constraint, and
//! rustls every name. The authority's extended key usage speaks for them.

use rcgen::CustomExtension;
use std::{collections::BTreeSet, net::IpAddr};

/// id-ce-nameConstraints.
const OID: [u64; 4] = [2, 5, 29, 30];
/// Nobody has a name under it.
const NOBODY: &str = "nobody.invalid";
const SEQUENCE: u8 = 0x30;
/// `permittedSubtrees [0]` and `excludedSubtrees [1]`.
const PERMITTED: u8 = 0xa0;
const EXCLUDED: u8 = 0xa1;
/// The choices of a GeneralName.
const MAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

/// The extension for exactly these host names and addresses. None where one is no ASCII.
pub(super) fn extension(names: &BTreeSet<String>) -> Option<CustomExtension> {
    let content = constraints(names)?;
    let mut extension = CustomExtension::from_oid_content(&OID, content);
    // RFC 5280 §4.2.1.10: a reader that does not know it refuses.
    extension.set_criticality(true);
    Some(extension)
}

fn constraints(names: &BTreeSet<String>) -> Option<Vec<u8>> {
    let (mut permitted, mut excluded) = (Vec::new(), Vec::new());
    let addresses: Vec<IpAddr> = names.iter().filter_map(|name| name.parse().ok()).collect();
    for name in names.iter().filter(|name| name.parse::<IpAddr>().is_err()) {
        permitted.extend(subtree(DNS, name.is_ascii().then_some(name.as_bytes())?));
    }
    if permitted.is_empty() {
        // An empty name stands above all others.
        excluded.extend(subtree(DNS, b""));
    }
    for address in &addresses {
        permitted.extend(subtree(ADDRESS, &with_mask(*address, 0xff)));
    }
    for none in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
        if !addresses.iter().any(|address| address.is_ipv4() == none.is_ipv4()) {
            excluded.extend(subtree(ADDRESS, &with_mask(none, 0)));
        }
    }
    permitted.extend(subtree(MAIL, NOBODY.as_bytes()));
    permitted.extend(subtree(URI, NOBODY.as_bytes()));
    let mut both = encoded(PERMITTED, &permitted);
    if !excluded.is_empty() {
        both.extend(encoded(EXCLUDED, &excluded));
    }
    Some(encoded(SEQUENCE, &both))
}

/// A `GeneralSubtree`: its minimum is 0, which DER leaves out.
fn subtree(kind: u8, base: &[u8]) -> Vec<u8> {
    encoded(SEQUENCE, &encoded(kind, base))
}

/// An address and as many octets of its mask.
fn with_mask(address: IpAddr, mask: u8) -> Vec<u8> {
    let mut octets = match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    octets.resize(octets.len() * 2, mask);
    octets
}

/// Tag, length and content in DER (X.690 §8.1.3, §10.1).
fn encoded(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut length: Vec<u8> =
        content.len().to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    match length.as_slice() {
        [] => length = vec![0],
        [short] if *short < 0x80 => {}
        long => length.insert(0, 0x80 | u8::try_from(long.len()).unwrap_or_default()),
    }
    [&[tag][..], &length, content].concat()
}
