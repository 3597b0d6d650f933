//! Proves the table of address classes, in every form in which an address can be given.

use super::{AddressClass, classify};

fn class(address: &str) -> AddressClass {
    classify(address.parse().unwrap())
}

#[test]
fn every_special_block_is_known_at_its_first_and_last_address() {
    use AddressClass as Is;
    let table = [
        (Is::Unspecified, ["0.0.0.0", "::"]),
        (Is::ThisNetwork, ["0.0.0.1", "0.255.255.255"]),
        (Is::Private, ["10.0.0.0", "10.255.255.255"]),
        (Is::Private, ["172.16.0.0", "172.31.255.255"]),
        (Is::Private, ["192.168.0.0", "192.168.255.255"]),
        (Is::CarrierNat, ["100.64.0.0", "100.127.255.255"]),
        (Is::Loopback, ["127.0.0.0", "127.255.255.255"]),
        (Is::Loopback, ["127.0.0.1", "::1"]),
        (Is::LinkLocal, ["169.254.0.0", "169.254.255.255"]),
        (Is::Metadata, ["169.254.169.254", "fd00:ec2::254"]),
        (Is::Metadata, ["169.254.170.2", "fd00:ec2::23"]),
        (Is::Metadata, ["100.100.100.200", "fd20:ce::254"]),
        (Is::Metadata, ["192.0.0.192", "168.63.129.16"]),
        (Is::Protocol, ["192.0.0.0", "192.0.0.255"]),
        (Is::Protocol, ["192.88.99.0", "192.88.99.255"]),
        (Is::Documentation, ["192.0.2.0", "192.0.2.255"]),
        (Is::Documentation, ["198.51.100.0", "198.51.100.255"]),
        (Is::Documentation, ["203.0.113.0", "203.0.113.255"]),
        (Is::Benchmarking, ["198.18.0.0", "198.19.255.255"]),
        (Is::Multicast, ["224.0.0.0", "239.255.255.255"]),
        (Is::Reserved, ["240.0.0.0", "255.255.255.254"]),
        (Is::Broadcast, ["255.255.255.255", "255.255.255.255"]),
        (Is::MappedV4, ["::ffff:0.0.0.0", "::ffff:255.255.255.255"]),
        (Is::MappedV4, ["::ffff:7f00:1", "::ffff:0:127.0.0.1"]),
        (Is::CompatibleV4, ["::2", "::255.255.255.255"]),
        (Is::CompatibleV4, ["::127.0.0.1", "::a9fe:a9fe"]),
        (Is::Nat64, ["64:ff9b::", "64:ff9b::255.255.255.255"]),
        (Is::Nat64, ["64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"]),
        (Is::Reserved, ["64:ff9b:2::", "100::1"]),
        (Is::Teredo, ["2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Is::Benchmarking, ["2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"]),
        (Is::Protocol, ["2001:1::1", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Is::Documentation, ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Is::Documentation, ["3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Is::SixToFour, ["2002::", "2002:7f00:1::1"]),
        (Is::Protocol, ["5f00::", "5f00:ffff::"]),
        (Is::UniqueLocal, ["fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Is::LinkLocal, ["fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Is::SiteLocal, ["fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Is::Multicast, ["ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Is::Reserved, ["4000::", "fe00::"]),
    ];
    for (wanted, addresses) in table {
        for address in addresses {
            assert_eq!(class(address), wanted, "{address}");
        }
    }
}

#[test]
fn what_lies_beside_a_special_block_is_public() {
    for address in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:db9::1",
        "2003::1",
        "2606:4700::1111",
        "3fff:1000::1",
        "3ffe::1",
    ] {
        assert_eq!(class(address), AddressClass::Public, "{address}");
    }
}
