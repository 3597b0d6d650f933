//! HTTP/1.1 as far as both ends of a benchmark need it: a head, a length, a body that is read away.

use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a head says.
pub(crate) struct Head {
    /// The second word of its first line: a request's target, an answer's status.
    pub(crate) target: String,
    /// The bytes that follow.
    pub(crate) length: usize,
}

/// Reads a head; what came after it stays in `unread`.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> Result<Head> {
    let mut looked = 0;
    loop {
        let from = unread.get(looked..).unwrap_or_default();
        if let Some(end) = from.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = parse(unread.get(..looked + end).unwrap_or_default());
            unread.drain(..looked + end + 4);
            return head.ok_or_else(|| ErrorKind::InvalidData.into());
        }
        looked = unread.len().saturating_sub(3);
        if stream.read_buf(unread).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(head: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let is_length =
        |line: &&str| line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:"));
    let length = match lines.find(is_length) {
        Some(line) => line.get(15..)?.trim().parse().ok()?,
        None => 0,
    };
    Some(Head { target, length })
}

/// Reads a body away.
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

    use super::{head, skip};
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
}
