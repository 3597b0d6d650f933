//! HTTP/1.1 as far as both ends of a benchmark need it: a head, a length or chunks, a body that is read away.

use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a head says.
pub(crate) struct Head {
    /// The second word of its first line: a request's target, an answer's status.
    pub(crate) target: String,
    /// The bytes that follow, where they are counted.
    pub(crate) length: usize,
    /// Whether they come in chunks.
    is_chunked: bool,
}

/// Reads a head; what came after it stays in `unread`.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> Result<Head> {
    let end = until(stream, unread, b"\r\n\r\n").await?;
    let head = parse(unread.get(..end).unwrap_or_default());
    unread.drain(..end + 4);
    head.ok_or_else(|| ErrorKind::InvalidData.into())
}

/// Reads until there is a mark; where it begins.
async fn until(stream: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>, mark: &[u8]) -> Result<usize> {
    let mut looked = 0;
    loop {
        let from = unread.get(looked..).unwrap_or_default();
        if let Some(end) = from.windows(mark.len()).position(|piece| piece == mark) {
            return Ok(looked + end);
        }
        looked = (unread.len() + 1).saturating_sub(mark.len());
        if stream.read_buf(unread).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(head: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut parsed = Head { target, length: 0, is_chunked: false };
    for line in lines {
        let is_named = |name: &str| line.get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name));
        if is_named("content-length:") {
            parsed.length = line.get(15..)?.trim().parse().ok()?;
        } else if is_named("transfer-encoding: chunked") {
            parsed.is_chunked = true;
        }
    }
    Some(parsed)
}

/// Reads the body behind a head away; how long it was.
pub(crate) async fn body(
    stream: &mut (impl AsyncRead + Unpin),
    unread: &mut Vec<u8>,
    head: &Head,
) -> Result<usize> {
    if !head.is_chunked {
        return skip(stream, unread, head.length).await.map(|()| head.length);
    }
    let mut all = 0;
    loop {
        let end = until(stream, unread, b"\r\n").await?;
        let size = std::str::from_utf8(unread.get(..end).unwrap_or_default()).ok();
        let size =
            size.and_then(|size| usize::from_str_radix(size, 16).ok()).ok_or(ErrorKind::InvalidData)?;
        unread.drain(..end + 2);
        skip(stream, unread, size + 2).await?;
        if size == 0 {
            return Ok(all);
        }
        all += size;
    }
}

/// Reads so many bytes away.
pub(crate) async fn skip(
    stream: &mut (impl AsyncRead + Unpin),
    unread: &mut Vec<u8>,
    length: usize,
) -> Result<()> {
    let mut left = length.saturating_sub(unread.len());
    unread.drain(..length.min(unread.len()));
    while left > 0 {
        unread.clear();
        let read = stream.read_buf(unread).await?;
        if read == 0 {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        let taken = read.min(left);
        unread.drain(..taken);
        left -= taken;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! A head is found wherever the pieces of it end, and what follows the body belongs to the next one.

    use super::{body, head, skip};
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn two_answers_in_pieces_are_read_one_after_the_other() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 404 No\r\n\r\n";
        let (mut near, mut far) = tokio::io::duplex(3);
        let writing = tokio::spawn(async move { far.write_all(bytes).await });
        let mut unread = Vec::with_capacity(4);
        let first = head(&mut near, &mut unread).await.unwrap();
        assert_eq!((first.target.as_str(), first.length), ("200", 5));
        skip(&mut near, &mut unread, first.length).await.unwrap();
        assert_eq!(head(&mut near, &mut unread).await.unwrap().target, "404");
        writing.await.unwrap().unwrap();
    }
    #[tokio::test]
    async fn chunks_in_pieces_are_read_to_their_end_and_no_further() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n\
            HTTP/1.1 404 No\r\n\r\n";
        let (mut near, mut far) = tokio::io::duplex(3);
        let writing = tokio::spawn(async move { far.write_all(bytes).await });
        let mut unread = Vec::with_capacity(4);
        let first = head(&mut near, &mut unread).await.unwrap();
        assert_eq!(body(&mut near, &mut unread, &first).await.unwrap(), 15);
        assert_eq!(head(&mut near, &mut unread).await.unwrap().target, "404");
        writing.await.unwrap().unwrap();
    }
}
