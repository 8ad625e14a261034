//! Calls through Convoke's hub: the provider and the caller.

use std::io;
use std::time::Duration;

use convoke::{CallOptions, Node, Payload, ServeOptions};

use super::{failed, in_flight, run};
use crate::workload::{CALL_BYTES, Limit, Tally, payload};

/// The service.
const SERVICE: &str = "bench/echo";

/// Answers calls for ever, after `ready` was called.
pub(crate) fn answer(addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    run(async {
        let node = Node::connect(addr, "provider").await.map_err(failed)?;
        let echo = |call: convoke::Call| std::future::ready(Ok(call.payload));
        let _offered = node.serve_payload(SERVICE, ServeOptions::default(), echo).await.map_err(failed)?;
        ready();
        std::future::pending().await
    })
}

/// Makes calls, always `at_once` of them unanswered.
pub(crate) fn call(addr: &str, at_once: usize, seconds: Duration) -> io::Result<Tally> {
    run(async {
        let node = Node::connect(addr, "caller").await.map_err(failed)?;
        let message = Payload::raw(payload(0, CALL_BYTES));
        in_flight(at_once, Limit::Time(seconds), move |_| {
            let (node, message) = (node.clone(), message.clone());
            async move {
                let answer = node.call_payload(SERVICE, message, CallOptions::default()).await.map_err(failed)?;
                if answer.bytes.len() == CALL_BYTES { Ok(()) } else { Err(io::Error::other("another payload came")) }
            }
        })
        .await
    })
}
