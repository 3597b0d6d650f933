//! Certificates of one run: an authority, a server under it, an agent that signed its own.

use crate::Fault;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::{fs, path::Path};

/// Writes `ca.pem`, `server.pem`, `server.key`, `agent.pem` and `agent.key`. nginx and HAProxy want certificate and
/// key of a server in one file as well: `server.both`.
pub(crate) fn write(folder: &Path, host: &str) -> Result<(), Fault> {
    fs::create_dir_all(folder)?;
    let issuer_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "bench authority");
    let root = params.self_signed(&issuer_key)?;
    let issuer = Issuer::new(params, issuer_key);
    let names = [host, "localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    let key = KeyPair::generate()?;
    let server = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let agent_key = KeyPair::generate()?;
    let agent = CertificateParams::new(vec!["agent".to_owned()])?.self_signed(&agent_key)?;
    let files = [
        ("ca.pem", root.pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
        ("server.both", server.pem() + &key.serialize_pem()),
        ("agent.pem", agent.pem()),
        ("agent.key", agent_key.serialize_pem()),
    ];
    files.into_iter().try_for_each(|(name, text)| fs::write(folder.join(name), text).map_err(Fault::from))
}
