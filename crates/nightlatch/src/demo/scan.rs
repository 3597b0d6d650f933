//! The scan: what a program's environment, memory and received bytes hold of what a provider gave out.
//!
//! It looks for each secret plain, in base64 of either alphabet at each of the three alignments, and in
//! hexadecimal. It reads the program while it runs, through `/proc`, which the kernel allows to the same
//! user for its own children. A scan that could not look must not be taken for one that found nothing: it
//! fails, and a word that the program is known to hold has to be found by it.

use crate::cli::ACTOR;
use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use memchr::memmem::Finder;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

/// How much of a memory is read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// What is stepped over where nothing can be read.
const PAGE_BYTES: u64 = 4096;
/// How much of a form is searched for before the rest is compared.
const BEGINNING_BYTES: usize = 4;

/// Why a program could not be scanned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// A file of `/proc` or the transcript cannot be read.
    #[error(
        "`{path}` cannot be read: {source}; the scan must run as the user of the program, and `kernel.yama.ptrace_scope` must be 0 or 1"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is not there any more.
    #[error("the program ended before it was scanned")]
    Gone,
}

/// What is looked for: the forms of each word, by their first bytes. A provider's secrets begin alike, so that
/// few beginnings are searched for, fast, and the rest is compared where one stands.
pub(crate) struct Needles {
    beginnings: Vec<(Finder<'static>, Vec<Form>)>,
    longest: usize,
}

/// One form of a word, and the word's number.
struct Form {
    bytes: Vec<u8>,
    word: usize,
}

/// What was found where.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Numbers of the words that were found in the environment.
    pub(crate) environment: BTreeSet<usize>,
    /// … in memory.
    pub(crate) memory: BTreeSet<usize>,
    /// … in what it received.
    pub(crate) received: BTreeSet<usize>,
    /// How many bytes were looked at.
    pub(crate) bytes: u64,
}

impl Found {
    /// Every word that was found anywhere.
    pub(crate) fn anywhere(&self) -> BTreeSet<usize> {
        [&self.environment, &self.memory, &self.received].into_iter().flatten().copied().collect()
    }
}

impl Needles {
    /// Looks for these words, in every form.
    pub(crate) fn new(words: &[String]) -> Self {
        let mut by_beginning: BTreeMap<Vec<u8>, Vec<Form>> = BTreeMap::new();
        for (word, text) in words.iter().enumerate() {
            for bytes in forms(text.as_bytes()) {
                let beginning = bytes.get(..BEGINNING_BYTES.min(bytes.len())).unwrap_or_default().to_vec();
                by_beginning.entry(beginning).or_default().push(Form { bytes, word });
            }
        }
        let longest = by_beginning.values().flatten().map(|form| form.bytes.len()).max().unwrap_or(0);
        let beginnings = by_beginning.into_iter();
        let beginnings = beginnings.map(|(bytes, forms)| (Finder::new(&bytes).into_owned(), forms)).collect();
        Self { beginnings, longest }
    }

    /// The numbers of the words that stand in these bytes.
    fn within(&self, bytes: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for (finder, forms) in &self.beginnings {
            for at in finder.find_iter(bytes) {
                let here = bytes.get(at..).unwrap_or_default();
                found.extend(forms.iter().filter(|form| here.starts_with(&form.bytes)).map(|form| form.word));
            }
        }
        found
    }

    /// Looks into a running program and into what it received.
    pub(crate) fn scan(&self, pid: u32, transcript: &Path) -> Result<Found, ScanError> {
        let environment = whole(&format!("/proc/{pid}/environ"))?;
        let received = whole(&transcript.display().to_string())?;
        let mut found = Found {
            environment: self.within(&environment),
            received: self.within(&received),
            memory: BTreeSet::new(),
            bytes: (environment.len() + received.len()) as u64,
        };
        self.scan_memory(pid, &mut found)?;
        Ok(found)
    }

    fn scan_memory(&self, pid: u32, found: &mut Found) -> Result<(), ScanError> {
        let path = format!("/proc/{pid}/mem");
        let memory = File::open(&path).map_err(|source| ScanError::Unreadable { path, source })?;
        let maps = whole(&format!("/proc/{pid}/maps"))?;
        let mut chunk = vec![0; CHUNK_BYTES + self.longest];
        for (from, to) in String::from_utf8_lossy(&maps).lines().filter_map(readable) {
            let mut at = from;
            while at < to {
                let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(chunk.len());
                let Some(room) = chunk.get_mut(..want) else { break };
                // Some pages are the kernel's own and give nothing, whoever asks.
                let read = memory.read_at(room, at).unwrap_or(0).min(want);
                found.memory.extend(self.within(room.get(..read).unwrap_or_default()));
                let seen = read.min(CHUNK_BYTES) as u64;
                found.bytes += seen;
                at += if seen == 0 { PAGE_BYTES } else { seen };
            }
        }
        Ok(())
    }
}

/// The actor that `started` is, or that was started by it: under `run` there is a sandbox between them.
pub(crate) fn actor_of(started: u32) -> Result<u32, ScanError> {
    let children = children();
    let mut line = vec![started];
    while let Some(pid) = line.pop() {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if command.split(|byte| *byte == 0).nth(1) == Some(ACTOR.as_bytes()) {
            return Ok(pid);
        }
        line.extend(children.get(&pid).into_iter().flatten());
    }
    Err(ScanError::Gone)
}

/// Each process with its children.
fn children() -> BTreeMap<u32, Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) =
            fs::read_to_string(entry.path().join("stat")).ok().and_then(|stat| parent(&stat))
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// pid (comm) state ppid …; the name may hold anything, also parentheses (proc(5)).
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn whole(path: &str) -> Result<Vec<u8>, ScanError> {
    fs::read(path).map_err(|source| ScanError::Unreadable { path: path.to_owned(), source })
}

/// The bounds of a map that can be read.
fn readable(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    if !fields.next()?.starts_with('r') {
        return None;
    }
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

/// A word in each form in which a program could hold it.
fn forms(word: &[u8]) -> BTreeSet<Vec<u8>> {
    let hex: String = word.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = BTreeSet::from([word.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()]);
    for alphabet in [alphabet::STANDARD, alphabet::URL_SAFE] {
        let engine = GeneralPurpose::new(&alphabet, NO_PAD);
        forms.extend((0..3).map(|ahead| inside(&engine, ahead, word)));
    }
    forms
}

/// What stands in base64 wherever `word` begins `ahead` bytes after a multiple of three: only the letters
/// that depend on nothing around it.
fn inside(engine: &GeneralPurpose, ahead: usize, word: &[u8]) -> Vec<u8> {
    let padded = [&vec![0; ahead], word].concat();
    let letters = engine.encode(&padded).into_bytes();
    let (first, end) = ((ahead * 8).div_ceil(6), padded.len() * 8 / 6);
    letters.get(first..end).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::{Needles, readable};
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use std::collections::BTreeSet;

    const WORD: &str = "sim_at_Zz9-_~~~???xYw8AbCdEfGhIjKl";

    fn finds(text: &[u8]) -> bool {
        Needles::new(&[WORD.to_owned()]).within(text) == BTreeSet::from([0])
    }

    #[test]
    fn a_secret_is_found_in_every_form_wherever_it_stands() {
        assert!(finds(format!("token={WORD};").as_bytes()));
        for before in ["", "a", "ab", "abc", "user:"] {
            let around = format!("{before}{WORD}{before}?>");
            assert!(finds(STANDARD.encode(&around).as_bytes()), "{before}");
            assert!(finds(URL_SAFE_NO_PAD.encode(&around).as_bytes()), "{before}");
        }
        let hex: String = WORD.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(finds(hex.as_bytes()) && finds(hex.to_uppercase().as_bytes()));
    }

    #[test]
    fn a_part_of_a_secret_is_none() {
        assert!(!finds(WORD.replace("x", "y").as_bytes()) && !finds(b""));
    }

    #[test]
    fn a_map_is_read_where_the_kernel_says_that_it_can_be() {
        assert_eq!(
            readable("00400000-00401000 r-xp 00000000 08:01 12 /bin/x"),
            Some((0x0040_0000, 0x0040_1000))
        );
        assert_eq!(readable("00400000-00401000 ---p 00000000 00:00 0"), None);
        assert_eq!(readable("nonsense"), None);
    }

    #[test]
    fn this_very_process_is_seen_to_hold_what_it_holds() {
        let transcript = tempfile::NamedTempFile::new().unwrap();
        let held = String::from_utf8(vec![b'q'; 40]).unwrap() + WORD;
        let needles = Needles::new(std::slice::from_ref(&held));
        let found = needles.scan(std::process::id(), transcript.path()).unwrap();
        assert!(found.memory.contains(&0) && found.bytes > 0, "{}", held.len());
        assert!(
            needles.scan(u32::MAX, transcript.path()).is_err(),
            "what could not be read was taken for clean"
        );
    }
}
