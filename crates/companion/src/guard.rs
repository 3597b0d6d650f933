//! Who may use the local listener: this run's programs, and nobody else on the machine.
//!
//! A port on loopback is open to every local user, and behind this one an agent's identity is used. So a caller
//! shows a password that was drawn for this run, or is a process of one user by the kernel's own table, or both.
//! Where the listener stands in a network namespace of its own, nobody else can reach it and neither is needed.

use crate::{error::CompanionError, gateway_key::sha256, peers};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use nightlatch_domain::{
    clock::{Entropy, random},
    companion::LocalRefusal,
};
use std::{fmt, net::SocketAddr};
use zeroize::Zeroizing;

/// What a caller must show.
#[derive(Debug, Default)]
pub struct Guard {
    /// The password of the proxy, if one is asked for.
    pub password: Option<Password>,
    /// The user whose processes may connect, if only one user's may.
    pub peer_uid: Option<u32>,
}

/// The password of one run, as it stands in a proxy URL.
pub struct Password(Zeroizing<String>);

impl Password {
    /// 256 random bits, in letters that a URL carries as they are.
    ///
    /// # Errors
    /// [`CompanionError::NoEntropy`].
    pub fn draw(entropy: &dyn Entropy) -> Result<Self, CompanionError> {
        let bits = Zeroizing::new(random::<32>(entropy)?);
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bits.as_slice()))))
    }

    /// One that somebody else drew. None where it is too short to be no guess, or could not stand in a URL.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let sound = (16..=256).contains(&text.len()) && text.bytes().all(plain);
        sound.then_some(Self(text))
    }

    /// The text, for the proxy URL of the program.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Password")
    }
}

impl Guard {
    /// Whether a connection comes from whom it may. `local` and `remote` are its ends as this side sees them.
    ///
    /// # Errors
    /// [`LocalRefusal::PeerUid`]; also where the kernel names nobody.
    pub(crate) async fn check_peer(&self, local: SocketAddr, remote: SocketAddr) -> Result<(), LocalRefusal> {
        let Some(wanted) = self.peer_uid else { return Ok(()) };
        let found = tokio::task::spawn_blocking(move || peers::uid(local, remote)).await;
        if found.ok().flatten() == Some(wanted) { Ok(()) } else { Err(LocalRefusal::PeerUid) }
    }

    /// Whether the head carried the password, if one is asked for. `shown` is the value of its one
    /// `Proxy-Authorization`.
    ///
    /// # Errors
    /// [`LocalRefusal::ProxyPassword`].
    pub(crate) fn check_password(&self, shown: Option<&[u8]>) -> Result<(), LocalRefusal> {
        let Some(password) = &self.password else { return Ok(()) };
        let shown = shown.and_then(basic_password).ok_or(LocalRefusal::ProxyPassword)?;
        // Over hashes, so that neither the length nor the place of a difference shows in the time.
        let (shown, own) = (sha256(&shown), sha256(password.0.as_bytes()));
        verify_slices_are_equal(&shown, &own).map_err(|_| LocalRefusal::ProxyPassword)
    }
}

/// The password of `Basic BASE64(USER:PASSWORD)` (RFC 7617 §2). The user's name says nothing: there is one.
fn basic_password(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, credentials) = value.split_at_checked(6)?;
    let decoded = STANDARD.decode(credentials.trim_ascii()).ok().map(Zeroizing::new)?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.get(colon + 1..)?.to_vec();
    scheme.eq_ignore_ascii_case(b"basic ").then(|| Zeroizing::new(password))
}

#[cfg(test)]
mod tests {
    use super::{Guard, Password};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use nightlatch_domain::companion::LocalRefusal;
    use zeroize::Zeroizing;

    const PASSWORD: &str = "0123456789abcdefXYZ";

    fn password(text: &str) -> Option<Password> {
        Password::new(Zeroizing::new(text.to_owned()))
    }

    fn checked(shown: Option<&str>) -> bool {
        let guard = Guard { password: password(PASSWORD), peer_uid: None };
        guard.check_password(shown.map(str::as_bytes)) == Ok(())
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn the_password_of_this_run_is_taken_under_any_name() {
        assert!(checked(Some(&basic(&format!("nightlatch:{PASSWORD}")))));
        assert!(checked(Some(&basic(&format!(":{PASSWORD}")))));
        assert!(checked(Some(&basic(&format!("x:{PASSWORD}")).replacen("Basic", "basic", 1))));
    }

    #[test]
    fn any_other_word_is_refused() {
        assert!(!checked(None));
        for wrong in ["", "Basic", "Basic ", "Basic *", &format!("Bearer {PASSWORD}"), &basic(PASSWORD)] {
            assert!(!checked(Some(wrong)), "{wrong}");
        }
        for wrong in
            ["", "0", &PASSWORD[1..], &PASSWORD[..18], &format!("{PASSWORD}0"), &format!("x:{PASSWORD}")]
        {
            assert!(!checked(Some(&basic(&format!("x:{wrong}")))), "{wrong}");
        }
        assert!(!checked(Some(&basic(&format!("x:{PASSWORD}")).replacen("Basic ", "Digest", 1))));
    }

    #[tokio::test]
    async fn whom_the_kernel_does_not_name_is_refused() {
        let (local, remote) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let own = rustix::process::geteuid().as_raw();
        let guard = Guard { password: None, peer_uid: Some(own) };
        assert_eq!(guard.check_peer(local, remote).await, Err(LocalRefusal::PeerUid));
    }

    #[test]
    fn without_a_password_none_is_asked_for() {
        let guard = Guard::default();
        assert_eq!(guard.check_password(None), Ok(()));
        let asked = Guard { password: password(PASSWORD), peer_uid: None };
        assert_eq!(asked.check_password(None), Err(LocalRefusal::ProxyPassword));
    }

    #[test]
    fn a_password_is_long_stands_in_a_url_and_prints_nowhere() {
        for wrong in
            ["", "short", &"a".repeat(257), "0123456789abcde ", "0123456789abcde:", "0123456789abcdé"]
        {
            assert!(password(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{:?}", password(PASSWORD)), "Some(Password)");
    }
}
