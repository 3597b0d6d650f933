//! Interception authorities, in `keys/gateway/`: one for each tool, good for that tool's hosts and nothing else.
//!
//! An agent that speaks to a tool through the proxy must see the tool's name in a certificate. What it trusts
//! for that is a certificate authority of ours, so its key is dangerous: whoever holds it can pose as whatever
//! the authority is good for. Therefore one authority a tool, and each bears critical name constraints
//! (RFC 5280 §4.2.1.10): the tool's exact hosts, and no address but those that a human bound. A stolen one
//! reads one tool's traffic of agents that trust it, and nothing of any other host. (A DNS constraint covers
//! what lies under the name as well; RFC 5280 has no form that does not.) It is good for TLS servers only, so
//! that what else a certificate can name, a person or a client, comes to nothing.
//!
//! The key outlives everything; the certificate is issued anew, over the same key, when the hosts change. It
//! lies beside its key with one line before it that says by a hash what it was issued for.

mod constraints;

use super::file::{KeyFile, private_folder, read_private, replace_private};
use crate::CustodyError;
use aws_lc_rs::digest;
use nightlatch_domain::{clock::Timestamp, id::TenantId, tool::Name};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use zeroize::Zeroizing;

/// How long a leaf is good for: a day, so that one that leaked with its process's memory ends by itself.
pub const LEAF_TTL: Duration = Duration::from_secs(24 * 3600);
/// A leaf begins so much earlier: an agent's clock may run behind ours.
const LEAF_BACKDATED: Duration = Duration::from_secs(3600);
/// The names of thousands of hosts; an authority that needs more is not made.
const CERTIFICATE_MAX_BYTES: u64 = 1024 * 1024;

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
    let line = format!("nightlatch interception v2 {tool} {} {}\n", key_id(key), names_id(names));
    if let Some(text) = read_private(path, CERTIFICATE_MAX_BYTES)?
        && let Some(pem) = text.strip_prefix(line.as_str()).filter(|pem| is_certificate(pem))
    {
        return Ok(pem.to_owned());
    }
    let pem = params.self_signed(key).map_err(|_| CustodyError::SealFailed)?.pem();
    let text = [line.as_str(), pem.as_str()].concat();
    // What could not be read back after a restart is not handed out before it.
    if text.len() as u64 > CERTIFICATE_MAX_BYTES || !is_certificate(&pem) {
        return Err(CustodyError::SealFailed);
    }
    replace_private(path, text.as_bytes())?;
    Ok(pem)
}

/// Whether it is one certificate that somebody can trust.
fn is_certificate(pem: &str) -> bool {
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    let (Some(Ok(certificate)), None) = (found.next(), found.next()) else { return false };
    RootCertStore::empty().add(certificate).is_ok()
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
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // On an authority it bounds what it certifies: verifiers take it for all below (as CA/B Baseline
    // Requirements §7.1.5 has it).
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.custom_extensions = vec![constraints::extension(names)?];
    Some(params)
}

fn key_id(key: &KeyPair) -> String {
    hash(&key.subject_public_key_info())
}

/// No name has a line feed.
fn names_id(names: &BTreeSet<String>) -> String {
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    hash(list.join("\n").as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    super::gateway::hexadecimal(digest::digest(&digest::SHA256, bytes).as_ref())
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
