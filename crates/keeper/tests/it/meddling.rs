//! What happens to a keeper between a request and its answer: a wire that dries its randomness up when something is
//! sent, or says that it left late; and disks that refuse.

use bytes::Bytes;
use http::{Method, Request};
use nightlatch_custody::entropy::SystemEntropy;
use nightlatch_domain::{
    clock::{Boot, Entropy, NoEntropy},
    ports::{
        Boxed,
        files::{FileIdentity, Files, Held, OpenFile, Opening},
    },
};
use nightlatch_egress::{Destination, EgressError, Line, RawAnswer, SendError, SendWindow, Wire};
use nightlatch_keeper::SystemFiles;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What is to happen.
#[derive(Debug, Default)]
pub(crate) struct Meddling {
    /// With the next request the randomness is gone.
    pub(crate) dries_at_send: AtomicBool,
    /// There is none.
    pub(crate) is_dry: AtomicBool,
    /// Requests leave so late.
    pub(crate) late_millis: AtomicU64,
    /// The next request is not written, which is known after so long.
    pub(crate) unwritten_millis: AtomicU64,
    /// To dial takes so long.
    pub(crate) dial_millis: AtomicU64,
    /// How often the provider was dialled.
    pub(crate) dials: AtomicU64,
    /// Until when what was posted had to leave: by what it was dialled, and by what it was sent.
    pub(crate) send_by: Mutex<Vec<(Boot, Boot)>>,
    /// The disk of the log is full.
    pub(crate) log_is_full: AtomicBool,
    /// The next line of the log takes so long.
    pub(crate) line_millis: AtomicU64,
    /// There is no room for another slot.
    pub(crate) spool_is_full: AtomicBool,
    /// The next slot that gets another name gets it so late.
    pub(crate) rename_millis: AtomicU64,
    /// Nothing of the spool can be read.
    pub(crate) spool_is_unreadable: AtomicBool,
    /// Nothing in the spool gets another name.
    pub(crate) spool_renames_nothing: AtomicBool,
    /// Nothing goes from the spool.
    pub(crate) spool_removes_nothing: AtomicBool,
}

/// The system's randomness, while there is any.
pub(crate) struct Source(pub(crate) Arc<Meddling>);

impl Entropy for Source {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        if self.0.is_dry.load(Ordering::SeqCst) {
            return Err(NoEntropy);
        }
        SystemEntropy::new().fill(out)
    }
}

/// A wire with whom somebody meddles.
pub(crate) struct MeddledWire {
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) meddling: Arc<Meddling>,
}

struct MeddledLine {
    line: Box<dyn Line>,
    /// By when it was to be dialled.
    deadline: Boot,
    meddling: Arc<Meddling>,
}

impl Wire for MeddledWire {
    fn dial<'a>(
        &'a self,
        to: &'a Destination,
        deadline: Boot,
    ) -> Boxed<'a, Result<Box<dyn Line>, EgressError>> {
        Box::pin(async move {
            self.meddling.dials.fetch_add(1, Ordering::SeqCst);
            let long = self.meddling.dial_millis.load(Ordering::SeqCst);
            // tidy: sleeps because a slow way to the provider is what the test is about
            tokio::time::sleep(Duration::from_millis(long)).await;
            let line = self.wire.dial(to, deadline).await?;
            let meddling = Arc::clone(&self.meddling);
            Ok(Box::new(MeddledLine { line, deadline, meddling }) as Box<dyn Line>)
        })
    }
}

impl Line for MeddledLine {
    fn send(
        self: Box<Self>,
        request: Request<Bytes>,
        answer_max_bytes: usize,
        window: SendWindow,
    ) -> Boxed<'static, Result<RawAnswer, SendError>> {
        if request.method() == Method::POST {
            self.meddling.send_by.lock().unwrap().push((self.deadline, window.send_by));
        }
        if self.meddling.dries_at_send.swap(false, Ordering::SeqCst) {
            self.meddling.is_dry.store(true, Ordering::SeqCst);
        }
        let late_millis = self.meddling.late_millis.load(Ordering::SeqCst);
        let late = (late_millis > 0).then(|| Duration::from_millis(late_millis));
        let unwritten = Duration::from_millis(self.meddling.unwritten_millis.swap(0, Ordering::SeqCst));
        let sent = self.line.send(request, answer_max_bytes, window);
        Box::pin(async move {
            if !unwritten.is_zero() {
                // tidy: sleeps because a slow machine is what the test is about
                tokio::time::sleep(unwritten).await;
                return Err(SendError::NothingWritten(EgressError::NotSent("slow".to_owned())));
            }
            match sent.await {
                Ok(answer) => Ok(RawAnswer { late_by: late.or(answer.late_by), ..answer }),
                Err(SendError::AfterFirstByte { reason, status, late_by }) => {
                    Err(SendError::AfterFirstByte { reason, status, late_by: late.or(late_by) })
                }
                Err(error) => Err(error),
            }
        })
    }
}

/// Disks with which somebody meddles.
#[derive(Debug)]
pub(crate) struct MeddledFiles(pub(crate) Arc<Meddling>);

#[derive(Debug)]
struct MeddledFile {
    file: Box<dyn OpenFile>,
    meddling: Arc<Meddling>,
}

fn is_slot(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "slot")
}

fn refused(flag: &AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
    if flag.load(Ordering::SeqCst) { Err(kind.into()) } else { Ok(()) }
}

impl Files for MeddledFiles {
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn OpenFile>> {
        if is_slot(path) && how == Opening::Read {
            refused(&self.0.spool_is_unreadable, io::ErrorKind::InvalidData)?;
        }
        if is_slot(path) && how == Opening::CreateNew {
            refused(&self.0.spool_is_full, io::ErrorKind::StorageFull)?;
        }
        let file = SystemFiles.open(path, how)?;
        Ok(Box::new(MeddledFile { file, meddling: Arc::clone(&self.0) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if is_slot(from) {
            refused(&self.0.spool_renames_nothing, io::ErrorKind::PermissionDenied)?;
            // tidy: sleeps because a slow disk is what the test is about
            std::thread::sleep(Duration::from_millis(self.0.rename_millis.swap(0, Ordering::SeqCst)));
        }
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if is_slot(path) {
            refused(&self.0.spool_removes_nothing, io::ErrorKind::PermissionDenied)?;
        }
        SystemFiles.remove(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        SystemFiles.list(folder)
    }

    fn list_ending(&self, folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
        SystemFiles.list_ending(folder, ending)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        SystemFiles.make_folder(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        SystemFiles.sync_folder(folder)
    }

    fn hold(&self, lock: &Path) -> io::Result<Option<Held>> {
        SystemFiles.hold(lock)
    }
}

impl OpenFile for MeddledFile {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        self.file.read_all()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        refused(&self.meddling.log_is_full, io::ErrorKind::StorageFull)?;
        // tidy: sleeps because a slow disk is what the test is about
        std::thread::sleep(Duration::from_millis(self.meddling.line_millis.swap(0, Ordering::SeqCst)));
        self.file.append(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.file.identity()
    }
}
