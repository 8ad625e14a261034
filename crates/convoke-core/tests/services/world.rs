//! A hub and its nodes, with a clock that only moves when it is told to.

use std::time::Duration;

use bytes::BytesMut;
use convoke_core::frame::{Frame, Preface};
use convoke_core::{
    CallEnd, CallRequest, Code, Headers, HubConfig, HubIdentity, HubState, Incoming, IncomingCall, LinkId, Name,
    NodeConfig, NodeState, Payload, Peer, Refusal, Selector, Time, Transmit,
};

/// One node, what it was given, and how its calls ended.
pub(crate) struct Side {
    pub(crate) node: NodeState,
    pub(crate) link: Option<LinkId>,
    /// Nothing leaves the hub for it.
    pub(crate) stuck: bool,
    /// What leaves the hub for it is lost on the way, and what it says too.
    pub(crate) deaf: bool,
    pub(crate) given: Vec<IncomingCall>,
    pub(crate) cancelled: Vec<u64>,
    pub(crate) ended: Vec<(u64, CallEnd)>,
    pub(crate) answers: Vec<(u32, Result<u64, Refusal>)>,
    /// What the hub says to it, if that is to be looked at.
    pub(crate) tapped: Option<Vec<u8>>,
}

pub(crate) struct World {
    pub(crate) hub: HubState,
    pub(crate) config: HubConfig,
    pub(crate) now: Time,
    epoch: u64,
    pub(crate) sides: Vec<Side>,
}

fn hub(config: &HubConfig, epoch: u64, now: Time) -> HubState {
    let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch };
    HubState::new(config.clone(), identity, [3; 32], now)
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

impl World {
    pub(crate) fn new() -> World {
        World::with(HubConfig::default())
    }

    pub(crate) fn with(config: HubConfig) -> World {
        let now = Time::START;
        World { hub: hub(&config, 1, now), config, now, epoch: 1, sides: Vec::new() }
    }

    /// A node that has joined.
    pub(crate) fn node(&mut self, called: &str) -> usize {
        let seed = [self.sides.len() as u8; 32];
        let mut config = NodeConfig::new(name(called));
        config.takeover = true;
        let node = NodeState::new(config, seed, self.now);
        self.sides.push(Side {
            node,
            link: None,
            stuck: false,
            deaf: false,
            given: Vec::new(),
            cancelled: Vec::new(),
            ended: Vec::new(),
            answers: Vec::new(),
            tapped: None,
        });
        let at = self.sides.len() - 1;
        self.join(at);
        at
    }

    /// A node that offers a service.
    pub(crate) fn provider(&mut self, called: &str, service: &str) -> usize {
        let at = self.node(called);
        self.serve(at, service, false);
        at
    }

    pub(crate) fn serve(&mut self, at: usize, service: &str, idempotent: bool) -> u32 {
        let id = self.sides[at].node.serve(name(service), idempotent).expect("it may");
        self.run();
        assert!(self.sides[at].answers.contains(&(id, Ok(0))), "{:?}", self.sides[at].answers);
        id
    }

    pub(crate) fn join(&mut self, at: usize) {
        let side = &mut self.sides[at];
        (side.stuck, side.deaf) = (false, false);
        while !side.node.wants_link() {
            // Its pause before it tries again.
            let due = side.node.deadline().expect("it tries again");
            self.now = self.now.max(due);
            side.node.tick(self.now);
        }
        side.node.connected(true, self.now);
        side.link = Some(self.hub.open(Peer::Owner, self.now).expect("room"));
        self.run();
        assert!(self.sides[at].node.is_joined(), "{:?}", self.sides[at].node.standing());
    }

    /// Cuts a link: what is on its way is lost.
    pub(crate) fn cut(&mut self, at: usize) {
        let now = self.now;
        if let Some(link) = self.sides[at].link.take() {
            self.hub.closed(link, now);
            self.sides[at].node.disconnected(Refusal::new(Code::LinkLost, "cut"), now);
        }
        self.run();
    }

    /// A program ends without a word, and another of its name joins.
    pub(crate) fn restart_node(&mut self, at: usize) {
        if let Some(link) = self.sides[at].link.take() {
            self.hub.closed(link, self.now);
        }
        let called = self.sides[at].node.name().to_string();
        self.sides[at].node = NodeState::new(NodeConfig::new(name(&called)), [99; 32], self.now);
        self.join(at);
    }

    /// Kills the hub and starts it again. Nobody has joined yet.
    pub(crate) fn restart_hub(&mut self) {
        for at in 0..self.sides.len() {
            if self.sides[at].link.take().is_some() {
                self.sides[at].node.disconnected(Refusal::new(Code::LinkLost, "killed"), self.now);
            }
        }
        self.epoch += 1;
        self.hub = hub(&self.config, self.epoch, self.now);
    }

    /// Carries everything until nothing waits.
    pub(crate) fn run(&mut self) {
        loop {
            let mut moved = false;
            for side in &mut self.sides {
                collect(side);
                let Some(link) = side.link else { continue };
                let mut transmit = Transmit::new();
                side.node.transmit(&mut transmit);
                while let Some(bytes) = transmit.pop() {
                    moved = true;
                    if !side.deaf {
                        self.hub.receive(link, &mut BytesMut::from(&bytes[..]), self.now);
                    }
                }
            }
            while self.hub.touched().is_some() {}
            for side in &mut self.sides {
                let Some(link) = side.link.filter(|_| !side.stuck) else { continue };
                let mut transmit = Transmit::new();
                self.hub.transmit(link, &mut transmit);
                while let Some(bytes) = transmit.pop() {
                    moved = true;
                    if let Some(tapped) = &mut side.tapped {
                        tapped.extend_from_slice(&bytes);
                    }
                    if !side.deaf {
                        side.node.receive(&mut BytesMut::from(&bytes[..]), self.now);
                    }
                }
                if transmit.close {
                    self.hub.closed(link, self.now);
                    side.link = None;
                    side.node.disconnected(Refusal::new(Code::LinkLost, "closed"), self.now);
                }
                if !side.node.has_link() && side.link.take().is_some() {
                    // It has left, or gave the link up; what it had to say was said.
                    self.hub.closed(link, self.now);
                }
            }
            for side in &mut self.sides {
                collect(side);
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets time pass, with every deadline met on time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let nodes = self.sides.iter().filter(|side| side.link.is_some() || !side.node.has_link());
            let due = nodes.filter_map(|side| side.node.deadline()).chain(self.hub.deadline()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.hub.tick(self.now);
            for side in &mut self.sides {
                if side.node.deadline().is_some_and(|due| due <= self.now) {
                    side.node.tick(self.now);
                }
            }
            self.run();
        }
        self.now = end;
        self.hub.tick(self.now);
        self.run();
    }

    pub(crate) fn request<'a>(&self, service: &str, payload: &str) -> CallRequest<'a> {
        static NONE: Headers = Headers::new();
        CallRequest {
            service: name(service),
            select: Selector::Default,
            wait: false,
            timeout: Duration::ZERO,
            payload: Payload::text(payload),
            headers: &NONE,
        }
    }

    pub(crate) fn call(&mut self, at: usize, service: &str, payload: &str) -> u64 {
        let request = self.request(service, payload);
        self.call_with(at, request)
    }

    pub(crate) fn call_with(&mut self, at: usize, request: CallRequest<'_>) -> u64 {
        let now = self.now;
        let number = self.sides[at].node.call(&request, now).expect("it is joined");
        self.run();
        number
    }

    /// The texts that a node was given, oldest first.
    pub(crate) fn given(&self, at: usize) -> Vec<String> {
        self.sides[at].given.iter().map(|call| call.payload.decode().expect("text")).collect()
    }

    /// The program handles the oldest call that it has, and answers with the same.
    pub(crate) fn handle(&mut self, at: usize) -> bool {
        if self.sides[at].given.is_empty() {
            return false;
        }
        let call = self.sides[at].given.remove(0);
        let now = self.now;
        self.sides[at].node.finish(call.id, &CallEnd::Done(call.payload), now);
        self.run();
        true
    }

    /// How a call ended, which is told once.
    pub(crate) fn end(&mut self, at: usize, number: u64) -> CallEnd {
        let ended = &mut self.sides[at].ended;
        let place = ended.iter().position(|(one, _)| *one == number).expect("the call has ended");
        ended.remove(place).1
    }

    pub(crate) fn is_open(&self, at: usize, number: u64) -> bool {
        !self.sides[at].ended.iter().any(|(one, _)| *one == number)
    }

    /// It was handled, with this result.
    pub(crate) fn done(&mut self, at: usize, number: u64) -> String {
        match self.end(at, number) {
            CallEnd::Done(payload) => payload.decode().expect("text"),
            other => panic!("{other:?}"),
        }
    }

    /// It certainly had no effect.
    pub(crate) fn not_done(&mut self, at: usize, number: u64) -> Refusal {
        match self.end(at, number) {
            CallEnd::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// It may have happened.
    pub(crate) fn uncertain(&mut self, at: usize, number: u64) -> Refusal {
        match self.end(at, number) {
            CallEnd::Uncertain(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// How often the hub has asked this node what became of a call, since it is tapped.
    pub(crate) fn recalls(&self, at: usize) -> usize {
        let mut bytes = self.sides[at].tapped.as_deref().expect("it is tapped");
        if bytes.starts_with(&Preface::MAGIC) {
            bytes = &bytes[Preface::BYTES..];
        }
        let mut recalls = 0;
        while let Some((frame, len)) = Frame::decode(bytes).expect("a frame") {
            recalls += usize::from(matches!(frame, Frame::Recall { .. }));
            bytes = &bytes[len..];
        }
        recalls
    }

    /// How many calls are open in the hub, and how many registrations and parties there are.
    pub(crate) fn census(&self) -> (usize, usize, usize) {
        let census = self.hub.census();
        (census.calls, census.registrations, census.parties)
    }
}

fn collect(side: &mut Side) {
    for incoming in side.node.incoming() {
        match incoming {
            Incoming::Call(call) => side.given.push(call),
            Incoming::Cancel { id, .. } => side.cancelled.push(id),
            Incoming::Ended { .. } => {}
        }
    }
    side.ended.extend(side.node.ended_calls());
    side.answers.extend(side.node.answers());
}
