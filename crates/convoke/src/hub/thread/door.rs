//! What a connection speaks, found out by its first byte: TLS is carried by a task of its own, beside the hub's thread, and
//! everything else is a link as it comes.

use std::rc::Rc;

use convoke_core::{Code, LinkId, Refusal};
use tokio::net::TcpStream;

use super::{Loop, now};
use crate::transport::Stream;
use crate::transport::pipe::pipe;

/// What TLS begins with, and no link: a record of a handshake.
const TLS_FIRST_BYTE: u8 = 0x16;

/// What a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Links as they come.
    Plain,
    /// Those, and links over TLS.
    Both,
    /// Links over TLS only.
    Tls,
}

impl Loop {
    /// Waits for the first byte of a connection, and goes on accordingly. Meanwhile it is a link of the hub like any other that
    /// has not joined.
    pub(super) async fn sort(self: Rc<Self>, id: LinkId, stream: TcpStream, door: Door) {
        let mut first = [0];
        // When the time is over, the hub itself says so.
        let came = tokio::time::timeout(self.join_time, stream.peek(&mut first)).await;
        let stream = match came {
            Ok(Ok(0) | Err(_)) => return self.forget(id),
            Ok(Ok(_)) if first[0] == TLS_FIRST_BYTE => match self.carried(id, stream) {
                Some(stream) => stream,
                None => return self.forget(id),
            },
            Ok(Ok(_)) if door == Door::Tls => {
                let text =
                    "this address takes links over TLS only: write it with `tls://`, and give the authority of the hub";
                self.shared.lock().turn_away(id, Refusal::new(Code::Unauthorized, text), now());
                Stream::Tcp(stream)
            }
            Ok(Ok(_)) | Err(_) => Stream::Tcp(stream),
        };
        self.start(id, stream);
    }

    /// Hands a connection over to a task that speaks TLS.
    fn carried(&self, id: LinkId, stream: TcpStream) -> Option<Stream> {
        let carrier = self.carrier.as_ref()?;
        let stream = stream.into_std().ok()?;
        let (near, far) = pipe();
        carrier.runtime.spawn(carrier.tls.clone().serve(stream, far, self.shared.clone(), id));
        Some(Stream::Pipe(near))
    }
}
