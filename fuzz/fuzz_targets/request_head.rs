//! Requests: whatever the pieces, the same bytes pass, and httparse reads them as the same requests.
//! The first byte is the length of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((piece, bytes)) = data.split_first() {
        nightlatch_fuzz::agree(bytes, usize::from(*piece));
    }
});
