//! The gateway's signing key of one webhook, in `keys/gateway/webhook-NAME.key`.
//!
//! Under it nothing lies; it shows a receiver that a message is ours, by the Standard Webhooks specification: HMAC of
//! SHA-256 over id, time and body. The receiver holds the same key, in that specification's form, and could sign as well:
//! so each webhook has its own. It is made when it is first asked for; a missing one is a new one, which the receiver
//! does not know yet.

use super::{file::private_folder, gateway::seed};
use crate::CustodyError;
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nightlatch_domain::{
    clock::{Entropy, Timestamp},
    tool::Name,
};
use std::path::Path;
use zeroize::Zeroizing;

/// What signs the messages to one webhook.
pub struct WebhookKey {
    key: hmac::Key,
    bytes: Zeroizing<Vec<u8>>,
}

impl WebhookKey {
    /// Loads the key of a webhook from below the folder `keys`, or makes it.
    ///
    /// # Errors
    /// The key errors where the file is not one that may be trusted.
    pub fn load_or_create(keys: &Path, hook: &Name, entropy: &dyn Entropy) -> Result<Self, CustodyError> {
        let folder = keys.join("gateway");
        private_folder(&folder)?;
        let key = seed(&folder, &file_name(hook), "webhook", true, entropy)?;
        Ok(Self::of(key.as_slice()))
    }

    /// Loads the key of a webhook, and makes none.
    ///
    /// # Errors
    /// [`CustodyError::KeyMissing`], and as [`WebhookKey::load_or_create`].
    pub fn load(keys: &Path, hook: &Name, entropy: &dyn Entropy) -> Result<Self, CustodyError> {
        let key = seed(&keys.join("gateway"), &file_name(hook), "webhook", false, entropy)?;
        Ok(Self::of(key.as_slice()))
    }

    fn of(bytes: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self { key, bytes: Zeroizing::new(bytes.to_vec()) }
    }

    /// The `webhook-signature` of a message: Standard Webhooks, "Signature scheme", symmetric.
    #[must_use]
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{}.", at.secs()).as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }

    /// The key as its receiver is given it.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(STANDARD.encode(&*self.bytes));
        Zeroizing::new(["whsec_", text.as_str()].concat())
    }
}

fn file_name(hook: &Name) -> String {
    format!("webhook-{hook}.key")
}

#[cfg(test)]
mod tests {
    //! The signature is the specification's, each webhook's own, and the same after a restart.

    use super::WebhookKey;
    use crate::{CustodyError, entropy::SystemEntropy};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use nightlatch_domain::clock::Timestamp;
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};
    use tempfile::TempDir;

    fn load(keys: &Path, hook: &str) -> Result<WebhookKey, CustodyError> {
        WebhookKey::load_or_create(keys, &hook.parse().unwrap(), &SystemEntropy::new())
    }

    /// The examples of the specification and of its libraries' tests (github.com/standard-webhooks/standard-webhooks).
    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        for (secret, id, secs, body, expected) in [
            (
                "plJ3nmyCDGBKInavdOK15jsl",
                "msg_loFOjxBNrRLzqYUf",
                1_731_705_121,
                r#"{"event_type":"ping","data":{"success":true}}"#,
                "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
            ),
            (
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ] {
            let key = WebhookKey::of(&STANDARD.decode(secret).unwrap());
            // Milliseconds are cut off.
            let at = Timestamp::from_millis(secs * 1000 + 999);
            assert_eq!(key.sign(id, at, body.as_bytes()), expected);
            assert_eq!(*key.secret(), format!("whsec_{secret}"));
        }
    }

    #[test]
    fn each_webhook_has_its_own_key_which_stays_in_a_file_for_its_owner() {
        let folder = TempDir::new().unwrap();
        let only_load = || WebhookKey::load(folder.path(), &"ci".parse().unwrap(), &SystemEntropy::new());
        assert!(matches!(only_load(), Err(CustodyError::KeyMissing { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
        let (one, other) = (load(folder.path(), "ci").unwrap(), load(folder.path(), "chat").unwrap());
        assert_ne!(*one.secret(), *other.secret());
        assert_eq!(*load(folder.path(), "ci").unwrap().secret(), *one.secret());
        assert_eq!(*only_load().unwrap().secret(), *one.secret());
        let file = folder.path().join("gateway/webhook-ci.key");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // One that others can read signs nothing.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load(folder.path(), "ci"), Err(CustodyError::KeyExposed { .. })));
    }
}
