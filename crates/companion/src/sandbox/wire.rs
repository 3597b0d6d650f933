//! What `run` and the stages of its sandbox say to each other: JSON in frames over a pair of Unix sockets,
//! with descriptors beside it.
//!
//! A stage has its end as standard input, the one descriptor that a program without `unsafe` can be handed.
//! The standard input that the program itself is to have therefore travels as a descriptor, and so does the
//! listener that was opened inside the network namespace.

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

/// The largest frame: an environment and the paths of a large home folder.
const FRAME_LIMIT_BYTES: usize = 8 * 1024 * 1024;
/// How many descriptors stand beside one frame at most.
const DESCRIPTORS_MAX: usize = 1;
/// The length in front of each frame.
const HEAD_BYTES: usize = 4;

/// One end of the line, while it is used step by step.
#[derive(Debug)]
pub(super) struct Line(UnixStream);

impl Line {
    /// Both ends; the second is for a stage's standard input.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, theirs) = UnixStream::pair()?;
        Ok((Self(own), theirs.into()))
    }

    /// A stage's own end: its standard input.
    pub(super) fn of_stage() -> io::Result<Self> {
        let end = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self(UnixStream::from(end)))
    }

    /// A second handle of this end, for the standard input of the next stage.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }

    /// Gives up on an answer after this time.
    pub(super) fn patience(&self, within: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(within)
    }

    pub(super) fn send<T: Serialize>(&self, message: &T, beside: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let frame = frame(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = beside.into_iter().collect();
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        // The descriptors go with the first byte; whatever is left goes without them.
        let sent = retry(|| sendmsg(&self.0, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL))?;
        (&self.0).write_all(frame.get(sent..).unwrap_or_default())
    }

    /// The next frame; `UnexpectedEof` where the other end is gone.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<(T, Option<OwnedFd>)> {
        let mut head = [0; HEAD_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = retry(|| recvmsg(&self.0, &mut [IoSliceMut::new(&mut head)], &mut control, flags))?;
        let beside = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (&self.0).read_exact(head.get_mut(got.bytes..).unwrap_or_default())?;
        let mut body = vec![0; length(head)?];
        (&self.0).read_exact(&mut body)?;
        Ok((serde_json::from_slice(&body)?, beside))
    }

    /// The same end for a loop that waits for other things too.
    pub(super) fn into_live(self) -> io::Result<Live> {
        self.0.set_read_timeout(None)?;
        self.0.set_nonblocking(true)?;
        Ok(Live { stream: tokio::net::UnixStream::from_std(self.0)?, partial: Vec::new() })
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_LIMIT_BYTES);
    let length = length.ok_or_else(|| io::Error::other("an environment of more than 8 MiB"))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    Ok(frame)
}

fn length(head: [u8; HEAD_BYTES]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > FRAME_LIMIT_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(length)
}

/// One end of the line, while the program runs.
#[derive(Debug)]
pub(super) struct Live {
    stream: tokio::net::UnixStream,
    /// What has arrived of a frame. It outlives a wait that was dropped for another.
    partial: Vec<u8>,
}

impl Live {
    pub(super) async fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        tokio::io::AsyncWriteExt::write_all(&mut self.stream, &frame(message)?).await
    }

    /// The next frame. May be dropped and asked again.
    pub(super) async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        loop {
            if let Some(body) = self.whole()? {
                return Ok(serde_json::from_slice(&body)?);
            }
            let mut chunk = [0; 512];
            let read = tokio::io::AsyncReadExt::read(&mut self.stream, &mut chunk).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.partial.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }

    fn whole(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(head) = self.partial.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let end = HEAD_BYTES + length(*head)?;
        if self.partial.len() < end {
            return Ok(None);
        }
        let rest = self.partial.split_off(end);
        let frame = std::mem::replace(&mut self.partial, rest);
        Ok(Some(frame.get(HEAD_BYTES..).unwrap_or_default().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    //! Proves that frames and descriptors arrive whole, and that a frame cut by a dropped wait does too.

    use super::Line;
    use std::{
        io::{Read as _, Write as _},
        os::{
            fd::{AsFd as _, OwnedFd},
            unix::net::UnixStream,
        },
        time::Duration,
    };

    fn lines() -> (Line, Line) {
        let (own, theirs) = Line::pair().unwrap();
        (own, Line(UnixStream::from(theirs)))
    }

    #[test]
    fn a_frame_arrives_with_its_descriptor() {
        let (near, far) = lines();
        let (mut kept, given) = UnixStream::pair().unwrap();
        near.send(&"x".repeat(100_000), Some(OwnedFd::from(given).as_fd())).unwrap();
        let (text, descriptor) = far.receive::<String>().unwrap();
        assert_eq!(text.len(), 100_000);
        let mut arrived = UnixStream::from(descriptor.unwrap());
        arrived.write_all(b"!").unwrap();
        let mut byte = [0];
        kept.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"!");
    }

    #[test]
    fn the_end_of_the_other_side_is_an_error_and_no_message() {
        let (near, far) = lines();
        drop(near);
        assert_eq!(far.receive::<String>().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_both_sides() {
        let (near, far) = lines();
        assert!(near.send(&"x".repeat(9 * 1024 * 1024), None).is_err());
        (&near.0).write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(far.receive::<String>().unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_loses_nothing_of_a_frame() {
        let (near, far) = lines();
        let mut far = far.into_live().unwrap();
        let frame = super::frame(&"hello").unwrap();
        let (first, second) = frame.split_at(5);
        (&near.0).write_all(first).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(20), far.receive::<String>()).await;
        assert!(early.is_err());
        (&near.0).write_all(second).unwrap();
        assert_eq!(far.receive::<String>().await.unwrap(), "hello");
    }
}
