//! Bodies in chunks, and whatever stands behind them. The first byte is the length of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    if let Some((piece, body)) = data.split_first() {
        nightlatch_fuzz::agree(&[HEAD, body].concat(), usize::from(*piece));
    }
});
