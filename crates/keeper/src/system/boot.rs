//! Which boot of the machine this is.

use std::fs;

/// What tells this boot from every other one (random(4), `boot_id`); none where the system does not tell. It is the
/// kernel's, so that it is the same inside a container and outside.
#[must_use]
pub fn boot_id() -> Option<String> {
    named(&fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?)
}

/// A UUID, as the kernel spells it: whatever else stands there names nothing.
fn named(text: &str) -> Option<String> {
    let id = text.trim();
    let is_digit = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let is_id = id.len() == 36 && id.bytes().all(is_digit) && id.bytes().any(|byte| !b"0-".contains(&byte));
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    //! A boot has one name, and what names none is none.

    use super::{boot_id, named};

    #[test]
    fn a_boot_is_named_by_the_kernel_and_by_nothing_else() {
        assert!(boot_id().is_some());
        assert_eq!(boot_id(), boot_id());
        let id = "2c7a1d3e-95a0-4f0b-8f11-0a4d8d2b6c55";
        assert_eq!(named(&format!("{id}\n")).as_deref(), Some(id));
        for other in ["", "\n", "2c7a1d3e", &"x".repeat(36), &id.replace(|digit: char| digit != '-', "0")] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
