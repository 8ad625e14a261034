//! One hub, some nodes and a foundation, carried by hand: no bytes move before the test says so.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use convoke_core::foundation::{Ask, READ_ONLY, RowKey, Told};
use convoke_core::node::WriteId;
use convoke_core::{
    Code, HubConfig, HubIdentity, HubState, LinkId, Name, NodeConfig, NodeState, Peer, Refusal, Standing, Time,
    Transmit,
};

pub(crate) struct Node {
    pub(crate) state: NodeState,
    link: Option<LinkId>,
    /// How many it has had.
    pub(crate) links: usize,
    /// It reads nothing.
    pub(crate) deaf: bool,
    /// What the hub has written and it has not read.
    unread: Vec<Bytes>,
    /// As whom the transport knows it.
    peer: Peer,
    /// Why it is not let in; it does not try again.
    pub(crate) refused: Option<Refusal>,
}

impl Node {
    /// What waits for a node that reads nothing, in the hub and on the way.
    pub(crate) fn waiting_bytes(&mut self, hub: &mut HubState) -> usize {
        let mut transmit = Transmit::new();
        if self.unread.is_empty()
            && let Some(link) = self.link
        {
            hub.transmit(link, &mut transmit);
        }
        self.unread.extend(std::iter::from_fn(|| transmit.pop()));
        self.unread.iter().map(Bytes::len).sum()
    }
}

pub(crate) struct World {
    pub(crate) hub: HubState,
    config: HubConfig,
    id: u8,
    epoch: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Time,
    /// The foundation answers nothing; what it is asked is held.
    pub(crate) hold: bool,
    pub(crate) held: Vec<Ask>,
    /// When the foundation has answered so many asks, the hub is killed and starts again.
    pub(crate) kill_after: Option<usize>,
    pos: u64,
    operations: BTreeMap<u64, Bytes>,
    rows: BTreeMap<RowKey, Bytes>,
    reached: u64,
}

fn hub(config: &HubConfig, id: u8, epoch: u64) -> HubState {
    let identity = HubIdentity { hub: [id; 16], history: [2; 16], epoch };
    HubState::new(config.clone(), identity, [3; 32], Time::START)
}

impl World {
    pub(crate) fn new(nodes: usize) -> World {
        World::with(nodes, HubConfig::default())
    }

    pub(crate) fn with(nodes: usize, config: HubConfig) -> World {
        World::of_hub(1, nodes, config)
    }

    /// As one of several hubs.
    pub(crate) fn of_hub(id: u8, nodes: usize, config: HubConfig) -> World {
        let node = |place: usize| Node {
            state: NodeState::new(
                NodeConfig::new(Name::parse(&format!("node/{place}")).unwrap()),
                [place as u8; 32],
                Time::START,
            ),
            link: None,
            links: 0,
            deaf: false,
            unread: Vec::new(),
            peer: Peer::Owner,
            refused: None,
        };
        let mut world = World {
            hub: hub(&config, id, 7),
            id,
            config,
            epoch: 7,
            nodes: (0..nodes).map(node).collect(),
            now: Time::START,
            hold: false,
            held: Vec::new(),
            kill_after: None,
            pos: 0,
            operations: BTreeMap::new(),
            rows: BTreeMap::new(),
            reached: 0,
        };
        world.settle();
        world
    }

    /// One more node, which joins.
    pub(crate) fn join(&mut self, config: NodeConfig, peer: Peer) -> usize {
        let state = NodeState::new(config, [self.nodes.len() as u8; 32], self.now);
        self.nodes.push(Node { state, link: None, links: 0, deaf: false, unread: Vec::new(), peer, refused: None });
        self.settle();
        self.nodes.len() - 1
    }

    /// How many bytes the hub has for a node, all of which get lost.
    pub(crate) fn drain(&mut self, place: usize) -> usize {
        let Some(link) = self.nodes[place].link else { return 0 };
        let (mut transmit, mut bytes) = (Transmit::new(), 0);
        loop {
            self.hub.transmit(link, &mut transmit);
            let Some(piece) = transmit.pop() else { return bytes };
            bytes += piece.len();
        }
    }

    /// The link of a node has taken something: all that the hub's program had, or a part of it.
    pub(crate) fn takes(&mut self, place: usize, all: bool) {
        if let Some(link) = self.nodes[place].link {
            self.hub.wrote(link, all, self.now);
        }
    }

    /// Whether the hub wants the link of a node to be cut, whatever waits on it.
    pub(crate) fn is_to_be_cut(&mut self, place: usize) -> bool {
        let mut transmit = Transmit::new();
        if let Some(link) = self.nodes[place].link {
            self.hub.transmit(link, &mut transmit);
        }
        transmit.abort
    }

    /// From now on the transport knows a node as somebody else, whenever it makes a link.
    pub(crate) fn becomes(&mut self, place: usize, peer: Peer) {
        self.nodes[place].peer = peer;
    }

    /// The foundation tells the hub.
    pub(crate) fn tell(&mut self, told: Told) {
        self.hub.told(told, self.now);
    }

    /// How many rows the foundation keeps in this table.
    pub(crate) fn rows_kept(&self, table: u8) -> usize {
        self.rows.keys().filter(|key| key.table == table).count()
    }

    /// Changes the last byte of a row that the foundation keeps: so many rows of this table lie before it.
    pub(crate) fn flip(&mut self, table: u8, place: usize) {
        let mut rows = self.rows.iter_mut().filter(|(key, _)| key.table == table);
        let (_, row) = rows.nth(place).expect("there is such a row");
        let mut bytes = row.to_vec();
        *bytes.last_mut().expect("it has bytes") ^= 1;
        *row = bytes.into();
    }

    /// The foundation keeps an operation, and tells it.
    pub(crate) fn commit(&mut self, ticket: Option<u64>, operation: Bytes) {
        self.pos += 1;
        self.operations.insert(self.pos, operation.clone());
        self.tell(Told::Committed { pos: self.pos, ticket, operation });
    }

    /// The foundation loses a row: so many rows of this table lie before it.
    pub(crate) fn lose(&mut self, table: u8, place: usize) {
        let mut keys = self.rows.keys().filter(|key| key.table == table);
        let key = keys.nth(place).expect("there is such a row").clone();
        self.rows.remove(&key);
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot => {
                let rows = self.rows.iter().filter(|(key, _)| key.table < READ_ONLY);
                let rows = rows.map(|(key, row)| (key.clone(), row.clone())).collect();
                self.tell(Told::Rows { pos: self.reached, rows });
                let tail: Vec<_> =
                    self.operations.range(self.reached + 1..).map(|(pos, bytes)| (*pos, bytes.clone())).collect();
                for (pos, operation) in tail {
                    self.tell(Told::Committed { pos, ticket: None, operation });
                }
                self.tell(Told::Ready);
            }
            Ask::Append { ticket, operation } => self.commit(Some(ticket), operation),
            Ask::Tables { pos, rows } => {
                self.reached = pos;
                for (key, change) in rows {
                    match change.row() {
                        Some(row) => self.rows.insert(key, row.clone()),
                        None => self.rows.remove(&key),
                    };
                }
            }
            Ask::Read { ticket, table, from, .. } => {
                let from = RowKey { table, key: from };
                let rows = self.rows.range(from..).filter(|(key, _)| key.table == table);
                let rows = rows.map(|(key, row)| (key.clone(), row.clone())).collect();
                self.tell(Told::ReadDone { ticket, rows });
            }
            Ask::Barrier { ticket } => self.tell(Told::BarrierDone { ticket }),
        }
    }

    /// Carries everything until nothing moves; nodes without a link get one.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = false;
            // Before the asks: what links have room for may have to be read.
            for place in 0..self.nodes.len() {
                moved |= self.carry(place);
            }
            if !self.hold && !self.held.is_empty() {
                moved = true;
                for ask in std::mem::take(&mut self.held) {
                    self.answer(ask);
                }
            }
            for ask in self.hub.asks() {
                moved = true;
                if let Some(left) = self.kill_after {
                    self.kill_after = left.checked_sub(1);
                    if left == 0 {
                        self.restart_hub();
                        break;
                    }
                }
                if self.hold && !matches!(ask, Ask::Snapshot) {
                    self.held.push(ask);
                } else {
                    self.answer(ask);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Carries everything once, and no further: a hub that has failed may go on for ever.
    pub(crate) fn settle_once(&mut self) {
        for _ in 0..2 {
            for place in 0..self.nodes.len() {
                self.carry(place);
            }
            for ask in self.hub.asks() {
                self.answer(ask);
            }
        }
    }

    /// What a node has for the hub goes there, and what that asks of the foundation is answered; no other link is made
    /// meanwhile.
    pub(crate) fn pass(&mut self, place: usize) {
        self.carry(place);
        for ask in self.hub.asks() {
            self.answer(ask);
        }
    }

    /// What came of what a node has asked for: its place and how many, or certainly why not.
    pub(crate) fn answered(&mut self, who: usize, id: WriteId) -> Result<(u64, u32), Code> {
        self.settle();
        let ends = self.nodes[who].state.written_writes();
        let (_, end) = ends.into_iter().find(|(of, _)| *of == id).expect("it is answered");
        end.map(|wrote| (wrote.rev.n, wrote.count)).map_err(|why| {
            assert!(why.certain, "{}", why.why);
            why.why.code
        })
    }

    /// A node that reads nothing reads what the hub has for it now, and then nothing again.
    pub(crate) fn reads_once(&mut self, place: usize) {
        self.nodes[place].deaf = false;
        self.carry(place);
        self.nodes[place].deaf = true;
        self.settle();
    }

    fn carry(&mut self, place: usize) -> bool {
        let node = &mut self.nodes[place];
        let has_ended = node.link.is_none() && matches!(node.state.standing(), Standing::Ended(_));
        if node.refused.is_some() || has_ended {
            return false;
        }
        if node.link.is_none() {
            if let Some(due) = node.state.deadline().filter(|_| !node.state.wants_link()) {
                self.now = self.now.max(due);
                node.state.tick(self.now);
            }
            if !node.state.wants_link() {
                // It has left.
                return false;
            }
            node.link = Some(self.hub.open(node.peer.clone(), self.now).unwrap());
            node.links += 1;
            node.state.connected(node.peer != Peer::Stranger, self.now);
        }
        let link = node.link.expect("it was made above");
        let mut moved = false;
        let mut transmit = Transmit::new();
        node.state.transmit(&mut transmit);
        while let Some(bytes) = transmit.pop() {
            moved = true;
            self.hub.receive(link, &mut BytesMut::from(&bytes[..]), self.now);
        }
        if node.deaf {
            return moved;
        }
        self.hub.transmit(link, &mut transmit);
        for bytes in node.unread.drain(..).chain(std::iter::from_fn(|| transmit.pop())) {
            moved = true;
            node.state.receive(&mut BytesMut::from(&bytes[..]), self.now);
        }
        if !node.state.has_link() {
            // The hub has closed it.
            if let Standing::Offline(Some(why)) = node.state.standing()
                && matches!(why.code, Code::Unauthorized | Code::Forbidden)
            {
                node.refused = Some(why);
            }
            node.link = None;
            self.hub.closed(link, self.now);
            moved = true;
        }
        moved
    }

    /// The link of a node is cut, and whatever was on its way is lost. It comes back when the world settles.
    pub(crate) fn cut(&mut self, place: usize) {
        self.detach(place);
        self.settle();
    }

    pub(crate) fn detach(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        node.unread.clear();
        if let Some(link) = node.link.take() {
            self.hub.closed(link, self.now);
            node.state.disconnected(Refusal::new(Code::LinkLost, "it was cut"), self.now);
        }
    }

    /// The hub is killed and starts again; of what it knew only what the foundation keeps is left.
    pub(crate) fn restart_hub(&mut self) {
        self.epoch += 1;
        self.held.clear();
        for node in &mut self.nodes {
            node.unread.clear();
            if node.link.take().is_some() {
                node.state.disconnected(Refusal::new(Code::LinkLost, "the hub was killed"), self.now);
            }
        }
        self.hub = hub(&self.config, self.id, self.epoch);
        self.now = self.now + Duration::from_millis(1);
        self.settle();
    }
}
