//! The agent's key: P-256, with a certificate that says nothing.
//!
//! The gateway admits the key and reads no word of the certificate, which exists because TLS carries keys so.
//! For `run` the key lives in this memory and nowhere else, and ends with the command. A sidecar that must
//! survive a restart keeps it in one file, for its owner alone.

use crate::{
    error::CompanionError,
    gateway_key::{hex, sha256},
};
use rcgen::{
    CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _,
};
use rustix::{fs::OFlags, process::geteuid};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};
use zeroize::Zeroizing;

/// A P-256 key in PEM has 241 characters; a file that is longer is none.
const FILE_MAX_BYTES: u64 = 4096;

/// A key pair and its certificate. Has no `Debug` and no `Clone`.
pub struct Identity {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// A fresh one, in memory.
    ///
    /// # Errors
    /// [`CompanionError::NoKey`] where the library could not make one.
    pub fn generate() -> Result<Self, CompanionError> {
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(no_key)?)
    }

    /// The one in this file; a fresh one that is written there first, where there is no file yet.
    ///
    /// # Errors
    /// What keeps the file from being a key of this user's alone.
    pub fn in_file(path: &Path) -> Result<Self, CompanionError> {
        let failed = |source| CompanionError::KeyFile { path: path.to_owned(), source };
        match read(path) {
            Ok(text) => {
                Self::from_pem(&text).ok_or_else(|| CompanionError::KeyFormat { path: path.to_owned() })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let fresh = Self::generate()?;
                write(path, &fresh.key).map_err(failed)?;
                Ok(fresh)
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied && error.raw_os_error().is_none() => {
                Err(CompanionError::KeyExposed { path: path.to_owned() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// SHA-256 of the public key (SPKI, DER) in hexadecimal: what is enrolled.
    #[must_use]
    pub fn key_sha256(&self) -> String {
        hex(&sha256(&self.key.subject_public_key_info()))
    }

    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// ECDSA P-256 with SHA-256, as an ASN.1 `Ecdsa-Sig-Value`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CompanionError> {
        self.key.sign(message).map_err(no_key)
    }

    fn of(key: KeyPair) -> Result<Self, CompanionError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "nightlatch companion");
        let certificate = params.self_signed(&key).map_err(no_key)?.der().clone();
        Ok(Self { key, certificate })
    }

    fn from_pem(text: &str) -> Option<Self> {
        let key = KeyPair::from_pem(text).ok()?;
        key.is_compatible(&PKCS_ECDSA_P256_SHA256).then(|| Self::of(key).ok()).flatten()
    }
}

fn no_key(error: rcgen::Error) -> CompanionError {
    CompanionError::NoKey(error.to_string())
}

/// The file's text. What others can read, or another user wrote, is refused as permission denied without a
/// number of the system's.
fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = OpenOptions::new().read(true).custom_flags(no_link()).open(path)?;
    let facts = file.metadata()?;
    if facts.mode() & 0o077 != 0 || facts.uid() != geteuid().as_raw() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_MAX_BYTES as usize));
    file.take(FILE_MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file that is not there yet, whole and durable before the key is used: an enrolment of a key that
/// is lost in a crash could never be used.
fn write(path: &Path, key: &KeyPair) -> io::Result<()> {
    let pem = Zeroizing::new(key.serialize_pem());
    let draft = path.with_extension("draft");
    let _ = std::fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    // A link never replaces what is there: of two companions that start at once one fails.
    let placed = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    placed?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// No link is followed: whoever can place one must not choose what is read.
fn no_link() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Identity;
    use crate::error::CompanionError;
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, chown, symlink},
    };

    #[test]
    fn a_key_file_is_made_once_for_its_owner_alone_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        let first = Identity::in_file(&path).unwrap().key_sha256();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::in_file(&path).unwrap().key_sha256(), first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        Identity::in_file(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Identity::in_file(&path), Err(CompanionError::KeyExposed { .. })));
    }

    #[test]
    fn a_key_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        Identity::in_file(&path).unwrap();
        // Only root can give a file away; for others there is nothing to refuse that they could read.
        if chown(&path, Some(65_534), None).is_ok() {
            assert!(matches!(Identity::in_file(&path), Err(CompanionError::KeyExposed { .. })));
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_key_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("agent.key"), folder.path().join("link.key"));
        Identity::in_file(&path).unwrap();
        symlink(&path, &link).unwrap();
        assert!(matches!(Identity::in_file(&link), Err(CompanionError::KeyFile { .. })));
    }

    #[test]
    fn what_is_no_p256_key_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        for text in ["", "hello", &other] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Identity::in_file(&path), Err(CompanionError::KeyFormat { .. })), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), *text);
        }
    }
}
