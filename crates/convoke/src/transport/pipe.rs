//! A connection within the program: what is carried by a task beside the link (TLS) meets the link here. Each direction is
//! a queue with a bound. To the link it is a [`Stream`](super::Stream) like a socket, to the task what tokio reads and
//! writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, BytesMut};
use convoke_core::Refusal;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// What waits in one direction at most, in bytes: enough to keep both sides busy, and no more than a beat may wait behind.
const WAITING_BYTES_MAX: usize = 64 << 10;

/// Who writes waits until no more than this is left, in bytes, so that the two sides do not wake each other for every byte.
const WAITING_BYTES_LOW: usize = WAITING_BYTES_MAX / 2;

/// An emptied queue keeps its memory up to this, in bytes: a link that has become quiet shall cost little.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// One direction.
#[derive(Default)]
struct Way {
    waiting: BytesMut,
    /// Who writes has ended it.
    ended: bool,
    /// Who reads is gone.
    unread: bool,
    /// Why it ended, if who wrote knows.
    why: Option<Refusal>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Waits until nobody reads any more.
    watcher: Option<Waker>,
}

impl Way {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn read(&mut self, most: usize, take: impl FnOnce(&[u8])) -> io::Result<usize> {
        let count = most.min(self.waiting.len());
        if count == 0 {
            return if self.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        take(&self.waiting[..count]);
        self.waiting.advance(count);
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_BYTES_MAX {
            self.waiting = BytesMut::new();
        }
        if self.waiting.len() <= WAITING_BYTES_LOW {
            self.wake_writer();
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unread || self.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(WAITING_BYTES_MAX - self.waiting.len());
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.waiting.extend_from_slice(&bytes[..count]);
        self.wake_reader();
        Ok(count)
    }
}

/// One of the two ends; dropping it ends both directions.
pub(crate) struct End {
    from: Arc<Mutex<Way>>,
    to: Arc<Mutex<Way>>,
}

/// A connection: its two ends, which are alike.
pub(crate) fn pipe() -> (End, End) {
    let (one, other) = (Arc::<Mutex<Way>>::default(), Arc::<Mutex<Way>>::default());
    (End { from: one.clone(), to: other.clone() }, End { from: other, to: one })
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().expect("nothing in it panics")
}

impl End {
    /// Ready when something can be read, or the other side has ended its direction.
    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Who is always readable lets others have their turn all the same.
        let budget = ready!(tokio::task::coop::poll_proceed(context));
        let mut way = lock(&self.from);
        if way.ended || !way.waiting.is_empty() {
            budget.made_progress();
            return Poll::Ready(Ok(()));
        }
        way.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ready when there is room for what is written, or nobody reads it.
    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = lock(&self.to);
        if way.unread || way.waiting.len() <= WAITING_BYTES_LOW {
            return Poll::Ready(Ok(()));
        }
        way.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// As a socket has it; a pipe knows by itself whether it is empty.
    pub(super) fn try_io<R>(&self, _: Interest, attempt: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        attempt()
    }

    pub(super) fn try_read_buf(&self, input: &mut BytesMut) -> io::Result<usize> {
        let room = input.capacity() - input.len();
        lock(&self.from).read(room, |bytes| input.put_slice(bytes))
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.to).write(bytes)
    }

    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut way = lock(&self.to);
        let mut count = 0;
        for slice in slices {
            match way.write(slice) {
                Ok(written) => count += written,
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
            if way.waiting.len() >= WAITING_BYTES_MAX {
                break;
            }
        }
        Ok(count)
    }

    /// Nothing more comes from this side.
    pub(crate) fn end(&self) {
        let mut way = lock(&self.to);
        way.ended = true;
        way.wake_reader();
    }

    /// The same, with the reason for it.
    pub(crate) fn end_because(&self, why: Refusal) {
        lock(&self.to).why = Some(why);
        self.end();
    }

    /// Why the other side has ended its direction, if it said so.
    pub(crate) fn why(&self) -> Option<Refusal> {
        lock(&self.from).why.clone()
    }

    /// Waits until the other side has ended its direction, whatever it wrote before.
    pub(crate) async fn ended(&self) {
        std::future::poll_fn(|context| {
            let mut way = lock(&self.from);
            if way.ended {
                return Poll::Ready(());
            }
            way.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until the other side is dropped.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + use<> {
        let to = self.to.clone();
        std::future::poll_fn(move |context| {
            let mut way = lock(&to);
            if way.unread {
                return Poll::Ready(());
            }
            way.watcher = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end();
        let mut way = lock(&self.from);
        way.unread = true;
        way.wake_writer();
        if let Some(watcher) = way.watcher.take() {
            watcher.wake();
        }
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let budget = ready!(tokio::task::coop::poll_proceed(context));
        let mut way = lock(&self.from);
        match way.read(buffer.remaining(), |bytes| buffer.put_slice(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                way.reader = Some(context.waker().clone());
                Poll::Pending
            }
            done => {
                budget.made_progress();
                Poll::Ready(done.map(drop))
            }
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let budget = ready!(tokio::task::coop::poll_proceed(context));
        let mut way = lock(&self.to);
        match way.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                way.writer = Some(context.waker().clone());
                Poll::Pending
            }
            done => {
                budget.made_progress();
                Poll::Ready(done)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_no_more_waits_than_the_bound() {
        let (near, mut far) = pipe();
        let long = vec![7; WAITING_BYTES_MAX * 3];
        assert_eq!(near.try_write(&long).unwrap(), WAITING_BYTES_MAX);
        assert_eq!(near.try_write(&long).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            (all, far)
        });
        let mut written = WAITING_BYTES_MAX;
        while written < long.len() {
            std::future::poll_fn(|context| near.poll_write_ready(context)).await.unwrap();
            written += near.try_write_vectored(&[IoSlice::new(&[7]), IoSlice::new(&long[written + 1..])]).unwrap();
        }
        near.end();
        let (all, _far) = reading.await.unwrap();
        assert_eq!(all, long);
        assert_eq!(lock(&near.to).waiting.capacity(), 0, "an emptied queue costs nothing");
    }

    #[tokio::test]
    async fn an_end_that_is_dropped_ends_both_directions() {
        let (near, mut far) = pipe();
        let gone = tokio::spawn(far.gone());
        near.try_write(b"last words").unwrap();
        drop(near);
        gone.await.unwrap();
        let mut words = String::new();
        far.read_to_string(&mut words).await.unwrap();
        assert_eq!(words, "last words");
        assert_eq!(far.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let (near, mut far) = pipe();
        let far = tokio::spawn(async move {
            assert_eq!(far.read_u8().await.unwrap(), 1);
            far.write_all(&[0; WAITING_BYTES_MAX * 2]).await.unwrap();
            far.end_because(Refusal::new(convoke_core::Code::Unauthorized, "so it is"));
            far.gone().await;
        });
        tokio::task::yield_now().await;
        near.try_write(&[1]).unwrap();
        let mut input = BytesMut::with_capacity(WAITING_BYTES_MAX * 2 + 1);
        loop {
            std::future::poll_fn(|context| near.poll_read_ready(context)).await.unwrap();
            match near.try_read_buf(&mut input) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!((input.len(), near.why().unwrap().text.as_ref()), (WAITING_BYTES_MAX * 2, "so it is"));
        drop(near);
        far.await.unwrap();
    }
}
