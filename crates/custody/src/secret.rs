//! A secret in memory.
//!
//! The type's worth is in what it lacks: no `Debug`, `Display`, `Clone`, `Serialize`, `Deserialize` or
//! `PartialEq`. So it cannot slip into a log line, an error, a message or a comparison that leaks time;
//! whoever needs the bytes must write `expose`, and that word can be searched for.

use zeroize::Zeroizing;

/// Bytes that are wiped when they are dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the caller keeps no copy.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Takes a text over without copying it.
    #[must_use]
    pub fn from_string(text: String) -> Self {
        Self::new(text.into_bytes())
    }

    /// The bytes, for the one who must use them now. Copies made of them are the caller's to wipe.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    //! A secret cannot be printed, copied, compared or serialised.

    use super::Secret;
    use std::{fmt, marker::PhantomData};

    // The inherent constant exists only where `T` has the trait, and wins over the blanket one.
    macro_rules! lacks {
        ($($name:ident: $bound:path;)*) => {$(
            #[test]
            fn $name() {
                struct Probe<T>(PhantomData<T>);
                trait Otherwise { const HAS: bool = false; }
                impl<T> Otherwise for Probe<T> {}
                impl<T: $bound> Probe<T> { const HAS: bool = true; }
                assert!(Probe::<String>::HAS, "the probe sees the trait where it is");
                assert!(!Probe::<Secret>::HAS);
            }
        )*};
    }

    lacks! {
        a_secret_has_no_debug: fmt::Debug;
        a_secret_has_no_display: fmt::Display;
        a_secret_cannot_be_cloned: Clone;
        a_secret_cannot_be_compared: PartialEq;
        a_secret_cannot_be_serialised: serde::Serialize;
        a_secret_cannot_be_read_from_a_message: serde::de::DeserializeOwned;
    }

    #[test]
    fn a_secret_is_wiped_on_drop() {
        assert!(std::mem::needs_drop::<Secret>());
        fn wipes<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        wipes(&Secret::from_string("canary".into()).0);
    }
}
