//! Interception authorities, in `keys/gateway/`: one for each tool, good for that tool's hosts and nothing else.
//!
//! An agent that speaks to a tool through the proxy must see the tool's name in a certificate. What it trusts
//! for that is a certificate authority of ours, so its key is dangerous: whoever holds it can pose as whatever
//! the authority is good for. Therefore one authority a tool, and each bears critical name constraints
//! (RFC 5280 §4.2.1.10): the tool's exact hosts, and no address but those that a human bound. A stolen one
//! reads one tool's traffic of agents that trust it, and nothing of any other host. (A DNS constraint covers
//! what lies under the name as well; RFC 5280 has no form that does not.)
//!
//! The key outlives everything; the certificate is issued anew, over the same key, when the hosts change. It
//! lies beside its key with one line before it that says what it was issued for.

use super::file::{KeyFile, private_folder, read_private, replace_private};
use crate::CustodyError;
use aws_lc_rs::digest;
use nightlatch_domain::{clock::Timestamp, id::TenantId, tool::Name};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use zeroize::Zeroizing;

/// How long a leaf is good for: a day, so that one that leaked with its process's memory ends by itself.
pub const LEAF_TTL: Duration = Duration::from_secs(24 * 3600);
/// A leaf begins so much earlier: an agent's clock may run behind ours.
const LEAF_BACKDATED: Duration = Duration::from_secs(3600);
const BEGIN: &str = "-----BEGIN";

/// The folder of all interception authorities. Clones are the same folder.
#[derive(Clone)]
pub struct Interception {
    folder: Arc<Path>,
    /// Two that issue for one tool at once would write each other's draft.
    issuing: Arc<Mutex<()>>,
}

impl Interception {
    pub(super) fn new(gateway: &Path) -> Result<Self, CustodyError> {
        let folder = gateway.join("interception");
        private_folder(&folder)?;
        Ok(Self { folder: folder.into(), issuing: Arc::default() })
    }

    /// The authority of one tool for exactly these host names and addresses. Key and certificate are those of
    /// the last time; the key is made where there is none, the certificate where the names are others.
    ///
    /// # Errors
    /// [`CustodyError`] where a file is none that may be trusted, or cannot be written, or a name is none.
    pub fn authority(
        &self,
        tenant: TenantId,
        tool: &Name,
        names: &BTreeSet<String>,
    ) -> Result<Authority, CustodyError> {
        let _one = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = |ending: &str| format!("{tenant}.{tool}.{ending}");
        let path = self.folder.join(file("key"));
        let pkcs8 = KeyFile::new(&self.folder, &file("key"), "interception")
            .load_or_create(true, super::gateway::fresh_key)?;
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| CustodyError::KeyFormat { path })?;
        let params = constrained(tool, &key, names).ok_or(CustodyError::SealFailed)?;
        let pem = issued(&self.folder.join(file("pem")), tool, &params, &key, names)?;
        Ok(Authority { issuer: Issuer::new(params, key), names: names.clone(), pem })
    }
}

/// The certificate that was issued for these names, or a new one.
fn issued(
    path: &Path,
    tool: &Name,
    params: &CertificateParams,
    key: &KeyPair,
    names: &BTreeSet<String>,
) -> Result<String, CustodyError> {
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let line = format!("nightlatch interception v1 {tool} {} {}\n", key_id(key), list.join(" "));
    if let Some(text) = read_private(path)?
        && let Some(pem) = text.strip_prefix(line.as_str()).filter(|pem| pem.starts_with(BEGIN))
    {
        return Ok(pem.to_owned());
    }
    let pem = params.self_signed(key).map_err(|_| CustodyError::SealFailed)?.pem();
    replace_private(path, [line.as_str(), pem.as_str()].concat().as_bytes())?;
    Ok(pem)
}

/// What the authority may certify. None where a name is no name.
fn constrained(tool: &Name, key: &KeyPair, names: &BTreeSet<String>) -> Option<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).ok()?;
    params.distinguished_name.push(DnType::OrganizationName, "Nightlatch");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("interception of {tool} {}", key_id(key).get(..16)?));
    // Who trusts it chose to; an end date would only break what works.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2199, 12, 31);
    // Nothing below it may certify in its turn.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(constraints(names));
    Some(params)
}

fn constraints(names: &BTreeSet<String>) -> NameConstraints {
    let addresses: Vec<IpAddr> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let dns = names.iter().filter(|name| name.parse::<IpAddr>().is_err());
    let mut permitted: Vec<GeneralSubtree> = dns.map(|name| GeneralSubtree::DnsName(name.clone())).collect();
    let mut excluded = Vec::new();
    if permitted.is_empty() {
        // An empty name stands above all others.
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    permitted
        .extend(addresses.iter().map(|address| subtree(*address, if address.is_ipv4() { 32 } else { 128 })));
    if !addresses.iter().any(IpAddr::is_ipv4) {
        excluded.push(subtree(IpAddr::from([0; 4]), 0));
    }
    if !addresses.iter().any(IpAddr::is_ipv6) {
        excluded.push(subtree(IpAddr::from([0; 16]), 0));
    }
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
}

fn subtree(address: IpAddr, prefix: u8) -> GeneralSubtree {
    GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix))
}

fn key_id(key: &KeyPair) -> String {
    let hash = digest::digest(&digest::SHA256, &key.subject_public_key_info());
    super::gateway::hexadecimal(hash.as_ref())
}

/// One tool's authority, ready to certify.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    names: BTreeSet<String>,
    pem: String,
}

impl Authority {
    /// Its certificate, for whoever is to trust it.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What it is good for.
    #[must_use]
    pub const fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// A short-lived certificate for one name, with a key of its own that is nowhere but in memory.
    ///
    /// # Errors
    /// [`CustodyError::SealFailed`] for a name that the authority is not good for.
    pub fn leaf(&self, host: &str, now: Timestamp) -> Result<Leaf, CustodyError> {
        let failed = || CustodyError::SealFailed;
        if !self.names.contains(host) {
            return Err(failed());
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| failed())?;
        // One name a leaf: what is trusted for one host never serves another.
        let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(|_| failed())?;
        params.distinguished_name.push(DnType::CommonName, "nightlatch interception");
        let not_after = now.plus(LEAF_TTL);
        let epoch = date_time_ymd(1970, 1, 1);
        let at = |time: Timestamp| epoch + time.since(Timestamp::from_millis(0));
        (params.not_before, params.not_after) = (at(now.minus(LEAF_BACKDATED)), at(not_after));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|_| failed())?;
        let key = Zeroizing::new(key.serialize_der());
        Ok(Leaf { certificate: certificate.der().clone(), key, not_after })
    }
}

/// A leaf with its key.
pub struct Leaf {
    certificate: CertificateDer<'static>,
    key: Zeroizing<Vec<u8>>,
    not_after: Timestamp,
}

impl Leaf {
    /// The certificate alone: the authority is what its reader trusts already.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// The private key, for the one TLS configuration that needs it.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.to_vec()))
    }

    /// When it ends.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

#[cfg(test)]
mod tests;
