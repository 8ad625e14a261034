//! The kinds of frames, by their numbers.

/// Set in the number of a kind that a receiver which does not know it may ignore.
pub const KIND_OPTIONAL: u8 = 0x80;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        /// What a frame is. The numbers are those of docs/protocol.md and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// The kind with this number.
            pub const fn from_number(number: u8) -> Option<Kind> {
                match number {
                    $($number => Some(Kind::$name),)*
                    _ => None,
                }
            }

            /// Its word in docs/protocol.md.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Kind::$name => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// Node to hub: who wants to join.
    Hello = 0x01, "Hello";
    /// Hub to node: prove it; and the hub's own proof.
    Challenge = 0x02, "Challenge";
    /// Node to hub: the proof.
    Proof = 0x03, "Proof";
    /// Hub to node: joined, under these limits.
    Welcome = 0x04, "Welcome";
    /// Either: the last frame of a link, and why.
    Close = 0x05, "Close";
    /// Either: a sign of life; the hub's tells how far it has received.
    Beat = 0x06, "Beat";
    /// Node to hub: what it tells about itself.
    Info = 0x07, "Info";
    /// Node to hub: change who may do what.
    Grant = 0x08, "Grant";
    /// Either: an event.
    Event = 0x10, "Event";
    /// Node to hub: deliver what is published on names that match.
    Subscribe = 0x11, "Subscribe";
    /// Node to hub: stop delivering that.
    Unsubscribe = 0x12, "Unsubscribe";
    /// Node to hub: tell when the event before this was taken, and to how many nodes it went.
    Confirm = 0x13, "Confirm";
    /// Node to hub: tell when everything before this was handled.
    Barrier = 0x14, "Barrier";
    /// Hub to node: a request is done.
    Done = 0x15, "Done";
    /// Hub to node: a request, or an event, is refused.
    Refused = 0x16, "Refused";
    /// Hub to node: the number of a topic.
    Topic = 0x17, "Topic";
    /// Hub to node: the number of a publisher.
    Publisher = 0x18, "Publisher";
    /// Hub to node: the publisher of this number is gone.
    Forget = 0x19, "Forget";
    /// Hub to node: events were lost here, so many of each topic.
    Lagged = 0x1a, "Lagged";
    /// Either: answer this. To the hub, for itself or for a node by name.
    Ping = 0x1b, "Ping";
    /// Node to hub: the answer.
    Pong = 0x1c, "Pong";
    /// Node to hub: change these values.
    Write = 0x20, "Write";
    /// Hub to node: they are changed.
    Written = 0x21, "Written";
    /// Node to hub: tell the values whose names match, and their changes.
    Watch = 0x22, "Watch";
    /// Hub to node: a value.
    Value = 0x23, "Value";
    /// Hub to node: all values follow, and what does not is gone.
    Snapshot = 0x24, "Snapshot";
    /// Node to hub: the program has taken so much of what a watch got.
    Taken = 0x25, "Taken";
    /// Node to hub: what became of a write or an append of a former incarnation of this node?
    Status = 0x26, "Status";
    /// Hub to node: what became of it.
    Settled = 0x27, "Settled";
    /// Node to hub: it handles calls of this service.
    Serve = 0x30, "Serve";
    /// Node to hub: a call.
    Call = 0x31, "Call";
    /// Hub to provider: handle this call.
    Handle = 0x32, "Handle";
    /// Provider to hub, hub to caller: what became of a call.
    Reply = 0x33, "Reply";
    /// Caller to hub, hub to provider: the call is not wanted any more.
    Cancel = 0x34, "Cancel";
    /// Hub to provider: what became of this call?
    Recall = 0x35, "Recall";
    /// Node to hub: append this to a journal.
    Append = 0x40, "Append";
    /// Node to hub: tell the entries of a journal.
    Follow = 0x41, "Follow";
    /// Hub to node: an entry.
    Entry = 0x42, "Entry";
    /// Node to hub: everything up to this entry is applied.
    Applied = 0x43, "Applied";
    /// Node to hub: tell when members of a journal have applied an entry.
    Await = 0x44, "Await";
    /// Hub to node: who has applied it.
    Acknowledged = 0x45, "Acknowledged";
    /// Hub to node: a piece of the snapshot that a follower begins with.
    Base = 0x46, "Base";
    /// Hub to node: the entries that a follower lacks are not kept any more.
    Compacted = 0x47, "Compacted";
}
