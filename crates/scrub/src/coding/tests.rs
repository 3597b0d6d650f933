//! What was compressed comes out as it was, in any cut; what breaks off, lies or explodes is an error.

use super::{Coding, CodingError, Decoder, PIECE_BYTES};
use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use proptest::prelude::{any, proptest};
use std::io::Write as _;

fn coded(coding: Coding, text: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => stored(text),
    }
}

/// RFC 7932 by hand: a window of 16 bits, each block as it is, an empty last one.
fn stored(text: &[u8]) -> Vec<u8> {
    let (mut bits, mut out) = (Vec::new(), Vec::new());
    let flush = |bits: &mut Vec<bool>, out: &mut Vec<u8>| {
        for byte in bits.chunks(8) {
            out.push(byte.iter().rev().fold(0, |byte, bit| (byte << 1) | u8::from(*bit)));
        }
        bits.clear();
    };
    // WBITS 16 is a single zero.
    bits.push(false);
    for block in text.chunks(65536) {
        // ISLAST 0, MNIBBLES 4, MLEN - 1, ISUNCOMPRESSED 1.
        bits.extend([false, false, false]);
        bits.extend((0..16).map(|bit| ((block.len() - 1) >> bit) & 1 == 1));
        bits.push(true);
        flush(&mut bits, &mut out);
        out.extend_from_slice(block);
    }
    // ISLAST, ISLASTEMPTY.
    bits.extend([true, true]);
    flush(&mut bits, &mut out);
    out
}

fn through(coding: Coding, pieces: &[&[u8]]) -> Result<Vec<u8>, CodingError> {
    let (mut decoder, mut out) = (Decoder::new(coding), Vec::new());
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(piece) = decoder.take()? {
            assert!(piece.len() <= PIECE_BYTES);
            out.extend_from_slice(&piece);
        }
    }
    decoder.end();
    while let Some(piece) = decoder.take()? {
        out.extend_from_slice(&piece);
    }
    Ok(out)
}

#[test]
fn names_are_known_in_any_case_and_others_are_not() {
    for (name, coding) in [
        ("GZIP", Coding::Gzip),
        (" x-gzip", Coding::Gzip),
        ("deflate", Coding::Deflate),
        ("Br", Coding::Brotli),
    ] {
        assert_eq!(Coding::named(name), Some(coding));
    }
    for name in ["identity", "zstd", "compress", "gzip, br", ""] {
        assert_eq!(Coding::named(name), None);
    }
}

#[test]
fn two_members_of_gzip_are_one_body() {
    let both = [coded(Coding::Gzip, b"one "), coded(Coding::Gzip, b"two")].concat();
    assert_eq!(through(Coding::Gzip, &[&both]).unwrap(), b"one two");
}

#[test]
fn what_breaks_off_or_lies_is_an_error() {
    let text: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
    for coding in Coding::ALL {
        let whole = coded(coding, &text);
        assert_eq!(through(coding, &[&whole]).unwrap(), text);
        assert_eq!(through(coding, &[&whole[..whole.len() - 1]]), Err(CodingError::Broken), "{coding:?}");
        assert_eq!(through(coding, &[&whole[..whole.len() / 2]]), Err(CodingError::Broken), "{coding:?}");
        assert_eq!(through(coding, &[b"<html>plain</html>"]), Err(CodingError::Broken), "{coding:?}");
    }
    let mut altered = coded(Coding::Gzip, &text);
    let last = altered.len() - 6;
    altered[last] ^= 1;
    assert_eq!(through(Coding::Gzip, &[&altered]), Err(CodingError::Broken));
}

#[test]
fn an_answer_that_explodes_ends_and_a_regular_one_does_not() {
    let zeros = vec![0; 64 * 1024 * 1024];
    let bomb = coded(Coding::Gzip, &zeros);
    assert!(bomb.len() < 100_000);
    assert_eq!(through(Coding::Gzip, &[&bomb]), Err(CodingError::Bomb));
    let small = vec![b' '; 1024 * 1024];
    assert_eq!(through(Coding::Deflate, &[&coded(Coding::Deflate, &small)]).unwrap(), small);
}

proptest! {
    #[test]
    fn every_cut_gives_the_same(
        text in proptest::collection::vec(any::<u8>(), 0..3000), which in 0usize..3, cuts in proptest::collection::vec(any::<usize>(), 0..9),
    ) {
        let coding = Coding::ALL[which];
        let whole = coded(coding, &text);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (whole.len() + 1)).chain([0, whole.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
        assert_eq!(through(coding, &pieces).unwrap(), text);
    }
}
