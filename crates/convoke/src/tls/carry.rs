//! A link over TLS, carried: what came encrypted goes into a pipe, and what comes out of the pipe leaves encrypted. The
//! same for hub and node.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use convoke_core::Refusal;
use convoke_core::limits::BEFORE_JOIN_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::transport::pipe::End;

/// What is carried at once, in bytes: one record of TLS.
const RECORD_BYTES: usize = 16 << 10;

/// How long what the link has said last may take to leave, once nobody waits for answers any more.
const LINGER: Duration = Duration::from_secs(1);

/// So much of what came first is kept, in bytes, until the two sides have agreed: who does not speak TLS says something else
/// instead, and that may be worth telling.
const FIRST_BYTES_MAX: usize = 512;

/// A connection that is about to speak TLS: no more may come on it than a link may say before it has joined.
pub(super) struct Opening {
    stream: TcpStream,
    /// What may still come, in bytes; none if the two sides have agreed.
    room: Option<usize>,
    first: Vec<u8>,
}

impl Opening {
    pub(super) fn new(stream: TcpStream) -> Opening {
        Opening { stream, room: Some(BEFORE_JOIN_BYTES_MAX), first: Vec::new() }
    }

    /// What came first.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    fn agreed(&mut self) {
        self.room = None;
        self.first = Vec::new();
    }

    /// Ends a connection on which the two sides did not agree, and waits a moment until the other has read why: closing with
    /// unread input would take that away from it.
    pub(super) async fn end(mut self) {
        let ending = async {
            self.stream.shutdown().await?;
            let mut unread = [0; 1024];
            while self.stream.read(&mut unread).await? > 0 {}
            io::Result::Ok(())
        };
        // It ends either way.
        let _ = tokio::time::timeout(LINGER, ending).await;
    }
}

impl AsyncRead for Opening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(room) = self.room else { return Pin::new(&mut self.stream).poll_read(context, buffer) };
        if room == 0 {
            let text = format!("more than {BEFORE_JOIN_BYTES_MAX} bytes came before TLS was agreed upon");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        self.room = Some(room.saturating_sub(came.len()));
        let kept = came.len().min(FIRST_BYTES_MAX - self.first.len());
        self.first.extend_from_slice(&came[..kept]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Opening {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Carries a link until both directions have ended, the connection is cut, or the link is gone. `why` makes the reason that
/// the link is told of an error, if it is worth one.
pub(super) async fn carry(
    mut tls: TlsStream<Opening>,
    mut pipe: End,
    why: impl FnOnce(&rustls::Error) -> Option<Refusal>,
) {
    tls.get_mut().0.agreed();
    let gone = pipe.gone();
    let gone = async {
        gone.await;
        tokio::time::sleep(LINGER).await;
    };
    let ended = tokio::select! {
        ended = copy_bidirectional_with_sizes(&mut tls, &mut pipe, RECORD_BYTES, RECORD_BYTES) => ended,
        () = gone => return,
    };
    if let Err(error) = ended
        && let Some(why) = of_tls(&error).and_then(why)
    {
        pipe.end_because(why);
    }
}

/// What TLS itself has to say about an error.
pub(super) fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn no_more_comes_before_the_two_sides_have_agreed_than_a_link_may_say() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut noisy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut opening = Opening::new(listener.accept().await.unwrap().0);
        let noise = tokio::spawn(async move { while noisy.write_all(&[7; 4096]).await.is_ok() {} });
        let (mut buffer, mut came) = ([0; 1024], 0);
        let error = loop {
            match opening.read(&mut buffer).await {
                Ok(count) => came += count,
                Err(error) => break error,
            }
            assert!(came < BEFORE_JOIN_BYTES_MAX + buffer.len());
        };
        assert_eq!(
            error.to_string(),
            format!("more than {BEFORE_JOIN_BYTES_MAX} bytes came before TLS was agreed upon")
        );
        assert_eq!(opening.first(), [7; FIRST_BYTES_MAX]);
        opening.agreed();
        opening.read_exact(&mut buffer).await.unwrap();
        drop(opening);
        noise.await.unwrap();
    }
}
