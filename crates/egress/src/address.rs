//! What an IP address is good for: the one table of address classes.
//!
//! A name that the outside controls may resolve to anything, so the answer is judged by what kind of
//! address it is. For IPv4 the special blocks are listed (IANA IPv4 Special-Purpose Address Registry).
//! For IPv6 it is the other way round: only 2000::/3 has ever been given to the Internet (RFC 4291 §2.4),
//! so what lies outside of it is refused, and inside of it the special blocks are listed. Forms that
//! carry an IPv4 address inside an IPv6 one (mapped, NAT64, 6to4, Teredo …) are classes of their own and
//! refused whole: what they lead to is decided by a translator that we do not see.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// An ordinary address of the Internet: the only class that needs no word of the operator.
    Public,
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// RFC 1918: 10/8, 172.16/12, 192.168/16.
    Private,
    /// 169.254/16, fe80::/10.
    LinkLocal,
    /// RFC 6598: 100.64/10.
    CarrierNat,
    /// The metadata services of the clouds: 169.254.169.254, fd00:ec2::254 and their kin.
    Metadata,
    /// 224/4, ff00::/8.
    Multicast,
    /// 0.0.0.0, ::.
    Unspecified,
    /// The rest of 0/8: "this network" (RFC 1122 §3.2.1.3).
    ThisNetwork,
    /// 255.255.255.255.
    Broadcast,
    /// RFC 5737, RFC 3849, RFC 9637.
    Documentation,
    /// RFC 2544, RFC 5180: 198.18/15, 2001:2::/48.
    Benchmarking,
    /// 240/4, and whatever of IPv6 is not handed out.
    Reserved,
    /// Blocks for protocols, not for hosts: 192.0.0/24, 192.88.99/24, 2001::/23, 5f00::/16.
    Protocol,
    /// ::ffff:0:0/96 and ::ffff:0:0:0/96: an IPv4 address in disguise.
    MappedV4,
    /// ::/96, the IPv4-compatible form that RFC 4291 §2.5.5.1 gave up.
    CompatibleV4,
    /// RFC 6052, RFC 8215: 64:ff9b::/96, 64:ff9b:1::/48.
    Nat64,
    /// RFC 3056: 2002::/16.
    SixToFour,
    /// RFC 4380: 2001::/32.
    Teredo,
    /// RFC 4193: fc00::/7.
    UniqueLocal,
    /// RFC 3879: fec0::/10.
    SiteLocal,
}

impl AddressClass {
    /// Whether the operator's `[[allow]]` can open it. What is no single host's address stays shut.
    #[must_use]
    pub const fn can_be_allowed(self) -> bool {
        !matches!(self, Self::Multicast | Self::Unspecified | Self::Broadcast | Self::ThisNetwork)
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::CarrierNat => "carrier-grade NAT",
            Self::Metadata => "cloud metadata",
            Self::Multicast => "multicast",
            Self::Unspecified => "unspecified",
            Self::ThisNetwork => "this-network",
            Self::Broadcast => "broadcast",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Reserved => "reserved",
            Self::Protocol => "protocol",
            Self::MappedV4 => "IPv4-mapped",
            Self::CompatibleV4 => "IPv4-compatible",
            Self::Nat64 => "NAT64",
            Self::SixToFour => "6to4",
            Self::Teredo => "Teredo",
            Self::UniqueLocal => "unique-local",
            Self::SiteLocal => "site-local",
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The class of an address.
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(four) => classify_v4(four),
        IpAddr::V6(six) => classify_v6(six),
    }
}

/// 169.254.169.254 (most clouds), 169.254.170.2 and .23 (credentials of containers), 100.100.100.200
/// (Alibaba), 192.0.0.192 (Oracle), 168.63.129.16 (Azure's wire server).
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// fd00:ec2::254 (instances), fd00:ec2::23 (containers), fd20:ce::254 (Google).
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Metadata;
    }
    match address.octets() {
        [0, 0, 0, 0] => AddressClass::Unspecified,
        [0, ..] => AddressClass::ThisNetwork,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::CarrierNat,
        [127, ..] => AddressClass::Loopback,
        [169, 254, ..] => AddressClass::LinkLocal,
        [192, 0, 0, _] | [192, 88, 99, _] | [192, 31, 196, _] | [192, 52, 193, _] | [192, 175, 48, _] => {
            AddressClass::Protocol
        }
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressClass::Documentation,
        [198, 18..=19, ..] => AddressClass::Benchmarking,
        [224..=239, ..] => AddressClass::Multicast,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        [240..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if METADATA_V6.contains(&address) {
        return AddressClass::Metadata;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => AddressClass::MappedV4,
        [0, 0, 0, 0, 0, 0, ..] => AddressClass::CompatibleV4,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => AddressClass::Nat64,
        [0x2001, 0, ..] => AddressClass::Teredo,
        [0x2001, 2, 0, ..] => AddressClass::Benchmarking,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => AddressClass::Documentation,
        [0x2001, 0..=0x1ff, ..] | [0x2620, 0x4f, 0x8000, ..] | [0x5f00, ..] => AddressClass::Protocol,
        [0x2002, ..] => AddressClass::SixToFour,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        [0xfc00..=0xfdff, ..] => AddressClass::UniqueLocal,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xfec0..=0xfeff, ..] => AddressClass::SiteLocal,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        _ => AddressClass::Reserved,
    }
}

#[cfg(test)]
mod tests;
