//! tonic: a caller and a provider with nothing between them, over one HTTP/2 connection.
//!
//! What its code generator would write is written here by hand, so that nobody needs a compiler for protocol buffers.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::tonic::body::Body;
use ::tonic::client::Grpc as Caller;
use ::tonic::server::{Grpc as Provider, NamedService, UnaryService};
use ::tonic::transport::{Endpoint, Server};
use ::tonic::{Request, Response, Status};
use http::uri::PathAndQuery;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::convoke::{failed, in_flight, run};
use crate::process;
use crate::workload::{CALL_BYTES, Limit, Tally};

/// Calls that one connection may have open: more than are ever in flight here. Its default is 200.
const STREAMS_MAX: u32 = 1024;

/// The one method.
const ECHO: &str = "/bench.Bench/Echo";

/// Request and answer.
#[derive(Clone, PartialEq, ::prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    payload: Vec<u8>,
}

/// The service.
#[derive(Clone)]
struct Bench;

impl NamedService for Bench {
    const NAME: &'static str = "bench.Bench";
}

impl UnaryService<Bytes> for Bench {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl Service<http::Request<Body>> for Bench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // There is one method, so nothing has to be looked up.
        Box::pin(async { Ok(Provider::new(ProstCodec::<Bytes, Bytes>::default()).unary(Bench, request).await) })
    }
}

/// Answers calls until this process is told to stop; calls `ready` with the address.
pub(super) fn serve(ready: impl FnOnce(&str)) -> io::Result<()> {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        ready(&listener.local_addr()?.to_string());
        process::exit_with_parent();
        let server = Server::builder().max_concurrent_streams(STREAMS_MAX).tcp_nodelay(true).add_service(Bench);
        server.serve_with_incoming(TcpListenerStream::new(listener)).await.map_err(failed)
    })
}

pub(super) fn call(addr: &str, at_once: usize, seconds: Duration) -> io::Result<Tally> {
    run(async {
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).map_err(failed)?;
        let channel = endpoint.connect().await.map_err(failed)?;
        let payload = vec![b'.'; CALL_BYTES];
        in_flight(at_once, Limit::Time(seconds), move |_| {
            let mut caller = Caller::new(channel.clone());
            let payload = payload.clone();
            async move {
                caller.ready().await.map_err(failed)?;
                let codec = ProstCodec::<Bytes, Bytes>::default();
                let answer =
                    caller.unary(Request::new(Bytes { payload }), PathAndQuery::from_static(ECHO), codec).await;
                let answer = answer.map_err(failed)?.into_inner();
                if answer.payload.len() == CALL_BYTES { Ok(()) } else { Err(io::Error::other("another payload came")) }
            }
        })
        .await
    })
}
